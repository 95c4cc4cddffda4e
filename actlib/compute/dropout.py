"""Dropout over the clips of all processes: each draws what one would draw for the whole batch, and takes its part.

On a CPU the very numbers that one process draws; on GPUs those of any number of processes above one, since a single one
uses torch's fused kernel, which draws otherwise.
"""

import sys

import torch
from torch import nn

from actlib.compute.processes import Ranks


class Noise:
    """What the dropouts of a network draw from, alike in all processes. `count`: the clips of the whole batch at hand.

    Other draws of a network's (a user's own) come from torch's global generator, of which each process has its own.
    """

    def __init__(self, ranks: Ranks, device: torch.device, seed: int):
        self.ranks, self.count = ranks, 0
        self.generator = torch.Generator(device)
        self.generator.manual_seed(seed)
        if device.type == "cpu":
            self.generator.set_state(torch.get_rng_state())  # as one process goes on

    def __deepcopy__(self, memo) -> "Noise":  # a copy of a network evaluates
        return self

    def on(self, input: torch.Tensor, p: float, shape: tuple[int, ...]) -> torch.Tensor:
        """This process's part of (B, …) times noise of a row of `shape` each: 0 with probability `p`, else 1/(1 − p).
        The rows are its clips, or as many for each clip, one after the other."""
        share = self.ranks.share(self.count)
        each = input.shape[0] // (share.stop - share.start)
        like = {}
        if input.dim() in (4, 5) and shape == input.shape[1:]:
            last = torch.channels_last if input.dim() == 4 else torch.channels_last_3d
            like = {"memory_format": last} if input.is_contiguous(memory_format=last) else {}
        noise = torch.empty((self.count * each, *shape), dtype=input.dtype, device=input.device, **like)
        noise = noise.bernoulli_(1 - p, generator=self.generator).div_(1 - p)
        return input * noise[share.start * each : share.stop * each]


def over_all_processes(model: nn.Module, noise: Noise) -> None:
    """Let the dropouts of `model`, and torchvision's stochastic depth, draw from `noise` while they train. Dropout of
    whole channels stays each process's own."""
    depth = sys.modules.get("torchvision.ops.stochastic_depth")
    for module in model.modules():
        if type(module) is nn.Dropout:
            module.__class__ = _Dropout
        elif depth and type(module) is depth.StochasticDepth and module.mode == "row":
            module.__class__ = type("_Depth", (_Depth, depth.StochasticDepth), {})
        else:
            continue
        module.noise = noise


class _Dropout(nn.Dropout):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training or not 0 < self.p < 1:
            return super().forward(input)
        return self.noise.on(input, self.p, tuple(input.shape[1:]))


class _Depth:
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training or not 0 < self.p < 1:
            return super().forward(input)
        return self.noise.on(input, self.p, (1,) * (input.dim() - 1))
