"""I3D ResNet-50 and its non-local variant: "Non-local Neural Networks" (Wang et al., CVPR 2018).

A bottleneck answers y = ReLU(F(x) + S(x)). F is, with BN after each convolution and ReLU between them,
    conv k×1×1 (k = 3 in the blocks that TEMPORAL_CONVS marks, else 1) → conv 1×3×3 with the stride → conv 1×1×1
and S the identity, or conv 1×1×1 with the stride and BN. Stages never stride in time: the stem, its pool and a pool
after the first stage halve it.

A non-local block, after every second bottleneck of stages 2 and 3 where `non_local`, is the embedded Gaussian one:
    z = x + BN(W · y),    y = g · softmax(θᵀφ / √d)ᵀ,    θ from x, φ and g from x max-pooled by 2 in H and W
with θ, φ, g, W convolutions 1×1×1 with bias and d half of x's channels.
State dicts equal those of Tushar-N/pytorch-resnet3d, which are the published Caffe2 networks renamed.
"""

import torch
import torch.nn.functional as F
from torch import nn

from actlib.models.registry import VideoModel, normal_linear, register_model
from actlib.models.resnet import BLOCK_COUNTS, STAGE_WIDTHS, Bottleneck, init_conv_and_norm

TEMPORAL_CONVS = ((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0))
NON_LOCAL_STAGES = (2, 3)


class FittingMaxPool3d(nn.MaxPool3d):
    """An unpadded max-pool whose window shrinks to the input's T, H or W where that is smaller.

    Wherever nn.MaxPool3d answers, this answers the same; it lets short clips and small crops through as well.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        window = [min(size, available) for size, available in zip(self.kernel_size, x.shape[2:])]
        return F.max_pool3d(x, window, self.stride)


class NonLocal(nn.Module):
    """z of the equations at the top of this file. x: (B, C, T, H, W) in and out."""

    def __init__(self, channels: int):
        super().__init__()
        inner = channels // 2
        self.theta = nn.Conv3d(channels, inner, kernel_size=1)
        self.pool = FittingMaxPool3d((1, 2, 2))
        self.phi = nn.Conv3d(channels, inner, kernel_size=1)
        self.g = nn.Conv3d(channels, inner, kernel_size=1)
        self.out = nn.Conv3d(inner, channels, kernel_size=1)
        self.bn = nn.BatchNorm3d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = self.pool(x)
        theta, phi, g = (y.flatten(2) for y in (self.theta(x), self.phi(pooled), self.g(pooled)))  # (B, d, positions)
        theta = theta * theta.shape[1] ** -0.5  # 1/√d here, where it touches fewer numbers than in the product
        attention = torch.bmm(theta.transpose(1, 2), phi).softmax(dim=-1)
        y = torch.bmm(g, attention.transpose(1, 2)).unflatten(2, x.shape[2:])
        return x + self.bn(self.out(y))


class BottleneckI3D(Bottleneck):
    """A bottleneck whose convolutions split space and time; with `non_local`, that block follows it."""

    def __init__(self, in_channels: int, width: int, stride: int, temporal_conv: bool, non_local: bool):
        out_channels = width * self.expansion
        downsample = None
        if stride > 1 or in_channels != out_channels:
            conv = nn.Conv3d(in_channels, out_channels, kernel_size=1, stride=(1, stride, stride), bias=False)
            downsample = nn.Sequential(conv, nn.BatchNorm3d(out_channels))
        super().__init__(in_channels, width, stride, downsample)
        size = 3 if temporal_conv else 1
        self.conv1 = nn.Conv3d(in_channels, width, (size, 1, 1), padding=(size // 2, 0, 0), bias=False)
        self.conv2 = nn.Conv3d(width, width, (1, 3, 3), stride=(1, stride, stride), padding=(0, 1, 1), bias=False)
        self.nl = NonLocal(out_channels) if non_local else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = super().forward(x)
        return y if self.nl is None else self.nl(y)


class I3DResNet50(VideoModel):
    """Stem and unpadded max-pool, four stages, the mean over T, H and W, dropout 0.5, a linear layer.

    The stem and the two pools in time leave an eighth of the frames: 32 come out as 4.
    """

    dropout_name = "drop"

    def __init__(self, num_classes: int, *, non_local: bool):
        super().__init__()
        self.num_classes = num_classes
        channels = STAGE_WIDTHS[0]
        self.conv1 = nn.Conv3d(3, channels, (5, 7, 7), stride=2, padding=(2, 3, 3), bias=False)
        self.bn1 = nn.BatchNorm3d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool1 = FittingMaxPool3d((2, 3, 3), stride=2)
        self.maxpool2 = FittingMaxPool3d((2, 1, 1))
        for stage, (count, width) in enumerate(zip(BLOCK_COUNTS[50], STAGE_WIDTHS), start=1):
            blocks = []
            for index in range(count):
                stride = 2 if stage > 1 and index == 0 else 1
                with_non_local = non_local and stage in NON_LOCAL_STAGES and index % 2 == 1
                temporal_conv = TEMPORAL_CONVS[stage - 1][index] == 1
                blocks.append(BottleneckI3D(channels, width, stride, temporal_conv, with_non_local))
                channels = width * Bottleneck.expansion
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.fc = self.new_classifier(channels, num_classes)
        self.drop = nn.Dropout(0.5)
        init_conv_and_norm(self)
        for module in self.modules():
            if isinstance(module, NonLocal):
                _init_non_local(module)

    def new_classifier(self, in_features: int, num_classes: int) -> nn.Linear:
        return normal_linear(in_features, num_classes, std=0.01)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool1(self.relu(self.bn1(self.conv1(x))))
        x = self.maxpool2(self.layer1(x))
        return self.layer4(self.layer3(self.layer2(x)))

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        return self.fc(self.drop(features.mean(dim=(2, 3, 4))))


def _init_non_local(block: NonLocal) -> None:
    """As the paper's section 4.1: small weights and a norm of scale 0, so that training begins at z = x."""
    for conv in (block.theta, block.phi, block.g, block.out):
        nn.init.normal_(conv.weight, std=0.01)
        nn.init.zeros_(conv.bias)
    nn.init.zeros_(block.bn.weight)


@register_model
def i3d_r50(num_classes: int) -> I3DResNet50:
    """I3D ResNet-50; see the top of this file."""
    return I3DResNet50(num_classes, non_local=False)


@register_model
def i3d_r50_nl(num_classes: int) -> I3DResNet50:
    """I3D ResNet-50 with five non-local blocks; see the top of this file."""
    return I3DResNet50(num_classes, non_local=True)
