"""Clips/s of the networks in every precision and memory format, and of a depthwise layer beside torch's own.

Printed and never asserted as times: `make bench`. On a CUDA device each network is also given the batch that suits it.
"""

import copy
import statistics
import time

import pytest
import torch
from torch import nn

from actlib.compute.choose import RULES, candidates, device_kind, rule_for
from actlib.compute.device import pick_device
from actlib.compute.execution import Execution
from actlib.compute.measure import time_pairs
from actlib.models import create_from_spec
from actlib.models.parts.depthwise import DepthwiseConv3d, input_gradient, weight_gradient

ROUNDS = 3
LIMIT_S = 20.0
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
    """Clips/s of every pair that the device has units for, and of the rule's as a multiple of the references' way:
    torch's own layers and switches, float32, contiguous, nothing folded or compiled. All take turns."""
    model, device = create_from_spec(spec, 600), pick_device()
    rule = rule_for(model, device)
    pairs = candidates(model, device)
    plain, timings = plain_seconds(model, shape, device, training), {}
    for _ in range(ROUNDS):
        for pair, timing in time_pairs(model, shape, pairs, device=device, training=training, limit_s=LIMIT_S).items():
            timings.setdefault(pair, []).append(timing.seconds)
        plain += plain_seconds(model, shape, device, training)
    rates = {str(pair): shape[0] / statistics.median(each) for pair, each in timings.items()}
    ruled = f"{rule.precision}, {rule.memory_format}"
    slow = shape[0] / statistics.median(plain)
    told = "; ".join(f"{pair} {rate:.1f}" for pair, rate in sorted(rates.items(), key=lambda each: -each[1]))
    step = "training" if training else "inference"
    print(f"\n{model.spec} {shape} {step} clips/s: references' way {slow:.1f}; {told}")
    print(f"  {rule.device}, {rule.network}: auto is {ruled}: {rates[ruled] / slow:.2f} × the references' way")
    if device.type == "cuda":
        chosen = next(pair for pair in pairs if str(pair) == ruled)
        for name, way in (("auto", chosen), ("float32, contiguous", Execution())):
            batch, rate = best_batch(model, shape, way, device, training)
            print(f"  {name} at its best batch, {batch}: {rate:.0f} clips/s")


def test_the_rules():
    """The table of `auto`, and where its rows are known from."""
    device = pick_device()
    print(f"\nthis device: {device_kind(device)}")
    for rule in RULES:
        print(f"{rule.device:<20} {rule.network:<10} {rule.precision:<8} {rule.memory_format:<14} {rule.known_from}")


def plain_seconds(model, shape, device, training) -> list[float]:
    """A step of the same layers as torch has them, five times after a first one: no backward pass of our own, no norm
    folded, torch's switches as they are."""
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

    return [each / 1e3 for each in times_of(step, rounds=5 if device.type == "cuda" else 2)]


def best_batch(model, shape, execution, device, training) -> tuple[int, float]:
    """Double the batch while that gains five per cent and fits into memory; the best batch and its clips/s."""
    batch, best = shape[0], (shape[0], 0.0)
    how = {"device": device, "training": training, "limit_s": LIMIT_S}
    while True:
        try:
            rate = batch / time_pairs(model, (batch, *shape[1:]), [execution], **how)[execution].seconds
        except torch.OutOfMemoryError:
            return best
        if rate < 1.05 * best[1]:
            return best
        best, batch = (batch, rate), 2 * batch


def times_of(work, rounds: int) -> list[float]:
    """Milliseconds of each round, after one that does not count; a GPU is waited for."""

    def finish():
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    finish()
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        finish()
        times.append(1e3 * (time.perf_counter() - begin))
    return times


def milliseconds(work, rounds: int = 5) -> float:
    return min(times_of(work, rounds))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(8, 96, 16, 28, 28), (8, 24, 16, 56, 56), (8, 384, 4, 7, 7)], ids=str)
def test_depthwise_gradients(shape, stride):
    """Milliseconds of the forward pass and of both gradients, torch's and ours, at 3×3×3, channels last. On CUDA ours
    is not in use: whether it should be is what this tells."""
    layout, device = torch.channels_last_3d, pick_device()
    channels = shape[1]
    ours = DepthwiseConv3d(channels, 3, stride, 1).to(device)
    x = torch.randn(shape, device=device).contiguous(memory_format=layout)
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
