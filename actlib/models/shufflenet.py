"""3-D ShuffleNet: "Resource Efficient 3D Convolutional Neural Networks" (Köpüklü et al., arXiv:1904.02422).

A unit (arXiv:1707.01083) answers y = ReLU(x + F(x)), or where it halves T, H and W y = ReLU([F(x), P(x)]) with
    F: grouped conv 1×1×1 to a quarter of the stage's channels, BN, ReLU → channel shuffle
       → depthwise conv 3×3×3 with the stride, BN (no ReLU) → grouped conv 1×1×1, BN
    P: the mean over 2×3×3 positions, the padding of H and W counted as zeros; F supplies the remaining channels
State dicts equal those of okankop/Efficient-3DCNNs. Widths are truncated. The initial values are torch's own, as there.
As there, the first convolution of F is ungrouped only where its input has 24 channels: the stem's at width 1. The
reference refuses an odd number of frames before P; here the last frame is then averaged with itself.
"""

import torch
from torch import nn
from torch.nn import functional as F

from actlib.models.parts.depthwise import DepthwiseConv3d
from actlib.models.parts.heads import SequentialClassifier
from actlib.models.parts.layers import channel_shuffle, conv_norm_relu
from actlib.models.parts.options import ModelError, scale_width
from actlib.models.registry import register_model

STEM_CHANNELS = 24
# groups: channels of the three stages. The paper's table has 576 where the reference has 567
STAGE_CHANNELS = {
    1: (144, 288, 567),
    2: (200, 400, 800),
    3: (240, 480, 960),
    4: (272, 544, 1088),
    8: (384, 768, 1536),
}
BLOCK_COUNTS = (4, 8, 4)


def grouped_conv(in_channels: int, out_channels: int, groups: int) -> nn.Conv3d:
    """A 1×1×1 convolution. Raises ModelError where the groups do not divide the channels."""
    for channels in (in_channels, out_channels):
        if channels % groups:
            raise ModelError(
                f"groups={groups}: a layer of {channels} channels does not split into them; change width_mult or groups"
            )
    return nn.Conv3d(in_channels, out_channels, kernel_size=1, groups=groups, bias=False)


def pooled_shortcut(x: torch.Tensor) -> torch.Tensor:
    """P. x: (B, C, T, H, W) to (B, C, ⌈T/2⌉, ⌈H/2⌉, ⌈W/2⌉). Padded by hand since avg_pool3d refuses maps under 3×3."""
    if x.shape[2] % 2:
        x = torch.cat((x, x[:, :, -1:]), dim=2)
    return F.avg_pool3d(F.pad(x, (1, 1, 1, 1)), kernel_size=(2, 3, 3), stride=2)


class ShuffleUnit(nn.Module):
    """The unit at the top of this file; the first of a stage halves T, H and W and appends P's channels to F's."""

    def __init__(self, in_channels: int, out_channels: int, groups: int, halve: bool):
        super().__init__()
        width = out_channels // 4
        self.groups = groups
        self.halve = halve
        self.conv1 = grouped_conv(in_channels, width, 1 if in_channels == STEM_CHANNELS else groups)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = DepthwiseConv3d(width, kernel_size=3, stride=2 if halve else 1, padding=1)
        self.bn2 = nn.BatchNorm3d(width)
        residual_channels = out_channels - in_channels if halve else out_channels
        self.conv3 = grouped_conv(width, residual_channels, groups)
        self.bn3 = nn.BatchNorm3d(residual_channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(channel_shuffle(y, self.groups)))
        y = self.bn3(self.conv3(y))
        return self.relu(torch.cat((y, pooled_shortcut(x)), dim=1) if self.halve else x + y)


class ShuffleNet(SequentialClassifier):
    """Stem, max-pool, three stages of units, the mean over T, H and W, dropout 0.2, a linear layer."""

    def __init__(self, num_classes: int, *, groups: int, width_mult: float):
        super().__init__(num_classes)
        if groups not in STAGE_CHANNELS:
            raise ModelError(f"groups={groups}: use one of {', '.join(map(str, STAGE_CHANNELS))}")
        channels = scale_width(STEM_CHANNELS, "width_mult", width_mult)
        self.conv1 = conv_norm_relu(3, channels, kernel_size=3, stride=(1, 2, 2))
        self.maxpool = nn.MaxPool3d(kernel_size=3, stride=2, padding=1)
        for stage, (count, stage_channels) in enumerate(zip(BLOCK_COUNTS, STAGE_CHANNELS[groups]), start=1):
            out_channels = scale_width(stage_channels, "width_mult", width_mult)
            units = []
            for index in range(count):
                units.append(ShuffleUnit(channels, out_channels, groups, halve=index == 0))
                channels = out_channels
            self.add_module(f"layer{stage}", nn.Sequential(*units))
        self.add_head(channels)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.conv1(x))
        return self.layer3(self.layer2(self.layer1(x)))


@register_model
def shufflenet(num_classes: int, *, groups: int = 3, width_mult: float = 1.0) -> ShuffleNet:
    """3-D ShuffleNet; see the top of this file."""
    return ShuffleNet(num_classes, groups=groups, width_mult=width_mult)
