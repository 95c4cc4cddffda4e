"""X3D: "X3D: Expanding Architectures for Efficient Video Recognition" (Feichtenhofer, CVPR 2020), as in PyTorchVideo.

The stem is conv 1×3×3 with the stride, then 5×1×1 depthwise. A block's branch:
    conv_a 1×1×1 to 2.25 times the width → BN → ReLU
    conv_b 3×3×3 depthwise with the stride → BN → SE in every second block → x · σ(x)
    conv_c 1×1×1 → BN
SE is squeeze and excitation: x · σ(W' ReLU(W · mean of x + b) + b'), to a sixteenth of the channels.
The head: conv 1×1×1 → BN → ReLU → means of windows → conv 1×1×1 to 2048 → ReLU → dropout → linear, averaged.
All stages halve H and W, none T. XS, S and M are one network for clips of other sizes; L is deeper.
State dicts equal those of facebookresearch/pytorchvideo's hub builders `x3d_xs`, `x3d_s`, `x3d_m` and `x3d_l`.
"""

import math

import torch
from torch import nn

from actlib.models.parts.depthwise import DepthwiseConv3d
from actlib.models.parts.layers import Size, conv1x1x1, spatial_conv
from actlib.models.parts.numbered_blocks import Block, BlockNetwork, Branch, Stage, Stem
from actlib.models.registry import register_model

WIDTHS = (24, 48, 96, 192)
EXPANSION = 2.25  # of a block's channels inside
SQUEEZE = 1 / 16
BASE_COUNTS = (1, 2, 5, 3)  # blocks of the stages, before the factor of depth
HEAD_CHANNELS = 2048


def in_eights(channels: float) -> int:
    """The multiple of 8 that is nearest, 8 at least, and no less than nine tenths: the reference's rounding."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near


class SqueezeExcitation(nn.Module):
    """SE of the top of this file. x: (B, C, T, H, W) in and out."""

    def __init__(self, channels: int):
        super().__init__()
        few = in_eights(channels * SQUEEZE)
        narrow, wide = nn.Conv3d(channels, few, kernel_size=1), nn.Conv3d(few, channels, kernel_size=1)
        self.block = nn.Sequential(narrow, nn.ReLU(inplace=True), wide, nn.Sigmoid())

    def initialise(self) -> None:
        for conv in (self.block[0], self.block[2]):
            nn.init.zeros_(conv.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.block(x.mean(dim=(2, 3, 4), keepdim=True))


class SpaceThenTime(nn.Module):
    """The stem's convolutions, under the reference's names, which are the wrong way round."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv_t = spatial_conv(3, channels, stride=2)
        self.conv_xy = DepthwiseConv3d(channels, (5, 1, 1), padding=(2, 0, 0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv_xy(self.conv_t(x))


class ProjectedPool(nn.Module):
    """The layers of the head around its windows, which X3D calls one by one."""

    def __init__(self, in_channels: int, inner_channels: int):
        super().__init__()
        self.pre_conv, self.pre_norm = conv1x1x1(in_channels, inner_channels), nn.BatchNorm3d(inner_channels)
        self.pre_act = nn.ReLU(inplace=True)
        self.post_conv = conv1x1x1(inner_channels, HEAD_CHANNELS)
        self.post_act = nn.ReLU(inplace=True)


class Head(nn.Module):
    """What of the head has weights, and its dropout."""

    def __init__(self, in_channels: int, inner_channels: int, proj: nn.Linear):
        super().__init__()
        self.pool = ProjectedPool(in_channels, inner_channels)
        self.dropout = nn.Dropout(0.5)
        self.proj = proj


def x3d_stage(count: int, in_channels: int, width: int, stride: Size) -> Stage:
    blocks, inner = [], int(EXPANSION * width)
    for index in range(count):
        squeeze = nn.Identity() if index % 2 else SqueezeExcitation(inner)
        branch = Branch(
            conv1x1x1(in_channels, inner),
            DepthwiseConv3d(inner, 3, stride, padding=1),
            width,
            norm_b=nn.Sequential(nn.BatchNorm3d(inner), squeeze),
            act_b=nn.SiLU(inplace=True),
        )
        blocks.append(Block(in_channels, width, stride, branch, shortcut_norm=in_channels != width))
        in_channels, stride = width, 1
    return Stage(blocks)


class X3D(BlockNetwork):
    """The features are those that the head averages, after its first convolution."""

    def __init__(self, num_classes: int, num_frames: int, crop_size: int, depth_factor: float):
        super().__init__(num_classes, num_frames, crop_size)
        channels = WIDTHS[0]
        blocks: list[nn.Module] = [Stem(SpaceThenTime(channels), channels, pool=False)]
        for count, width in zip(BASE_COUNTS, WIDTHS):
            blocks.append(x3d_stage(math.ceil(count * depth_factor), channels, width, (1, 2, 2)))
            channels = width
        proj = self.new_classifier(HEAD_CHANNELS, num_classes)
        self.blocks = nn.ModuleList([*blocks, Head(channels, int(EXPANSION * channels), proj)])
        self.finish()
        for module in self.modules():
            if isinstance(module, SqueezeExcitation):
                module.initialise()

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        pool = self.blocks[-1].pool
        return pool.pre_act(pool.pre_norm(pool.pre_conv(super().forward_features(x))))

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        pool = self.blocks[-1].pool
        vectors = pool.post_act(pool.post_conv(self.window_means(features)))
        return self.classify(vectors.mean(dim=(2, 3, 4)))


@register_model
def x3d_xs(num_classes: int, *, num_frames: int = 4, crop_size: int = 160) -> X3D:
    """X3D-XS; see the top of this file, and BlockNetwork for the options."""
    return X3D(num_classes, num_frames, crop_size, depth_factor=2.2)


@register_model
def x3d_s(num_classes: int, *, num_frames: int = 13, crop_size: int = 160) -> X3D:
    """X3D-S; see the top of this file, and BlockNetwork for the options."""
    return X3D(num_classes, num_frames, crop_size, depth_factor=2.2)


@register_model
def x3d_m(num_classes: int, *, num_frames: int = 16, crop_size: int = 224) -> X3D:
    """X3D-M; see the top of this file, and BlockNetwork for the options."""
    return X3D(num_classes, num_frames, crop_size, depth_factor=2.2)


@register_model
def x3d_l(num_classes: int, *, num_frames: int = 16, crop_size: int = 312) -> X3D:
    """X3D-L; see the top of this file, and BlockNetwork for the options."""
    return X3D(num_classes, num_frames, crop_size, depth_factor=5.0)
