"""Clips/s of the networks in every precision and memory format, and of a depthwise layer beside torch's own.

Printed and never asserted as times: `make bench`. On a CUDA device each network is also given the batch that suits it.
"""

import copy
import time

import pytest
import torch
from torch import nn

from actlib.compute.device import pick_device
from actlib.compute.execution import candidates, measure, measure_all
from actlib.models import create_from_spec
from actlib.models.parts.depthwise import DepthwiseConv3d, input_gradient, weight_gradient

ROUNDS = 5
CLIP = (16, 112, 112)
SMALL = [
    ("resnet10 widen_factor=0.25 conv1_t_size=3", (16, 3, 8, 48, 48)),
    ("tam_resnet18 width_mult=0.5", (16, 3, 8, 48, 48)),
]
# The 21 rows of arXiv:1904.02422, table 8.
TABLE_8 = [
    *(f"shufflenet width_mult={width}" for width in (0.5, 1.0, 1.5, 2.0)),
    *(f"shufflenetv2 width_mult={width}" for width in (0.25, 1.0, 1.5, 2.0)),
    *(f"mobilenet width_mult={width}" for width in (0.5, 1.0, 1.5, 2.0)),
    *(f"mobilenetv2 width_mult={width}" for width in (0.2, 0.45, 0.7, 1.0)),
    "squeezenet",
    "resnet18 shortcut=A",
    "resnet50 shortcut=A",
    "resnet101 shortcut=A",
    "resnext101",
]


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize(("spec", "shape"), [*SMALL, *((spec, (8, 3, *CLIP)) for spec in TABLE_8)])
def test_precisions_and_memory_formats(spec, shape, training):
    """Clips/s of every pair, and the best as a multiple of torch's own layers: plain float32, contiguous, unfolded."""
    model, device = create_from_spec(spec, 600), pick_device()
    seconds = measure_all(model, shape, candidates(), device=device, training=training)
    plain = plain_seconds(model, shape, device, training)
    told = ", ".join(f"{pair}: {shape[0] / each:.1f}" for pair, each in seconds.items())
    best = min(seconds, key=seconds.get)
    print(
        f"\n{model.spec} {shape} {'training' if training else 'inference'} clips/s: plain {shape[0] / plain:.1f}; "
        f"{told}; best {plain / seconds[best]:.2f} × plain"
    )
    if device.type == "cuda":
        batch, rate = best_batch(model, shape, best, device, training)
        print(f"  best batch {batch}: {rate:.0f} clips/s")


def plain_seconds(model, shape, device, training) -> float:
    """A step of the same layers as torch has them: no backward pass of our own, no norm folded; the best of three."""
    model = copy.deepcopy(model).to(device).train(training)
    for module in model.modules():
        if isinstance(module, DepthwiseConv3d):
            module.__class__ = nn.Conv3d
    clips, labels = torch.randn(shape, device=device), torch.zeros(shape[0], dtype=torch.long, device=device)

    def step():
        with torch.inference_mode(not training):
            logits = model(clips)
        if training:
            nn.functional.cross_entropy(logits, labels).backward()
            model.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return milliseconds(step, rounds=3) / 1e3


def best_batch(model, shape, execution, device, training) -> tuple[int, float]:
    """Double the batch while that gains five per cent and fits into memory; the best batch and its clips/s."""
    batch, best = shape[0], (shape[0], 0.0)
    while True:
        try:
            how = {"device": device, "training": training}
            rate = batch / measure(model, (batch, *shape[1:]), execution, **how)
        except torch.OutOfMemoryError:
            return best
        if rate < 1.05 * best[1]:
            return best
        best, batch = (batch, rate), 2 * batch


def milliseconds(work, rounds: int = ROUNDS) -> float:
    work()
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - begin))
    return min(times)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(8, 96, 16, 28, 28), (8, 24, 16, 56, 56), (8, 384, 4, 7, 7)], ids=str)
def test_depthwise_gradients(shape, stride):
    """Milliseconds of the forward pass and of both gradients, torch's and ours, at 3×3×3, channels last."""
    layout = torch.channels_last_3d
    channels = shape[1]
    ours = DepthwiseConv3d(channels, 3, stride, 1)
    x = torch.randn(shape).contiguous(memory_format=layout)
    weight = ours.weight.detach().contiguous(memory_format=layout)
    grad = torch.randn_like(nn.functional.conv3d(x, weight, None, stride, 1, groups=channels))
    grad = grad.contiguous(memory_format=layout)

    def theirs(to_x: bool, to_weight: bool):
        return torch.ops.aten.convolution_backward(
            grad, x, weight, None, [stride] * 3, [1] * 3, [1] * 3, False, [0] * 3, channels, [to_x, to_weight, False]
        )

    forward = milliseconds(lambda: nn.functional.conv3d(x, weight, None, stride, 1, groups=channels))
    table = {
        "to the input": (
            milliseconds(lambda: theirs(True, False)),
            milliseconds(lambda: input_gradient(grad, x, weight, ours.stride, ours.padding)),
        ),
        "to the weights": (
            milliseconds(lambda: theirs(False, True)),
            milliseconds(lambda: weight_gradient(grad, x, weight, ours.stride, ours.padding)),
        ),
    }
    told = "; ".join(f"{name} {a:.1f} → {b:.1f} ms" for name, (a, b) in table.items())
    print(f"\n{shape} stride {stride}: forward {forward:.1f} ms; gradient {told}")
    torch.testing.assert_close(
        weight_gradient(grad, x, weight, ours.stride, ours.padding), theirs(False, True)[1], rtol=1e-3, atol=1e-2
    )
