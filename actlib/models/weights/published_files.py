"""The published checkpoints of the reference codebases: what each file holds, saw and reached, and where it is.

Facts from the repositories' pages and code and from the papers; nothing here was measured again. torchvision's own
weights are not typed in here: `published` reads them from its enums.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Accuracy:
    """A published figure, in percent, and how it was measured."""

    top1: float
    protocol: str
    top5: float | None = None


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
    classes: tuple[str, ...] = ()  # names in index order, where they are published with the weights
    enum: str = ""  # torchvision's name, such as R3D_18_Weights.KINETICS400_V1

    @property
    def preprocessing(self) -> dict:
        """What a checkpoint of this project holds under this name."""
        names = ("num_frames", "frame_stride", "short_side", "crop_size")
        return {
            **{name: getattr(self, name) for name in names},
            "mean": list(self.mean),
            "std": list(self.std),
            "channel_order": self.channel_order,
        }


_BYTE = (1 / 255,) * 3
_ACTIVITYNET = tuple(value / 255 for value in (114.7748, 107.7354, 99.475))
_KINETICS = {"mean": (0.4345, 0.4051, 0.3775), "std": (0.2768, 0.2713, 0.2737)}
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


# --- kenshohara/3D-ResNets-PyTorch, branch CVPR2018 (arXiv:1711.09577) -------------------------------------------

_HARA_2018 = {
    "num_frames": 16,
    "frame_stride": 1,
    "short_side": 112,
    "crop_size": 112,
    "mean": _ACTIVITYNET,
    "std": _BYTE,
    "page": "https://drive.google.com/drive/folders/1zvl89AgFAApbH0At-gMuZSeQB_LpNP-M",
}
_HARA_VIDEO = "video: all non-overlapping 16-frame clips × centre crop @ 112, Kinetics-400 validation (paper)"


def _hara_2018() -> list[Published]:
    rows = {
        "resnet-18": ("resnet18 shortcut=A", 54.2, 78.1),
        "resnet-34": ("resnet34 shortcut=A", 60.1, 81.9),
        "resnet-50": ("resnet50", 61.3, 83.1),
        "resnet-101": ("resnet101", 62.8, 83.9),
        "resnet-152": ("resnet152", 63.0, 84.4),
        "resnet-200": ("resnet200", 63.1, 84.4),
        "preresnet-200": ("preresnet200", 63.0, 83.7),
        "wideresnet-50": ("wideresnet50", 64.1, 85.3),
        "resnext-101": ("resnext101", 65.1, 85.7),
        "densenet-121": ("densenet121", 59.7, 81.9),
        "densenet-201": ("densenet201", 61.3, 83.3),
    }
    table = [
        Published(
            f"{name}-kinetics.pth",
            spec,
            "Kinetics-400",
            400,
            accuracies=(Accuracy(top1, _HARA_VIDEO, top5),),
            **_HARA_2018,
        )
        for name, (spec, top1, top5) in rows.items()
    ]
    spec, top1, top5 = rows["resnet-34"]
    cpu = (Accuracy(top1, _HARA_VIDEO, top5),)
    table.append(
        Published("resnet-34-kinetics-cpu.pth", spec, "Kinetics-400", 400, accuracies=cpu, **_HARA_2018)
    )  # fmt: skip
    for data, classes in {"ucf101": 101, "hmdb51": 51}.items():
        for frames, figure in {16: {"ucf101": 90.7, "hmdb51": 63.8}, 64: {"ucf101": 94.5, "hmdb51": 70.2}}.items():
            infix = "" if frames == 16 else f"-{frames}f"
            protocol = f"video: all non-overlapping {frames}-frame clips × centre crop @ 112, mean of the three splits"
            facts = _HARA_2018 | {"num_frames": frames}
            table.append(
                Published(
                    f"resnext-101{infix}-kinetics-{data}_split1.pth",
                    "resnext101",
                    f"{'UCF-101' if data == 'ucf101' else 'HMDB-51'} split 1",
                    classes,
                    accuracies=(Accuracy(figure[data], protocol),),
                    note="fine-tuned from Kinetics-400; the figure is of three splits, the file of the first",
                    **facts,
                )
            )
    return table


# --- the same, branch master (arXiv:2004.04968) ------------------------------------------------------------------


def _hara_2020() -> list[Published]:
    classes = {"K": 700, "M": 339, "S": 100}
    names = {"K": "Kinetics-700", "M": "Moments in Time", "S": "STAIR-Actions"}
    sets = {("r3d", depth): ("K", "KM") for depth in (18, 34, 101, 152, 200)}
    sets |= {("r3d", 50): ("K", "KM", "KMS", "KS", "M", "MS", "S")}
    sets |= {("r2p1d", 18): ("K",), ("r2p1d", 34): ("K",), ("r2p1d", 50): ("K", "KM")}
    return [
        Published(
            f"{kind}{depth}_{data}_200ep.pth",
            f"{'resnet' if kind == 'r3d' else 'r2plus1d'}{depth}",
            " + ".join(names[each] for each in data),
            sum(classes[each] for each in data),
            num_frames=16,
            frame_stride=1,
            short_side=112,
            crop_size=112,
            page="https://drive.google.com/open?id=1xbYbZ7rpyjftI_KCk6YuL-XrfQDz7Yd4",
            note="" if kind == "r3d" else "in the same folder, but not on the repository's page",
            **_KINETICS,
        )
        for kind, depth in sorted(sets, key=lambda key: (key[0] != "r3d", key[1]))
        for data in sets[kind, depth]
    ]


# --- okankop/Efficient-3DCNNs (arXiv:1904.02422) -----------------------------------------------------------------

# width or depth: top-1 on Kinetics-600, on Jester (table 8); None where no file of that name is known
_EFFICIENT = {
    "shufflenet": {
        "0.5x_G3": (35.51, 89.23),
        "1.0x_G3": (45.31, 92.27),
        "1.5x_G3": (52.75, 93.12),
        "2.0x_G3": (56.84, 93.54),
    },
    "shufflenetv2": {"0.25x": (25.73, 86.91), "1.0x": (46.10, 91.96), "1.5x": (52.05, 93.16), "2.0x": (55.17, 93.71)},
    "mobilenet": {"0.5x": (31.74, 87.61), "1.0x": (40.07, 90.81), "1.5x": (48.24, 91.28), "2.0x": (48.53, 92.56)},
    "mobilenetv2": {"0.2x": (24.14, 86.43), "0.45x": (36.47, 90.21), "0.7x": (45.59, 93.34), "1.0x": (50.65, 94.59)},
    "squeezenet": {"": (40.52, 90.77)},
    "resnet": {"18": (57.65, None), "50": (63.00, None), "101": (64.18, None)},
    "resnext": {"101": (68.30, 94.89)},
}
_EFFICIENT_VIDEO = "video: all non-overlapping 16-frame clips × centre crop @ 112, validation (paper, table 8)"


def _efficient_spec(model: str, size: str) -> str:
    if model == "resnet":
        return f"resnet{size}" + (" shortcut=A" if size == "18" else "")
    if model == "resnext":
        return f"resnext{size}"
    width = size.split("x")[0]
    return model if width in ("", "1.0") else f"{model} width_mult={width}"


def _efficient() -> list[Published]:
    table = []
    for model, sizes in _EFFICIENT.items():
        for size, (kinetics, jester) in sizes.items():
            name = f"{model}_{size}" if size else model
            common = {
                "num_frames": 16,
                "short_side": 112,
                "crop_size": 112,
                "mean": _ACTIVITYNET,
                "std": _BYTE,
                "page": "https://drive.google.com/open?id=1eggpkmy_zjb62Xra6kQviLa67vzP_FR8",
            }
            spec = _efficient_spec(model, size)
            protocol = _EFFICIENT_VIDEO
            if model == "resnet" and size != "18":
                protocol += "; the paper's row is of shortcut A, the file by its README of B"
            table.append(
                Published(
                    f"kinetics_{name}_RGB_16_best.pth",
                    spec,
                    "Kinetics-600",
                    600,
                    frame_stride=1,
                    channel_order="bgr",
                    accuracies=(Accuracy(kinetics, protocol),),
                    note="trained on frames in B, G, R order, from which the means of R, G, B were subtracted",
                    **common,
                )
            )
            if jester is not None:
                table.append(
                    Published(
                        f"jester_{name}_RGB_16_best.pth",
                        spec,
                        "Jester",
                        27,
                        frame_stride=2,
                        accuracies=(Accuracy(jester, _EFFICIENT_VIDEO),),
                        **common,
                    )
                )
    return table


# --- Tushar-N/pytorch-resnet3d and facebookresearch/video-nonlocal-net (arXiv:1711.07971) ------------------------


def _nonlocal() -> list[Published]:
    table = []
    origin = "https://dl.fbaipublicfiles.com/video-nonlocal/"
    for spec, pickle, converted, clip, video in (
        ("i3d_r50", "i3d_baseline_32x2_IN_pretrain_400k.pkl", "i3d_r50_kinetics.pth", (64.7, 85.3), (72.1, 90.2)),
        ("i3d_r50_nl", "i3d_nonlocal_32x2_IN_pretrain_400k.pkl", "i3d_r50_nl_kinetics.pth", (66.4, 86.4), (73.7, 91.2)),
    ):
        figures = (
            Accuracy(clip[0], "clip: 1 centre clip × centre crop @ 256, 18,434 videos", clip[1]),
            Accuracy(video[0], "video: 10 clips × 3 crops @ 256, 18,434 videos", video[1]),
        )
        for file in (pickle, converted):
            table.append(
                Published(
                    file,
                    spec,
                    "Kinetics-400",
                    400,
                    num_frames=32,
                    frame_stride=2,
                    short_side=256,
                    crop_size=256,
                    mean=(114.75 / 255,) * 3,
                    std=(57.375 / 255,) * 3,
                    accuracies=figures,
                    page="https://github.com/Tushar-N/pytorch-resnet3d",
                    url=origin + pickle if file == pickle else "",
                    note="" if file == pickle else f"written by that repository's converter from {pickle}",
                )
            )
    return table


# --- IBM/action-recognition-pytorch (arXiv:1912.00869, arXiv:2010.11757) -----------------------------------------


def _ibm() -> list[Published]:
    table = []
    figures = {
        "K400": {("I3D", 50): 76.61, ("TAM", 50): 76.18, ("I3D", 101): 77.80, ("TAM", 101): 77.61},
        "SSV2": {("I3D", 50): 62.84, ("TAM", 50): 63.83, ("I3D", 101): 64.29, ("TAM", 101): 65.32},
    }
    for data, rows in figures.items():
        kinetics = data == "K400"
        for (kind, depth), top1 in rows.items():
            name = f"{data}-{kind}-ResNet-{depth}-f32"
            spec = f"i3d_resnet{depth}" if kind == "I3D" else f"tam_resnet{depth} num_frames=32"
            by_analogy = "; the name is by analogy" if depth == 101 else ""
            clips = "10 clips" if kinetics else "2 clips, frames spread evenly"
            table.append(
                Published(
                    f"{name}.pth.tar",
                    f"{spec} temporal_stride=false",
                    "Kinetics-400" if kinetics else "Something-Something v2",
                    400 if kinetics else 174,
                    num_frames=32,
                    frame_stride=2 if kinetics else 1,
                    short_side=256,
                    crop_size=256,
                    accuracies=(Accuracy(top1, f"video: {clips} × 3 crops @ 256, mean of the logits"),),
                    page=f"https://ibm.box.com/v/{name}",
                    note="" if kinetics else f"the stride is that of a video of 4 s at 12 frames a second{by_analogy}",
                    **_IMAGENET,
                )
            )
    return table


# --- mit-han-lab/temporal-shift-module (arXiv:1811.08383) --------------------------------------------------------

_TSM_UNIFORM = "the reference spreads its frames evenly over the video; the stride is that of a usual one"
_TSM_FULL = "3 crops @ 256"


def _tsm() -> list[Published]:
    one, ten = "1 clip, frames spread evenly, × centre crop @ 224", "1 clip, frames spread evenly, × 10 crops @ 224"
    dense, twice = f"10 dense clips × {_TSM_FULL}", f"2 clips × {_TSM_FULL}"
    rows = [  # dataset, depth, how it ends, frames, stride, figures
        ("kinetics", 50, "avg_segment5_e50", 8, 37, {one: 68.8, ten: 69.9, dense: 70.6}),
        ("kinetics", 50, "shift8_blockres_avg_segment8_e50", 8, 37, {one: 71.2, ten: 72.8}),
        ("kinetics", 50, "shift8_blockres_avg_segment16_e50", 16, 18, {one: 72.6, ten: 73.7}),
        ("kinetics", 50, "shift8_blockres_avg_segment8_e100_dense", 8, 8, {dense: 74.1}),
        ("something", 50, "shift8_blockres_avg_segment8_e45", 8, 5, {one: 45.6, twice: 47.2}),
        ("something", 50, "shift8_blockres_avg_segment16_e45", 16, 2, {one: 47.2, twice: 48.4}),
        ("something", 101, "shift8_blockres_avg_segment8_e45", 8, 5, {one: 46.9, twice: 48.7}),
        ("somethingv2", 50, "shift8_blockres_avg_segment8_e45", 8, 5, {twice: 61.2}),
        ("somethingv2", 50, "shift8_blockres_avg_segment16_e45", 16, 2, {twice: 63.1}),
        ("somethingv2", 101, "shift8_blockres_avg_segment8_e45", 8, 5, {twice: 63.3}),
    ]
    names = {
        "kinetics": "Kinetics-400",
        "something": "Something-Something v1",
        "somethingv2": "Something-Something v2",
    }
    table = []
    for data, depth, end, frames, stride, figures in rows:
        shifted = "shift" in end
        spec = f"tsm_resnet{depth}" if shifted else f"tsn_resnet{depth} temporal_stride=false"
        file = f"TSM_{data}_RGB_resnet{depth}_{end}.pth"
        table.append(
            Published(
                file,
                spec + (f" num_frames={frames}" if frames != 8 else ""),
                names[data],
                400 if data == "kinetics" else 174,
                num_frames=frames,
                frame_stride=stride,
                short_side=256,
                crop_size=224,
                accuracies=tuple(Accuracy(top1, f"video: {how}") for how, top1 in figures.items()),
                page="https://github.com/mit-han-lab/temporal-shift-module",
                url=f"https://file.lzhu.me/projects/tsm/models/{file}",
                note="" if "dense" in end else _TSM_UNIFORM,
                **_IMAGENET,
            )
        )
    return table


def published_files() -> list[Published]:
    """All rows but torchvision's."""
    return [*_hara_2018(), *_hara_2020(), *_efficient(), *_nonlocal(), *_ibm(), *_tsm()]
