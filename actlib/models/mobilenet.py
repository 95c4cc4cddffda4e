"""3-D MobileNet: "Resource Efficient 3D Convolutional Neural Networks" (Köpüklü et al., arXiv:1904.02422).

A depthwise separable convolution (arXiv:1704.04861) answers
    y = ReLU(BN(conv 1×1×1 (ReLU(BN(depthwise conv 3×3×3 with the stride (x))))))
State dicts equal those of okankop/Efficient-3DCNNs. Widths are truncated. The initial values are torch's own, as there.
"""

import torch
from torch import nn

from actlib.models.parts.depthwise import DepthwiseConv3d
from actlib.models.parts.heads import SequentialClassifier
from actlib.models.parts.layers import conv1x1x1, conv_norm_relu
from actlib.models.parts.options import scale_width
from actlib.models.registry import register_model

# channels, blocks, stride of the first block (over T, H and W alike)
STAGES = ((64, 1, 2), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 1))
STEM_CHANNELS = 32


class SeparableConv(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.conv1 = DepthwiseConv3d(in_channels, kernel_size=3, stride=stride, padding=1)
        self.bn1 = nn.BatchNorm3d(in_channels)
        self.conv2 = conv1x1x1(in_channels, out_channels)
        self.bn2 = nn.BatchNorm3d(out_channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)))


class MobileNet(SequentialClassifier):
    """Stem, thirteen separable convolutions, the mean over T, H and W, dropout 0.2, a linear layer."""

    def __init__(self, num_classes: int, *, width_mult: float):
        super().__init__(num_classes)
        channels = scale_width(STEM_CHANNELS, "width_mult", width_mult)
        layers: list[nn.Module] = [conv_norm_relu(3, channels, kernel_size=3, stride=(1, 2, 2))]
        for stage_channels, count, first_stride in STAGES:
            out_channels = scale_width(stage_channels, "width_mult", width_mult)
            for index in range(count):
                layers.append(SeparableConv(channels, out_channels, first_stride if index == 0 else 1))
                channels = out_channels
        self.features = nn.Sequential(*layers)
        self.add_head(channels)


@register_model
def mobilenet(num_classes: int, *, width_mult: float = 1.0) -> MobileNet:
    """3-D MobileNet; see the top of this file."""
    return MobileNet(num_classes, width_mult=width_mult)
