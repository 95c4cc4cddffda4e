"""R(2+1)D: "A Closer Look at Spatiotemporal Convolutions for Action Recognition" (Tran et al., CVPR 2018).

The ResNets of resnet.py with every convolution t×k×k, stem included, in two:
    conv 1×k×k (the stride in space) to M channels → BN → ReLU → conv t×1×1 (the stride in time)
M = ⌊t·k²·N·N' / (k²·N + t·N')⌋ with N channels in and N' out, so that the pair has about as many weights as the one.
The shortcuts are not split. State dicts equal those of kenshohara/3D-ResNets-PyTorch, branch master.
"""

import torch
from torch import nn

from actlib.models.registry import ModelError, register_model, scale_width
from actlib.models.resnet import BLOCK_COUNTS, STAGE_WIDTHS, ResNet3D, conv1x1x1


def split_width(in_channels: int, out_channels: int, t_size: int, size: int) -> int:
    """M of the equation at the top, for a convolution of `t_size`×`size`×`size`."""
    weights = t_size * size**2 * in_channels * out_channels
    return weights // (size**2 * in_channels + t_size * out_channels)


def spatial_conv(in_channels: int, out_channels: int, size: int, stride: int) -> nn.Conv3d:
    pad = size // 2
    return nn.Conv3d(in_channels, out_channels, (1, size, size), (1, stride, stride), (0, pad, pad), bias=False)


def temporal_conv(in_channels: int, out_channels: int, t_size: int, stride: int) -> nn.Conv3d:
    return nn.Conv3d(in_channels, out_channels, (t_size, 1, 1), (stride, 1, 1), (t_size // 2, 0, 0), bias=False)


class BasicBlock2Plus1(nn.Module):
    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, downsample: nn.Module | None):
        super().__init__()
        first, second = split_width(in_channels, width, 3, 3), split_width(width, width, 3, 3)
        self.conv1_s = spatial_conv(in_channels, first, 3, stride)
        self.bn1_s = nn.BatchNorm3d(first)
        self.conv1_t = temporal_conv(first, width, 3, stride)
        self.bn1_t = nn.BatchNorm3d(width)
        self.conv2_s = spatial_conv(width, second, 3, 1)
        self.bn2_s = nn.BatchNorm3d(second)
        self.conv2_t = temporal_conv(second, width, 3, 1)
        self.bn2_t = nn.BatchNorm3d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1_s(self.conv1_s(x)))
        y = self.relu(self.bn1_t(self.conv1_t(y)))
        y = self.relu(self.bn2_s(self.conv2_s(y)))
        y = self.bn2_t(self.conv2_t(y))
        y += shortcut
        return self.relu(y)


class Bottleneck2Plus1(nn.Module):
    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, downsample: nn.Module | None):
        super().__init__()
        inner, out_channels = split_width(width, width, 3, 3), width * self.expansion
        self.conv1 = conv1x1x1(in_channels, width)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2_s = spatial_conv(width, inner, 3, stride)
        self.bn2_s = nn.BatchNorm3d(inner)
        self.conv2_t = temporal_conv(inner, width, 3, stride)
        self.bn2_t = nn.BatchNorm3d(width)
        self.conv3 = conv1x1x1(width, out_channels)
        self.bn3 = nn.BatchNorm3d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2_s(self.conv2_s(y)))
        y = self.relu(self.bn2_t(self.conv2_t(y)))
        y = self.bn3(self.conv3(y))
        y += shortcut
        return self.relu(y)


class R2Plus1D(ResNet3D):
    """ResNet3D with a split stem; the blocks are those above."""

    def add_stem(self, channels: int, t_size: int, t_stride: int) -> None:
        inner = split_width(3, channels, t_size, 7)
        if inner < 1:
            raise ModelError(
                f"conv1_t_size={t_size!r}: a stem of width {channels} splits into no channels at all; "
                "use a larger size or a larger widen_factor"
            )
        self.conv1_s = spatial_conv(3, inner, 7, 2)
        self.bn1_s = nn.BatchNorm3d(inner)
        self.conv1_t = temporal_conv(inner, channels, t_size, t_stride)
        self.bn1_t = nn.BatchNorm3d(channels)

    def stem(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.bn1_s(self.conv1_s(x)))
        return self.relu(self.bn1_t(self.conv1_t(x)))


def _register(depth: int) -> None:
    def entry(
        num_classes: int,
        *,
        shortcut: str = "B",
        conv1_t_size: int = 7,
        conv1_t_stride: int = 1,
        max_pool: bool = True,
        widen_factor: float = 1.0,
    ) -> R2Plus1D:
        return R2Plus1D(
            BasicBlock2Plus1 if depth < 50 else Bottleneck2Plus1,
            BLOCK_COUNTS[depth],
            tuple(scale_width(width, "widen_factor", widen_factor) for width in STAGE_WIDTHS),
            num_classes,
            shortcut=shortcut,
            conv1_t_size=conv1_t_size,
            conv1_t_stride=conv1_t_stride,
            max_pool=max_pool,
        )

    entry.__name__ = f"r2plus1d{depth}"
    entry.__doc__ = f"R(2+1)D-{depth}; see the top of this file."
    register_model(entry)


for _depth in BLOCK_COUNTS:
    _register(_depth)
