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
import torch.nn.functional as F
from torch import nn

from actlib.models.registry import ModelError, VideoModel, check_choice, check_positive, register_model, scale_width

BLOCK_COUNTS = {
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
STAGE_WIDTHS = (64, 128, 256, 512)


def init_conv_and_norm(model: nn.Module) -> None:
    """Convolutions: He's normal initialisation by fan-out (arXiv:1502.01852); norms: 1 and 0. As the references do."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


def conv3x3x3(in_channels: int, out_channels: int, stride: int = 1, groups: int = 1) -> nn.Conv3d:
    return nn.Conv3d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, groups=groups, bias=False)


def conv1x1x1(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv3d:
    return nn.Conv3d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False)


def stem_conv(channels: int, t_size: int, t_stride: int) -> nn.Conv3d:
    """The first convolution: `t_size`×7×7 over RGB with stride `t_stride`×2×2. An even `t_size` adds a frame."""
    padding = (t_size // 2, 3, 3)
    return nn.Conv3d(3, channels, (t_size, 7, 7), stride=(t_stride, 2, 2), padding=padding, bias=False)


def check_release(release: int) -> None:
    """Of the reference: 2018 is branch CVPR2018, 2020 is master. Raises ModelError for another."""
    if release not in (2018, 2020):
        raise ModelError(f"release={release!r}: use 2018 (branch CVPR2018) or 2020 (master)")


class ShortcutA(nn.Module):
    """Every stride-th position of x (B, C, T, H, W), with zeros appended up to `out_channels`."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.extra_channels = out_channels - in_channels
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = self.stride
        return F.pad(x[:, :, ::s, ::s, ::s], (0, 0, 0, 0, 0, 0, 0, self.extra_channels))


def make_shortcut(kind: str, in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """S of a block: None is the identity, where neither the stride nor the channels change anything."""
    if stride == 1 and in_channels == out_channels:
        return None
    if kind == "A":
        return ShortcutA(in_channels, out_channels, stride)
    return nn.Sequential(conv1x1x1(in_channels, out_channels, stride), nn.BatchNorm3d(out_channels))


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, downsample: nn.Module | None):
        super().__init__()
        self.conv1 = conv3x3x3(in_channels, width, stride)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = conv3x3x3(width, width)
        self.bn2 = nn.BatchNorm3d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += shortcut
        return self.relu(y)


class Bottleneck(nn.Module):
    """inner: the channels between the 1×1×1 convolutions, `width` if None. groups: of the 3×3×3 convolution."""

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        downsample: nn.Module | None,
        inner: int | None = None,
        groups: int = 1,
    ):
        super().__init__()
        inner = width if inner is None else inner
        out_channels = width * self.expansion
        self.conv1 = conv1x1x1(in_channels, inner)
        self.bn1 = nn.BatchNorm3d(inner)
        self.conv2 = conv3x3x3(inner, inner, stride, groups)
        self.bn2 = nn.BatchNorm3d(inner)
        self.conv3 = conv1x1x1(inner, out_channels)
        self.bn3 = nn.BatchNorm3d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += shortcut
        return self.relu(y)


class ResNet3D(VideoModel):
    """Stem, four stages of residual blocks, the mean over T, H and W, a linear layer.

    block: a class like BasicBlock; block_counts: blocks in each stage; widths: each stage's width before `expansion`.
    stem_width: the stem's channels, the first stage's width if None. block_options: further options of `block`.
    """

    def __init__(
        self,
        block: type[nn.Module],
        block_counts: tuple[int, ...],
        widths: tuple[int, ...],
        num_classes: int,
        *,
        shortcut: str,
        conv1_t_size: int,
        conv1_t_stride: int,
        max_pool: bool,
        stem_width: int | None = None,
        **block_options: int,
    ):
        super().__init__()
        check_choice("shortcut", shortcut, ("A", "B"))
        check_positive("conv1_t_size", conv1_t_size)
        check_positive("conv1_t_stride", conv1_t_stride)
        self.num_classes = num_classes
        channels = widths[0] if stem_width is None else stem_width
        self.add_stem(channels, conv1_t_size, conv1_t_stride)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool3d(kernel_size=3, stride=2, padding=1) if max_pool else nn.Identity()
        for stage, (count, width) in enumerate(zip(block_counts, widths), start=1):
            out_channels = width * block.expansion
            blocks = []
            for index in range(count):
                stride = 2 if stage > 1 and index == 0 else 1
                downsample = make_shortcut(shortcut, channels, out_channels, stride)
                blocks.append(block(channels, width, stride, downsample, **block_options))
                channels = out_channels
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
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
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return x

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        return self.fc(self.dropout(features.mean(dim=(2, 3, 4))))


def _register(depth: int) -> None:
    def entry(
        num_classes: int,
        *,
        shortcut: str = "B",
        conv1_t_size: int = 7,
        conv1_t_stride: int = 1,
        max_pool: bool = True,
        widen_factor: float = 1.0,
    ) -> ResNet3D:
        return ResNet3D(
            BasicBlock if depth < 50 else Bottleneck,
            BLOCK_COUNTS[depth],
            tuple(scale_width(width, "widen_factor", widen_factor) for width in STAGE_WIDTHS),
            num_classes,
            shortcut=shortcut,
            conv1_t_size=conv1_t_size,
            conv1_t_stride=conv1_t_stride,
            max_pool=max_pool,
        )

    entry.__name__ = f"resnet{depth}"
    entry.__doc__ = f"3-D ResNet-{depth}; see the top of this file."
    register_model(entry)


for _depth in BLOCK_COUNTS:
    _register(_depth)
