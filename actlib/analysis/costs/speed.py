"""Clips/s of networks, measured on a device in its precisions and memory formats."""

import pandas as pd
import torch
from torch import nn

from actlib.compute.choose import candidates
from actlib.compute.execution import Execution
from actlib.compute.measure import time_pairs
from actlib.models import create_from_spec
from actlib.progress import told_if_slow

# One best speed for each of these
GROUPS = ["model", "step", "batch_size"]
MEASURED = ["precision", "memory_format", "clips_per_s", "steps", "left_out"]
LIMIT_S = 30.0  # of each network, step and batch size; large networks get fewer steps


def clips_per_s(
    model: nn.Module,
    input_shape: tuple[int, int, int, int],
    batch_size: int,
    execution: Execution,
    device: torch.device,
) -> float:
    """Clips a second of `model` in inference, as it is run by `execution`, on batches of (C, T, H, W): a few steps."""
    how = {"device": device, "training": False, "limit_s": LIMIT_S / 6}
    with told_if_slow(f"timing the network on {device}"):
        return batch_size / time_pairs(model, (batch_size, *input_shape), [execution], **how)[execution].seconds


def measure_model(
    spec: str,
    num_classes: int,
    input_shape: tuple[int, int, int],
    batch_sizes: list[int],
    *,
    device: torch.device,
    training: bool = False,
    precision: str = "measure",
    memory_format: str = "measure",
    compile: bool = False,
) -> pd.DataFrame:
    """The clips/s of a network, a row each step (inference, and training where asked for), batch size, precision and
    memory format, the fastest first: columns model, step, batch_size and MEASURED. `input_shape` is (T, H, W);
    precision and memory_format: see `compute.choose.candidates`.

    steps: how many were timed, 0 for a pair so much slower than the best that it was left at its warm-up. left_out: why
    there are no clips/s: out of memory, or a batch norm that would see a single value.
    """
    model = create_from_spec(spec, num_classes)
    pairs = candidates(model, device, precision, memory_format, compile=compile)
    rows = []
    for train in (False, True) if training else (False,):
        for batch_size in batch_sizes:
            named = (model.spec, "training" if train else "inference", batch_size)
            shape = (batch_size, model.in_channels, *input_shape)
            try:
                timings = time_pairs(model, shape, pairs, device=device, training=train, limit_s=LIMIT_S)
            except ValueError as error:
                if not train or "more than 1 value per channel" not in str(error):
                    raise
                rows.append((*named, None, None, float("nan"), 0, "a batch norm sees one value per channel"))
            else:
                for pair, timing in sorted(timings.items(), key=lambda each: each[1].seconds):
                    speed = float("nan") if timing.left_out else batch_size / timing.seconds
                    rows.append((*named, pair.precision, pair.memory_format, speed, timing.steps, timing.left_out))
    return pd.DataFrame(rows, columns=[*GROUPS, *MEASURED])


def best_speeds(speeds: pd.DataFrame) -> pd.DataFrame:
    """The fastest precision and memory format of each model, step and batch size of `measure_model`'s rows, in their
    order, and beside it `float32_clips_per_s` of plain float32 contiguous tensors, missing where not measured."""
    speeds = speeds.dropna(subset="clips_per_s")
    best = speeds.loc[speeds.groupby(GROUPS, sort=False)["clips_per_s"].idxmax()]
    plain = speeds[(speeds["precision"] == "float32") & (speeds["memory_format"] == "contiguous")]
    plain = plain[[*GROUPS, "clips_per_s"]].rename(columns={"clips_per_s": "float32_clips_per_s"})
    return best.drop(columns=["steps", "left_out"]).merge(plain, on=GROUPS, how="left")
