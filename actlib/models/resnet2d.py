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

import torch
from torch import nn

from actlib.models.parts.temporal import (
    PLACEMENTS,
    SMALL_HEAD_STD,
    FrameClassifier,
    TemporalAggregation,
    TemporalShift,
    fold_time,
    temporal_pool,
    unfold_time,
)
from actlib.models.registry import check_choice, check_positive, register_model, scale_width
from actlib.models.resnet import BLOCK_COUNTS, STAGE_WIDTHS, init_conv_and_norm

DEPTHS = (18, 34, 50, 101, 152)


def _downsample(in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    if stride == 1 and in_channels == out_channels:
        return None
    conv = nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


class BasicBlock2D(nn.Module):
    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, mixer: nn.Module | None, mix_shortcut: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _downsample(in_channels, width, stride)
        self.tam = mixer  # the reference's name, whatever mixes the frames
        self.mix_shortcut = mix_shortcut

    def forward(self, x: torch.Tensor, num_frames: int) -> torch.Tensor:
        y = x if self.tam is None else self.tam(x, num_frames)
        x = y if self.mix_shortcut else x
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(y)))
        y = self.bn2(self.conv2(y))
        y += shortcut
        return self.relu(y)


class Bottleneck2D(nn.Module):
    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, mixer: nn.Module | None, mix_shortcut: bool):
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _downsample(in_channels, out_channels, stride)
        self.tam = mixer  # the reference's name, whatever mixes the frames
        self.mix_shortcut = mix_shortcut

    def forward(self, x: torch.Tensor, num_frames: int) -> torch.Tensor:
        y = x if self.tam is None else self.tam(x, num_frames)
        x = y if self.mix_shortcut else x
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(y)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += shortcut
        return self.relu(y)


class ResNet2D(FrameClassifier):
    """An image ResNet on every frame; dropout 0.5 and the linear layer frame by frame, then the mean over the frames.

    num_frames is the clip length that the network is meant for. Nothing in it depends on that: T is read from the
    input, and a clip of another length works too.
    width_mult scales the channels of every layer; the references have only 1.0, narrower ones are for small machines.
    tam: the options of TemporalAggregation. placement, shift_div: of the temporal shift. Without either, TSN.
    """

    def __init__(
        self,
        depth: int,
        num_classes: int,
        *,
        num_frames: int,
        temporal_stride: bool,
        pooling: str,
        width_mult: float,
        tam: dict | None = None,
        placement: str | None = None,
        shift_div: int | None = None,
    ):
        super().__init__()
        check_positive("num_frames", num_frames)
        check_choice("pooling", pooling, ("max", "avg"))
        if placement is not None:
            check_choice("placement", placement, PLACEMENTS)
            self.head_std = SMALL_HEAD_STD
        self.num_classes = num_classes
        self.temporal_stride = temporal_stride
        self.pooling = pooling
        block = BasicBlock2D if depth < 50 else Bottleneck2D
        counts = BLOCK_COUNTS[depth]
        shift_every = 2 if placement == "residual" and counts[2] >= 23 else 1
        widths = [scale_width(width, "width_mult", width_mult) for width in STAGE_WIDTHS]
        channels = widths[0]
        self.conv1 = nn.Conv2d(3, channels, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        for stage, (count, width) in enumerate(zip(counts, widths), start=1):
            blocks = []
            for index in range(count):
                stride = 2 if stage > 1 and index == 0 else 1
                mixer = None
                if tam:
                    mixer = TemporalAggregation(channels, **tam)
                elif placement and index % shift_every == 0:
                    mixer = TemporalShift(channels, shift_div)
                blocks.append(block(channels, width, stride, mixer, mix_shortcut=placement == "inplace"))
                channels = width * block.expansion
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.dropout = nn.Dropout(0.5)
        self.fc = self.new_classifier(channels, num_classes)
        init_conv_and_norm(self)  # W_j of TAM too: the reference's N(0, 2/C), of either sign

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        num_frames = x.shape[2]
        x = self.maxpool(self.relu(self.bn1(self.conv1(fold_time(x)))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                x = block(x, num_frames)
            if self.temporal_stride and stage is not self.layer4:
                x, num_frames = temporal_pool(x, num_frames, self.pooling)
        return unfold_time(x, num_frames)


def _register(depth: int) -> None:
    def tsn(
        num_classes: int,
        *,
        num_frames: int = 8,
        temporal_stride: bool = True,
        pooling: str = "max",
        width_mult: float = 1.0,
    ) -> ResNet2D:
        common = {"num_frames": num_frames, "temporal_stride": temporal_stride, "pooling": pooling}
        return ResNet2D(depth, num_classes, **common, width_mult=width_mult)

    def tam(
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
        common = {"num_frames": num_frames, "temporal_stride": temporal_stride, "pooling": pooling}
        module = {"blending_frames": blending_frames, "blending_method": blending_method, "depthwise": depthwise}
        return ResNet2D(depth, num_classes, **common, width_mult=width_mult, tam=module)

    def tsm(
        num_classes: int,
        *,
        num_frames: int = 8,
        temporal_stride: bool = False,  # TSM's own network has none
        pooling: str = "max",
        placement: str = "residual",
        shift_div: int = 8,
        width_mult: float = 1.0,
    ) -> ResNet2D:
        common = {"num_frames": num_frames, "temporal_stride": temporal_stride, "pooling": pooling}
        return ResNet2D(depth, num_classes, **common, width_mult=width_mult, placement=placement, shift_div=shift_div)

    for kind, entry in {"tsn": tsn, "tam": tam, "tsm": tsm}.items():
        entry.__name__ = f"{kind}_resnet{depth}"
        entry.__doc__ = f"ResNet-{depth} on every frame, {kind.upper()}; see the top of this file."
        register_model(entry)


for _depth in DEPTHS:
    _register(_depth)
