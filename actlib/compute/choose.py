"""Which precision and layout a network gets: a rule, the same every time, or what is fastest when it is timed.

The rule is one short table by device and kind of network; `make bench WHAT=speed` times every pair on the machine at
hand and prints the table beside it.
"""

from dataclasses import dataclass

import torch
from torch import nn

from actlib.compute.execution import Execution, capability
from actlib.compute.measure import ROUNDS, WARM_UP, Timing, time_pairs
from actlib.compute.vocabulary import MEMORY_FORMATS

SHARE = 0.05  # of the run's steps that `measure` may spend on each of the pairs together
FEWEST = WARM_UP + 3  # steps of a pair without which its time says nothing


@dataclass(frozen=True)
class Rule:
    """What a kind of network gets on a kind of device, and how that is known."""

    device: str
    network: str
    precision: str
    memory_format: str
    known_from: str


_ZEN = "timed on AVX2 cores (Zen 3, Zen 1)"
_AMX = "timed on a Xeon with AMX: bf16 channels_last 3 times float32 contiguous"
_CUDA = "cuDNN's guide (tensor cores want channels last); not timed here yet"
_OWN_KERNEL = "torch's depthwise 3-D kernels take contiguous tensors alone; not timed here yet"
RULES = (
    Rule("cpu", "dense", "float32", "channels_last", _ZEN),
    Rule("cpu", "depthwise", "float32", "channels_last", _ZEN),
    Rule("cpu with bf16 units", "dense", "bf16", "channels_last", _AMX),
    Rule("cpu with bf16 units", "depthwise", "bf16", "channels_last", _AMX),
    Rule("cuda from 8.0", "dense", "bf16", "channels_last", _CUDA),
    Rule("cuda from 8.0", "depthwise", "bf16", "contiguous", _OWN_KERNEL),
    Rule("cuda from 7.0", "dense", "fp16", "channels_last", _CUDA),
    Rule("cuda from 7.0", "depthwise", "fp16", "contiguous", _OWN_KERNEL),
    Rule("other", "dense", "float32", "contiguous", "what every device has"),
    Rule("other", "depthwise", "float32", "contiguous", "what every device has"),
)


def device_kind(device: torch.device) -> str:
    """The first column of RULES that `device` is in."""
    if device.type == "cpu":
        return "cpu with bf16 units" if has_bf16(device) else "cpu"
    if device.type == "cuda":
        version = capability(device)
        return "cuda from 8.0" if version >= (8, 0) else "cuda from 7.0" if version >= (7, 0) else "other"
    return "other"


def network_kind(model: nn.Module) -> str:
    """`depthwise` if any convolution has a group a channel, else `dense`."""
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Conv3d)]
    return "depthwise" if any(each.groups == each.in_channels > 1 for each in convolutions) else "dense"


def has_bf16(device: torch.device) -> bool:
    """Whether bf16 is computed in units of its own, and not emulated, which can be twenty times slower."""
    if device.type == "cuda":
        return capability(device) >= (8, 0)
    return device.type == "cpu" and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def rule_for(model: nn.Module, device: torch.device) -> Rule:
    kinds = device_kind(device), network_kind(model)
    return next(rule for rule in RULES if (rule.device, rule.network) == kinds)


def precisions_of(device: torch.device) -> tuple[str, ...]:
    """Those that `device` has units for, float32 first."""
    if device.type == "cuda":
        return ("float32", "tf32", "bf16") if has_bf16(device) else ("float32", "fp16")
    return ("float32", "bf16") if has_bf16(device) else ("float32",)


def candidates(
    model: nn.Module, device: torch.device, precision: str = "measure", memory_format: str = "measure",
    *, compile: bool = False,
) -> list[Execution]:  # fmt: skip
    """The pairs that `measure` leaves open; `auto` is what the rule says, any other word itself. Raises ValueError for
    a word that is not known or what `device` cannot do, such as compiling without a compiler."""
    rule = rule_for(model, device)
    precisions = precisions_of(device) if precision == "measure" else (precision,)
    layouts = MEMORY_FORMATS if memory_format == "measure" else (memory_format,)
    pairs = [
        Execution(
            rule.precision if each == "auto" else each, rule.memory_format if layout == "auto" else layout, compile
        )
        for each in precisions
        for layout in layouts
    ]
    for pair in pairs:
        pair.check(device)
    return pairs


def choose(
    model: nn.Module,
    input_shape: tuple[int, ...],
    *,
    device: torch.device,
    training: bool,
    steps: int,
    precision: str = "auto",
    memory_format: str = "auto",
    compile: bool = False,
) -> tuple[Execution, dict[Execution, Timing]]:
    """How `model` runs, and the time of every pair that was measured, none unless a word is `measure`.

    Measured are steps on batches of `input_shape` (B, C, T, H, W), so many that they take about SHARE of the `steps`
    of the whole run; for a run too short for that, which is said, the rule stands in. Raises ValueError as
    `candidates`; torch.OutOfMemoryError where no pair fits into memory.
    """
    how = {"precision": precision, "memory_format": memory_format}
    pairs = candidates(model, device, **how, compile=compile)
    rounds = min(ROUNDS, int(SHARE * steps / len(pairs)))
    if len(pairs) > 1 and rounds < FEWEST:
        print(f"{steps} steps are too few to measure {len(pairs)} ways to run them: the rule of auto stands in")
        ruled = {name: "auto" if value == "measure" else value for name, value in how.items()}
        pairs = candidates(model, device, **ruled, compile=compile)
    if len(pairs) == 1:
        return pairs[0], {}
    print(f"timing {len(pairs)} ways to run the network, {rounds} steps each …", flush=True)
    timings = time_pairs(model, input_shape, pairs, device=device, training=training, rounds=rounds)
    for pair, timing in timings.items():
        if timing.left_out:
            print(f"left out: {pair}: {timing.left_out}")
    return min(timings, key=lambda pair: timings[pair].seconds), timings
