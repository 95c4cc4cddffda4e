"""torchvision's classes of video networks with the interface that every model here has: the way to the logits in two
halves, and the head.

To be imported where such a network is built, as `torchvision_models` does: torchvision's import takes as long as
torch's.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.video.mvit import MViT
from torchvision.models.video.resnet import VideoResNet
from torchvision.models.video.s3d import S3D
from torchvision.models.video.swin_transformer import SwinTransformer3d

from actlib.models.parts.heads import PooledClassifier
from actlib.models.parts.layers import FittingPool3d
from actlib.models.parts.options import ModelError


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


def adapted(network: nn.Module, num_classes: int) -> PooledClassifier:
    """The network itself, of its class's counterpart above."""
    kind = type(network)
    if kind not in _ADAPTED:
        raise ModelError(f"this torchvision's network is a {kind.__name__}, an architecture not known here")
    network.__class__ = _ADAPTED[kind]
    network.num_classes = num_classes
    network.adapt()
    return network
