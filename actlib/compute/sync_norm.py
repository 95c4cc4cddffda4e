"""Batch norm over the clips of all processes: torch's own on GPUs, and the same by all-reduce on a CPU, where torch has
none. What IBM's action-recognition-pytorch calls --sync-bn, and 3D-ResNets-PyTorch --batchnorm_sync."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def over_all_processes(model: nn.Module, device: torch.device) -> nn.Module:
    """`model` with its batch norms seeing, while it trains on `device`, the clips of all processes: parameters, names
    and what it answers in evaluation stay. The modules are other objects: who needs them asks for them afterwards."""
    kind = _OnGPUs if device.type == "cuda" else _ByAllReduce
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for module in model.modules():
        if isinstance(module, nn.SyncBatchNorm):
            module.__class__ = kind
    return model


@contextmanager
def apart(model: nn.Module) -> Iterator[None]:
    """Each process by itself meanwhile: where all of them have the same clips, which would count several times."""
    norms = [module for module in model.modules() if isinstance(module, _OnGPUs | _ByAllReduce)]
    for each in norms:
        each.apart = True
    try:
        yield
    finally:
        for each in norms:
            each.apart = False


class _OnGPUs(nn.SyncBatchNorm):
    """torch's. `apart`: see above."""

    apart = False

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return _BatchNorm.forward(self, input) if self.apart else super().forward(input)


class _ByAllReduce(_BatchNorm):
    """The same on a CPU. It is none of torch's SyncBatchNorm, which DistributedDataParallel refuses there."""

    apart = False

    def _check_input_dim(self, input: torch.Tensor) -> None:
        """Any number of axes."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(B, C, …), B being this process's share, to the same shape."""
        return super().forward(input) if self.apart or not self.training else self._by_all_reduce(input)

    def _by_all_reduce(self, input: torch.Tensor) -> torch.Tensor:
        """Mean and variance in two passes, as one process would compute them of the whole batch."""
        x = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        axes, shape = [0, *range(2, x.dim())], (1, -1, *[1] * (x.dim() - 2))
        count = x.new_tensor([x.numel() / x.shape[1]])
        sums = _Sum.apply(torch.cat([x.sum(axes), count]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        x = x - mean.view(shape)
        variance = _Sum.apply(x.square().sum(axes)) / count
        if self.track_running_stats:
            self._track(mean.detach(), variance.detach() * (count / (count - 1)))
        x = x * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            x = x * self.weight.view(shape) + self.bias.view(shape)
        return x.to(input.dtype)

    def _track(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        self.num_batches_tracked.add_(1)
        momentum = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), momentum)


class _Sum(torch.autograd.Function):
    """The sum over all processes, whose gradient is the sum of all their gradients."""

    @staticmethod
    def forward(context, tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.clone()
        dist.all_reduce(tensor)
        return tensor

    @staticmethod
    def backward(context, gradient: torch.Tensor) -> torch.Tensor:
        return _Sum.apply(gradient)
