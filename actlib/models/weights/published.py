"""The table of published checkpoints: the reference codebases' (published.yaml) and torchvision's (its enums).

`class_names/` holds the classes of the data sets, one a line, in the index order of those codebases' weights.
published.yaml names the list of a file where its order is established, and on what that rests.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from actlib import messages
from actlib.models.registry import ModelError, list_models, parse_spec
from actlib.models.torchvision_models import tv_weights
from actlib.models.weights.fields import UNSAID

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

# The image networks whose tensors the networks here take: torchvision's name, and ours that sees frame by frame.
_IMAGE_NETWORKS = {f"resnet{depth}": f"tsn_resnet{depth}" for depth in (18, 34, 50, 101, 152)}
_IMAGE_NETWORKS["googlenet"] = "tsn_inception_v1"
_HALF = (0.5, 0.5, 0.5)
_CLASS_NAMES = Path(__file__).with_name("class_names")
REFERENCES = Path(__file__).with_name("published.yaml")
# What torchvision's weights are called: a file ending in its hash, a member of an enum, or a network's name.
_TORCHVISIONS = re.compile(r"-[0-9a-f]{8}\.pth$|^\w+_Weights\.\w+$|^tv_")


@dataclass(frozen=True)
class Accuracy:
    """A published figure, in percent, and how it was measured.

    `evaluation`: the parameters of notebook 04 that measure it again. Clip length, stride and sizes stand in it only
    where they are not the row's; others that it leaves out have notebook 04's defaults. Empty where nobody knows how
    the figure was measured, and for images.
    """

    top1: float
    protocol: str  # that in words, and behind a semicolon what the reference does otherwise
    top5: float | None = None
    evaluation: dict = field(default_factory=dict)
    rests_on: str = ""  # what tells the protocol


@dataclass(frozen=True)
class Published:
    """A published file.

    `mean` and `std` are of the 0-1 scale, in the order in which the network has its channels: with `channel_order`
    "rgb" R, G, B, with "bgr" B, G, R. So a clip, decoded as RGB, is first put into that order, then
    (x / 255 - mean) / std goes by position. A reference that works on 0-255 without a std has std 1 / 255 here.
    `frame_stride`: frames from one to the next; where the reference spreads its frames evenly over the whole video,
    that of a video of usual length, and `note` says so.
    """

    file: str  # the name under which it is published
    spec: str  # our network; of an image network the one that takes its tensors as they are
    dataset: str
    num_classes: int
    num_frames: int
    frame_stride: int
    short_side: int  # pixels
    crop_size: int  # pixels, of the published evaluation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    page: str  # where a person finds it
    accuracies: tuple[Accuracy, ...] = ()
    channel_order: str = "rgb"
    url: str = ""  # where a program can fetch it
    sha256: str = ""  # its first digits, where they are published
    note: str = ""
    image: bool = False  # of an image network: for inflation, or for the networks that see frame by frame
    classes: tuple[str, ...] = ()  # names in index order, where that is established; empty: nobody knows the order
    enum: str = ""  # torchvision's name, such as R3D_18_Weights.KINETICS400_V1

    @property
    def preprocessing(self) -> dict:
        """What a checkpoint of this project holds under this name."""
        names = ("num_frames", "frame_stride", "short_side", "crop_size", "channel_order")
        facts = {name: getattr(self, name) for name in names}
        return UNSAID | facts | {"mean": list(self.mean), "std": list(self.std)}


@lru_cache(maxsize=1)
def published_table() -> dict[str, Published]:
    """Every published file by its name, in the order of the codebases, torchvision last."""
    names = [name for name in list_models() if name.startswith("tv_")]
    videos = [_video_row(name, each) for name in names for each in tv_weights(name)]
    return _reference_table() | {row.file: row for row in [*videos, *_image_rows()]}


def class_lists() -> list[str]:
    """The data sets whose classes are known here: the names that `classes_of` takes."""
    return sorted(path.stem for path in _CLASS_NAMES.glob("*.txt"))


@cache
def classes_of(name: str) -> tuple[str, ...]:
    """The classes of a data set, in the index order of its published weights."""
    return tuple((_CLASS_NAMES / f"{name}.txt").read_text(encoding="utf-8").splitlines())


@lru_cache(maxsize=1)
def _reference_table() -> dict[str, Published]:
    """The part of it that is told without torchvision, whose import takes as long as torch's."""
    return {row.file: row for row in _reference_rows()}


def find_published(name: str | Path) -> Published | None:
    """The row of a file, by its address, or by its own name wherever it lies; of torchvision's weights by the name in
    their enum (`R3D_18_Weights.KINETICS400_V1`) or the model's (`tv_r3d_18`: its default) too. None if there is
    none."""
    file, wanted = Path(name).name, str(name)
    table = published_table() if _TORCHVISIONS.search(file) else _reference_table()
    if "://" in wanted and (row := next((row for row in table.values() if row.url == wanted), None)):
        return row
    if row := table.get(file):
        return row
    return next((row for row in table.values() if row.enum and wanted in (row.enum, row.spec)), None)


