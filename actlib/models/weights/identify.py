"""Which network a weights file is of: every name and option whose layers have exactly its names and shapes.

A candidate is built without storage (on torch's meta device) and compared entry by entry, the head's size aside.
Options that layers do not show (strides, pooling, …) are named, and taken from what the file tells besides.
A folder of transformers tells all itself; of a state dict alone its networks' default sizes are recognised. Networks of
timm's are not looked for, since any of hundreds of backbones could be meant; theirs are told by a name.
"""

import itertools
import re
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache

import torch
import yaml

from actlib.models.parts.residual import BLOCK_COUNTS
from actlib.models.parts.structure import structure_only
from actlib.models.registry import (
    ModelError,
    Scalar,
    VideoModel,
    create_from_spec,
    format_spec,
    is_builtin,
    library_of,
    list_models,
    model_options,
    parse_spec,
)
from actlib.models.transformers_models import BODIES
from actlib.models.weights.file import WeightsFile
from actlib.models.weights.inflate import drop_auxiliary, is_image_network
from actlib.models.weights.published import find_published, spec_of_arch

Shapes = dict[str, tuple[int, ...]]
Layout = tuple[Shapes, str]  # names and shapes without counters; the head's prefix

# Usual values of the options that change names or shapes; the default is always tried first. Widths that are not
# here are worked out from the first layer.
_FACTORS = (1.0, 0.125, 0.2, 0.25, 0.35, 0.45, 0.5, 0.7, 0.75, 1.5, 2.0)
VISIBLE: dict[str, tuple[Scalar, ...]] = {
    "shortcut": ("B", "A"),
    "release": (2018, 2020),
    "version": (1.1, 1.0),
    "depthwise": (True, False),
    "depthwise_temporal": (False, True),
    "cardinality": (32, 16, 8, 4, 2, 1, 64),
    "widen_k": (2, 1, 3, 4, 6, 8),
    "groups": (3, 1, 2, 4, 8),
    "widen_factor": _FACTORS,
    "width_mult": _FACTORS,
    "conv1_t_size": (7, 3, 5, 1),
    "blending_frames": (3, 1, 2, 5, 7),
    "fusion_t_size": (7, 5),
}
_INPUT_SIZES = {"num_frames": (16, 8, 32, 64), "crop_size": (112, 224, 128, 160, 256)}
_SIZED = {"c3d", "tv_mvit_v1_b", "tv_mvit_v2_s"}  # the networks in which they set the size of a layer
_DEPTH = re.compile(r"(?:resnet|resnext|r2plus1d)(\d+)$")
_NUMBERED = re.compile(r"(?:x3d_|slow_|slowfast_|c2d_|csn_|i3d_r50_8x8|r2plus1d_r50)")  # of parts/numbered_blocks
_NAMES_ONLY = ("shortcut", "release", "version", "blending_frames", "fusion_t_size")
# What a configuration of PySlowFast, which stands in its checkpoints as YAML, says of options
_PYSLOWFAST = {
    "num_frames": ("DATA", "NUM_FRAMES"),
    "crop_size": ("DATA", "TRAIN_CROP_SIZE"),
    "alpha": ("SLOWFAST", "ALPHA"),
}


@dataclass(frozen=True)
class Fit:
    """A network whose layers are those of the file."""

    spec: str
    num_classes: int
    unseen: tuple[str, ...]  # options that layers do not show: the spec has their defaults, or what the file tells
    why: str = ""  # where the spec comes from, if not from the layers alone


def fits(file: WeightsFile, names: Iterable[str] | None = None) -> list[Fit]:
    """Every network of this package that fits, most likely first: what the table of published files or the file itself
    says, then the fewest options that differ from the defaults. `names`: look at these models only."""
    shapes = _shapes_of(file)
    if file.network:
        spec = format_spec(file.network["name"], file.network["options"])
        told = Fit(spec, file.network["num_classes"] or 0, (), "its config.json")
        return [told] if names is None or file.network["name"] in names else []
    names = names or [each for each in list_models() if is_builtin(each) and library_of(each) != "timm"]
    found = [fit for name in _possible(names, shapes) for fit in _fits_of(name, shapes)]
    return sorted((_with_hints(fit, file) for fit in found), key=lambda fit: _order(fit, file))


