"""What the networks of facebookresearch/pytorchvideo share: `blocks` by number, the residual block, the head.

    blocks.0            stem: conv → BN → ReLU, and a max-pool
    blocks.1, 2, …      stages of residual blocks; where a pool stands between them, it has a number too
    the last of blocks  head: the mean over windows, dropout, a linear layer `proj`

A residual block is y = ReLU(F(x) + S(x)), in the references' names:
    F, branch2:  conv_a → BN → ReLU → conv_b → BN → ReLU → conv_c (1×1×1) → BN
    S, branch1:  the identity; conv 1×1×1 and BN in the first block of a stage
"""

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn

from actlib.models.parts.heads import PooledClassifier
from actlib.models.parts.layers import Size, conv1x1x1, init_conv_and_norm
from actlib.models.parts.options import check_positive

SPACE_STRIDE = 32  # pixels from one position of the last maps to the next, in all of these networks


class Stem(nn.Module):
    """Conv, BN and ReLU, then `pool`. x: (B, C, T, H, W)."""

    def __init__(self, conv: nn.Module, channels: int, pool: bool = True):
        super().__init__()
        self.conv = conv
        self.norm = nn.BatchNorm3d(channels)
        self.activation = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)) if pool else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(self.activation(self.norm(self.conv(x))))


def space_stem(channels: int, t_size: int) -> Stem:
    """A stem of `t_size`×7×7 that keeps T, with its pool."""
    conv = nn.Conv3d(3, channels, (t_size, 7, 7), (1, 2, 2), padding=(t_size // 2, 3, 3), bias=False)
    return Stem(conv, channels)


class Branch(nn.Module):
    """F of the equation at the top. norm_b, act_b: what follows conv_b, BN and ReLU if not given."""

    def __init__(
        self,
        conv_a: nn.Conv3d,
        conv_b: nn.Module,
        out_channels: int,
        norm_b: nn.Module | None = None,
        act_b: nn.Module | None = None,
    ):
        super().__init__()
        width = conv_a.out_channels
        self.conv_a, self.norm_a, self.act_a = conv_a, nn.BatchNorm3d(width), nn.ReLU(inplace=True)
        self.conv_b, self.norm_b = conv_b, norm_b or nn.BatchNorm3d(width)
        self.act_b = act_b or nn.ReLU(inplace=True)
        self.conv_c, self.norm_c = conv1x1x1(width, out_channels), nn.BatchNorm3d(out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act_a(self.norm_a(self.conv_a(x)))
        x = self.act_b(self.norm_b(self.conv_b(x)))
        return self.norm_c(self.conv_c(x))


class Block(nn.Module):
    """y of the equation at the top; S is the identity where `stride` and channels change nothing."""

    def __init__(self, in_channels: int, out_channels: int, stride: Size, branch: Branch, shortcut_norm: bool = True):
        super().__init__()
        changes = stride != 1 or in_channels != out_channels
        self.branch1_conv = conv1x1x1(in_channels, out_channels, stride) if changes else None
        self.branch1_norm = nn.BatchNorm3d(out_channels) if changes and shortcut_norm else None
        self.branch2 = branch
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.branch2(x)
        if self.branch1_conv is not None:
            x = self.branch1_conv(x)
        if self.branch1_norm is not None:
            x = self.branch1_norm(x)
        y += x
        return self.activation(y)


class Stage(nn.Module):
    """Residual blocks one after another."""

    def __init__(self, blocks: list[Block]):
        super().__init__()
        self.res_blocks = nn.Sequential(*blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.res_blocks(x)


class BlockNetwork(PooledClassifier):
    """`blocks`, of which the last is the head: it classifies means over windows of the last maps, and averages.

    A window is as large as the maps of a clip of `num_frames` × `crop_size`², in the references the training clips. So
    for such a clip, and for a smaller one, it is all of the maps; of a larger one the windows overlap, one starting at
    each position, and the places in the middle count more. That is how the references evaluate 256 pixels with weights
    of 224. t_stride: frames from one position of the last maps to the next.
    """

    head_std = 0.01

    def __init__(self, num_classes: int, num_frames: int, crop_size: int, t_stride: int = 1):
        super().__init__(num_classes)
        check_positive("num_frames", num_frames)
        check_positive("crop_size", crop_size)
        side = math.ceil(crop_size / SPACE_STRIDE)
        self.window = math.ceil(num_frames / t_stride), side, side

    def add_blocks(self, blocks: list[nn.Module], channels: int, dropout: float) -> None:
        """Register the blocks, a head for `channels` after them, and initialise all as the references do."""
        proj = self.new_classifier(channels, self.num_classes)
        self.blocks = nn.ModuleList([*blocks, nn.Sequential(OrderedDict(dropout=nn.Dropout(dropout), proj=proj))])
        self.finish()

    def finish(self) -> None:
        """Name the head. Norms that end a residual branch begin at 0, so that a block begins as its shortcut."""
        head = f"blocks.{len(self.blocks) - 1}"
        self.classifier_name, self.dropout_name = f"{head}.proj", f"{head}.dropout"
        init_conv_and_norm(self)
        for module in self.modules():
            if isinstance(module, Branch):
                nn.init.zeros_(module.norm_c.weight)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks[:-1]:
            x = block(x)
        return x

    def window_means(self, features: torch.Tensor) -> torch.Tensor:
        """features: (B, C, T', H', W'). Returns the mean of each window, (B, C, T'', H'', W'')."""
        window = [min(size, there) for size, there in zip(self.window, features.shape[2:])]
        return F.avg_pool3d(features, window, stride=1)

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        return super().forward_head(self.window_means(features))
