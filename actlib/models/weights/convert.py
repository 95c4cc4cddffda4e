"""Weights from elsewhere, written as a checkpoint of this project: with its network, classes and preprocessing."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from actlib.files import read_text
from actlib.messages import shown
from actlib.models.registry import VideoModel
from actlib.models.weights.checkpoint import network_content, save_checkpoint
from actlib.models.weights.create import create_model
from actlib.models.weights.published import class_lists, classes_of

# What a clip is where neither the table of published files nor the user says: 3D-ResNets-PyTorch's usual one.
USUAL = {
    "num_frames": 16,
    "frame_stride": 1,
    "short_side": 112,
    "crop_size": 112,
    "mean": [0.4345, 0.4051, 0.3775],
    "std": [0.2768, 0.2713, 0.2737],
    "channel_order": "rgb",
}


class ConvertError(ValueError):
    """A list of classes that does not fit, or preprocessing that nobody tells."""


def convert(
    source: str | Path,
    target: str | Path,
    *,
    spec: str = "",
    classes: str | Path | None = None,
    say: Callable[[str], None] = print,
    **preprocessing,
) -> VideoModel:
    """Write `source` (a published name, an address or any weights file) as a checkpoint to `target`.

    spec: the network, where the file is not in the table and its layers fit several; the likeliest otherwise.
    classes: a file with one name a line, in index order or as `index name`, or a data set's name (`kinetics400`, see
    `published.class_lists`). Without it the names are the published ones, else `class_0000`, ….
    preprocessing: what differs from the table's, or is not in it (num_frames, mean, …; see `checkpoint`).
    say: gets what was found and assumed, a line each. Returns the network.

    Raises ConvertError, and what `create_model` raises.
    """
    unknown = set(preprocessing) - set(USUAL)
    if unknown:
        raise ConvertError(f"{', '.join(sorted(unknown))}: preprocessing consists of {', '.join(USUAL)}")
    names = read_classes(classes) if classes else None
    model = create_model(spec or None, pretrained=source)
    say(f"{model.spec}, {model.num_classes} classes")
    say(str(model.load_report))
    if names is None and model.classes is None:
        say("The names of the classes are not known: they are class_0000, … here; --classes gives them: a file, or "
            f"{', '.join(class_lists())}.")  # fmt: skip
    names = names or model.classes or unnamed(model.num_classes)
    if len(names) != model.num_classes:
        raise ConvertError(f"{classes or source}: {len(names)} class names for a network of {model.num_classes}")
    given = {key: value for key, value in preprocessing.items() if value is not None}
    if open_ := [key for key in USUAL if key not in given and key not in (model.preprocessing or {})]:
        say(f"Neither the file nor a table tells, so usual values were assumed: {_listed(USUAL, open_)}.")
    complete = USUAL | (model.preprocessing or {}) | given
    origin = {"epoch": 0, "history": [], "params": {"converted_from": str(source)}}
    save_checkpoint(target, network_content(model, names, complete) | origin)
    say(f"{target}: {_listed(complete, complete)}")
    return model


def unnamed(count: int) -> list[str]:
    """What classes are called whose names are not known."""
    return [f"class_{index:04d}" for index in range(count)]


def read_classes(path: str | Path) -> list[str]:
    """Class names in index order: those of a data set (one of `published.class_lists`), or from a text file: one a
    line, or `index name` on each, counted from 0 or from 1.

    Raises ConvertError for a gap, a repeated index or name, an empty file or one that is no text; FileNotFoundError.
    """
    if str(path) in class_lists() and not Path(path).is_file():
        return list(classes_of(str(path)))
    try:
        lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise ConvertError(f"{path}: no list of class names: {getattr(error, 'strerror', None) or error}") from error
    if not lines:
        raise ConvertError(f"{path}: no class names in it")
    numbered = [re.fullmatch(r"(\d{1,9})[\s,]+(.+)", line) for line in lines]
    if all(numbered):
        places = sorted((int(each[1]), each[2].strip()) for each in numbered)
        first = places[0][0]
        if first > 1 or [place for place, _ in places] != list(range(first, first + len(places))):
            raise ConvertError(f"{path}: the indices must be 0, 1, … or 1, 2, …, each once")
        lines = [name for _, name in places]
    if len(set(lines)) != len(lines):
        repeated = Counter(lines).most_common(1)[0][0]
        raise ConvertError(f"{path}: {shown(repeated)} stands there twice")
    return lines


def _listed(values: dict, keys) -> str:
    def text(value) -> str:
        return ", ".join(f"{each:.4g}" for each in value) if isinstance(value, list | tuple) else str(value)

    return " · ".join(f"{key} {text(values[key])}" for key in keys)
