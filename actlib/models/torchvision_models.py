"""torchvision's video networks under the names `tv_…`, and what torchvision tells about their published weights.

r3d_18, mc3_18, r2plus1d_18: "A Closer Look at Spatiotemporal Convolutions for Action Recognition" (Tran et al., CVPR
2018); s3d: "Rethinking Spatiotemporal Feature Learning" (Xie et al., ECCV 2018); mvit_v1_b: "Multiscale Vision
Transformers" (Fan et al., ICCV 2021); mvit_v2_s: "MViTv2" (Li et al., CVPR 2022); swin3d_t, _s, _b: "Video Swin
Transformer" (Liu et al., CVPR 2022).
torchvision builds each network; its modules are taken over under their own names, so state dicts equal torchvision's.
Only the way through them, in the two halves that every model here has, is written below.
"""

import re
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models
from torchvision.models.video.mvit import MViT
from torchvision.models.video.resnet import VideoResNet
from torchvision.models.video.s3d import S3D
from torchvision.models.video.swin_transformer import SwinTransformer3d

from actlib.models.i3d_r50 import FittingMaxPool3d
from actlib.models.registry import ModelError, VideoModel, normal_linear, register_model

NAMES = tuple(models.list_models(module=models.video))


class TorchvisionModel(VideoModel):
    """Takes over the modules of a torchvision network; none has parameters outside them."""

    def __init__(self, network: nn.Module, num_classes: int):
        super().__init__()
        self.num_classes = num_classes
        for name, module in network.named_children():
            self.add_module(name, module)


class TorchvisionResNet(TorchvisionModel):
    def __init__(self, network: VideoResNet, num_classes: int):
        super().__init__(network, num_classes)
        self.dropout = nn.Dropout(0.0)  # none in torchvision; reset_classifier can set one for fine-tuning

    def new_classifier(self, in_features: int, num_classes: int) -> nn.Linear:
        return normal_linear(in_features, num_classes, std=0.01)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        return self.fc(self.dropout(self.avgpool(features).flatten(1)))


class TorchvisionS3D(TorchvisionModel):
    """The head is a 1×1×1 convolution after a 2×7×7 average. Smaller clips than torchvision takes work too."""

    classifier_name = "classifier.1"
    dropout_name = "classifier.0"

    def __init__(self, network: S3D, num_classes: int):
        super().__init__(network, num_classes)
        for index, layer in enumerate(self.features):
            if isinstance(layer, nn.MaxPool3d) and layer.padding == (0, 0, 0):
                self.features[index] = FittingMaxPool3d(layer.kernel_size, layer.stride)

    def new_classifier(self, in_features: int, num_classes: int) -> nn.Conv3d:
        return nn.Conv3d(in_features, num_classes, kernel_size=1)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x)

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        window = [min(size, available) for size, available in zip(self.avgpool.kernel_size, features.shape[2:])]
        return self.classifier(F.avg_pool3d(features, window, stride=1)).mean(dim=(2, 3, 4))


class _Transformer(TorchvisionModel):
    def new_classifier(self, in_features: int, num_classes: int) -> nn.Linear:
        linear = nn.Linear(in_features, num_classes)
        nn.init.trunc_normal_(linear.weight, std=0.02)
        nn.init.zeros_(linear.bias)
        return linear


class TorchvisionMViT(_Transformer):
    """Its position embeddings fix the clip's size. The features are the class token alone, (B, C, 1, 1, 1)."""

    classifier_name = "head.1"
    dropout_name = "head.0"

    def __init__(self, network: MViT, num_classes: int):
        super().__init__(network, num_classes)
        self.head[0].inplace = False  # it would write into the caller's features

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        positions = self.pos_encoding
        grid = (positions.temporal_size, *positions.spatial_size)
        tokens = self.conv_proj(x)
        if tokens.shape[2:] != grid:
            num_frames, height, width = (n * stride for n, stride in zip(grid, self.conv_proj.stride))
            raise ModelError(
                f"the clip has T×H×W {'×'.join(map(str, x.shape[2:]))}, but this network was built for "
                f"{num_frames}×{height}×{width}; its options num_frames and crop_size set another size"
            )
        tokens = positions(tokens.flatten(2).transpose(1, 2))  # (B, 1 + positions, C)
        for block in self.blocks:
            tokens, grid = block(tokens, grid)
        return self.norm(tokens[:, 0])[:, :, None, None, None]

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        return self.head(features.flatten(1))


class TorchvisionSwin(_Transformer):
    classifier_name = "head"

    def __init__(self, network: SwinTransformer3d, num_classes: int):
        super().__init__(network, num_classes)
        self.dropout = nn.Dropout(0.0)  # none before the head in torchvision, as in TorchvisionResNet

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.norm(self.features(self.pos_drop(self.patch_embed(x))))  # (B, T', H', W', C)
        return tokens.permute(0, 4, 1, 2, 3)

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(self.avgpool(features).flatten(1)))


_FAMILIES = {
    VideoResNet: TorchvisionResNet,
    S3D: TorchvisionS3D,
    MViT: TorchvisionMViT,
    SwinTransformer3d: TorchvisionSwin,
}


