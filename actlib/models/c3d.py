"""C3D: "Learning Spatiotemporal Features with 3D Convolutional Networks" (Tran et al., ICCV 2015, arXiv:1412.0767).

Five groups of one or two conv 3×3×3, BN, ReLU, each group followed by a max-pool; then three linear layers, ReLU and
dropout 0.5 after the first two. The pools are not padded over time: 16 frames become 15, 7, 3, 1 and 1. H and W halve
five times, the last time rounded up. State dicts equal those of okankop/Efficient-3DCNNs, which adds the norms to the
paper's network. The initial values are torch's own, as there.

The first linear layer sees each position by itself, so it fixes the grid of feature maps, (T', H', W') =
(⌊num_frames / 16⌋, ⌈crop_size / 32⌉, ⌈crop_size / 32⌉). A clip that ends in another grid is averaged to this one
(adaptive pooling), and a pool takes one frame where no second is left; the reference refuses both. It has no width
factor either; here one scales the channels of every layer.
"""

import torch
from torch import nn
from torch.nn import functional as F

from actlib.models.parts.layers import FittingPool3d
from actlib.models.parts.options import check_positive, scale_width
from actlib.models.registry import VideoModel, register_model

# channels of each convolution; kernel, stride and padding (T, H, W) of the pool behind them
GROUPS = (
    ((64,), (2, 2, 2), (1, 2, 2), (0, 0, 0)),
    ((128,), (2, 2, 2), (2, 2, 2), (0, 0, 0)),
    ((256, 256), (2, 2, 2), (2, 2, 2), (0, 0, 0)),
    ((512, 512), (2, 2, 2), (2, 2, 2), (0, 0, 0)),
    ((512, 512), (1, 2, 2), (2, 2, 2), (0, 1, 1)),
)
HIDDEN = 4096


class C3D(VideoModel):
    """num_frames, crop_size: the T and H = W of the clips that the first linear layer is made for."""

    classifier_name = "fc.0"
    dropout_name = "fc2.2"

    def __init__(self, num_classes: int, *, num_frames: int, crop_size: int, width_mult: float):
        super().__init__()
        check_positive("num_frames", num_frames)
        check_positive("crop_size", crop_size)
        self.num_classes = num_classes
        side = -(-crop_size // 32)
        self.grid = (max(num_frames // 16, 1), side, side)
        channels = 3
        for number, (widths, kernel_size, stride, padding) in enumerate(GROUPS, start=1):
            layers: list[nn.Module] = []
            for width in widths:
                width = scale_width(width, "width_mult", width_mult)
                conv = nn.Conv3d(channels, width, kernel_size=3, padding=1)
                layers += [conv, nn.BatchNorm3d(width), nn.ReLU(inplace=True)]
                channels = width
            layers.append(FittingPool3d(kernel_size, stride, padding))
            self.add_module(f"group{number}", nn.Sequential(*layers))
        hidden = scale_width(HIDDEN, "width_mult", width_mult)
        positions = self.grid[0] * side**2
        self.fc1 = nn.Sequential(nn.Linear(channels * positions, hidden), nn.ReLU(inplace=True), nn.Dropout(0.5))
        self.fc2 = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(inplace=True), nn.Dropout(0.5))
        self.fc = nn.Sequential(self.new_classifier(hidden, num_classes))

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        for group in (self.group1, self.group2, self.group3, self.group4, self.group5):
            x = group(x)
        return x

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        if features.shape[2:] != self.grid:
            features = F.adaptive_avg_pool3d(features, self.grid)
        return self.fc(self.fc2(self.fc1(features.flatten(1))))


@register_model
def c3d(num_classes: int, *, num_frames: int = 16, crop_size: int = 112, width_mult: float = 1.0) -> C3D:
    """C3D with batch norm; see the top of this file."""
    return C3D(num_classes, num_frames=num_frames, crop_size=crop_size, width_mult=width_mult)
