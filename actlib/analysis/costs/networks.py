"""Networks side by side: size, work and memory, counted without running one."""

from collections.abc import Iterable

import pandas as pd

from actlib.analysis.costs.flops import count_macs, num_params, on_meta
from actlib.analysis.costs.memory import peak_activation_bytes
from actlib.models import ModelError, create_model, format_spec, list_models, model_options


def spec_at(name: str, num_frames: int, crop_size: int) -> str:
    """The network of that name with its defaults, but built for this input where it has options for that."""
    given = {"num_frames": num_frames, "crop_size": crop_size}
    return format_spec(name, {option: given[option] for option in model_options(name) if option in given})


def every_spec(num_frames: int, crop_size: int) -> list[str]:
    """All networks by name, as `spec_at`."""
    return [spec_at(name, num_frames, crop_size) for name in list_models()]


def specs_of(models: list[str], num_frames: int, crop_size: int) -> list[str]:
    """The networks that a list names, each once: all of them for `all`, and of a checkpoint (….pt) the one it holds."""
    if models == ["all"]:
        return every_spec(num_frames, crop_size)
    opened = [create_model(pretrained=each).spec if each.endswith(".pt") else each for each in models]
    return list(dict.fromkeys(opened))


def describe_model(spec: str, num_classes: int, input_shape: tuple[int, int, int]) -> dict:
    """One row of the table of networks: what can be counted without running one. `input_shape` is (T, H, W).

    All for one clip, in the units of `flops`: model, params_m (million), gmacs (10⁹ MACs, the sum of the next three),
    conv_gmacs, linear_gmacs, attention_gmacs; pooling_m, norm_m, elementwise_m (million operations); uncounted (the
    names of what moves data or is unknown) and moved_m (the million elements that it puts out); activations_mb and
    train_activations_mb (10⁶ bytes in float32: the peak of inference, and of a training step; the latter is half that
    of two clips, since batch norm refuses a single value a channel). Raises ModelError for an unusable spec or input.
    """
    model = on_meta(spec, num_classes)
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
    except Exception as error:  # whatever the code of a network, which may be a user's own, makes of its input
        kind = "" if isinstance(error, ValueError | RuntimeError) else f"{type(error).__name__}: "
        return {}, kind + str(error).strip().split("\n")[0]


def describe_models(
    specs: Iterable[str], num_classes: int, input_shape: tuple[int, int, int]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The table of `describe_model`, a row a network, and by spec why others cannot be described. Raises ModelError,
    with these reasons, where none is left."""
    tried = {spec: try_to_describe(spec, num_classes, input_shape) for spec in specs}
    refused = {spec: reason for spec, (row, reason) in tried.items() if not row}
    if len(refused) == len(tried):
        reasons = "; ".join(f"{spec}: {reason}" for spec, reason in refused.items())
        raise ModelError(f"no network to describe: {reasons or 'the list is empty'}")
    return pd.DataFrame([row for row, _ in tried.values() if row]), refused
