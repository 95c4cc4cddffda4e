"""R(2+1)D ResNet-50 as PyTorchVideo has it; `r2plus1d50` of r2plus1d.py is another network.

"A Closer Look at Spatiotemporal Convolutions for Action Recognition" (Tran et al., CVPR 2018), but with time first and
without more channels in between: the stem is 1×7×7 without a pool, and a bottleneck's conv_b is
    conv 3×1×1 (the stride in time) → BN → ReLU → conv 1×3×3 (the stride in space)
All stages halve H and W, stages 3 and 4 T too. State dicts equal those of facebookresearch/pytorchvideo's hub builder
`r2plus1d_r50`.
"""

import torch
from torch import nn

from actlib.models.parts.layers import Size, conv1x1x1, spatial_conv, temporal_conv
from actlib.models.parts.numbered_blocks import Block, BlockNetwork, Branch, Stage, Stem
from actlib.models.parts.residual import BLOCK_COUNTS, STAGE_WIDTHS
from actlib.models.registry import register_model

EXPANSION = 4
STRIDES = ((1, 2, 2), (1, 2, 2), 2, 2)  # of the stages


class TimeThenSpace(nn.Module):
    """conv_b of the top of this file. x: (B, C, T, H, W) in and out, with C = width."""

    def __init__(self, width: int, stride: Size):
        super().__init__()
        self.conv_t = temporal_conv(width, width, stride=stride)
        self.norm = nn.BatchNorm3d(width)
        self.activation = nn.ReLU(inplace=True)
        self.conv_xy = spatial_conv(width, width, stride=stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv_xy(self.activation(self.norm(self.conv_t(x))))


class R2Plus1DResNet50(BlockNetwork):
    def __init__(self, num_classes: int, num_frames: int, crop_size: int):
        super().__init__(num_classes, num_frames, crop_size, t_stride=4)
        channels = STAGE_WIDTHS[0]
        blocks: list[nn.Module] = [Stem(spatial_conv(3, channels, 7, stride=2), channels, pool=False)]
        for count, width, stride in zip(BLOCK_COUNTS[50], STAGE_WIDTHS, STRIDES):
            stage, out_channels = [], width * EXPANSION
            for _ in range(count):
                branch = Branch(conv1x1x1(channels, width), TimeThenSpace(width, stride), out_channels)
                stage.append(Block(channels, out_channels, stride, branch))
                channels, stride = out_channels, 1
            blocks.append(Stage(stage))
        self.add_blocks(blocks, channels, dropout=0.5)


@register_model
def r2plus1d_r50(num_classes: int, *, num_frames: int = 16, crop_size: int = 224) -> R2Plus1DResNet50:
    """R(2+1)D ResNet-50; see the top of this file, and BlockNetwork for the options."""
    return R2Plus1DResNet50(num_classes, num_frames, crop_size)
