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
from torch import nn

from actlib.models.parts.heads import PooledClassifier
from actlib.models.parts.layers import FittingPool3d, Size, conv1x1x1, init_conv_and_norm, spatial_conv, temporal_conv
from actlib.models.parts.residual import BLOCK_COUNTS, STAGE_WIDTHS, ResidualBlock, add_stages, make_shortcut
from actlib.models.registry import register_model

TEMPORAL_CONVS = ((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0))
NON_LOCAL_STAGES = (2, 3)


class NonLocal(nn.Module):
    """z of the equations at the top of this file. x: (B, C, T, H, W) in and out."""

    def __init__(self, channels: int):
        super().__init__()
        inner = channels // 2
        self.theta = nn.Conv3d(channels, inner, kernel_size=1)
        self.pool = FittingPool3d((1, 2, 2))
        self.phi = nn.Conv3d(channels, inner, kernel_size=1)
        self.g = nn.Conv3d(channels, inner, kernel_size=1)
        self.out = nn.Conv3d(inner, channels, kernel_size=1)
        self.bn = nn.BatchNorm3d(channels)

    def initialise(self) -> None:
        """As the paper's section 4.1: small weights and a norm of scale 0, so that training begins at z = x."""
        for conv in (self.theta, self.phi, self.g, self.out):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)
        nn.init.zeros_(self.bn.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = self.pool(x)
        theta, phi, g = (y.flatten(2) for y in (self.theta(x), self.phi(pooled), self.g(pooled)))  # (B, d, positions)
        theta = theta * theta.shape[1] ** -0.5  # 1/√d here, where it touches fewer numbers than in the product
        attention = torch.bmm(theta.transpose(1, 2), phi).softmax(dim=-1)
        y = torch.bmm(g, attention.transpose(1, 2)).unflatten(2, x.shape[2:])
        return x + self.bn(self.out(y))


class BottleneckI3D(ResidualBlock):
    """A bottleneck whose convolutions split space and time; with `non_local`, that block follows it."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: Size, t_size: int, non_local: bool):
        channels = width * self.expansion
        super().__init__(
            make_shortcut("B", in_channels, channels, stride),
            conv1=temporal_conv(in_channels, width, t_size),
            conv2=spatial_conv(width, width, stride=stride),
            conv3=conv1x1x1(width, channels),
        )
        self.nl = NonLocal(channels) if non_local else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.nl(super().forward(x))


class I3DResNet50(PooledClassifier):
    """Stem and unpadded max-pool, four stages, the mean over T, H and W, dropout 0.5, a linear layer.

    The stem and the two pools in time leave an eighth of the frames: 32 come out as 4.
    """

    head_std = 0.01
    dropout_name = "drop"

    def __init__(self, num_classes: int, *, non_local: bool):
        super().__init__(num_classes)

        def make_block(in_channels: int, width: int, stride: Size, stage: int, index: int) -> BottleneckI3D:
            t_size = 3 if TEMPORAL_CONVS[stage - 1][index] else 1
            with_non_local = non_local and stage in NON_LOCAL_STAGES and index % 2 == 1
            return BottleneckI3D(in_channels, width, stride, t_size, with_non_local)

        self.conv1 = nn.Conv3d(3, STAGE_WIDTHS[0], (5, 7, 7), stride=2, padding=(2, 3, 3), bias=False)
        self.bn1 = nn.BatchNorm3d(STAGE_WIDTHS[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool1 = FittingPool3d((2, 3, 3), stride=2)
        self.maxpool2 = FittingPool3d((2, 1, 1))
        channels = add_stages(self, STAGE_WIDTHS[0], BLOCK_COUNTS[50], STAGE_WIDTHS, make_block, stride=(1, 2, 2))
        self.fc = self.new_classifier(channels, num_classes)
        self.drop = nn.Dropout(0.5)
        init_conv_and_norm(self)
        for module in self.modules():
            if isinstance(module, NonLocal):
                module.initialise()

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool1(self.relu(self.bn1(self.conv1(x))))
        x = self.maxpool2(self.layer1(x))
        return self.layer4(self.layer3(self.layer2(x)))


@register_model
def i3d_r50(num_classes: int) -> I3DResNet50:
    """I3D ResNet-50; see the top of this file."""
    return I3DResNet50(num_classes, non_local=False)


@register_model
def i3d_r50_nl(num_classes: int) -> I3DResNet50:
    """I3D ResNet-50 with five non-local blocks; see the top of this file."""
    return I3DResNet50(num_classes, non_local=True)