def head_size(file: WeightsFile, name: str, options: dict[str, Scalar]) -> int:
    """The number of classes of a file whose layers are those of a network of the user's or a library's, the head aside;
    else 0."""
    with structure_only() if library_of(name) else nullcontext():  # code of the user's may need values
        return _head_size(_described(create_from_spec(name, 1, **options)), _shapes_of(file))


def unseen_options(name: str) -> tuple[str, ...]:
    """The options of a model that its layers do not show."""
    return tuple(option for option in model_options(name) if not _is_visible(option, name))


def _is_visible(option: str, name: str) -> bool:
    return option in VISIBLE or (option in _INPUT_SIZES and name in _SIZED)


def _possible(names: Iterable[str], shapes: Shapes) -> list[str]:
    """The names worth building: ResNets of other depths are not, nor numbered blocks where the file has none, nor
    networks of transformers without their prefix."""
    counts = [0, 0, 0, 0]
    for key in shapes:
        if place := re.match(r"layer([1-4])\.(\d{1,3})\.", key):
            stage = int(place[1]) - 1
            counts[stage] = max(counts[stage], int(place[2]) + 1)
    depths = {depth for depth, blocks in BLOCK_COUNTS.items() if list(blocks) == counts}
    if not any(key.startswith("blocks.0.") for key in shapes):
        names = [name for name in names if not _NUMBERED.match(name)]
    names = [name for name in names if not (depth := _DEPTH.search(name)) or int(depth[1]) in depths]
    tops = {key.partition(".")[0] for key in shapes}
    return [name for name in names if BODIES.get(name) in {None, *tops}]


def _fits_of(name: str, shapes: Shapes) -> list[Fit]:
    """The fits of one model, over the options that layers show."""
    defaults = model_options(name)
    # options of a library's network set the size of every layer
    visible = [] if library_of(name) else [option for option in defaults if _is_visible(option, name)]
    names_only = [option for option in visible if option in _NAMES_ONLY]
    others = [option for option in visible if option not in names_only]
    found, seen = [], []
    for first in itertools.product(*(_values(name, option, shapes) for option in names_only)):
        chosen = dict(zip(names_only, first))
        layout = _layout(name, chosen)
        if layout is None or layout in seen or not _same_names_and_kernels(layout, shapes):
            continue
        seen.append(layout)  # where an option changes nothing, its default stands for all values
        for second in itertools.product(*(_values(name, option, shapes, layout) for option in others)):
            options = chosen | dict(zip(others, second))
            candidate = _layout(name, options)
            if candidate is not None and (num_classes := _head_size(candidate, shapes)):
                found.append(Fit(format_spec(name, options), num_classes, unseen_options(name)))
                break  # other values of the same options would be the same network
    return found


def _values(name: str, option: str, shapes: Shapes, layout: Layout | None = None) -> list[Scalar]:
    """What to try for an option, its default first. `layout`: of the network with that default."""
    default = model_options(name)[option]
    values = [default, *VISIBLE.get(option, _INPUT_SIZES.get(option, ()))]
    stem = next((shape for shape in shapes.values() if len(shape) >= 4), ())
    if option == "conv1_t_size" and len(stem) == 5 and stem[2] > 1:
        return [stem[2]]
    if option == "blending_frames":
        windows = {int(place[1]) + 1 for key in shapes if (place := re.search(r"blending_layers\.(\d{1,2})\.", key))}
        return [max(windows, default=3)]
    if option in ("widen_factor", "width_mult"):
        return _factors(values, shapes, layout)
    return list(dict.fromkeys(values))


def _factors(usual: list[Scalar], shapes: Shapes, layout: Layout) -> list[Scalar]:
    """Factors of width: the usual ones, or those that the stem's or the head's channels come from, where one of them
    differs from the network of factor 1. Not every family scales both, and widths are truncated."""
    own, head = layout
    stem = next(key for key in own if len(own[key]) >= 4)
    last = next(key for key in own if key.startswith(head))
    near = []
    for wanted, reference in ((shapes[stem][0], own[stem][0]), (shapes[last][1], own[last][1])):
        if wanted != reference:
            low, high = wanted / reference, (wanted + 1) / reference
            hundredths = [round(step / 100, 2) for step in range(int(low * 100), int(high * 100) + 2)]
            near += [each for each in usual if low - 0.02 <= each <= high + 0.02] + hundredths + [low]
    return list(dict.fromkeys(near or usual))


