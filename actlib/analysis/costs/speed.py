"""Size, work, memory and clock of networks side by side: what is counted, and clips/s measured on a device."""

from collections.abc import Iterable

import pandas as pd
import torch

from actlib.analysis.costs.flops import count_macs, num_params
from actlib.analysis.costs.memory import peak_activation_bytes
from actlib.compute.execution import HOPELESS, candidates, measure_all
from actlib.models import ModelError, VideoModel, create_from_spec, format_spec, list_models, model_options

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


def spec_at(name: str, num_frames: int, crop_size: int) -> str:
    """The network of that name with its defaults, but built for this input where it has options for that."""
    given = {"num_frames": num_frames, "crop_size": crop_size}
    return format_spec(name, {option: given[option] for option in model_options(name) if option in given})


def every_spec(num_frames: int, crop_size: int) -> list[str]:
    """All networks by name, as `spec_at`."""
    return [spec_at(name, num_frames, crop_size) for name in list_models()]


def describe_model(spec: str, num_classes: int, input_shape: tuple[int, int, int]) -> dict:
    """One row of the table of networks: what can be counted without running one. `input_shape` is (T, H, W).

    All for one clip, in the units of `flops`: model, params_m (million), gmacs (10⁹ MACs, the sum of the next three),
    conv_gmacs, linear_gmacs, attention_gmacs; pooling_m, norm_m, elementwise_m (million operations); uncounted (the
    names of what moves data or is unknown) and moved_m (the million elements that it puts out); activations_mb and
    train_activations_mb (10⁶ bytes in float32: the peak of inference, and of a training step; the latter is half that
    of two clips, since batch norm refuses a single value a channel). Raises ModelError for an unusable spec or input.
    """
    with torch.device("meta"):
        model = create_from_spec(spec, num_classes)
    shape = (model.in_channels, *input_shape)
    macs = count_macs(model, shape)
    return {
        "model": model.spec,
        "params_m": num_params(model) / 1e6,
        "gmacs": macs.total / 1e9,
        "conv_gmacs": macs.conv / 1e9,
        "linear_gmacs": macs.linear / 1e9,
        "attention_gmacs": macs.attention / 1e9,
        "pooling_m": macs.pooling / 1e6,
        "norm_m": macs.norm / 1e6,
        "elementwise_m": macs.elementwise / 1e6,
        "moved_m": sum(macs.uncounted.values()) / 1e6,
        "uncounted": ", ".join(sorted(macs.uncounted, key=macs.uncounted.get, reverse=True)),
        "activations_mb": peak_activation_bytes(model, shape) / 1e6,
        "train_activations_mb": peak_activation_bytes(model, shape, 2, training=True) / 2e6,
    }


def try_to_describe(spec: str, num_classes: int, input_shape: tuple[int, int, int]) -> tuple[dict, str]:
    """The row of `describe_model` and "", or an empty one and why there is none: no such network, or an input that it
    does not take."""
    try:
        return describe_model(spec, num_classes, input_shape), ""
    except (ModelError, RuntimeError, ValueError) as error:  # torch's own refusals of an input are the latter two
        return {}, str(error).strip().split("\n")[0]


def describe_models(
    specs: Iterable[str], num_classes: int, input_shape: tuple[int, int, int]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The table of `describe_model`, a row a network, and by spec why others cannot be described. Raises ModelError,
    with these reasons, where none is left."""
    rows, refused = [], {}
    for spec in specs:
        row, reason = try_to_describe(spec, num_classes, input_shape)
        if row:
            rows.append(row)
        else:
            refused[spec] = reason
    if not rows:
        reasons = "; ".join(f"{spec}: {reason}" for spec, reason in refused.items())
        raise ModelError(f"no network to describe: {reasons or 'the list is empty'}")
    return pd.DataFrame(rows), refused


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
