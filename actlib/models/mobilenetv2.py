"""3-D MobileNetV2: "Resource Efficient 3D Convolutional Neural Networks" (Köpüklü et al., arXiv:1904.02422).

An inverted residual of expansion t answers y = x + F(x) where stride and channels leave the shape alone, else F(x):
    F: conv 1×1×1 to t times the channels, BN, ReLU6 (left out where t = 1)
       → depthwise conv 3×3×3 with the stride, BN, ReLU6
       → conv 1×1×1, BN (a linear bottleneck)
State dicts equal those of okankop/Efficient-3DCNNs. Widths are truncated; the last layer's 1280 never shrinks.
"""

import torch
from torch import nn

from actlib.models.parts.depthwise import DepthwiseConv3d
from actlib.models.parts.heads import SequentialClassifier
from actlib.models.parts.layers import conv1x1x1, conv_norm_relu, init_conv_and_norm
from actlib.models.parts.options import scale_width
from actlib.models.registry import register_model

# expansion, channels, blocks, stride of the first block (over T, H and W alike): arXiv:1801.04381 table 2, with
# stride 2 in the first 24-channel block over T also
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
STEM_CHANNELS = 32
LAST_CHANNELS = 1280


class InvertedResidual(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int):
        super().__init__()
        hidden = in_channels * expansion
        self.has_shortcut = stride == 1 and in_channels == out_channels
        expand = conv_norm_relu(in_channels, hidden, kernel_size=1, relu=nn.ReLU6) if expansion > 1 else ()
        self.conv = nn.Sequential(
            *expand,
            DepthwiseConv3d(hidden, kernel_size=3, stride=stride, padding=1),
            nn.BatchNorm3d(hidden),
            nn.ReLU6(inplace=True),
            conv1x1x1(hidden, out_channels),
            nn.BatchNorm3d(out_channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv(x) if self.has_shortcut else self.conv(x)


class MobileNetV2(SequentialClassifier):
    """Stem, seventeen inverted residuals, conv 1×1×1, the mean over T, H and W, dropout 0.2, a linear layer."""

    head_std = 0.01

    def __init__(self, num_classes: int, *, width_mult: float):
        super().__init__(num_classes)
        channels = scale_width(STEM_CHANNELS, "width_mult", width_mult)
        layers: list[nn.Module] = [conv_norm_relu(3, channels, kernel_size=3, stride=(1, 2, 2), relu=nn.ReLU6)]
        for expansion, stage_channels, count, first_stride in STAGES:
            out_channels = scale_width(stage_channels, "width_mult", width_mult)
            for index in range(count):
                stride = first_stride if index == 0 else 1
                layers.append(InvertedResidual(channels, out_channels, stride, expansion))
                channels = out_channels
        last_channels = scale_width(LAST_CHANNELS, "width_mult", max(width_mult, 1.0))
        layers.append(conv_norm_relu(channels, last_channels, kernel_size=1, relu=nn.ReLU6))
        self.features = nn.Sequential(*layers)
        self.add_head(last_channels)
        init_conv_and_norm(self)


@register_model
def mobilenetv2(num_classes: int, *, width_mult: float = 1.0) -> MobileNetV2:
    """3-D MobileNetV2; see the top of this file."""
    return MobileNetV2(num_classes, width_mult=width_mult)
