"""The layers of Inception v1 as torchvision has them, for networks over frames and for 3-D ones."""

from collections.abc import Callable

from torch import nn
from torchvision.models.googlenet import GoogLeNet

OUT_CHANNELS = 1024  # of the last layer


def googlenet_layers(conv: Callable[..., nn.Module], inception: Callable[..., nn.Module]) -> dict[str, nn.Module]:
    """GoogLeNet up to its head, by name and in order: conv1, maxpool1, conv2, conv3, maxpool2, inception3a, …

    conv(in_channels, out_channels, kernel_size=…, …) makes what stands for a convolution, its norm and its ReLU;
    inception(in_channels, six widths) makes a module of four branches.
    """
    network = GoogLeNet(aux_logits=False, init_weights=False, blocks=[conv, inception, nn.Identity])
    return {name: layer for name, layer in network.named_children() if name not in ("avgpool", "dropout", "fc")}
