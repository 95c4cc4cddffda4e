"""S3D: "Rethinking Spatiotemporal Feature Learning" (Xie et al., ECCV 2018), I3D with separated convolutions.

Each 3×3×3 convolution of I3D (i3d.py), the stem's and the modules', becomes
    conv 1×3×3 → BN → ReLU → conv 3×1×1 with a bias, over all channels or depthwise → BN → ReLU
The first convolution is 3×7×7. The last pool is 2×2×2 without padding, so that without temporal stride T - 1 frames
come out. The paper also strides over time in the first convolution; here as in IBM/action-recognition-pytorch, whose
state dict this equals.
"""

from functools import partial

import torch
from torch import nn

from actlib.models.i3d import I3D, NORM_EPS
from actlib.models.parts.layers import FittingPool3d
from actlib.models.registry import register_model


class SeparatedConv(nn.Module):
    """What stands for a 3×3×3 convolution, its norm and its ReLU."""

    def __init__(self, in_channels: int, out_channels: int, depthwise_temporal: bool):
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, (1, 3, 3), padding=(0, 1, 1), bias=False)
        self.bn = nn.BatchNorm3d(out_channels, eps=NORM_EPS)
        groups = out_channels if depthwise_temporal else 1
        self.conv_t = nn.Conv3d(out_channels, out_channels, (3, 1, 1), padding=(1, 0, 0), groups=groups)
        self.bn_t = nn.BatchNorm3d(out_channels, eps=NORM_EPS)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.bn(self.conv(x)))
        return self.relu(self.bn_t(self.conv_t(x)))


class S3D(I3D):
    """I3D with separated convolutions. Where a single frame, row or column is left, which the reference refuses, the
    window of the last pool is cut to it."""

    def __init__(self, num_classes: int, *, temporal_stride: bool, pooling: str, depthwise_temporal: bool):
        conv3 = partial(SeparatedConv, depthwise_temporal=depthwise_temporal)
        super().__init__(num_classes, temporal_stride=temporal_stride, pooling=pooling, stem_t_size=3, conv3=conv3)
        self.maxpool4 = FittingPool3d(2, self.pool_stride, method=pooling)


@register_model
def s3d(
    num_classes: int, *, temporal_stride: bool = True, pooling: str = "max", depthwise_temporal: bool = False
) -> S3D:
    """Separable 3-D Inception v1; see the top of this file."""
    return S3D(num_classes, temporal_stride=temporal_stride, pooling=pooling, depthwise_temporal=depthwise_temporal)
