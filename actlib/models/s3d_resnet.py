"""S3D-ResNet: the I3D-ResNet with each 3×3×3 convolution separated, close to R(2+1)D without its wider middle.

As compared in "Deep Analysis of CNN-based Spatio-temporal Representations for Action Recognition" (Chen et al., CVPR
2021). In the blocks of i3d_resnet.py each 3×3×3 convolution becomes
    conv 1×3×3 → BN → ReLU → conv 3×1×1, over all channels or depthwise
the first with the stride in space, the second with that over time. BN follows, and ReLU, which after a block's last
convolution comes after the sum, as in every residual block. The stem and the shortcuts stay those of the I3D-ResNet.
State dicts equal those of IBM/action-recognition-pytorch.
"""

import torch
from torch import nn

from actlib.models.i3d_resnet import InflatedResNet
from actlib.models.registry import register_model
from actlib.models.resnet import conv1x1x1
from actlib.models.resnet2d import DEPTHS

Stride = int | tuple[int, int, int]


def spatial_conv(in_channels: int, out_channels: int, stride: Stride = 1) -> nn.Conv3d:
    """Conv 1×3×3 with the part of the stride that lies in space."""
    if stride != 1:
        stride = (1, *stride[1:])
    return nn.Conv3d(in_channels, out_channels, (1, 3, 3), stride, padding=(0, 1, 1), bias=False)


def temporal_conv(channels: int, depthwise: bool, stride: Stride = 1) -> nn.Conv3d:
    """Conv 3×1×1 with the part of the stride that lies in time."""
    if stride != 1:
        stride = (stride[0], 1, 1)
    groups = channels if depthwise else 1
    return nn.Conv3d(channels, channels, (3, 1, 1), stride, padding=(1, 0, 0), groups=groups, bias=False)


class SeparatedBasicBlock(nn.Module):
    expansion = 1

    def __init__(
        self, in_channels: int, width: int, stride: Stride, downsample: nn.Module | None, depthwise_temporal: bool
    ):
        super().__init__()
        self.conv1 = spatial_conv(in_channels, width, stride)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv1_t = temporal_conv(width, depthwise_temporal, stride)
        self.bn1_t = nn.BatchNorm3d(width)
        self.conv2 = spatial_conv(width, width)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv2_t = temporal_conv(width, depthwise_temporal)
        self.bn2_t = nn.BatchNorm3d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn1_t(self.conv1_t(y)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn2_t(self.conv2_t(y))
        y += shortcut
        return self.relu(y)


class SeparatedBottleneck(nn.Module):
    expansion = 4

    def __init__(
        self, in_channels: int, width: int, stride: Stride, downsample: nn.Module | None, depthwise_temporal: bool
    ):
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = conv1x1x1(in_channels, width)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = spatial_conv(width, width, stride)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv2_t = temporal_conv(width, depthwise_temporal, stride)
        self.bn2_t = nn.BatchNorm3d(width)
        self.conv3 = conv1x1x1(width, out_channels)
        self.bn3 = nn.BatchNorm3d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.relu(self.bn2_t(self.conv2_t(y)))
        y = self.bn3(self.conv3(y))
        y += shortcut
        return self.relu(y)


def _register(depth: int) -> None:
    def s3d_resnet(
        num_classes: int, *, temporal_stride: bool = True, depthwise_temporal: bool = False
    ) -> InflatedResNet:
        block = SeparatedBasicBlock if depth < 50 else SeparatedBottleneck
        return InflatedResNet(
            depth, num_classes, block, temporal_stride=temporal_stride, depthwise_temporal=depthwise_temporal
        )

    s3d_resnet.__name__ = f"s3d_resnet{depth}"
    s3d_resnet.__doc__ = f"ResNet-{depth} with separated convolutions; see the top of this file."
    register_model(s3d_resnet)


for _depth in DEPTHS:
    _register(_depth)
