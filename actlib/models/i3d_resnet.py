"""I3D-ResNet: an image ResNet whose 3×3 convolutions are inflated to 3×3×3.

As compared in "Deep Analysis of CNN-based Spatio-temporal Representations for Action Recognition" (Chen et al., CVPR
2021), with I3D's inflation of 2-D weights. The blocks are those of resnet.py with shortcut B. The stem is conv 3×7×7
with stride 1×2×2 and max-pool 1×3×3 with stride 1×2×2. The first blocks of stages 2 to 4 have stride 2 in space and,
with `temporal_stride`, over time. State dicts equal those of IBM/action-recognition-pytorch.
"""

from torch import nn

from actlib.models.parts.heads import SMALL_HEAD_STD, FrameClassifier
from actlib.models.parts.residual import BLOCK_COUNTS, IMAGE_DEPTHS, STAGE_WIDTHS, ResidualBlock
from actlib.models.parts.variants import register_variants
from actlib.models.resnet import BasicBlock, Bottleneck, ResNet3D


class InflatedResNet(FrameClassifier, ResNet3D):
    """Stem, four stages; dropout 0.5 and the linear layer frame by frame, then the mean over the frames.

    block: a class like BasicBlock; block_options: further options of it.
    """

    head_std = SMALL_HEAD_STD

    def __init__(
        self, depth: int, num_classes: int, block: type[ResidualBlock], temporal_stride: bool, **block_options: bool
    ):
        network = (block, BLOCK_COUNTS[depth], STAGE_WIDTHS)
        stem = {"shortcut": "B", "conv1_t_size": 3, "conv1_t_stride": 1, "max_pool": True}
        stride = (2 if temporal_stride else 1, 2, 2)
        super().__init__(num_classes, *network, **stem, stride=stride, **block_options)
        self.maxpool = nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
        self.dropout.p = 0.5


@register_variants("i3d_resnet{}", IMAGE_DEPTHS)
def i3d_resnet(depth: int, num_classes: int, *, temporal_stride: bool = True) -> InflatedResNet:
    """ResNet, inflated; see the top of this file."""
    return InflatedResNet(depth, num_classes, BasicBlock if depth < 50 else Bottleneck, temporal_stride)
