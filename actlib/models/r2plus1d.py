"""R(2+1)D: "A Closer Look at Spatiotemporal Convolutions for Action Recognition" (Tran et al., CVPR 2018).

The ResNets of resnet.py with every convolution t×k×k, stem included, in two:
    conv 1×k×k (the stride in space) to M channels → BN → ReLU → conv t×1×1 (the stride in time)
M = ⌊t·k²·N·N' / (k²·N + t·N')⌋ with N channels in and N' out, so that the pair has about as many weights as the one.
The shortcuts are not split. State dicts equal those of kenshohara/3D-ResNets-PyTorch, branch master.
"""

import torch
from torch import nn

from actlib.models.parts.layers import Size, conv1x1x1, spatial_conv, temporal_conv
from actlib.models.parts.options import ModelError, scale_width
from actlib.models.parts.residual import BLOCK_COUNTS, STAGE_WIDTHS, ResidualBlock
from actlib.models.parts.variants import register_variants
from actlib.models.resnet import ResNet3D


def split_width(in_channels: int, out_channels: int, t_size: int, size: int) -> int:
    """M of the equation at the top, for a convolution of `t_size`×`size`×`size`."""
    weights = t_size * size**2 * in_channels * out_channels
    return weights // (size**2 * in_channels + t_size * out_channels)


class BasicBlock2Plus1(ResidualBlock):
    def __init__(self, in_channels: int, width: int, stride: Size, downsample: nn.Module | None):
        first, second = split_width(in_channels, width, 3, 3), split_width(width, width, 3, 3)
        super().__init__(
            downsample,
            conv1_s=spatial_conv(in_channels, first, stride=stride),
            conv1_t=temporal_conv(first, width, stride=stride),
            conv2_s=spatial_conv(width, second),
            conv2_t=temporal_conv(second, width),
        )


class Bottleneck2Plus1(ResidualBlock):
    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: Size, downsample: nn.Module | None):
        inner = split_width(width, width, 3, 3)
        super().__init__(
            downsample,
            conv1=conv1x1x1(in_channels, width),
            conv2_s=spatial_conv(width, inner, stride=stride),
            conv2_t=temporal_conv(inner, width, stride=stride),
            conv3=conv1x1x1(width, width * self.expansion),
        )


class R2Plus1D(ResNet3D):
    """ResNet3D with a split stem; the blocks are those above."""

    def add_stem(self, channels: int, t_size: int, t_stride: int) -> None:
        inner = split_width(3, channels, t_size, 7)
        if inner < 1:
            raise ModelError(
                f"conv1_t_size={t_size!r}: a stem of width {channels} splits into no channels at all; "
                "use a larger size or a larger widen_factor"
            )
        self.conv1_s = spatial_conv(3, inner, 7, stride=2)
        self.bn1_s = nn.BatchNorm3d(inner)
        self.conv1_t = temporal_conv(inner, channels, t_size, t_stride)
        self.bn1_t = nn.BatchNorm3d(channels)

    def stem(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.bn1_s(self.conv1_s(x)))
        return self.relu(self.bn1_t(self.conv1_t(x)))


@register_variants("r2plus1d{}", BLOCK_COUNTS)
def r2plus1d(
    depth: int,
    num_classes: int,
    *,
    shortcut: str = "B",
    conv1_t_size: int = 7,
    conv1_t_stride: int = 1,
    max_pool: bool = True,
    widen_factor: float = 1.0,
) -> R2Plus1D:
    """R(2+1)D; see the top of this file."""
    block, counts = BasicBlock2Plus1 if depth < 50 else Bottleneck2Plus1, BLOCK_COUNTS[depth]
    widths = tuple(scale_width(width, "widen_factor", widen_factor) for width in STAGE_WIDTHS)
    return R2Plus1D(num_classes, block, counts, widths, shortcut, conv1_t_size, conv1_t_stride, max_pool)
