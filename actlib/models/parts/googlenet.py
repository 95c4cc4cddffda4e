"""The layers of Inception v1 as torchvision has them, for networks over frames and for 3-D ones.

To be imported where such a network is built: torchvision's import takes as long as torch's.
"""

from collections.abc import Callable

import torch
from torch import nn
from torchvision.models.googlenet import BasicConv2d, GoogLeNet, Inception

__all__ = ["OUT_CHANNELS", "BasicConv2d", "Inception", "MixingInception", "googlenet_layers"]

OUT_CHANNELS = 1024  # of the last layer


class MixingInception(Inception):
    def forward(self, x: torch.Tensor, mixed: torch.Tensor | None = None) -> torch.Tensor:
        """mixed: what the 3×3 branches see in place of x."""
        mixed = x if mixed is None else mixed
        return torch.cat([self.branch1(x), self.branch2(mixed), self.branch3(mixed), self.branch4(x)], dim=1)


def googlenet_layers(conv: Callable[..., nn.Module], inception: Callable[..., nn.Module]) -> dict[str, nn.Module]:
    """GoogLeNet up to its head, by name and in order: conv1, maxpool1, conv2, conv3, maxpool2, inception3a, …

    conv(in_channels, out_channels, kernel_size=…, …) makes what stands for a convolution, its norm and its ReLU;
    inception(in_channels, six widths) makes a module of four branches.
    """
    network = GoogLeNet(aux_logits=False, init_weights=False, blocks=[conv, inception, nn.Identity])
    return {name: layer for name, layer in network.named_children() if name not in ("avgpool", "dropout", "fc")}
