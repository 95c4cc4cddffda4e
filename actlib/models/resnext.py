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

from actlib.models.registry import check_positive, register_model
from actlib.models.resnet import BLOCK_COUNTS, STAGE_WIDTHS, Bottleneck, ResNet3D, check_release

DEPTHS = (50, 101, 152)
WIDTHS = (128, 256, 512, 1024)


class ResNeXtBottleneck(Bottleneck):
    expansion = 2

    def __init__(self, in_channels: int, width: int, stride: int, downsample: nn.Module | None, cardinality: int):
        inner = cardinality * (width // 32)
        super().__init__(in_channels, width, stride, downsample, inner=inner, groups=cardinality)


def _register(depth: int) -> None:
    def entry(
        num_classes: int,
        *,
        shortcut: str = "B",
        conv1_t_size: int = 7,
        conv1_t_stride: int = 1,
        max_pool: bool = True,
        cardinality: int = 32,
        release: int = 2018,
    ) -> ResNet3D:
        check_positive("cardinality", cardinality)
        check_release(release)
        return ResNet3D(
            ResNeXtBottleneck,
            BLOCK_COUNTS[depth],
            WIDTHS,
            num_classes,
            shortcut=shortcut,
            conv1_t_size=conv1_t_size,
            conv1_t_stride=conv1_t_stride,
            max_pool=max_pool,
            stem_width=STAGE_WIDTHS[0] if release == 2018 else None,
            cardinality=cardinality,
        )

    entry.__name__ = f"resnext{depth}"
    entry.__doc__ = f"3-D ResNeXt-{depth}; see the top of this file."
    register_model(entry)


for _depth in DEPTHS:
    _register(_depth)
