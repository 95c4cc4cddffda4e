"""Single layers that several families build with, and how the references initialise them."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.utils import _triple

Size = int | tuple[int, int, int]  # one number for T, H and W, or one each


def init_conv_and_norm(model: nn.Module) -> None:
    """Convolutions: He's normal initialisation by fan-out (arXiv:1502.01852); norms: 1 and 0. As the references do."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


def normal_linear(in_features: int, num_classes: int, std: float) -> nn.Linear:
    """A fresh linear layer with weights of N(0, std²) and bias 0, as several of the references start their heads."""
    linear = nn.Linear(in_features, num_classes)
    nn.init.normal_(linear.weight, std=std)
    nn.init.zeros_(linear.bias)
    return linear


def conv3x3x3(in_channels: int, out_channels: int, stride: Size = 1) -> nn.Conv3d:
    return nn.Conv3d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)


def conv1x1x1(in_channels: int, out_channels: int, stride: Size = 1) -> nn.Conv3d:
    return nn.Conv3d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False)


def spatial_conv(in_channels: int, out_channels: int, size: int = 3, stride: Size = 1) -> nn.Conv3d:
    """Conv 1×size×size with the part of the stride that lies in space."""
    pad, (_, *stride) = size // 2, _triple(stride)
    return nn.Conv3d(in_channels, out_channels, (1, size, size), (1, *stride), (0, pad, pad), bias=False)


def temporal_conv(in_channels: int, out_channels: int, size: int = 3, stride: Size = 1, groups: int = 1) -> nn.Conv3d:
    """Conv size×1×1 with the part of the stride that lies in time."""
    step, pad = (_triple(stride)[0], 1, 1), (size // 2, 0, 0)
    return nn.Conv3d(in_channels, out_channels, (size, 1, 1), step, pad, groups=groups, bias=False)


def stem_conv(channels: int, t_size: int, t_stride: int) -> nn.Conv3d:
    """The first convolution: `t_size`×7×7 over RGB with stride `t_stride`×2×2. An even `t_size` adds a frame."""
    return nn.Conv3d(3, channels, (t_size, 7, 7), (t_stride, 2, 2), padding=(t_size // 2, 3, 3), bias=False)


def conv_norm_relu(
    in_channels: int, out_channels: int, kernel_size: int, stride: Size = 1, relu: type[nn.Module] = nn.ReLU
) -> nn.Sequential:
    """A convolution that keeps the size but for the stride, BN, and `relu` (nn.ReLU or nn.ReLU6)."""
    return nn.Sequential(
        nn.Conv3d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False),
        nn.BatchNorm3d(out_channels),
        relu(inplace=True),
    )


def channel_shuffle(x: torch.Tensor, groups: int) -> torch.Tensor:
    """x: (B, C, T, H, W), its channels in `groups` runs. Returns the first channel of each run, then the second, …"""
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


def pool3d(x: torch.Tensor, method: str, kernel_size: Size, stride: Size, padding: Size) -> torch.Tensor:
    """Maximum ("max") or average ("avg") over windows of x (B, C, T, H, W); the average counts padding as zeros.

    It is padded by hand since avg_pool3d refuses an axis shorter than the window, whatever the padding.
    """
    if method == "max":
        return F.max_pool3d(x, kernel_size, stride, padding)
    t, h, w = _triple(padding)
    return F.avg_pool3d(F.pad(x, (w, w, h, h, t, t)), kernel_size, stride)


class FittingPool3d(nn.Module):
    """`pool3d` with a window that shrinks to the padded input's T, H or W where that is smaller.

    Wherever torch's pools answer, this answers the same; it lets short clips and small crops through as well.
    """

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0, method: str = "max"):
        super().__init__()
        self.kernel_size, self.padding = _triple(kernel_size), _triple(padding)
        self.stride = self.kernel_size if stride is None else _triple(stride)
        self.method = method

    def extra_repr(self) -> str:
        return f"{self.kernel_size}, stride={self.stride}, padding={self.padding}, method={self.method!r}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        window = [min(size, there + 2 * pad) for size, there, pad in zip(self.kernel_size, x.shape[2:], self.padding)]
        return pool3d(x, self.method, window, self.stride, self.padding)
