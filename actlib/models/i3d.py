"""I3D: "Quo Vadis, Action Recognition?" (Carreira and Zisserman, CVPR 2017), Inception v1 inflated to 3-D.

BN (eps 1e-3) and ReLU follow every convolution. A module joins four branches over the channels:
    y = [conv 1×1×1 (x);  conv 3³ (conv 1×1×1 (x));  conv 3³ (conv 1×1×1 (x));  conv 1×1×1 (max-pool 3³ (x))]
Stem: conv 7³ with stride 1×2×2 → pool 1×3×3 → conv 1×1×1 → conv 3³ → pool 3³; modules 3a, 3b → pool 3³; 4a to 4e →
pool 3³; 5a, 5b. All pools have stride 2 in space. With `temporal_stride` the 3³ pools have it over time too; without,
they still look at three frames. `pooling` chooses the maximum or the average for all four, but not in the modules.
The paper also strides over time in the first convolution; here as in IBM/action-recognition-pytorch, whose state dict
this equals.
"""

from collections.abc import Callable

import torch
from torch import nn

from actlib.models.parts.heads import SMALL_HEAD_STD, FrameClassifier
from actlib.models.parts.layers import FittingPool3d, Size, init_conv_and_norm
from actlib.models.parts.options import check_choice
from actlib.models.registry import register_model

NORM_EPS = 1e-3  # TensorFlow's, which the published ImageNet weights were trained with


class ConvNormReLU(nn.Module):
    """A convolution that keeps T, H and W but for the stride, BN and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: tuple[int, int, int], stride: Size = 1):
        super().__init__()
        padding = tuple(size // 2 for size in kernel_size)
        self.conv = nn.Conv3d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
        self.bn = nn.BatchNorm3d(out_channels, eps=NORM_EPS)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.bn(self.conv(x)))


class I3D(FrameClassifier):
    """Features of C = 1024; dropout 0.5 and the linear layer frame by frame, then the mean over the frames.

    stem_t_size: frames that the first convolution sees. conv3(in_channels, out_channels): what stands at each 3×3×3
    convolution with its norm and ReLU, those if None. The layers are torchvision's GoogLeNet's, made 3-D one by one.
    """

    head_std = SMALL_HEAD_STD

    def __init__(
        self,
        num_classes: int,
        *,
        temporal_stride: bool,
        pooling: str,
        stem_t_size: int = 7,
        conv3: Callable[[int, int], nn.Module] | None = None,
    ):
        from actlib.models.parts.googlenet import OUT_CHANNELS, Inception, googlenet_layers

        super().__init__(num_classes)
        check_choice("pooling", pooling, ("max", "avg"))

        def conv(in_channels: int, out_channels: int, kernel_size: int, **_: int) -> nn.Module:
            if kernel_size == 7:
                return ConvNormReLU(in_channels, out_channels, (stem_t_size, 7, 7), stride=(1, 2, 2))
            if kernel_size == 3 and conv3 is not None:
                return conv3(in_channels, out_channels)
            return ConvNormReLU(in_channels, out_channels, (kernel_size,) * 3)

        def inception(*widths: int) -> nn.Module:
            module = Inception(*widths, conv_block=conv)
            module.branch4[0] = nn.MaxPool3d(3, stride=1, padding=1)
            return module

        layers = googlenet_layers(conv, inception)
        self.pool_stride = (2 if temporal_stride else 1, 2, 2)
        layers["maxpool1"] = FittingPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1), pooling)
        for name in ("maxpool2", "maxpool3", "maxpool4"):
            layers[name] = FittingPool3d(3, self.pool_stride, 1, pooling)
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.layer_names = tuple(layers)
        self.dropout = nn.Dropout(0.5)
        self.fc = self.new_classifier(OUT_CHANNELS, num_classes)
        init_conv_and_norm(self)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        for name in self.layer_names:
            x = getattr(self, name)(x)
        return x


@register_model
def i3d(num_classes: int, *, temporal_stride: bool = True, pooling: str = "max") -> I3D:
    """Inflated Inception v1; see the top of this file."""
    return I3D(num_classes, temporal_stride=temporal_stride, pooling=pooling)
