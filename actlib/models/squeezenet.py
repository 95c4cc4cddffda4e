"""3-D SqueezeNet: "Resource Efficient 3D Convolutional Neural Networks" (Köpüklü et al., arXiv:1904.02422).

A fire module (arXiv:1602.07360) answers
    y = ReLU([BN(conv 1×1×1 (s)), BN(conv 3×3×3 (s))] (+ x in every second module)),  s = ReLU(BN(conv 1×1×1 (x)))
State dicts equal those of okankop/Efficient-3DCNNs. As there, the logits pass a ReLU before their mean over T, H and W.
The reference has no width factor; here one scales the channels of every layer.
"""

import torch
from torch import nn

from actlib.models.parts.layers import init_conv_and_norm
from actlib.models.parts.options import ModelError, scale_width
from actlib.models.registry import VideoModel, register_model

# version: the stem's channels and kernel size, and the fire modules (counted from 1) that a max-pool comes before
VERSIONS = {1.0: (96, 7, (1, 3, 5, 8)), 1.1: (64, 3, (1, 3, 5, 7))}
# channels of s, and of either half of y
FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))


class Fire(nn.Module):
    def __init__(self, in_channels: int, squeeze: int, expand: int, bypass: bool):
        super().__init__()
        self.bypass = bypass
        self.relu = nn.ReLU(inplace=True)
        self.squeeze = nn.Conv3d(in_channels, squeeze, kernel_size=1)
        self.squeeze_bn = nn.BatchNorm3d(squeeze)
        self.expand1x1 = nn.Conv3d(squeeze, expand, kernel_size=1)
        self.expand1x1_bn = nn.BatchNorm3d(expand)
        self.expand3x3 = nn.Conv3d(squeeze, expand, kernel_size=3, padding=1)
        self.expand3x3_bn = nn.BatchNorm3d(expand)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = self.relu(self.squeeze_bn(self.squeeze(x)))
        y = torch.cat((self.expand1x1_bn(self.expand1x1(s)), self.expand3x3_bn(self.expand3x3(s))), dim=1)
        if self.bypass:
            y += x
        return self.relu(y)


class SqueezeNet(VideoModel):
    """Stem, eight fire modules and four max-pools, dropout 0.5, conv 1×1×1 to the classes, ReLU, the mean."""

    classifier_name = "classifier.1"
    dropout_name = "classifier.0"

    def __init__(self, num_classes: int, *, version: float, width_mult: float):
        super().__init__()
        if version not in VERSIONS:
            raise ModelError(f"version={version}: use one of {', '.join(map(str, VERSIONS))}")
        self.num_classes = num_classes
        stem_channels, kernel_size, pooled = VERSIONS[version]
        channels = scale_width(stem_channels, "width_mult", width_mult)
        layers: list[nn.Module] = [
            nn.Conv3d(3, channels, kernel_size, stride=(1, 2, 2), padding=kernel_size // 2),
            nn.BatchNorm3d(channels),
            nn.ReLU(inplace=True),
        ]
        for number, widths in enumerate(FIRES, start=1):
            if number in pooled:
                layers.append(nn.MaxPool3d(kernel_size=3, stride=2, padding=1))
            squeeze, expand = (scale_width(width, "width_mult", width_mult) for width in widths)
            layers.append(Fire(channels, squeeze, expand, bypass=number % 2 == 0))
            channels = 2 * expand
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.5), self.new_classifier(channels, num_classes), nn.ReLU())
        init_conv_and_norm(self)

    def new_classifier(self, in_features: int, num_classes: int) -> nn.Conv3d:
        """torch's initial values, as the reference's fine-tuning has them; a new network gets He's, as there."""
        return nn.Conv3d(in_features, num_classes, kernel_size=1)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x)

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        return self.classifier(features).mean(dim=(2, 3, 4))


@register_model
def squeezenet(num_classes: int, *, version: float = 1.1, width_mult: float = 1.0) -> SqueezeNet:
    """3-D SqueezeNet; see the top of this file."""
    return SqueezeNet(num_classes, version=version, width_mult=width_mult)
