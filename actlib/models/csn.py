"""CSN: "Video Classification with Channel-Separated Convolutional Networks" (Tran et al., ICCV 2019): ip-/ir-CSN.

The interaction-reduced kind, as PyTorchVideo has it: a ResNet's bottlenecks in which
    conv_a, conv_c  1×1×1, which alone mix channels
    conv_b          3×3×3 depthwise, one kernel a channel, with the stride
Stages 2 to 4 halve T, H and W. State dicts equal those of facebookresearch/pytorchvideo's hub builder `csn_r101`.
"""

from torch import nn

from actlib.models.parts.depthwise import DepthwiseConv3d
from actlib.models.parts.layers import Size, conv1x1x1
from actlib.models.parts.numbered_blocks import Block, BlockNetwork, Branch, Stage, space_stem
from actlib.models.parts.residual import BLOCK_COUNTS, STAGE_WIDTHS
from actlib.models.registry import register_model

EXPANSION = 4


def separated_stage(count: int, in_channels: int, width: int, stride: Size) -> Stage:
    blocks, out_channels = [], width * EXPANSION
    for _ in range(count):
        conv_b = DepthwiseConv3d(width, 3, stride, padding=1)
        blocks.append(
            Block(in_channels, out_channels, stride, Branch(conv1x1x1(in_channels, width), conv_b, out_channels))
        )
        in_channels, stride = out_channels, 1
    return Stage(blocks)


class CSN(BlockNetwork):
    def __init__(self, num_classes: int, depth: int, num_frames: int, crop_size: int):
        super().__init__(num_classes, num_frames, crop_size, t_stride=8)
        channels = STAGE_WIDTHS[0]
        blocks: list[nn.Module] = [space_stem(channels, 3)]
        for stage, (count, width) in enumerate(zip(BLOCK_COUNTS[depth], STAGE_WIDTHS)):
            blocks.append(separated_stage(count, channels, width, 2 if stage else 1))
            channels = width * EXPANSION
        self.add_blocks(blocks, channels, dropout=0.0)


@register_model
def csn_r101(num_classes: int, *, num_frames: int = 32, crop_size: int = 224) -> CSN:
    """CSN ResNet-101; see the top of this file, and BlockNetwork for the options."""
    return CSN(num_classes, 101, num_frames, crop_size)
