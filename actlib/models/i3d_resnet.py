"""I3D-ResNet: an image ResNet whose 3×3 convolutions are inflated to 3×3×3.

As compared in "Deep Analysis of CNN-based Spatio-temporal Representations for Action Recognition" (Chen et al., CVPR
2021), with I3D's inflation of 2-D weights. The blocks are those of resnet.py with shortcut B:
    y = ReLU(F(x) + S(x)),   F: conv 3×3×3 twice, or conv 1×1×1 → 3×3×3 → 1×1×1;   S: identity or conv 1×1×1 and BN
The stem is conv 3×7×7 with stride 1×2×2 and max-pool 1×3×3 with stride 1×2×2. The first blocks of stages 2 to 4 have
stride 2 in space and, with `temporal_stride`, over time. State dicts equal those of IBM/action-recognition-pytorch.
"""

import torch
from torch import nn

from actlib.models.parts.temporal import SMALL_HEAD_STD, FrameClassifier
from actlib.models.registry import register_model
from actlib.models.resnet import (
    BLOCK_COUNTS,
    STAGE_WIDTHS,
    BasicBlock,
    Bottleneck,
    init_conv_and_norm,
    make_shortcut,
    stem_conv,
)
from actlib.models.resnet2d import DEPTHS


class InflatedResNet(FrameClassifier):
    """Stem, four stages; dropout 0.5 and the linear layer frame by frame, then the mean over the frames.

    block: a class like BasicBlock; block_options: further options of it.
    """

    head_std = SMALL_HEAD_STD

    def __init__(
        self, depth: int, num_classes: int, block: type[nn.Module], *, temporal_stride: bool, **block_options: bool
    ):
        super().__init__()
        self.num_classes = num_classes
        channels = STAGE_WIDTHS[0]
        self.conv1 = stem_conv(channels, t_size=3, t_stride=1)
        self.bn1 = nn.BatchNorm3d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
        for stage, (count, width) in enumerate(zip(BLOCK_COUNTS[depth], STAGE_WIDTHS), start=1):
            blocks = []
            for index in range(count):
                stride = (2 if temporal_stride else 1, 2, 2) if stage > 1 and index == 0 else 1
                downsample = make_shortcut("B", channels, width * block.expansion, stride)
                blocks.append(block(channels, width, stride, downsample, **block_options))
                channels = width * block.expansion
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.dropout = nn.Dropout(0.5)
        self.fc = self.new_classifier(channels, num_classes)
        init_conv_and_norm(self)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


def _register(depth: int) -> None:
    def i3d_resnet(num_classes: int, *, temporal_stride: bool = True) -> InflatedResNet:
        block = BasicBlock if depth < 50 else Bottleneck
        return InflatedResNet(depth, num_classes, block, temporal_stride=temporal_stride)

    i3d_resnet.__name__ = f"i3d_resnet{depth}"
    i3d_resnet.__doc__ = f"ResNet-{depth}, inflated; see the top of this file."
    register_model(i3d_resnet)


for _depth in DEPTHS:
    _register(_depth)
