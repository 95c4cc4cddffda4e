"""Slow, C2D and I3D, ResNet-50 of one pathway, as PyTorchVideo has them.

Slow: the slow pathway of "SlowFast Networks for Video Recognition" (Feichtenhofer et al., ICCV 2019) alone.
C2D, and I3D with few temporal kernels: "Non-local Neural Networks" (Wang et al., CVPR 2018), without non-local blocks.
A bottleneck splits space and time, conv_a t×1×1 and conv_b 1×3×3 with the stride; T is kept by all of them. t by stage:

    network   stem    stage 1  2     3     4      after stage 1
    slow      1×7×7   1        1     3     3      –
    c2d       1×7×7   1        1     1     1      a max-pool over pairs of frames
    i3d       5×7×7   3        3, 1  3, 1  1, 3   a max-pool over pairs of frames     (3, 1: by turns)

State dicts equal those of facebookresearch/pytorchvideo's hub builders `slow_r50`, `c2d_r50` and `i3d_r50`, whose
weights for Kinetics-400 are SLOW_8x8_R50.pyth, C2D_8x8_R50.pyth and I3D_8x8_R50.pyth. `i3d_r50` here is another one.
"""

from torch import nn

from actlib.models.parts.layers import FittingPool3d, Size, spatial_conv, temporal_conv
from actlib.models.parts.numbered_blocks import Block, BlockNetwork, Branch, Stage, space_stem
from actlib.models.parts.residual import BLOCK_COUNTS, STAGE_WIDTHS
from actlib.models.registry import register_model

EXPANSION = 4


def split_stage(count: int, in_channels: int, width: int, stride: Size, t_sizes: tuple[int, ...]) -> Stage:
    """`count` bottlenecks of `width` whose conv_a has the kernels `t_sizes` in time by turns."""
    blocks, out_channels = [], width * EXPANSION
    for index in range(count):
        conv_a = temporal_conv(in_channels, width, t_sizes[index % len(t_sizes)])
        conv_b = spatial_conv(width, width, stride=stride)
        blocks.append(Block(in_channels, out_channels, stride, Branch(conv_a, conv_b, out_channels)))
        in_channels, stride = out_channels, 1
    return Stage(blocks)


class OnePathway(BlockNetwork):
    """stem_t: the stem's kernel in time. t_sizes: of each stage. pool: over pairs of frames, after the first."""

    def __init__(
        self,
        num_classes: int,
        num_frames: int,
        crop_size: int,
        stem_t: int,
        t_sizes: tuple[tuple[int, ...], ...],
        pool: bool,
    ):
        super().__init__(num_classes, num_frames, crop_size, t_stride=2 if pool else 1)
        channels = STAGE_WIDTHS[0]
        blocks: list[nn.Module] = [space_stem(channels, stem_t)]
        for stage, (count, width, sizes) in enumerate(zip(BLOCK_COUNTS[50], STAGE_WIDTHS, t_sizes)):
            blocks.append(split_stage(count, channels, width, (1, 2, 2) if stage else 1, sizes))
            channels = width * EXPANSION
            if pool and stage == 0:
                blocks.append(FittingPool3d((2, 1, 1)))
        self.add_blocks(blocks, channels, dropout=0.5)


@register_model
def slow_r50(num_classes: int, *, num_frames: int = 8, crop_size: int = 224) -> OnePathway:
    """Slow ResNet-50; see the top of this file, and BlockNetwork for the options."""
    return OnePathway(num_classes, num_frames, crop_size, 1, ((1,), (1,), (3,), (3,)), pool=False)


@register_model
def c2d_r50(num_classes: int, *, num_frames: int = 8, crop_size: int = 224) -> OnePathway:
    """C2D ResNet-50; see the top of this file, and BlockNetwork for the options."""
    return OnePathway(num_classes, num_frames, crop_size, 1, ((1,),) * 4, pool=True)


@register_model
def i3d_r50_8x8(num_classes: int, *, num_frames: int = 8, crop_size: int = 224) -> OnePathway:
    """I3D ResNet-50 of clips 8 × 8; see the top of this file, and BlockNetwork for the options."""
    return OnePathway(num_classes, num_frames, crop_size, 5, ((3,), (3, 1), (3, 1), (1, 3)), pool=True)
