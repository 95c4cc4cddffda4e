"""3-D ResNets: "Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?" (Hara et al., CVPR 2018).

A residual block answers y = ReLU(F(x) + S(x)). F is, with BN after each convolution and ReLU between them,
    basic (depth 10, 18, 34):      conv 3×3×3 → conv 3×3×3
    bottleneck (50 and deeper):    conv 1×1×1 → conv 3×3×3 → conv 1×1×1 to four times the width
and S the identity, except where the shape changes:
    shortcut A: every stride-th position of x, zero channels appended (no parameters)
    shortcut B: conv 1×1×1 with the stride, then BN
State dicts equal those of kenshohara/3D-ResNets-PyTorch (CVPR2018 and master) and okankop/Efficient-3DCNNs.
The reference detaches x in shortcut A, so that no gradient passes; here it does.
"""

import torch
from torch import nn

from actlib.models.parts.heads import PooledClassifier
from actlib.models.parts.layers import Size, init_conv_and_norm, stem_conv
from actlib.models.parts.options import check_choice, check_positive, scale_width
from actlib.models.parts.residual import BLOCK_COUNTS, STAGE_WIDTHS, ResidualBlock, add_stages, make_shortcut
from actlib.models.parts.variants import register_variants


class BasicBlock(ResidualBlock):
    conv_type: type[nn.Module] = nn.Conv3d

    def __init__(self, in_channels: int, width: int, stride: Size, downsample: nn.Module | None):
        super().__init__(
            downsample,
            conv1=self.conv_type(in_channels, width, kernel_size=3, stride=stride, padding=1, bias=False),
            conv2=self.conv_type(width, width, kernel_size=3, padding=1, bias=False),
        )


class Bottleneck(ResidualBlock):
    """inner: the channels between the 1×1×1 convolutions, `width` if None. groups: of the 3×3×3 convolution."""

    conv_type: type[nn.Module] = nn.Conv3d
    expansion = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: Size,
        downsample: nn.Module | None,
        inner: int | None = None,
        groups: int = 1,
    ):
        inner = width if inner is None else inner
        super().__init__(
            downsample,
            conv1=self.conv_type(in_channels, inner, kernel_size=1, bias=False),
            conv2=self.conv_type(inner, inner, kernel_size=3, stride=stride, padding=1, groups=groups, bias=False),
            conv3=self.conv_type(inner, width * self.expansion, kernel_size=1, bias=False),
        )


class ResNet3D(PooledClassifier):
    """Stem, four stages of residual blocks, the mean over T, H and W, a linear layer.

    block: a class like BasicBlock; block_counts: blocks in each stage; widths: each stage's width before `expansion`.
    stem_width: the stem's channels, the first stage's width if None. stride: of stages 2 to 4.
    block_options: further options of `block`.
    """

    def __init__(
        self,
        num_classes: int,
        block: type[ResidualBlock],
        block_counts: tuple[int, ...],
        widths: tuple[int, ...],
        shortcut: str,
        conv1_t_size: int,
        conv1_t_stride: int,
        max_pool: bool,
        *,
        stem_width: int | None = None,
        stride: Size = 2,
        **block_options: int,
    ):
        super().__init__(num_classes)
        check_choice("shortcut", shortcut, ("A", "B"))
        check_positive("conv1_t_size", conv1_t_size)
        check_positive("conv1_t_stride", conv1_t_stride)

        def make_block(in_channels: int, width: int, stride: Size, *_: int) -> ResidualBlock:
            downsample = make_shortcut(shortcut, in_channels, width * block.expansion, stride)
            return block(in_channels, width, stride, downsample, **block_options)

        channels = widths[0] if stem_width is None else stem_width
        self.add_stem(channels, conv1_t_size, conv1_t_stride)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool3d(kernel_size=3, stride=2, padding=1) if max_pool else nn.Identity()
        channels = add_stages(self, channels, block_counts, widths, make_block, stride)
        self.dropout = nn.Dropout(0.0)  # none in the reference; reset_classifier can set one for fine-tuning
        self.fc = self.new_classifier(channels, num_classes)
        init_conv_and_norm(self)

    def add_stem(self, channels: int, t_size: int, t_stride: int) -> None:
        """Register the layers before the max-pool; the convolution spans `t_size` frames and strides by `t_stride`."""
        self.conv1 = stem_conv(channels, t_size, t_stride)
        self.bn1 = nn.BatchNorm3d(channels)

    def stem(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, 3, T, H, W). Returns what enters the max-pool."""
        return self.relu(self.bn1(self.conv1(x)))

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.stem(x))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


@register_variants("resnet{}", BLOCK_COUNTS)
def resnet(
    depth: int,
    num_classes: int,
    *,
    shortcut: str = "B",
    conv1_t_size: int = 7,
    conv1_t_stride: int = 1,
    max_pool: bool = True,
    widen_factor: float = 1.0,
) -> ResNet3D:
    """3-D ResNet; see the top of this file."""
    block, counts = BasicBlock if depth < 50 else Bottleneck, BLOCK_COUNTS[depth]
    widths = tuple(scale_width(width, "widen_factor", widen_factor) for width in STAGE_WIDTHS)
    return ResNet3D(num_classes, block, counts, widths, shortcut, conv1_t_size, conv1_t_stride, max_pool)
