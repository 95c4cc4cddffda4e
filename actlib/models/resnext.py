"""3-D ResNeXt: "Aggregated Residual Transformations for Deep Neural Networks" (Xie et al., CVPR 2017).

Made 3-D by Hara et al. (CVPR 2018). A bottleneck whose middle convolution has `cardinality` groups:
    y = ReLU(F(x) + S(x)),   F: conv 1×1×1 to C·w/32 → grouped conv 3×3×3 → conv 1×1×1 to 2·w
with C the cardinality and w = 128, 256, 512, 1024: groups of 4, 8, 16 and 32 channels whatever C is. S and the layers
around the blocks are those of resnet.py.
State dicts equal those of kenshohara/3D-ResNets-PyTorch and okankop/Efficient-3DCNNs. Their stems have 64 channels
(release=2018), that of the first one's branch master 128 (release=2020). The references size the linear layer by C, so
that only C = 32 runs there; here it takes the 2048 channels that it gets.
"""

from torch import nn

from actlib.models.parts.layers import Size
from actlib.models.parts.options import check_positive, check_release
from actlib.models.parts.residual import BLOCK_COUNTS, STAGE_WIDTHS
from actlib.models.parts.variants import register_variants
from actlib.models.resnet import Bottleneck, ResNet3D

WIDTHS = (128, 256, 512, 1024)


class ResNeXtBottleneck(Bottleneck):
    expansion = 2

    def __init__(self, in_channels: int, width: int, stride: Size, downsample: nn.Module | None, cardinality: int):
        inner = cardinality * (width // 32)
        super().__init__(in_channels, width, stride, downsample, inner=inner, groups=cardinality)


@register_variants("resnext{}", (50, 101, 152))
def resnext(
    depth: int,
    num_classes: int,
    *,
    shortcut: str = "B",
    conv1_t_size: int = 7,
    conv1_t_stride: int = 1,
    max_pool: bool = True,
    cardinality: int = 32,
    release: int = 2018,
) -> ResNet3D:
    """3-D ResNeXt; see the top of this file."""
    check_positive("cardinality", cardinality)
    check_release(release)
    block, counts, stem = ResNeXtBottleneck, BLOCK_COUNTS[depth], STAGE_WIDTHS[0] if release == 2018 else None
    options = (shortcut, conv1_t_size, conv1_t_stride, max_pool)
    return ResNet3D(num_classes, block, counts, WIDTHS, *options, stem_width=stem, cardinality=cardinality)
