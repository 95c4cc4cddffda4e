"""Clips/s of networks, measured on a device in every precision and memory format."""

import pandas as pd
import torch

from actlib.compute.execution import HOPELESS, candidates, measure_all
from actlib.models import VideoModel, create_from_spec

# One best speed for each of these
GROUPS = ["model", "step", "batch_size"]
MEASURED = ["precision", "memory_format", "clips_per_s", "measured_on"]


def clips_per_s(
    model: VideoModel,
    input_shape: tuple[int, int, int],
    batch_size: int,
    *,
    device: torch.device,
    training: bool,
    precision: str = "auto",
    memory_format: str = "auto",
) -> pd.DataFrame:
    """Clips a second of `model` on (batch_size, 3, T, H, W), `input_shape` being (T, H, W), for every precision and
    memory format that is left open: columns precision, memory_format, clips_per_s, measured_on, the fastest first.

    measured_on: `batch`, or `trial` for a pair so much slower than the best on two clips that it was left at that.
    """
    pairs = candidates(precision, memory_format)
    seconds = measure_all(model, (batch_size, model.in_channels, *input_shape), pairs, device=device, training=training)
    hopeless = HOPELESS * min(seconds.values())
    rows = [
        (pair.precision, pair.memory_format, batch_size / each, "trial" if each > hopeless else "batch")
        for pair, each in seconds.items()
    ]
    table = pd.DataFrame(rows, columns=MEASURED)
    return table.sort_values("clips_per_s", ascending=False, ignore_index=True)


def measure_model(
    spec: str,
    num_classes: int,
    input_shape: tuple[int, int, int],
    batch_sizes: list[int],
    *,
    device: torch.device,
    training: bool = False,
    precision: str = "auto",
    memory_format: str = "auto",
) -> pd.DataFrame:
    """The clips/s of a network, a row each step (inference, and training where asked for), batch size, precision and
    memory format: columns model, step, batch_size and those of `clips_per_s`. `input_shape` is (T, H, W).

    A batch that a network cannot be trained on, since a batch norm would see a single value, has one row without
    clips/s; measured_on says why."""
    model = create_from_spec(spec, num_classes)
    how = {"device": device, "precision": precision, "memory_format": memory_format}
    tables = []
    for train in (False, True) if training else (False,):
        for batch_size in batch_sizes:
            try:
                table = clips_per_s(model, input_shape, batch_size, training=train, **how)
            except ValueError as error:
                if not train or "more than 1 value per channel" not in str(error):
                    raise
                table = pd.DataFrame({"clips_per_s": [float("nan")], "measured_on": "nothing: one value per channel"})
            named = {"model": model.spec, "step": "training" if train else "inference", "batch_size": batch_size}
            tables.append(table.assign(**named).reindex(columns=[*named, *MEASURED]))
    return pd.concat(tables, ignore_index=True)


def best_speeds(speeds: pd.DataFrame) -> pd.DataFrame:
    """The fastest precision and memory format of each model, step and batch size of `measure_model`'s rows, in their
    order, and beside it `float32_clips_per_s` of plain float32 contiguous tensors, missing where not measured."""
    speeds = speeds.dropna(subset="clips_per_s")
    best = speeds.loc[speeds.groupby(GROUPS, sort=False)["clips_per_s"].idxmax()]
    plain = speeds[(speeds["precision"] == "float32") & (speeds["memory_format"] == "contiguous")]
    plain = plain[[*GROUPS, "clips_per_s"]].rename(columns={"clips_per_s": "float32_clips_per_s"})
    return best.drop(columns="measured_on").merge(plain, on=GROUPS, how="left")
