"""3-D ShuffleNetV2: "Resource Efficient 3D Convolutional Neural Networks" (Köpüklü et al., arXiv:1904.02422).

A unit (arXiv:1807.11164) splits the channels of x into halves a and b and answers y = shuffle([a, F(b)]); where it
halves T, H and W both branches see all channels, y = shuffle([G(x), F(x)]). Each branch puts out half of y's channels:
    F: conv 1×1×1, BN, ReLU → depthwise conv 3×3×3 with the stride, BN → conv 1×1×1, BN, ReLU
    G: depthwise conv 3×3×3 with the stride, BN → conv 1×1×1, BN, ReLU
    shuffle: channels of the two branches in turn
State dicts equal those of okankop/Efficient-3DCNNs, which spells the branches `banch1` (G) and `banch2` (F). The
initial values are torch's own, as there.
"""

import torch
from torch import nn

from actlib.models.parts.depthwise import DepthwiseConv3d
from actlib.models.parts.heads import SequentialClassifier
from actlib.models.parts.layers import channel_shuffle, conv_norm_relu
from actlib.models.parts.options import ModelError
from actlib.models.registry import register_model

STEM_CHANNELS = 24
# width_mult: channels of the three stages and of the last convolution. No rule gives them
CHANNELS = {
    0.25: (32, 64, 128, 1024),
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (224, 488, 976, 2048),
}
BLOCK_COUNTS = (4, 8, 4)


def _depthwise_then_pointwise(in_channels: int, out_channels: int, stride: int) -> list[nn.Module]:
    return [
        DepthwiseConv3d(in_channels, kernel_size=3, stride=stride, padding=1),
        nn.BatchNorm3d(in_channels),
        *conv_norm_relu(in_channels, out_channels, kernel_size=1),
    ]


class ShuffleUnitV2(nn.Module):
    """The unit at the top of this file; the first of a stage halves T, H and W."""

    def __init__(self, in_channels: int, out_channels: int, halve: bool):
        super().__init__()
        half = out_channels // 2
        stride = 2 if halve else 1
        self.halve = halve
        if halve:
            self.banch1 = nn.Sequential(*_depthwise_then_pointwise(in_channels, half, stride))
        self.banch2 = nn.Sequential(
            *conv_norm_relu(in_channels if halve else half, half, kernel_size=1),
            *_depthwise_then_pointwise(half, half, stride),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.halve:
            branches = self.banch1(x), self.banch2(x)
        else:
            first, second = x.chunk(2, dim=1)
            branches = first, self.banch2(second)
        return channel_shuffle(torch.cat(branches, dim=1), 2)


class ShuffleNetV2(SequentialClassifier):
    """Stem, max-pool, sixteen units, conv 1×1×1, the mean over T, H and W, dropout 0.2, a linear layer."""

    def __init__(self, num_classes: int, *, width_mult: float):
        super().__init__(num_classes)
        if width_mult not in CHANNELS:
            raise ModelError(f"width_mult={width_mult}: use one of {', '.join(map(str, CHANNELS))}")
        *stage_channels, last_channels = CHANNELS[width_mult]
        channels = STEM_CHANNELS
        self.conv1 = conv_norm_relu(3, channels, kernel_size=3, stride=(1, 2, 2))
        self.maxpool = nn.MaxPool3d(kernel_size=3, stride=2, padding=1)
        units = []
        for count, out_channels in zip(BLOCK_COUNTS, stage_channels):
            for index in range(count):
                units.append(ShuffleUnitV2(channels, out_channels, halve=index == 0))
                channels = out_channels
        self.features = nn.Sequential(*units)
        self.conv_last = conv_norm_relu(channels, last_channels, kernel_size=1)
        self.add_head(last_channels)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv_last(self.features(self.maxpool(self.conv1(x))))


@register_model
def shufflenetv2(num_classes: int, *, width_mult: float = 1.0) -> ShuffleNetV2:
    """3-D ShuffleNetV2; see the top of this file."""
    return ShuffleNetV2(num_classes, width_mult=width_mult)