def _layout(name: str, options: dict[str, Scalar]) -> Layout | None:
    return _built(name, tuple(sorted(options.items())))


@lru_cache(maxsize=4096)
def _built(name: str, options: tuple[tuple[str, Scalar], ...]) -> Layout | None:
    """The layout of a network; None where the options cannot be."""
    try:
        with structure_only():
            return _described(create_from_spec(name, 1, **dict(options)))
    except ModelError:
        return None


def _described(model: VideoModel) -> Layout:
    return _without_counters(model.state_dict()), f"{model.classifier_name}."


def _shapes_of(file: WeightsFile) -> Shapes:
    return _without_counters(drop_auxiliary(file.state) if is_image_network(file.state) else file.state)


def _without_counters(state: dict[str, torch.Tensor]) -> Shapes:
    return {key: tuple(tensor.shape) for key, tensor in state.items() if not key.endswith(".num_batches_tracked")}


def _same_names_and_kernels(layout: Layout, shapes: Shapes) -> bool:
    """Whether names, numbers of axes and kernel sizes are the file's: what no option of width changes."""
    own, _ = layout
    if own.keys() != shapes.keys():
        return False
    stem = [key for key in own if len(own[key]) >= 4][:2]  # two in r2plus1d; conv1_t_size changes their kernels
    return all(
        len(shape) == len(shapes[key]) and (key in stem or shape[2:] == shapes[key][2:]) for key, shape in own.items()
    )


def _head_size(layout: Layout, shapes: Shapes) -> int:
    """The number of classes where everything but the head's size is the same, else 0."""
    own, head = layout
    if own.keys() != shapes.keys():
        return 0
    sizes = set()
    for key, shape in own.items():
        if key.startswith(head):
            if len(shape) != len(shapes[key]) or shape[1:] != shapes[key][1:]:
                return 0
            sizes.add(shapes[key][0])
        elif shape != shapes[key]:
            return 0
    return sizes.pop() if len(sizes) == 1 else 0


def _with_hints(fit: Fit, file: WeightsFile) -> Fit:
    """The fit with the options that layers do not show as the table, or the file, gives them."""
    name, options = parse_spec(fit.spec)
    row = find_published(file.path.name)
    hints = {"the table of published files": row.spec if row else "", "the file itself": spec_of_arch(file.told)}
    for why, spec in hints.items():
        if spec and (told := parse_spec(spec))[0] == name:
            hidden = {option: value for option, value in told[1].items() if option in fit.unseen}
            return Fit(format_spec(name, options | hidden), fit.num_classes, fit.unseen, why)
    if said := {option: value for option, value in _configured(file).items() if option in fit.unseen}:
        return Fit(format_spec(name, options | said), fit.num_classes, fit.unseen, "its configuration")
    if file.tsm_placement and name.startswith("tsm_"):
        spec = format_spec(name, options | {"placement": file.tsm_placement})
        return Fit(spec, fit.num_classes, fit.unseen, "the names of its layers")
    return fit


def _configured(file: WeightsFile) -> dict[str, Scalar]:
    """The options that a checkpoint of PySlowFast tells by its configuration; none of another file."""
    try:
        config = yaml.safe_load(file.content["cfg"]) if isinstance(file.content.get("cfg"), str) else None
    except yaml.YAMLError:
        return {}
    sections = config if isinstance(config, dict) else {}
    values = {option: (sections.get(section) or {}, key) for option, (section, key) in _PYSLOWFAST.items()}
    found = {option: where.get(key) for option, (where, key) in values.items() if isinstance(where, dict)}
    return {option: value for option, value in found.items() if isinstance(value, int) and value > 0}


def _order(fit: Fit, file: WeightsFile) -> tuple:
    name = fit.spec.split()[0]
    return not fit.why, name.startswith("tsm_"), name.startswith("tv_"), fit.spec.count("="), len(name)
