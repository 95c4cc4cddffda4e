"""Size, work and clock of networks side by side: parameters, MACs and clips/s, in one table."""

import pandas as pd
import torch

from actlib.analysis.flops import count_macs, num_params
from actlib.models import VideoModel, create_from_spec
from actlib.models.execution import candidates, measure_all


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
    memory format that is left open: columns precision, memory_format, clips_per_s, the fastest first."""
    pairs = candidates(precision, memory_format)
    seconds = measure_all(model, (batch_size, 3, *input_shape), pairs, device=device, training=training)
    rows = [(pair.precision, pair.memory_format, batch_size / each) for pair, each in seconds.items()]
    table = pd.DataFrame(rows, columns=["precision", "memory_format", "clips_per_s"])
    return table.sort_values("clips_per_s", ascending=False, ignore_index=True)


def describe_model(
    spec: str,
    num_classes: int,
    input_shape: tuple[int, int, int],
    batch_size: int,
    *,
    device: torch.device,
    training: bool = False,
    precision: str = "auto",
    memory_format: str = "auto",
) -> dict:
    """One row of the table of networks. `input_shape` is (T, H, W).

    Columns: model, params_m (million), gmacs (10⁹, conv + linear + other for one clip), conv_gmacs, linear_gmacs,
    other_gmacs, uncounted_melements (million output elements of the operations that no MAC counts), uncounted
    (their names), clips_per_s with precision and memory_format of the fastest pair, float32_clips_per_s of plain
    float32 contiguous tensors if it was measured, and the same with train_ in front when `training`.
    """
    model = create_from_spec(spec, num_classes)
    macs = count_macs(model, (3, *input_shape))
    row = {
        "model": model.spec,
        "params_m": num_params(model) / 1e6,
        "gmacs": macs.total / 1e9,
        "conv_gmacs": macs.conv / 1e9,
        "linear_gmacs": macs.linear / 1e9,
        "other_gmacs": macs.other / 1e9,
        "uncounted_melements": sum(macs.uncounted.values()) / 1e6,
        "uncounted": ", ".join(sorted(macs.uncounted, key=macs.uncounted.get, reverse=True)),
    }
    for prefix, train in (("", False), ("train_", True)):
        if train and not training:
            continue
        how = {"device": device, "training": train, "precision": precision, "memory_format": memory_format}
        speeds = clips_per_s(model, input_shape, batch_size, **how)
        row |= {prefix + name: value for name, value in speeds.iloc[0].items()}
        plain = speeds[(speeds["precision"] == "float32") & (speeds["memory_format"] == "contiguous")]
        if len(plain):
            row[f"{prefix}float32_clips_per_s"] = plain["clips_per_s"].iloc[0]
    return row
