"""I3D: "Quo Vadis, Action Recognition?" (Carreira and Zisserman, CVPR 2017), Inception v1 inflated to 3-D.

BN (eps 1e-3) and ReLU follow every convolution. A module joins four branches over the channels:
    y = [conv 1×1×1 (x);  conv 3³ (conv 1×1×1 (x));  conv 3³ (conv 1×1×1 (x));  conv 1×1×1 (max-pool 3³ (x))]
Stem: conv 7³ with stride 1×2×2 → pool 1×3×3 → conv 1×1×1 → conv 3³ → pool 3³; modules 3a, 3b → pool 3³; 4a to 4e →
pool 3³; 5a, 5b. All pools have stride 2 in space. With `temporal_stride` the 3³ pools have it over time too; without,
they still look at three frames. `pooling` chooses the maximum or the average for all four, but not in the modules.
The paper also strides over time in the first convolution; here as in IBM/action-recognition-pytorch, whose state dict
this equals.
"""

from collections.abc import Callable

import torch
from torch import nn

from actlib.models.inception_v1 import MODULES, NORM_EPS, OUT_CHANNELS, STAGES, STEM_CHANNELS, layer_name, out_channels
from actlib.models.parts.temporal import SMALL_HEAD_STD, FrameClassifier, pool3d
from actlib.models.registry import check_choice, register_model
from actlib.models.resnet import init_conv_and_norm

Conv3x3x3 = Callable[[int, int], nn.Module]  # (in_channels, out_channels) to a layer that keeps T, H and W


class ConvNormReLU(nn.Module):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int, int],
        stride: tuple[int, int, int] = (1, 1, 1),
    ):
        super().__init__()
        padding = tuple(size // 2 for size in kernel_size)
        self.conv = nn.Conv3d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
        self.bn = nn.BatchNorm3d(out_channels, eps=NORM_EPS)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.bn(self.conv(x)))


def conv1x1x1(in_channels: int, out_channels: int) -> ConvNormReLU:
    return ConvNormReLU(in_channels, out_channels, (1, 1, 1))


def conv3x3x3(in_channels: int, out_channels: int) -> ConvNormReLU:
    return ConvNormReLU(in_channels, out_channels, (3, 3, 3))


class Inception3D(nn.Module):
    def __init__(self, in_channels: int, widths: tuple[int, ...], conv3: Conv3x3x3):
        super().__init__()
        one, reduce, three, second_reduce, second_three, pool = widths
        self.branch1 = conv1x1x1(in_channels, one)
        self.branch2 = nn.Sequential(conv1x1x1(in_channels, reduce), conv3(reduce, three))
        self.branch3 = nn.Sequential(conv1x1x1(in_channels, second_reduce), conv3(second_reduce, second_three))
        self.branch4 = nn.Sequential(nn.MaxPool3d(3, stride=1, padding=1), conv1x1x1(in_channels, pool))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], dim=1)


class I3D(FrameClassifier):
    """Features of C = 1024; dropout 0.5 and the linear layer frame by frame, then the mean over the frames.

    stem_t_size: frames that the first convolution sees. conv3: what stands at each 3×3×3 convolution.
    """

    head_std = SMALL_HEAD_STD

    def __init__(
        self,
        num_classes: int,
        *,
        temporal_stride: bool,
        pooling: str,
        stem_t_size: int = 7,
        conv3: Conv3x3x3 = conv3x3x3,
    ):
        super().__init__()
        check_choice("pooling", pooling, ("max", "avg"))
        self.num_classes = num_classes
        self.pooling = pooling
        self.pool_stride = (2 if temporal_stride else 1, 2, 2)
        first, second, third = STEM_CHANNELS
        self.conv1 = ConvNormReLU(3, first, (stem_t_size, 7, 7), (1, 2, 2))
        self.conv2 = conv1x1x1(first, second)
        self.conv3 = conv3(second, third)
        channels = third
        for suffix, widths in MODULES.items():
            self.add_module(layer_name(suffix), Inception3D(channels, widths, conv3))
            channels = out_channels(widths)
        self.dropout = nn.Dropout(0.5)
        self.fc = self.new_classifier(OUT_CHANNELS, num_classes)
        init_conv_and_norm(self)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        for stage, suffixes in enumerate(STAGES):
            if stage == 1:
                x = pool3d(x, self.pooling, (1, 3, 3), (1, 2, 2), (0, 1, 1))
            elif stage in (2, 3):
                x = pool3d(x, self.pooling, (3, 3, 3), self.pool_stride, (1, 1, 1))
            elif stage == 4:
                x = self.last_pool(x)
            for suffix in suffixes:
                x = getattr(self, layer_name(suffix))(x)
        return x

    def last_pool(self, x: torch.Tensor) -> torch.Tensor:
        return pool3d(x, self.pooling, (3, 3, 3), self.pool_stride, (1, 1, 1))


@register_model
def i3d(num_classes: int, *, temporal_stride: bool = True, pooling: str = "max") -> I3D:
    """Inflated Inception v1; see the top of this file."""
    return I3D(num_classes, temporal_stride=temporal_stride, pooling=pooling)
