"""How much a network computes for one clip: its MACs, and by name what that number leaves out.

One MAC (multiply-accumulate) is a multiplication and an addition; papers on video networks mostly print MACs under
the name of FLOPs. The counts come from `torch.utils.flop_counter`, whose two FLOPs a MAC are halved here. Convolution:
output elements × input channels / groups × kernel volume; linear: output elements × input features. Bias is free.
"""

import copy
from collections import Counter
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, flop_registry

_INFERENCE_NORM = "_native_batch_norm_legit_no_training"  # what native_batch_norm decomposes into, in evaluation mode
_LINEAR = {torch.ops.aten.mm, torch.ops.aten.addmm}


@dataclass(frozen=True)
class MacCount:
    """The multiply-accumulates of one clip.

    conv, linear: those of convolutions, and of matrices times one matrix of weights.
    other: those of batched matrix products and attention.
    uncounted: for each operation that no count includes (norms, activations, pooling, …), the elements it put out.
    input_shape: the clip's, without the batch axis.
    """

    conv: int
    linear: int
    other: int
    uncounted: dict[str, int]
    input_shape: tuple[int, ...]

    @property
    def total(self) -> int:
        return self.conv + self.linear + self.other


class _UncountedOps(TorchDispatchMode):
    """Adds up the output elements of every executed operation that the FLOP counter has no formula for.

    Left out is what computes nothing: views (every output shares an input's memory and is not written to) and
    operations without a tensor among their arguments (allocations). Of several outputs the first counts, the others
    being statistics or indices. Names lose their outer underscores, so that an in-place operation counts as the
    plain one.
    """

    def __init__(self):
        super().__init__()
        self.elements: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        reads_tensor = any(isinstance(a, torch.Tensor) for a in tree_leaves((args, kwargs)))
        if packet not in flop_registry and reads_tensor and not _is_view(func):
            name = "native_batch_norm" if packet.__name__ == _INFERENCE_NORM else packet.__name__.strip("_")
            self.elements[name] += next((t.numel() for t in tree_leaves(output) if isinstance(t, torch.Tensor)), 0)
        return output


def _is_view(func: torch._ops.OpOverload) -> bool:
    if func._overloadpacket is torch.ops.aten._unsafe_view:  # a view whose schema does not say so
        return True
    returns = func._schema.returns
    return all(r.alias_info is not None and not r.alias_info.is_write for r in returns)


def count_macs(model: nn.Module, input_shape: tuple[int, ...]) -> MacCount:
    """Count the MACs of one clip of `input_shape`, (3, T, H, W): the batch axis is put in front here.

    A copy of the model without storage runs in evaluation mode, so this costs no memory and hardly any time, and
    the model stays as it is.
    """
    tensors = [*model.parameters(), *model.buffers()]
    # deepcopy takes what the memo holds instead of copying: parameters and buffers get no storage at any moment.
    memo = {id(t): _without_storage(t) for t in tensors}
    shadow = copy.deepcopy(model, memo).eval()
    dtype = next((t.dtype for t in tensors if t.is_floating_point()), torch.float32)
    clip = torch.empty(1, *input_shape, device="meta", dtype=dtype)
    # The outer mode sees what the inner one executes, after decomposition.
    with torch.no_grad(), _UncountedOps() as uncounted, FlopCounterMode(display=False) as counter:
        shadow(clip)
    macs = {packet: flops // 2 for packet, flops in counter.get_flop_counts().get("Global", {}).items()}
    conv = macs.pop(torch.ops.aten.convolution, 0)
    linear = sum(macs.pop(packet, 0) for packet in _LINEAR)
    return MacCount(conv, linear, sum(macs.values()), dict(sorted(uncounted.elements.items())), tuple(input_shape))


def _without_storage(tensor: torch.Tensor) -> torch.Tensor:
    empty = torch.empty_like(tensor, device="meta", requires_grad=False)
    return nn.Parameter(empty, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def num_params(model: nn.Module) -> int:
    """The trainable parameters' elements; frozen ones do not count."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
