"""The table of published checkpoints: the reference codebases' (`published_files`) and torchvision's (its enums)."""

import difflib
import re
from functools import lru_cache
from pathlib import Path

import torchvision

from actlib.models.registry import ModelError, list_models, parse_spec
from actlib.models.torchvision_models import TorchvisionWeights, tv_weights
from actlib.models.weights.published_files import Accuracy, Published, published_files

__all__ = ["Accuracy", "Published", "find_published", "near_names", "published_table", "spec_of_arch"]

# The image networks whose tensors the networks here take: torchvision's name, and ours that sees frame by frame.
_IMAGE_NETWORKS = {f"resnet{depth}": f"tsn_resnet{depth}" for depth in (18, 34, 50, 101, 152)}
_IMAGE_NETWORKS["googlenet"] = "tsn_inception_v1"
_HALF = (0.5, 0.5, 0.5)


@lru_cache(maxsize=1)
def published_table() -> dict[str, Published]:
    """Every published file by its name, in the order of the codebases, torchvision last."""
    names = [name for name in list_models() if name.startswith("tv_")]
    rows = [*published_files(), *(_video_row(each) for name in names for each in tv_weights(name)), *_image_rows()]
    return {row.file: row for row in rows}


def find_published(name: str | Path) -> Published | None:
    """The row of a file, by its own name wherever it lies; of torchvision's weights by the name in their enum
    (`R3D_18_Weights.KINETICS400_V1`) or the model's (`tv_r3d_18`: its default) too. None if there is none."""
    table = published_table()
    if row := table.get(Path(name).name):
        return row
    wanted = str(name)
    return next((row for row in table.values() if row.enum and wanted in (row.enum, row.spec)), None)


def near_names(name: str | Path) -> list[str]:
    """Published files whose names are like this one."""
    return difflib.get_close_matches(Path(name).name, published_table(), n=3)


def spec_of_arch(arch: str) -> str:
    """Our spec of what a checkpoint says about itself; empty where it is no name that is known.

    Known are our own specs and the names that IBM/action-recognition-pytorch writes, such as
    `kinetics400-rgb-TAM-b3-sum-resnet-50-ts-max-f8-cosine-bs72-e100`.
    """
    spec = arch if arch.split(" ")[0] in list_models() else _spec_of_ibm(arch)
    try:
        parse_spec(spec)
    except ModelError:
        return ""
    return spec


def _spec_of_ibm(arch: str) -> str:
    """The spec of a name of IBM's; empty for another."""
    found = _IBM_ARCH.search(arch)
    if not found:
        return ""
    options = {"temporal_stride": "true" if found["stride"] else "false"}
    network, depth = found["network"], found["depth"] or ""
    if found["frames"] and network in ("resnet-", "inception-v1"):
        options["num_frames"] = found["frames"]
    if found["pool"] and not network.endswith("3d-resnet-"):
        options["pooling"] = found["pool"]
    if found["depthwise"]:
        options["depthwise_temporal"] = "true"
    if network in ("resnet-", "inception-v1"):
        kind = "tam" if found["window"] else "tsn"
        if found["window"]:
            options |= {"blending_frames": found["window"], "blending_method": found["method"]}
            options |= {"depthwise": "false"} if found["all"] else {}
        name = f"{kind}_resnet{depth}" if network == "resnet-" else f"{kind}_inception_v1"
    else:
        name = network.removesuffix("_v2").removesuffix("-").replace("-", "_") + depth
    return " ".join([name, *(f"{option}={value}" for option, value in options.items())])


_IBM_ARCH = re.compile(
    r"(?:TAM-b(?P<window>\d+)-(?P<method>sum|max)(?P<all>-allc)?-)?"
    r"(?P<network>[is]3d-resnet-(?=\d)|resnet-(?=\d)|inception-v1|i3d_v2|i3d|s3d)(?P<depth>\d+)?"
    r"(?P<depthwise>-dw-t-conv)?(?P<stride>-t[sp](?:-(?P<pool>max|avg))?)?-f(?P<frames>\d+)-"
)


def _video_row(weights: TorchvisionWeights) -> Published:
    measured = "clip" if weights.clips_per_video == 1 else "video"
    clips = f"{weights.clips_per_video} clip{'s' if weights.clips_per_video > 1 else ''}"
    return Published(
        file=weights.file_name,
        spec=weights.spec,
        dataset="Kinetics-400",
        num_classes=weights.num_classes,
        num_frames=weights.num_frames,
        frame_stride=weights.frame_stride,
        short_side=weights.resize_size[0],
        crop_size=weights.crop_size[0],
        mean=weights.mean,
        std=weights.std,
        accuracies=(
            Accuracy(weights.acc1, f"{measured}: {clips} × centre crop @ {weights.crop_size[0]}", weights.acc5),
        ),
        page="https://pytorch.org/vision/stable/models.html#video-classification",
        url=weights.url,
        sha256=weights.sha256_prefix,
        classes=weights.categories,
        enum=weights.name,
        note=f"torchvision resizes to {' × '.join(map(str, weights.resize_size))}; the stride is at 30 frames a second",
    )


def _image_rows() -> list[Published]:
    """ImageNet weights, from which the references start. No clip length of their own: usual values stand there."""
    rows = []
    for name, ours in _IMAGE_NETWORKS.items():
        weights = torchvision.models.get_model_weights(name).IMAGENET1K_V1
        transforms, figures = weights.transforms(), weights.meta["_metrics"]["ImageNet-1K"]
        half = name == "googlenet"  # its file was trained on (x - 0.5) / 0.5, whatever torchvision's transform says
        file = weights.url.rsplit("/", 1)[1]
        rows.append(
            Published(
                file=file,
                spec=f"{ours} temporal_stride=false",
                dataset="ImageNet-1K",
                num_classes=1000,
                num_frames=8,
                frame_stride=8,
                short_side=transforms.resize_size[0],
                crop_size=transforms.crop_size[0],
                mean=_HALF if half else tuple(transforms.mean),
                std=_HALF if half else tuple(transforms.std),
                accuracies=(Accuracy(figures["acc@1"], "images: centre crop @ 224", figures["acc@5"]),),
                page="https://pytorch.org/vision/stable/models.html#classification",
                url=weights.url,
                sha256=re.search(r"-([0-9a-f]{8,})\.", file)[1],
                note="of an image network; name the video network to be started from it",
                image=True,
                classes=tuple(weights.meta["categories"]),
                enum=f"{type(weights).__name__}.{weights.name}",
            )
        )
    return rows