def _build(name: str, num_classes: int) -> TorchvisionModel:
    network = models.get_model(name, weights=None, num_classes=num_classes)
    if type(network) not in _FAMILIES:
        raise ModelError(f"this torchvision's {name} is a {type(network).__name__}, an architecture not known here")
    return _FAMILIES[type(network)](network, num_classes)


def _build_mvit(name: str, num_classes: int, num_frames: int, crop_size: int) -> TorchvisionMViT:
    """torchvision's function builds one size alone; so it tells the settings of each block, and MViT takes those."""
    for option, value, patch in (("num_frames", num_frames, 2), ("crop_size", crop_size, 4)):
        if value < patch or value % patch:
            raise ModelError(f"{option}={value!r}: a multiple of {patch} is needed, the size of a patch")
    blocks = []

    def record(**settings: object) -> nn.Module:
        blocks.append(settings)
        return nn.Identity()

    with torch.device("meta"):
        models.get_model(name, weights=None, block=record)
    same_in_all = ("residual_pool", "residual_with_cls_embed", "rel_pos_embed", "proj_after_attn")
    network = MViT(
        spatial_size=(crop_size, crop_size),
        temporal_size=num_frames,
        block_setting=[settings["cnf"] for settings in blocks],
        stochastic_depth_prob=blocks[-1]["stochastic_depth_prob"],  # it grows linearly up to the last block's
        num_classes=num_classes,
        **{setting: blocks[0][setting] for setting in same_in_all},
    )
    return TorchvisionMViT(network, num_classes)


def _register(name: str) -> None:
    if name.startswith("mvit"):

        def entry(num_classes: int, *, num_frames: int = 16, crop_size: int = 224) -> TorchvisionModel:
            return _build_mvit(name, num_classes, num_frames, crop_size)
    else:

        def entry(num_classes: int) -> TorchvisionModel:
            return _build(name, num_classes)

    entry.__name__ = f"tv_{name}"
    entry.__doc__ = f"torchvision's {name}; see the top of this file."
    register_model(entry)


for _name in NAMES:
    _register(_name)


# --- published weights ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TorchvisionWeights:
    """One entry of a torchvision weights enum, all read from there. Colours are R, G, B on the 0–1 scale."""

    name: str  # what torchvision.models.get_weight takes, such as "R3D_18_Weights.KINETICS400_V1"
    spec: str  # the network here, such as "tv_r3d_18"
    url: str
    file_name: str
    sha256_prefix: str  # the file's checksum begins with these hexadecimal digits
    num_classes: int
    categories: tuple[str, ...]
    acc1: float  # top-1, percent, Kinetics-400, over `clips_per_video` clips
    acc5: float
    gflops: float  # torchvision's: 10⁹ MACs of one clip of 16 frames and crop_size, attention included
    num_params: int
    min_size: tuple[int, int]  # the smallest H and W
    min_temporal_size: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_size: tuple[int, int]  # H, W
    resize_size: tuple[int, ...]  # H and W, or the short side alone
    num_frames: int  # of the clips that the accuracies belong to, as are the two below
    frame_rate: float  # frames a second that the videos were sampled at
    clips_per_video: int

    @property
    def frame_stride(self) -> int:
        """The stride that comes to `frame_rate` in a video of 30 frames a second, the usual one in Kinetics."""
        return round(30 / self.frame_rate)


def tv_weights(name: str) -> list[TorchvisionWeights]:
    """The published weights of a network, `tv_r3d_18` or `r3d_18`, torchvision's default first.

    Raises ModelError for another name.
    """
    name = name.removeprefix("tv_")
    if name not in NAMES:
        raise ModelError(f"torchvision has no video network {name!r}; it has {', '.join(NAMES)}")
    enum = models.get_model_weights(name)
    return [_described(name, entry) for entry in sorted(enum, key=lambda entry: entry is not enum.DEFAULT)]


def _described(name: str, entry: models.WeightsEnum) -> TorchvisionWeights:
    meta, transforms = entry.meta, entry.transforms()
    accuracies = meta["_metrics"]["Kinetics-400"]
    # The protocol stands in prose: … parameters `frame_rate=15`, `clips_per_video=5`, and `clip_len=16`
    protocol = dict(re.findall(r"(\w+)=([\d.]+)", meta["_docs"]))
    file_name = entry.url.rpartition("/")[2]
    return TorchvisionWeights(
        name=str(entry),
        spec=f"tv_{name}",
        url=entry.url,
        file_name=file_name,
        sha256_prefix=re.search(r"-([0-9a-f]{8,})\.", file_name)[1],
        num_classes=len(meta["categories"]),
        categories=tuple(meta["categories"]),
        acc1=accuracies["acc@1"],
        acc5=accuracies["acc@5"],
        gflops=meta["_ops"],
        num_params=meta["num_params"],
        min_size=tuple(meta["min_size"]),
        min_temporal_size=meta.get("min_temporal_size"),
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        crop_size=tuple(transforms.crop_size),
        resize_size=tuple(transforms.resize_size),
        num_frames=int(protocol["clip_len"]),
        frame_rate=float(protocol["frame_rate"]),
        clips_per_video=int(protocol["clips_per_video"]),
    )
