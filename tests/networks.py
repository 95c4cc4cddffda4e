"""What tests of several families do to a network."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm


def randomise_norms(model: nn.Module) -> nn.Module:
    """Give every batch norm statistics and weights of its own, since fresh ones hide errors; evaluation mode."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


def losses_on_contrast(model: nn.Module) -> list[float]:
    """Train on eight clips of two classes, told apart by their contrast; the loss of each of 24 steps."""
    labels = torch.arange(8) % 2
    x = torch.randn(8, 3, 4, 32, 32) * torch.where(labels == 1, 1.5, 0.5).view(-1, 1, 1, 1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    losses = []
    for _ in range(24):
        loss = F.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
