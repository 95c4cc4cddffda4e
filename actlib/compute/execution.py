"""How a network is run: numeric precision and memory layout, chosen by measuring on the device at hand.

The fastest pair depends on the network and the chip (bf16 is three times faster where the CPU has AMX, several
times slower where it has not; depthwise 3-D convolutions like other layouts than dense ones), so `choose` runs a
few steps with each pair instead of believing a rule.
"""

import copy
import time
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from actlib.compute.folding import fold_batch_norm
from actlib.compute.vocabulary import MEMORY_FORMATS, PRECISIONS

HOPELESS = 2.0  # a first step this many times slower than the best so far ends the measurement of a pair


@dataclass(frozen=True)
class Execution:
    """A precision (`float32` or `bf16` autocast) and a memory format (`contiguous` or `channels_last`)."""

    precision: str = "float32"
    memory_format: str = "contiguous"

    def __str__(self) -> str:
        return f"{self.precision}, {self.memory_format}"

    def apply_to(self, model: nn.Module) -> nn.Module:
        """Lay out the parameters of `model` in place: 4-D and 5-D ones as channels last, or as torch makes them."""
        last = self.memory_format == "channels_last"
        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        for parameter in model.parameters():
            if parameter.dim() in formats:
                layout = formats[parameter.dim()] if last else torch.contiguous_format
                parameter.data = parameter.data.contiguous(memory_format=layout)
        return model

    def apply_to_clips(self, clips: torch.Tensor) -> torch.Tensor:
        """Lay out (B, C, T, H, W) likewise; a copy only where the layout changes."""
        last = self.memory_format == "channels_last"
        return clips.contiguous(memory_format=torch.channels_last_3d if last else torch.contiguous_format)

    def autocast(self, device: torch.device):
        """The context to run the forward pass in."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")


def candidates(precision: str = "auto", memory_format: str = "auto") -> list[Execution]:
    """The pairs that `auto` leaves open, plain float32 first. Raises ValueError for an unknown name."""
    for name, value, known in (
        ("precision", precision, PRECISIONS),
        ("memory_format", memory_format, MEMORY_FORMATS),
    ):
        if value not in ("auto", *known):
            raise ValueError(f"{name} {value!r}: expected one of auto, {', '.join(known)}")
    return [
        Execution(each, layout)
        for each in (PRECISIONS if precision == "auto" else (precision,))
        for layout in (MEMORY_FORMATS if memory_format == "auto" else (memory_format,))
    ]


def measure(
    model: nn.Module,
    input_shape: tuple[int, ...],
    execution: Execution,
    *,
    device: torch.device,
    training: bool,
    repeats: int = 2,
    give_up_s: float = float("inf"),
) -> float:
    """Seconds of one step on a batch of shape (B, C, T, H, W), the best of `repeats` after a first one to warm up.

    A step is forward, cross-entropy and backward when `training`, else forward alone, with batch norms folded into
    convolutions as `loops.evaluate` has them. Works on a copy of `model` and leaves torch's random state as it was. A
    first step slower than `give_up_s` is the answer.
    """
    model = execution.apply_to(copy.deepcopy(model).to(device).train(training))
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.inference_mode(not training):
        torch.manual_seed(0)
        clips = execution.apply_to_clips(torch.randn(input_shape, device=device))
        if not training:
            model = fold_batch_norm(model, clips[:1])
        labels = torch.zeros(len(clips), dtype=torch.long, device=device)
        first = _timed_step(model, clips, labels, execution, device, training)
        if first > give_up_s:
            return first
        return min(_timed_step(model, clips, labels, execution, device, training) for _ in range(repeats))


def _timed_step(model, clips, labels, execution, device, training) -> float:
    _synchronize(device)
    begin = time.perf_counter()
    with execution.autocast(device):
        logits = model(clips)
    if training:
        F.cross_entropy(logits.float(), labels).backward()
        model.zero_grad(set_to_none=True)
    _synchronize(device)
    return time.perf_counter() - begin


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_all(
    model: nn.Module, input_shape: tuple[int, ...], pairs: list[Execution], *, device: torch.device, training: bool
) -> dict[Execution, float]:
    """Seconds of one step on a batch of `input_shape` (B, C, T, H, W) for each pair.

    Each is tried on two clips first; for one that is hopeless there (bf16 on a CPU that only emulates it can be
    twenty times slower) that answer, scaled to the batch, has to do.
    """
    trial_shape = (min(2, input_shape[0]), *input_shape[1:])
    seconds: dict[Execution, float] = {}
    for pair in pairs:
        scale = input_shape[0] / trial_shape[0]
        best = min(seconds.values(), default=float("inf"))
        how = {"device": device, "training": training, "give_up_s": HOPELESS * best / scale}
        seconds[pair] = scale * measure(model, trial_shape, pair, repeats=1, **how)
    best = min(seconds.values())
    for pair in pairs:
        if seconds[pair] <= HOPELESS * best:
            seconds[pair] = measure(model, input_shape, pair, device=device, training=training)
    return seconds


def choose(
    model: nn.Module,
    input_shape: tuple[int, ...],
    *,
    device: torch.device,
    training: bool,
    precision: str = "auto",
    memory_format: str = "auto",
) -> tuple[Execution, dict[str, float]]:
    """The fastest pair for this network, input (B, C, T, H, W) and device, and clips/s of every pair measured.

    Nothing is measured where `precision` and `memory_format` leave no choice.
    """
    pairs = candidates(precision, memory_format)
    if len(pairs) == 1:
        return pairs[0], {}
    seconds = measure_all(model, input_shape, pairs, device=device, training=training)
    speeds = {str(pair): round(input_shape[0] / each, 2) for pair, each in seconds.items()}
    return min(seconds, key=seconds.get), speeds