def published_as(file: str, num_classes: int) -> Published | None:
    """The row of a file that lies under `file` at its address, whatever its folder there, by its number of classes."""
    rows = _reference_table().values()
    return next((row for row in rows if row.url.endswith(f"/{file}") and row.num_classes == num_classes), None)


def near_names(name: str | Path) -> list[str]:
    """Published files whose names are like this one."""
    return messages.near_names(Path(name).name, published_table())


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


def _reference_rows() -> Iterator[Published]:
    """The rows of published.yaml."""
    for group in yaml.safe_load(REFERENCES.read_text(encoding="utf-8")):
        for file in group.pop("files"):
            facts = group | file
            scale = facts.pop("scale", 1)
            measured = {name: facts.pop(name) for name in ("protocol", "evaluation", "rests_on") if name in facts}
            colours = {name: tuple(value / scale for value in facts[name]) for name in ("mean", "std")}
            accuracies = tuple(Accuracy(**measured | each) for each in facts.pop("accuracies", ()))
            url = facts.pop("url", "").format(file=facts["file"])
            if facts.get("classes"):
                facts["classes"] = classes_of(facts["classes"])
            yield Published(**facts | colours, accuracies=accuracies, url=url)


def _video_row(spec: str, weights: "WeightsEnum") -> Published:
    """Weights of a torchvision video network; its way of measuring stands in prose in the enum's entry:
    … parameters `frame_rate=15`, `clips_per_video=5`, and `clip_len=16`."""
    transforms, figures = weights.transforms(), weights.meta["_metrics"]["Kinetics-400"]
    measured = dict(re.findall(r"(\w+)=([\d.]+)", weights.meta["_docs"]))
    num_frames, frame_stride = int(measured["clip_len"]), round(30 / float(measured["frame_rate"]))
    count = int(measured["clips_per_video"])
    clips = f"{count} clips" if count > 1 else "first clip"  # its sampler spreads starts from the first frame on
    accuracy = Accuracy(
        figures["acc@1"],
        f"{clips} × centre crop @ {transforms.crop_size[0]}, {num_frames} frames, stride {frame_stride}",
        figures["acc@5"],
        evaluation={"protocol": "views", "num_clips": count} if count > 1 else {"protocol": "begin"},
        rests_on="torchvision's entry; where the clips lie, its UniformClipSampler",
    )
    resize = " × ".join(map(str, transforms.resize_size))
    return Published(
        spec=spec,
        dataset="Kinetics-400",
        num_frames=num_frames,
        frame_stride=frame_stride,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        accuracies=(accuracy,),
        page="https://pytorch.org/vision/stable/models.html#video-classification",
        note=f"torchvision resizes to {resize}; the stride is at 30 frames a second",
        **_facts(weights),
    )


def _image_rows() -> list[Published]:
    """ImageNet weights, from which the references start. No clip length of their own: usual values stand there."""
    from torchvision import models

    rows = []
    told = {"protocol": "images: centre crop @ 224", "rests_on": "torchvision's entry"}
    for name, ours in _IMAGE_NETWORKS.items():
        weights = models.get_model_weights(name).IMAGENET1K_V1
        transforms, figures = weights.transforms(), weights.meta["_metrics"]["ImageNet-1K"]
        half = name == "googlenet"  # its file was trained on (x - 0.5) / 0.5, whatever torchvision's transform says
        rows.append(
            Published(
                spec=f"{ours} temporal_stride=false",
                dataset="ImageNet-1K",
                num_frames=8,
                frame_stride=8,
                mean=_HALF if half else tuple(transforms.mean),
                std=_HALF if half else tuple(transforms.std),
                accuracies=(Accuracy(top1=figures["acc@1"], top5=figures["acc@5"], **told),),
                page="https://pytorch.org/vision/stable/models.html#classification",
                note="of an image network; name the video network to be started from it",
                image=True,
                **_facts(weights),
            )
        )
    return rows


def _facts(weights: "WeightsEnum") -> dict:
    """What an entry of any of torchvision's enums says of its file, classes and sizes."""
    file, transforms = weights.url.rpartition("/")[2], weights.transforms()
    return {
        "file": file,
        "url": weights.url,
        "sha256": re.search(r"-([0-9a-f]{8,})\.", file)[1],
        "classes": tuple(weights.meta["categories"]),
        "num_classes": len(weights.meta["categories"]),
        "short_side": transforms.resize_size[0],
        "crop_size": transforms.crop_size[0],
        "enum": str(weights),
    }
