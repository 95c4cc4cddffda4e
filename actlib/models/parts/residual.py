"""What residual networks share: the block, its shortcuts, the stages of blocks and the published depths."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from actlib.models.parts.layers import Size

BLOCK_COUNTS = {
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
STAGE_WIDTHS = (64, 128, 256, 512)
IMAGE_DEPTHS = (18, 34, 50, 101, 152)  # of the image networks that there are published weights of


def norm_after(conv: nn.Conv2d | nn.Conv3d) -> nn.Module:
    return (nn.BatchNorm2d if isinstance(conv, nn.Conv2d) else nn.BatchNorm3d)(conv.out_channels)


class ShortcutA(nn.Module):
    """Every stride-th position of x (B, C, T, H, W), with zeros appended up to `out_channels`."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.extra_channels = out_channels - in_channels
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = self.stride
        return F.pad(x[:, :, ::s, ::s, ::s], (0, 0, 0, 0, 0, 0, 0, self.extra_channels))


def make_shortcut(
    kind: str, in_channels: int, out_channels: int, stride: Size, conv_type: type[nn.Module] = nn.Conv3d
) -> nn.Module | None:
    """S of a block, "A" or "B": None is the identity, where neither the stride nor the channels change anything."""
    if stride == 1 and in_channels == out_channels:
        return None
    if kind == "A":
        return ShortcutA(in_channels, out_channels, stride)
    conv = conv_type(in_channels, out_channels, kernel_size=1, stride=stride, bias=False)
    return nn.Sequential(conv, norm_after(conv))


class ResidualBlock(nn.Module):
    """y = ReLU(F(x) + S(x)): F is convolutions with BN after each and ReLU between them, S is `downsample`.

    convs: in their order, by their names in the references; the norm of `conv2_t` is `bn2_t`.
    """

    expansion = 1  # channels that come out, in units of the width

    def __init__(self, downsample: nn.Module | None, **convs: nn.Conv2d | nn.Conv3d):
        super().__init__()
        self.steps = [(name, name.replace("conv", "bn")) for name in convs]
        for (conv_name, norm_name), conv in zip(self.steps, convs.values()):
            self.add_step(conv_name, conv, norm_name)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def add_step(self, conv_name: str, conv: nn.Module, norm_name: str) -> None:
        self.add_module(conv_name, conv)
        self.add_module(norm_name, norm_after(conv))

    def shortcut(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.downsample is None else self.downsample(x)

    def forward(self, x: torch.Tensor, shortcut_of: torch.Tensor | None = None) -> torch.Tensor:
        """shortcut_of: what S sees in place of x."""
        shortcut = self.shortcut(x if shortcut_of is None else shortcut_of)
        y = x
        for number, (conv, norm) in enumerate(self.steps):
            y = self.relu(y) if number else y
            y = getattr(self, norm)(getattr(self, conv)(y))
        y += shortcut
        return self.relu(y)


def add_stages(
    model: nn.Module,
    channels: int,
    block_counts: tuple[int, ...],
    widths: tuple[int, ...],
    make_block: Callable[..., nn.Module],
    stride: Size = 2,
) -> int:
    """Register stages of residual blocks as `layer1`, `layer2`, …; the first block of each but the first strides.

    channels: what the first block gets. make_block(in_channels, width, stride, stage, index) makes a block; stages
    count from 1, blocks from 0. Returns the channels that come out.
    """
    for stage, (count, width) in enumerate(zip(block_counts, widths), start=1):
        blocks = nn.Sequential()
        for index in range(count):
            blocks.append(make_block(channels, width, stride if stage > 1 and index == 0 else 1, stage, index))
            channels = width * blocks[index].expansion
        model.add_module(f"layer{stage}", blocks)
    return channels
