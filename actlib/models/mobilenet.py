"""3-D MobileNet: "Resource Efficient 3D Convolutional Neural Networks" (Köpüklü et al., arXiv:1904.02422).

A depthwise separable convolution (arXiv:1704.04861) answers
    y = ReLU(BN(conv 1×1×1 (ReLU(BN(depthwise conv 3×3×3 with the stride (x))))))
State dicts equal those of okankop/Efficient-3DCNNs. Widths are truncated. The initial values are torch's own, as there.
The two building blocks at the top serve the other networks of that paper too.
"""

import torch
from torch import nn

from actlib.models.parts.depthwise import DepthwiseConv3d
from actlib.models.registry import VideoModel, register_model, scale_width

# channels, blocks, stride of the first block (over T, H and W alike)
STAGES = ((64, 1, 2), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 1))
STEM_CHANNELS = 32


def depthwise_conv(channels: int, stride: int = 1) -> nn.Conv3d:
    """A 3×3×3 convolution of each channel by itself."""
    return DepthwiseConv3d(channels, kernel_size=3, stride=stride, padding=1)


def conv_norm_relu(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int | tuple[int, int, int] = 1,
    relu: type[nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """A convolution that keeps the size but for the stride, BN, and `relu` (nn.ReLU or nn.ReLU6)."""
    return nn.Sequential(
        nn.Conv3d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False),
        nn.BatchNorm3d(out_channels),
        relu(inplace=True),
    )


class SeparableConv(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.conv1 = depthwise_conv(in_channels, stride)
        self.bn1 = nn.BatchNorm3d(in_channels)
        self.conv2 = nn.Conv3d(in_channels, out_channels, kernel_size=1, bias=False)
        self.bn2 = nn.BatchNorm3d(out_channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)))


class MobileNet(VideoModel):
    """Stem, thirteen separable convolutions, the mean over T, H and W, dropout 0.2, a linear layer."""

    classifier_name = "classifier.1"
    dropout_name = "classifier.0"

    def __init__(self, num_classes: int, *, width_mult: float):
        super().__init__()
        self.num_classes = num_classes
        channels = scale_width(STEM_CHANNELS, "width_mult", width_mult)
        layers: list[nn.Module] = [conv_norm_relu(3, channels, kernel_size=3, stride=(1, 2, 2))]
        for stage_channels, count, first_stride in STAGES:
            out_channels = scale_width(stage_channels, "width_mult", width_mult)
            for index in range(count):
                layers.append(SeparableConv(channels, out_channels, first_stride if index == 0 else 1))
                channels = out_channels
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), self.new_classifier(channels, num_classes))

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x)

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        return self.classifier(features.mean(dim=(2, 3, 4)))


@register_model
def mobilenet(num_classes: int, *, width_mult: float = 1.0) -> MobileNet:
    """3-D MobileNet; see the top of this file."""
    return MobileNet(num_classes, width_mult=width_mult)
