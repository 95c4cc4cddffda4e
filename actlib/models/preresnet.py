"""3-D pre-activation ResNets: "Identity Mappings in Deep Residual Networks" (He et al., ECCV 2016), 3-D by Hara et al.

A residual block answers y = F(x) + S(x), with BN and ReLU before each convolution of F instead of after it:
    basic (depth 18, 34):          [BN, ReLU, conv 3×3×3] twice
    bottleneck (50 and deeper):    [BN, ReLU, conv 1×1×1] → [BN, ReLU, conv 3×3×3] → [BN, ReLU, conv 1×1×1]
S is that of resnet.py and takes x itself, not what BN and ReLU make of it. As in the reference, stem norm, ReLU and
max-pool are still there, and no BN and ReLU follow the last block.
State dicts equal those of kenshohara/3D-ResNets-PyTorch. Its two branches have the same network here, so `release`,
which tells them apart in other families, changes nothing.
"""

import torch
from torch import nn

from actlib.models.registry import register_model
from actlib.models.resnet import BLOCK_COUNTS, STAGE_WIDTHS, ResNet3D, check_release, conv1x1x1, conv3x3x3

DEPTHS = (18, 34, 50, 101, 152, 200)


class PreActivationBasicBlock(nn.Module):
    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, downsample: nn.Module | None):
        super().__init__()
        self.bn1 = nn.BatchNorm3d(in_channels)
        self.conv1 = conv3x3x3(in_channels, width, stride)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv2 = conv3x3x3(width, width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.conv1(self.relu(self.bn1(x)))
        y = self.conv2(self.relu(self.bn2(y)))
        y += shortcut
        return y


class PreActivationBottleneck(nn.Module):
    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, downsample: nn.Module | None):
        super().__init__()
        self.bn1 = nn.BatchNorm3d(in_channels)
        self.conv1 = conv1x1x1(in_channels, width)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv2 = conv3x3x3(width, width, stride)
        self.bn3 = nn.BatchNorm3d(width)
        self.conv3 = conv1x1x1(width, width * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.conv1(self.relu(self.bn1(x)))
        y = self.conv2(self.relu(self.bn2(y)))
        y = self.conv3(self.relu(self.bn3(y)))
        y += shortcut
        return y


def _register(depth: int) -> None:
    def entry(
        num_classes: int,
        *,
        shortcut: str = "B",
        conv1_t_size: int = 7,
        conv1_t_stride: int = 1,
        max_pool: bool = True,
        release: int = 2018,
    ) -> ResNet3D:
        check_release(release)
        return ResNet3D(
            PreActivationBasicBlock if depth < 50 else PreActivationBottleneck,
            BLOCK_COUNTS[depth],
            STAGE_WIDTHS,
            num_classes,
            shortcut=shortcut,
            conv1_t_size=conv1_t_size,
            conv1_t_stride=conv1_t_stride,
            max_pool=max_pool,
        )

    entry.__name__ = f"preresnet{depth}"
    entry.__doc__ = f"3-D pre-activation ResNet-{depth}; see the top of this file."
    register_model(entry)


for _depth in DEPTHS:
    _register(_depth)
