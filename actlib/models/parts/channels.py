"""Networks for clips of other than three channels, such as stacked optical flow.

Every family starts with one convolution that reads the clip; it alone changes, and keeps its name in the state dict.
"""

import torch
from torch import nn


def set_input_channels(model: nn.Module, num_channels: int, *, keep: bool) -> nn.Module:
    """Let `model` take clips of `num_channels` channels, in place. Returns it.

    keep: each filter becomes its mean over the channels it had, once a channel (the cross-modality initialisation of
    temporal segment networks, Wang et al., 2016): what the network learned of shapes is kept. Otherwise the filters
    are drawn anew from a normal distribution, so that the layer's outputs have the spread that they had.
    """
    old = model.in_channels
    if num_channels == old:
        return model
    first = next(
        module
        for module in model.modules()
        if isinstance(module, (nn.Conv2d, nn.Conv3d)) and module.in_channels == old and module.groups == 1
    )
    weight = first.weight.detach()
    if keep:
        repeats = [1, num_channels] + [1] * (weight.ndim - 2)
        fresh = weight.mean(dim=1, keepdim=True).repeat(repeats)
    else:
        shape = (weight.shape[0], num_channels, *weight.shape[2:])
        fresh = torch.randn(shape, dtype=weight.dtype, device=weight.device)
        fresh *= weight.std() * (old / num_channels) ** 0.5
    first.weight = nn.Parameter(fresh, requires_grad=first.weight.requires_grad)
    first.in_channels = model.in_channels = num_channels
    return model
