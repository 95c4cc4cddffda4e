"""2-D ResNets over the frames of a clip, alone (TSN) or with a module that mixes the frames (TAM, TSM).

TSN: "Temporal Segment Networks" (Wang et al., ECCV 2016): every frame on its own, the frames' logits averaged.
TAM: the temporal aggregation module (Fan et al., NeurIPS 2019) in front of the first convolution of every block:
    y = ReLU(F(TAM(x)) + S(x)),   F and S of the image network: S is the identity or conv 1×1 and BN
TSM: the temporal shift (Lin et al., ICCV 2019), placed
    residual:  y = ReLU(F(shift(x)) + S(x)),   in depths 101 and 152 in every second block only, from the first
    inplace:   y = ReLU(F(shift(x)) + S(shift(x))),   in every block
With `temporal_stride`, a pool of 3 frames and stride 2 follows each of the first three stages.
temporal.py has the equations of TAM and of the shift. State dicts of TSN and TAM equal those of
IBM/action-recognition-pytorch; those of TSN and TSM equal torchvision's ResNets. mit-han-lab/temporal-shift-module has
the same TSM with other key prefixes (`mit_tsm_key`), and without temporal stride.
"""

from functools import partial

import torch
from torch import nn

from actlib.models.parts.layers import init_conv_and_norm
from actlib.models.parts.options import scale_width
from actlib.models.parts.residual import (
    BLOCK_COUNTS,
    IMAGE_DEPTHS,
    STAGE_WIDTHS,
    ResidualBlock,
    add_stages,
    make_shortcut,
)
from actlib.models.parts.temporal import FrameNetwork, TemporalAggregation, TemporalShift, fold_time, unfold_time
from actlib.models.parts.variants import register_variants
from actlib.models.resnet import BasicBlock, Bottleneck


class MixingBlock(ResidualBlock):
    """A block of images that sees frames which a module has mixed; its shortcut too where `mix_shortcut`."""

    conv_type = nn.Conv2d

    def __init__(self, in_channels: int, width: int, stride: int, mixer: nn.Module | None, mix_shortcut: bool):
        downsample = make_shortcut("B", in_channels, width * self.expansion, stride, self.conv_type)
        super().__init__(in_channels, width, stride, downsample)
        self.tam = mixer  # the reference's name, whatever mixes the frames
        self.mix_shortcut = mix_shortcut

    def forward(self, x: torch.Tensor, num_frames: int) -> torch.Tensor:
        mixed = x if self.tam is None else self.tam(x, num_frames)
        return super().forward(mixed, shortcut_of=mixed if self.mix_shortcut else x)


class BasicBlock2D(MixingBlock, BasicBlock):
    pass


class Bottleneck2D(MixingBlock, Bottleneck):
    pass


class ResNet2D(FrameNetwork):
    """An image ResNet on every frame. frames: the options of FrameNetwork.

    width_mult scales the channels of every layer; the references have only 1.0, narrower ones are for small machines.
    """

    def __init__(self, depth: int, num_classes: int, width_mult: float, **frames: object):
        super().__init__(num_classes, **frames)
        block, counts = BasicBlock2D if depth < 50 else Bottleneck2D, BLOCK_COUNTS[depth]
        mix_every = 2 if self.placement == "residual" and counts[2] >= 23 else 1

        def make_block(in_channels: int, width: int, stride: int, stage: int, index: int) -> MixingBlock:
            mixer = self.make_mixer(in_channels) if self.make_mixer and index % mix_every == 0 else None
            return block(in_channels, width, stride, mixer, mix_shortcut=self.placement == "inplace")

        widths = tuple(scale_width(width, "width_mult", width_mult) for width in STAGE_WIDTHS)
        self.conv1 = nn.Conv2d(3, widths[0], kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        channels = add_stages(self, widths[0], counts, widths, make_block)
        self.dropout = nn.Dropout(0.5)
        self.fc = self.new_classifier(channels, num_classes)
        init_conv_and_norm(self)  # W_j of TAM too: the reference's N(0, 2/C), of either sign

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        num_frames = x.shape[2]
        x = self.maxpool(self.relu(self.bn1(self.conv1(fold_time(x)))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                x = block(x, num_frames)
            if stage is not self.layer4:
                x, num_frames = self.pool_time(x, num_frames)
        return unfold_time(x, num_frames)


@register_variants("tsn_resnet{}", IMAGE_DEPTHS)
def tsn_resnet(
    depth: int,
    num_classes: int,
    *,
    num_frames: int = 8,
    temporal_stride: bool = True,
    pooling: str = "max",
    width_mult: float = 1.0,
) -> ResNet2D:
    """ResNet on every frame, TSN; see the top of this file."""
    frames = {"num_frames": num_frames, "temporal_stride": temporal_stride, "pooling": pooling}
    return ResNet2D(depth, num_classes, width_mult, **frames)


@register_variants("tam_resnet{}", IMAGE_DEPTHS)
def tam_resnet(
    depth: int,
    num_classes: int,
    *,
    num_frames: int = 8,
    temporal_stride: bool = True,
    pooling: str = "max",
    blending_frames: int = 3,
    blending_method: str = "sum",
    depthwise: bool = True,
    width_mult: float = 1.0,
) -> ResNet2D:
    """ResNet on every frame, TAM; see the top of this file."""
    frames = {"num_frames": num_frames, "temporal_stride": temporal_stride, "pooling": pooling}
    blend = {"blending_frames": blending_frames, "blending_method": blending_method, "depthwise": depthwise}
    return ResNet2D(depth, num_classes, width_mult, **frames, make_mixer=partial(TemporalAggregation, **blend))


@register_variants("tsm_resnet{}", IMAGE_DEPTHS)
def tsm_resnet(
    depth: int,
    num_classes: int,
    *,
    num_frames: int = 8,
    temporal_stride: bool = False,  # TSM's own network has none
    pooling: str = "max",
    placement: str = "residual",
    shift_div: int = 8,
    width_mult: float = 1.0,
) -> ResNet2D:
    """ResNet on every frame, TSM; see the top of this file."""
    frames = {"num_frames": num_frames, "temporal_stride": temporal_stride, "pooling": pooling}
    shift = partial(TemporalShift, shift_div=shift_div)
    return ResNet2D(depth, num_classes, width_mult, **frames, placement=placement, make_mixer=shift)
