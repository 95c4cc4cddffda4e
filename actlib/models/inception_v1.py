"""Inception v1 over the frames of a clip, alone (TSN) or with a module that mixes the frames (TAM, TSM).

"Going Deeper with Convolutions" (Szegedy et al., CVPR 2015) with BN (eps 1e-3) and ReLU after every convolution. A
module joins four branches over the channels:
    y = [conv 1×1 (x);  conv 3×3 (conv 1×1 (x));  conv 3×3 (conv 1×1 (x));  conv 1×1 (max-pool 3×3 (x))]
(the paper's 5×5 is 3×3, as in the published ImageNet weights.) The three stem convolutions and nine modules are
followed by TAM in the TAM network. The TSM network has the shift (temporal.py has the equations of both)
    inplace:   before conv2 and before every module, as in mit-han-lab/temporal-shift-module's BN-Inception
    residual:  before the two 3×3 branches of every module; the 1×1 and the pooling branch see the frame itself. A
               module has no shortcut to leave unshifted, so this is the nearest to it; no reference has such a network
With `temporal_stride`, a pool of 3 frames and stride 2 follows the last three max-pools.
State dicts of TSN and TAM equal those of IBM/action-recognition-pytorch; those of TSN and TSM equal torchvision's
googlenet without its auxiliary heads.
"""

import torch
import torch.nn.functional as F
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
from actlib.models.registry import check_choice, check_positive, register_model

NORM_EPS = 1e-3  # TensorFlow's, which the published ImageNet weights were trained with

STEM_CHANNELS = (64, 64, 192)  # conv1 7×7 with stride 2, conv2 1×1, conv3 3×3
# a module's channels: 1×1; 3×3 with the 1×1 before it first; the second 3×3 likewise; after the pool
MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
OUT_CHANNELS = 1024
# conv<digit> and inception<name> in their order; a pool lies between any two stages
STAGES = (("1",), ("2", "3"), ("3a", "3b"), ("4a", "4b", "4c", "4d", "4e"), ("5a", "5b"))


def layer_name(suffix: str) -> str:
    return f"conv{suffix}" if suffix.isdigit() else f"inception{suffix}"


def out_channels(widths: tuple[int, ...]) -> int:
    """The channels that a module of these widths puts out: those of its four branches."""
    return widths[0] + widths[2] + widths[4] + widths[5]


class ConvNormReLU2D(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1):
        super().__init__()
        padding = kernel_size // 2
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=NORM_EPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Inception2D(nn.Module):
    def __init__(self, in_channels: int, widths: tuple[int, ...]):
        super().__init__()
        one, reduce, three, second_reduce, second_three, pool = widths
        conv = ConvNormReLU2D
        self.branch1 = conv(in_channels, one, 1)
        self.branch2 = nn.Sequential(conv(in_channels, reduce, 1), conv(reduce, three, 3))
        self.branch3 = nn.Sequential(conv(in_channels, second_reduce, 1), conv(second_reduce, second_three, 3))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), conv(in_channels, pool, 1))

    def forward(self, x: torch.Tensor, mixed: torch.Tensor | None = None) -> torch.Tensor:
        """mixed: what the 3×3 branches see in place of x."""
        mixed = x if mixed is None else mixed
        return torch.cat([self.branch1(x), self.branch2(mixed), self.branch3(mixed), self.branch4(x)], dim=1)


class InceptionV1(FrameClassifier):
    """Inception v1 on every frame; dropout 0.5 and the linear layer frame by frame, then the mean over the frames.

    num_frames is the clip length that the network is meant for. Nothing in it depends on that: T is read from the
    input, and a clip of another length works too.
    tam: the options of TemporalAggregation. placement, shift_div: of the temporal shift. Without either, TSN.
    The layers start as PyTorch starts them, as in the reference, which always goes on from ImageNet weights.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        num_frames: int,
        temporal_stride: bool,
        pooling: str,
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
        self.placement = placement

        first, second, third = STEM_CHANNELS
        layers = {
            "1": (3, ConvNormReLU2D(3, first, kernel_size=7, stride=2), first),
            "2": (first, ConvNormReLU2D(first, second, kernel_size=1), second),
            "3": (second, ConvNormReLU2D(second, third, kernel_size=3), third),
        }
        channels = third
        for suffix, widths in MODULES.items():
            layers[suffix] = (channels, Inception2D(channels, widths), out_channels(widths))
            channels = out_channels(widths)
        shifted = {"residual": tuple(MODULES), "inplace": ("2", *MODULES)}.get(placement, ())
        for suffix, (before, layer, after) in layers.items():
            self.add_module(f"shift{suffix}", TemporalShift(before, shift_div) if suffix in shifted else None)
            self.add_module(layer_name(suffix), layer)
            self.add_module(f"tam{suffix}", TemporalAggregation(after, **tam) if tam else None)
        self.dropout = nn.Dropout(0.5)
        self.fc = self.new_classifier(OUT_CHANNELS, num_classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        num_frames = x.shape[2]
        x = fold_time(x)
        for stage, suffixes in enumerate(STAGES):
            if stage > 0:
                x = F.max_pool2d(x, 2 if stage == len(STAGES) - 1 else 3, stride=2, ceil_mode=True)
            if stage > 1 and self.temporal_stride:
                x, num_frames = temporal_pool(x, num_frames, self.pooling)
            for suffix in suffixes:
                x = self._run_layer(suffix, x, num_frames)
        return unfold_time(x, num_frames)

    def _run_layer(self, suffix: str, x: torch.Tensor, num_frames: int) -> torch.Tensor:
        """A stem convolution or an Inception module with the shift before and TAM after it, where there are any."""
        layer = getattr(self, layer_name(suffix))
        shift, tam = getattr(self, f"shift{suffix}"), getattr(self, f"tam{suffix}")
        if shift is None:
            x = layer(x)
        elif self.placement == "inplace":
            x = layer(shift(x, num_frames))
        else:
            x = layer(x, shift(x, num_frames))
        return x if tam is None else tam(x, num_frames)


@register_model
def tsn_inception_v1(
    num_classes: int, *, num_frames: int = 8, temporal_stride: bool = True, pooling: str = "max"
) -> InceptionV1:
    """Inception v1 on every frame; see the top of this file."""
    return InceptionV1(num_classes, num_frames=num_frames, temporal_stride=temporal_stride, pooling=pooling)


@register_model
def tam_inception_v1(
    num_classes: int,
    *,
    num_frames: int = 8,
    temporal_stride: bool = True,
    pooling: str = "max",
    blending_frames: int = 3,
    blending_method: str = "sum",
    depthwise: bool = True,
) -> InceptionV1:
    """Inception v1 with TAM after every layer; see the top of this file."""
    module = {"blending_frames": blending_frames, "blending_method": blending_method, "depthwise": depthwise}
    common = {"num_frames": num_frames, "temporal_stride": temporal_stride, "pooling": pooling}
    return InceptionV1(num_classes, **common, tam=module)


@register_model
def tsm_inception_v1(
    num_classes: int,
    *,
    num_frames: int = 8,
    temporal_stride: bool = False,  # TSM's own networks have none
    pooling: str = "max",
    placement: str = "residual",
    shift_div: int = 8,
) -> InceptionV1:
    """Inception v1 with the temporal shift; see the top of this file."""
    common = {"num_frames": num_frames, "temporal_stride": temporal_stride, "pooling": pooling}
    return InceptionV1(num_classes, **common, placement=placement, shift_div=shift_div)
