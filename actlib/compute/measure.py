"""The time of a network's step in several precisions and layouts, side by side."""

import copy
import math
import statistics
import time
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from actlib.compute.execution import Execution
from actlib.compute.folding import fold_batch_norm

WARM_UP = 3  # steps that are not counted: the first ones pay for choosing kernels, and for memory
ROUNDS = WARM_UP + 10
HOPELESS = 2.0  # a pair so many times slower than the best after its warm-up is left at that


@dataclass
class Timing:
    """`seconds` of a step: the median of `steps` ones, or the last of the warm-up where that is 0. `left_out`: why a
    pair could not be timed, with infinite seconds."""

    seconds: float = math.inf
    steps: int = 0
    left_out: str = ""


class _Stepper:
    """A copy of a network in one precision and layout, with a batch of its own."""

    def __init__(self, model: nn.Module, shape: tuple[int, ...], execution: Execution, device, training: bool):
        self.execution, self.device, self.training = execution, device, training
        self.clips = torch.randn(shape, device=device).contiguous(memory_format=execution.layout_of_clips())
        model = copy.deepcopy(model).to(device).train(training)
        self.model = execution.apply_to(model if training else fold_batch_norm(model, self.clips[:1]))
        self.labels = torch.zeros(len(self.clips), dtype=torch.long, device=device)
        self.times: list[float] = []

    def step(self) -> None:
        _synchronize(self.device)
        begin = time.perf_counter()
        with self.execution.switched(), torch.inference_mode(not self.training):
            with self.execution.autocast(self.device):
                logits = self.model(self.clips)
            if self.training:
                F.cross_entropy(logits.float(), self.labels).backward()
                self.model.zero_grad(set_to_none=True)
        _synchronize(self.device)
        self.times.append(time.perf_counter() - begin)

    def timing(self) -> Timing:
        counted = self.times[WARM_UP:]
        return Timing(statistics.median(counted) if counted else self.times[-1], len(counted))


def time_pairs(
    model: nn.Module,
    input_shape: tuple[int, ...],
    pairs: list[Execution],
    *,
    device: torch.device,
    training: bool,
    rounds: int = ROUNDS,
    limit_s: float = math.inf,
) -> dict[Execution, Timing]:
    """The time of one step of `model` on a batch (B, C, T, H, W) in each of `pairs`.

    A step is forward, cross-entropy and backward when `training`, else forward alone, with batch norms folded into
    convolutions as evaluation has them. The pairs take turns for `rounds` steps each, of which the first WARM_UP are
    not counted; after `limit_s` seconds no further round begins, once one was counted. A pair that is hopeless after
    its warm-up gets no more, one that runs out of memory none. `model` stays as it is, and so do torch's random states.
    Raises torch.OutOfMemoryError where no pair fits.
    """
    steppers: dict[Execution, _Stepper] = {}
    found: dict[Execution, Timing] = {}
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(0)
        begin = time.perf_counter()
        for number in range(rounds):
            for pair in [each for each in pairs if each not in found]:
                try:
                    if number == 0:
                        steppers[pair] = _Stepper(model, input_shape, pair, device, training)
                    steppers[pair].step()
                except RuntimeError as error:
                    if not is_out_of_memory(error):
                        raise
                    steppers.pop(pair, None)
                    found[pair] = Timing(left_out="out of memory")
            best = min((each.times[-1] for each in steppers.values()), default=math.inf)
            if number + 1 == WARM_UP:
                slow = [pair for pair, each in steppers.items() if each.times[-1] > HOPELESS * best]
                found |= {pair: steppers.pop(pair).timing() for pair in slow}
            if number >= WARM_UP and time.perf_counter() - begin > limit_s:
                break
    found |= {pair: stepper.timing() for pair, stepper in steppers.items()}
    if all(timing.left_out for timing in found.values()):
        raise torch.OutOfMemoryError(
            f"a batch of {input_shape[0]} clips does not fit into the memory of {device} in any of "
            f"{'; '.join(map(str, pairs))}: lower batch_size"
        )
    return {pair: found[pair] for pair in pairs}


def is_out_of_memory(error: RuntimeError) -> bool:
    """torch has an error of its own for this on accelerators alone; on a CPU it is known by its words."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
