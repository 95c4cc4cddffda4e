"""S3D-ResNet: the I3D-ResNet with each 3×3×3 convolution separated, close to R(2+1)D without its wider middle.

As compared in "Deep Analysis of CNN-based Spatio-temporal Representations for Action Recognition" (Chen et al., CVPR
2021). In the blocks of i3d_resnet.py each 3×3×3 convolution becomes
    conv 1×3×3 → BN → ReLU → conv 3×1×1, over all channels or depthwise
the first with the stride in space, the second with that over time. BN follows, and ReLU, which after a block's last
convolution comes after the sum, as in every residual block. The stem and the shortcuts stay those of the I3D-ResNet.
State dicts equal those of IBM/action-recognition-pytorch.
"""

from torch import nn

from actlib.models.i3d_resnet import InflatedResNet
from actlib.models.parts.layers import Size, conv1x1x1, spatial_conv, temporal_conv
from actlib.models.parts.residual import IMAGE_DEPTHS, ResidualBlock
from actlib.models.parts.variants import register_variants


class SeparatedBasicBlock(ResidualBlock):
    def __init__(
        self, in_channels: int, width: int, stride: Size, downsample: nn.Module | None, depthwise_temporal: bool
    ):
        groups = width if depthwise_temporal else 1
        super().__init__(
            downsample,
            conv1=spatial_conv(in_channels, width, stride=stride),
            conv1_t=temporal_conv(width, width, stride=stride, groups=groups),
            conv2=spatial_conv(width, width),
            conv2_t=temporal_conv(width, width, groups=groups),
        )


class SeparatedBottleneck(ResidualBlock):
    expansion = 4

    def __init__(
        self, in_channels: int, width: int, stride: Size, downsample: nn.Module | None, depthwise_temporal: bool
    ):
        groups = width if depthwise_temporal else 1
        super().__init__(
            downsample,
            conv1=conv1x1x1(in_channels, width),
            conv2=spatial_conv(width, width, stride=stride),
            conv2_t=temporal_conv(width, width, stride=stride, groups=groups),
            conv3=conv1x1x1(width, width * self.expansion),
        )


@register_variants("s3d_resnet{}", IMAGE_DEPTHS)
def s3d_resnet(
    depth: int, num_classes: int, *, temporal_stride: bool = True, depthwise_temporal: bool = False
) -> InflatedResNet:
    """ResNet with separated convolutions; see the top of this file."""
    block = SeparatedBasicBlock if depth < 50 else SeparatedBottleneck
    return InflatedResNet(depth, num_classes, block, temporal_stride, depthwise_temporal=depthwise_temporal)
