"""3-D DenseNet-BC: "Densely Connected Convolutional Networks" (Huang et al., CVPR 2017), 3-D by Hara et al. (2018).

A dense layer appends k = 32 channels to those it gets:
    y = [x, F(x)],   F: BN → ReLU → conv 1×1×1 to 4k → BN → ReLU → conv 3×3×3 to k
Between two blocks of such layers a transition halves the channels, then T, H and W:
    BN → ReLU → conv 1×1×1 → average pool 2×2×2, unpadded
State dicts equal those of kenshohara/3D-ResNets-PyTorch. Its branches name the same layers differently: `conv0` and
`denselayer1.norm.1` in CVPR2018 (release=2018), `conv1` and `denselayer1.norm1` in master (release=2020).
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn

from actlib.models.parts.heads import PooledClassifier
from actlib.models.parts.layers import conv1x1x1, conv3x3x3, init_conv_and_norm, stem_conv
from actlib.models.parts.options import check_positive, check_release
from actlib.models.parts.variants import register_variants

LAYER_COUNTS = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32), 264: (6, 12, 64, 48)}
STEM_CHANNELS = 64
GROWTH = 32  # k of the paper
INNER = 4 * GROWTH


def _append_features(
    x: torch.Tensor, norm1: nn.Module, conv1: nn.Module, norm2: nn.Module, conv2: nn.Module
) -> torch.Tensor:
    """x: (B, C, T, H, W). Returns [x, F(x)], (B, C + GROWTH, T, H, W)."""
    y = conv1(F.relu(norm1(x), inplace=True))
    y = conv2(F.relu(norm2(y), inplace=True))
    return torch.cat([x, y], dim=1)


class DenseLayer(nn.Module):
    def __init__(self, in_channels: int):
        super().__init__()
        self.norm1 = nn.BatchNorm3d(in_channels)
        self.conv1 = conv1x1x1(in_channels, INNER)
        self.norm2 = nn.BatchNorm3d(INNER)
        self.conv2 = conv3x3x3(INNER, GROWTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _append_features(x, self.norm1, self.conv1, self.norm2, self.conv2)


class DenseLayer2018(nn.Module):
    """The same with a dot in the names. PyTorch allows none in a module's name, so pairs of modules make it."""

    def __init__(self, in_channels: int):
        super().__init__()
        self.norm = nn.ModuleDict({"1": nn.BatchNorm3d(in_channels), "2": nn.BatchNorm3d(INNER)})
        self.conv = nn.ModuleDict({"1": conv1x1x1(in_channels, INNER), "2": conv3x3x3(INNER, GROWTH)})
        self.register_state_dict_post_hook(_order_by_number)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _append_features(x, self.norm["1"], self.conv["1"], self.norm["2"], self.conv["2"])


def _order_by_number(layer: nn.Module, state_dict: dict, prefix: str, metadata: dict) -> None:
    """Put norm.1, conv.1, norm.2, conv.2 into this order, the reference's; the pairs would have both norms first."""
    keys = [key for key in state_dict if key.startswith(prefix)]
    for key in sorted(keys, key=lambda key: key[len(prefix) :].split(".")[1]):
        state_dict[key] = state_dict.pop(key)  # to the end


class HalvingPool(nn.Module):
    """Average pool 2×2×2; along an axis of a single position, where no such window fits, the position itself."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool3d(x, [min(2, size) for size in x.shape[2:]], stride=2)


class DenseNet(PooledClassifier):
    """Stem, four dense blocks with transitions between them, BN, ReLU, the mean over T, H and W, a linear layer."""

    classifier_name = "classifier"

    def __init__(
        self,
        num_classes: int,
        layer_counts: tuple[int, ...],
        conv1_t_size: int,
        conv1_t_stride: int,
        max_pool: bool,
        release: int,
    ):
        super().__init__(num_classes)
        check_positive("conv1_t_size", conv1_t_size)
        check_positive("conv1_t_stride", conv1_t_stride)
        check_release(release)
        dense_layer, stem = (DenseLayer2018, 0) if release == 2018 else (DenseLayer, 1)
        self.features = nn.Sequential()
        self.features.add_module(f"conv{stem}", stem_conv(STEM_CHANNELS, conv1_t_size, conv1_t_stride))
        self.features.add_module(f"norm{stem}", nn.BatchNorm3d(STEM_CHANNELS))
        self.features.add_module(f"relu{stem}", nn.ReLU(inplace=True))
        if max_pool:
            self.features.add_module(f"pool{stem}", nn.MaxPool3d(kernel_size=3, stride=2, padding=1))
        channels = STEM_CHANNELS
        for number, count in enumerate(layer_counts, start=1):
            if number > 1:
                self.features.add_module(f"transition{number - 1}", _transition(channels))
                channels //= 2
            block = nn.Sequential()
            for index in range(1, count + 1):
                block.add_module(f"denselayer{index}", dense_layer(channels))
                channels += GROWTH
            self.features.add_module(f"denseblock{number}", block)
        self.features.add_module("norm5", nn.BatchNorm3d(channels))
        self.dropout = nn.Dropout(0.0)  # none in the reference; reset_classifier can set one for fine-tuning
        self.classifier = self.new_classifier(channels, num_classes)
        init_conv_and_norm(self)

    def new_classifier(self, in_features: int, num_classes: int) -> nn.Linear:
        linear = nn.Linear(in_features, num_classes)
        nn.init.zeros_(linear.bias)  # as the paper's code and branch master do
        return linear

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.features(x), inplace=True)


def _transition(channels: int) -> nn.Sequential:
    layers = {
        "norm": nn.BatchNorm3d(channels),
        "relu": nn.ReLU(inplace=True),
        "conv": conv1x1x1(channels, channels // 2),
        "pool": HalvingPool(),
    }
    return nn.Sequential(OrderedDict(layers))


@register_variants("densenet{}", LAYER_COUNTS)
def densenet(
    depth: int,
    num_classes: int,
    *,
    conv1_t_size: int = 7,
    conv1_t_stride: int = 1,
    max_pool: bool = True,
    release: int = 2018,
) -> DenseNet:
    """3-D DenseNet; see the top of this file."""
    return DenseNet(num_classes, LAYER_COUNTS[depth], conv1_t_size, conv1_t_stride, max_pool, release)
