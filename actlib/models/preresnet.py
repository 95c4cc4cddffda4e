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

from actlib.models.parts.options import check_release
from actlib.models.parts.residual import BLOCK_COUNTS, STAGE_WIDTHS, ResidualBlock
from actlib.models.parts.variants import register_variants
from actlib.models.resnet import BasicBlock, Bottleneck, ResNet3D


class PreActivation(ResidualBlock):
    """What a block of resnet.py becomes with BN and ReLU before its convolutions."""

    def add_step(self, conv_name: str, conv: nn.Conv3d, norm_name: str) -> None:
        self.add_module(norm_name, nn.BatchNorm3d(conv.in_channels))
        self.add_module(conv_name, conv)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = self.shortcut(x)
        y = x
        for conv, norm in self.steps:
            y = getattr(self, conv)(self.relu(getattr(self, norm)(y)))
        y += shortcut
        return y


class PreActivationBasicBlock(PreActivation, BasicBlock):
    pass


class PreActivationBottleneck(PreActivation, Bottleneck):
    pass


@register_variants("preresnet{}", (18, 34, 50, 101, 152, 200))
def preresnet(
    depth: int,
    num_classes: int,
    *,
    shortcut: str = "B",
    conv1_t_size: int = 7,
    conv1_t_stride: int = 1,
    max_pool: bool = True,
    release: int = 2018,
) -> ResNet3D:
    """3-D pre-activation ResNet; see the top of this file."""
    check_release(release)
    block, counts = PreActivationBasicBlock if depth < 50 else PreActivationBottleneck, BLOCK_COUNTS[depth]
    return ResNet3D(num_classes, block, counts, STAGE_WIDTHS, shortcut, conv1_t_size, conv1_t_stride, max_pool)
