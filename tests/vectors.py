"""Numbers from the reference implementations, and how a test rebuilds the network and input they belong to.

data/models/*.json: one network each, its tensors filled from their names (`fill`), its input seeded, and what the
reference code then answers: state-dict layout, logits, parameter and MAC counts. Those of pytorchvideo whose `source`
names its release were obtained by running that, the others are given.
"""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch

from actlib.models import VideoModel, create_from_spec, format_spec
from actlib.models.parts.structure import structure_only

# Networks of one family, which share most of what is drawn for them, one after another.
VECTORS = sorted((Path(__file__).parent / "data" / "models").glob("*.json"), key=lambda p: p.stem.split("_")[1:])


def read_vector(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def create_on_meta(spec: str, num_classes: int) -> VideoModel:
    """A model without storage: its structure alone, at no cost."""
    with structure_only():
        return create_from_spec(spec, num_classes)


def fill(key: str, shape: tuple[int, ...], gain: float) -> torch.Tensor:
    """The values that the vectors' recipe gives a tensor of this name and shape."""
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.long)
    values = _drawn(key, math.prod(shape)).reshape(shape)
    if key.endswith("running_mean"):
        values = 0.1 * values
    elif key.endswith("running_var"):
        values = np.exp(0.2 * values)
    elif len(shape) == 1 and key.endswith("weight"):
        values = 1 + 0.1 * values
    elif key.endswith("bias"):
        values = 0.1 * values
    else:
        values = float(gain * np.sqrt(2 / np.prod(shape[1:]))) * values
    return torch.from_numpy(values)


_DRAWN: dict[str, np.ndarray] = {}  # by key; drawing them took a third of the vectors' time
_MOST = 2**27  # numbers in all: half a gigabyte
_LARGEST = 2**23  # of a key that is kept: larger ones are of few networks, and would drive out what is of many
_AT_ONCE = 2**15  # drawn in float64, in the processor's cache


def _drawn(key: str, size: int) -> np.ndarray:
    """The first `size` numbers drawn for a key: alike in every network, since the seed comes from the key alone."""
    values = _DRAWN.pop(key, None)
    if values is None or len(values) < size:
        known, values = values, np.empty(size, np.float32)
        random = np.random.RandomState(zlib.crc32(key.encode("utf-8")) & 0x7FFFFFFF)
        for begin in range(0, size, _AT_ONCE):
            part = values[begin : begin + _AT_ONCE]
            part[:] = random.standard_normal(len(part))
        if size > _LARGEST:
            if known is not None:
                _DRAWN[key] = known
            return values
        while _DRAWN and sum(map(len, _DRAWN.values())) + size > _MOST:
            del _DRAWN[next(iter(_DRAWN))]  # the longest unused
    _DRAWN[key] = values
    return values[:size]


def vector_spec(vector: dict) -> str:
    """The spec in this project's words of a network that a vector file describes in the references' words."""
    build = vector["build"]
    name, options = _NAMES[build["family"]](build)
    renamed = {ours: build[theirs] for theirs, ours in _OPTIONS.items() if theirs in build}
    for theirs, ours in {"no_max_pool": "max_pool", "without_t_stride": "temporal_stride"}.items():
        if theirs in build:
            renamed[ours] = not build[theirs]
    if build["family"] in ("preresnet", "resnext", "wideresnet", "densenet"):
        renamed["release"] = 2020 if "branch master" in vector["source"] and "3D-ResNets" in vector["source"] else 2018
    return format_spec(name, renamed | options)


_OPTIONS = {
    "shortcut": "shortcut",
    "conv1_t_size": "conv1_t_size",
    "conv1_t_stride": "conv1_t_stride",
    "widen_factor": "widen_factor",
    "widen_k": "widen_k",
    "cardinality": "cardinality",
    "width_mult": "width_mult",
    "groups": "groups",
    "version": "version",
    "pooling_method": "pooling",
    "blending_frames": "blending_frames",
    "blending_method": "blending_method",
    "dw_conv": "depthwise",
    "dw_t_conv": "depthwise_temporal",
    "alpha": "alpha",
    "fusion_kernel": "fusion_t_size",
}


def _with_depth(build: dict) -> tuple[str, dict]:
    family = {"resnet2p1d": "r2plus1d"}.get(build["family"], build["family"])
    return f"{family}{build['depth']}", {}


def _per_frame(build: dict) -> tuple[str, dict]:
    network = f"resnet{build['depth']}" if build["family"] == "resnet2d" else "inception_v1"
    return f"{build['temporal_module'].lower()}_{network}", {"num_frames": build["frames"]}


def _c3d(build: dict) -> tuple[str, dict]:
    return "c3d", {"num_frames": build["frames"], "crop_size": build["size"]}


def _pytorchvideo(build: dict) -> tuple[str, dict]:
    """head_frames, head_size: the clip that the head's windows are made for, where that is not the input."""
    frames, size = build.get("head_frames", build["frames"]), build.get("head_size", build["size"])
    return build["family"], {"num_frames": frames, "crop_size": size}


def _plain(build: dict) -> tuple[str, dict]:
    return build["family"] + ("_nl" if build.get("non_local") else ""), {}


_NAMES = {
    **dict.fromkeys(
        ("resnet", "preresnet", "wideresnet", "resnext", "densenet", "resnet2p1d", "i3d_resnet", "s3d_resnet"),
        _with_depth,
    ),
    **dict.fromkeys(("resnet2d", "inception_v1"), _per_frame),
    **dict.fromkeys(
        ("squeezenet", "mobilenet", "mobilenetv2", "shufflenet", "shufflenetv2", "i3d_r50", "i3d", "s3d"), _plain
    ),
    "c3d": _c3d,
    **dict.fromkeys(
        (
            "x3d_xs", "x3d_s", "x3d_m", "x3d_l", "slow_r50", "c2d_r50", "i3d_r50_8x8", "slowfast_r50", "slowfast_r101",
            "slowfast_r101_16x8", "csn_r101", "r2plus1d_r50",
        ),
        _pytorchvideo,
    ),
}  # fmt: skip
