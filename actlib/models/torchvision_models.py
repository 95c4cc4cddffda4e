"""torchvision's video networks under the names `tv_…`, and their published weights.

r3d_18, mc3_18, r2plus1d_18: "A Closer Look at Spatiotemporal Convolutions for Action Recognition" (Tran et al., CVPR
2018); s3d: "Rethinking Spatiotemporal Feature Learning" (Xie et al., ECCV 2018); mvit_v1_b: "Multiscale Vision
Transformers" (Fan et al., ICCV 2021); mvit_v2_s: "MViTv2" (Li et al., CVPR 2022); swin3d_t, _s, _b: "Video Swin
Transformer" (Liu et al., CVPR 2022).
torchvision builds each network. Its class is then one of those below, which adds to torchvision's the interface that
every model here has: the way to the logits in two halves, and the head. So state dicts equal torchvision's.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models
from torchvision.models.video.mvit import MViT
from torchvision.models.video.resnet import VideoResNet
from torchvision.models.video.s3d import S3D
from torchvision.models.video.swin_transformer import SwinTransformer3d

from actlib.models.parts.heads import PooledClassifier
from actlib.models.parts.layers import FittingPool3d
from actlib.models.parts.options import ModelError
from actlib.models.parts.variants import register_variants

NAMES = tuple(models.list_models(module=models.video))
MVITS = tuple(name for name in NAMES if name.startswith("mvit"))


class _Adapted(PooledClassifier):
    """What a torchvision class gets in front of it."""

    def adapt(self) -> None:
        """Called once on the finished network."""
        self.dropout = nn.Dropout(0.0)  # none in torchvision; reset_classifier can set one for fine-tuning

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        return self.classify(self.avgpool(features).flatten(1))


class TorchvisionResNet(_Adapted, VideoResNet):
    head_std = 0.01

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))


class TorchvisionS3D(_Adapted, S3D):
    """The head is a 1×1×1 convolution after a 2×7×7 average. Smaller clips than torchvision takes work too."""

    classifier_name = "classifier.1"
    dropout_name = "classifier.0"

    def adapt(self) -> None:
        for index, layer in enumerate(self.features):
            if isinstance(layer, nn.MaxPool3d):
                self.features[index] = FittingPool3d(layer.kernel_size, layer.stride, layer.padding)

    def new_classifier(self, in_features: int, num_classes: int) -> nn.Conv3d:
        return nn.Conv3d(in_features, num_classes, kernel_size=1)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x)

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        window = [min(size, available) for size, available in zip(self.avgpool.kernel_size, features.shape[2:])]
        return self.classifier(F.avg_pool3d(features, window, stride=1)).mean(dim=(2, 3, 4))


class _Transformer(_Adapted):
    classifier_name = "head"

    def new_classifier(self, in_features: int, num_classes: int) -> nn.Linear:
        linear = nn.Linear(in_features, num_classes)
        nn.init.trunc_normal_(linear.weight, std=0.02)
        nn.init.zeros_(linear.bias)
        return linear


class TorchvisionSwin(_Transformer, SwinTransformer3d):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.norm(self.features(self.pos_drop(self.patch_embed(x))))  # (B, T', H', W', C)
        return tokens.permute(0, 4, 1, 2, 3)


class TorchvisionMViT(_Transformer, MViT):
    """Its position embeddings fix the clip's size. The features are the class token alone, (B, C, 1, 1, 1)."""

    classifier_name = "head.1"
    dropout_name = "head.0"

    def adapt(self) -> None:
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
        return self.classify(features.flatten(1))


_ADAPTED = {
    VideoResNet: TorchvisionResNet,
    S3D: TorchvisionS3D,
    MViT: TorchvisionMViT,
    SwinTransformer3d: TorchvisionSwin,
}


def _adapted(network: nn.Module, num_classes: int) -> _Adapted:
    """The network itself, of its class's counterpart above."""
    kind = type(network)
    if kind not in _ADAPTED:
        raise ModelError(f"this torchvision's network is a {kind.__name__}, an architecture not known here")
    network.__class__ = _ADAPTED[kind]
    network.num_classes = num_classes
    network.adapt()
    return network


@register_variants("tv_{}", [name for name in NAMES if name not in MVITS])
def torchvision_network(name: str, num_classes: int) -> _Adapted:
    """A network of torchvision's; see the top of this file."""
    return _adapted(models.get_model(name, weights=None, num_classes=num_classes), num_classes)


@register_variants("tv_{}", MVITS)
def torchvision_mvit(name: str, num_classes: int, *, num_frames: int = 16, crop_size: int = 224) -> TorchvisionMViT:
    """A network of torchvision's for clips of one size; see the top of this file."""
    # torchvision's function builds one size alone; so it tells the settings of each block, and MViT takes those
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
    return _adapted(network, num_classes)


def tv_weights(name: str) -> list[models.WeightsEnum]:
    """torchvision's published weights of a video network, `tv_r3d_18` or `r3d_18`, its default first.

    Raises ModelError for another name.
    """
    name = name.removeprefix("tv_")
    if name not in NAMES:
        raise ModelError(f"torchvision has no video network {name!r}; it has {', '.join(NAMES)}")
    enum = models.get_model_weights(name)
    return sorted(enum, key=lambda entry: entry is not enum.DEFAULT)
