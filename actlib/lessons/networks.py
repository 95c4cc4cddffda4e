"""Networks as the lessons open them."""

from pathlib import Path

import torch

from actlib.models import (
    VideoModel,
    create_from_spec,
    create_model,
    find_published,
    format_spec,
    model_options,
    parse_spec,
)

WIDTHS = ("widen_factor", "width_mult")  # the options that scale the channels of every layer


def at_width(spec: str, width: float) -> str:
    """The network of `spec` with its channels scaled by `width`, where it has such an option and says nothing of it."""
    name, options = parse_spec(spec)
    allowed = [option for option in WIDTHS if option in model_options(name)]
    return format_spec(name, dict.fromkeys(allowed, width) | options)


def open_network(name: str, num_classes: int = 8, width: float = 1.0) -> VideoModel:
    """A network in evaluation mode: that of a checkpoint or a file of weights, of published ones by their name, or an
    untrained one by its spec, its channels scaled by `width`. Raises as `create_model`."""
    if Path(name).suffix in (".pt", ".pth") or find_published(name):
        return create_model(pretrained=name).eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return create_from_spec(at_width(name, width), num_classes).eval()


def title_of(name: str) -> str:
    """What pictures call `open_network(name)`: a checkpoint by its run, any other file by its own name, and of a spec
    that it is untrained."""
    path = Path(name)
    if path.suffix == ".pt" and path.parent.name == "checkpoints":
        return path.parents[1].name
    return path.name if path.suffix in (".pt", ".pth") or find_published(name) else f"{name} (untrained)"
