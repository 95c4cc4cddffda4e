"""How much a network computes for one clip: its MACs, and all other work beside them, with nothing silently left out.

One MAC (multiply-accumulate) is a multiplication and an addition; papers on video networks mostly print MACs under
the name of FLOPs. Every operation that a forward pass executes is of one kind and counted in that kind's unit:

    conv         MACs: output elements × input channels / groups × kernel volume
    linear       MACs: output elements × input features (a matrix times one matrix of weights)
    attention    MACs of batched matrix products, whose two sides both depend on the clip
    pooling      elements read: output elements × kernel volume, the padding included; for adaptive pools, means,
                 sums and maxima over axes the input elements
    norm         elements normalised (batch, layer, group norm)
    elementwise  elements put out: activations, sums, products, softmax, the addition of a bias
    uncounted    elements put out by what only moves data (copies, concatenations, padding, indexing), by name, and
                 by any operation that this file does not know, by name too: nothing vanishes

The first three add up to the MACs of a paper. MACs come from torch's own formulas (`torch.utils.flop_counter`), whose
two FLOPs a MAC are halved.
"""

import copy
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from actlib.models import VideoModel, create_from_spec
from actlib.models.parts.structure import structure_only

KINDS = ("conv", "linear", "attention", "pooling", "norm", "elementwise", "uncounted")
MACS = KINDS[:3]
LINEAR = {"mm", "addmm"}
NORMS = {"native_batch_norm", "native_layer_norm", "native_group_norm", "rms_norm", "batch_norm_with_update"}
WINDOW_POOLS = {"max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool2d", "avg_pool3d"}
REDUCTIONS = {"mean", "sum", "amax", "amin", "max", "min", "var", "std", "adaptive_avg_pool2d", "adaptive_avg_pool3d"}
REDUCTIONS |= {"adaptive_max_pool2d", "adaptive_max_pool3d"}
# Not pointwise to torch, but one result an element all the same.
ONE_EACH = {"softmax", "safe_softmax", "log_softmax", "floor_divide", "hardswish"}
MOVES = {
    "cat", "stack", "clone", "copy", "to_copy", "constant_pad_nd", "index", "index_select", "gather", "roll", "flip",
    "repeat", "as_strided", "fill", "new_zeros", "new_ones", "new_empty", "new_full", "empty_like", "zeros_like",
    "ones_like", "full_like", "reflection_pad3d", "replication_pad3d", "slice_scatter", "select_scatter", "index_put",
    "channel_shuffle", "pixel_shuffle", "contiguous",
}  # fmt: skip
_INFERENCE_NORM = "_native_batch_norm_legit_no_training"  # what native_batch_norm decomposes into, in evaluation mode


@dataclass(frozen=True)
class MacCount:
    """The work of one clip, in the units at the top of this file.

    operations: the work of each operation that is pooling, norm or elementwise, by name.
    uncounted: the elements put out by operations that move data or are not known here, by name.
    input_shape: the clip's, without the batch axis.
    """

    conv: int
    linear: int
    attention: int
    pooling: int
    norm: int
    elementwise: int
    operations: dict[str, int]
    uncounted: dict[str, int]
    input_shape: tuple[int, ...]

    @property
    def total(self) -> int:
        """The MACs: conv + linear + attention."""
        return self.conv + self.linear + self.attention

    @property
    def unknown(self) -> list[str]:
        """The uncounted operations that are not known to be mere moves of data."""
        return [name for name in self.uncounted if name not in MOVES]


class Step(NamedTuple):
    """One executed operation: its kind, torch's name for it, the elements it put out, its work in the kind's unit."""

    kind: str
    name: str
    outputs: int
    work: int


class Recorder(TorchDispatchMode):
    """Notes a Step for every executed operation, after taking apart what is composed of others.

    Left out is what computes nothing: views (every output shares an input's memory and is not written to) and
    operations without a tensor among their arguments (allocations). Of several outputs the first counts, the others
    being statistics or indices. Names lose their outer underscores, so that an in-place operation counts as the
    plain one.
    """

    def __init__(self):
        super().__init__()
        self.steps: list[Step] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        packet = func._overloadpacket
        if (output := _same_shape(packet, args)) is None:
            if packet not in _formulas() and func is not torch.ops.prim.device.default:
                with self:
                    output = func.decompose(*args, **kwargs)
                if output is not NotImplemented:
                    return output
            output = func(*args, **kwargs)
        if any(isinstance(a, torch.Tensor) for a in tree_leaves((args, kwargs))) and not _is_view(func):
            self.steps += _steps_of(func, args, kwargs, output)
        return output


def _same_shape(packet: torch._ops.OpOverloadPacket, args: tuple):
    """What a ReLU or batch norm answers of a tensor without storage: one like it, for which torch takes milliseconds,
    most of the time of a count. None for all else."""
    if packet not in (torch.ops.aten.relu, torch.ops.aten.native_batch_norm) or not args[0].is_meta:
        return None
    output = torch.empty_like(args[0])
    return output if packet is torch.ops.aten.relu else (output, *(args[0].new_empty(0) for _ in range(2)))


@cache
def _formulas() -> dict:
    """torch's, by operation; where Triton is installed, its import comes along, so not before something is counted."""
    from torch.utils.flop_counter import flop_registry

    return flop_registry


def _is_view(func: torch._ops.OpOverload) -> bool:
    if func._overloadpacket is torch.ops.aten._unsafe_view:  # a view whose schema does not say so
        return True
    returns = func._schema.returns
    return all(r.alias_info is not None and not r.alias_info.is_write for r in returns)


def _steps_of(func: torch._ops.OpOverload, args: tuple, kwargs: dict, output) -> Iterator[Step]:
    packet = func._overloadpacket
    name = "native_batch_norm" if packet.__name__ == _INFERENCE_NORM else packet.__name__.strip("_")
    outputs = next((t.numel() for t in tree_leaves(output) if isinstance(t, torch.Tensor)), 0)
    pointwise = torch.Tag.pointwise in func.tags  # of max and min: that of two tensors, not of one over its axes
    kind, work = "uncounted", outputs
    if packet in _formulas():
        kind = "conv" if name == "convolution" else "linear" if name in LINEAR else "attention"
        work = _formulas()[packet](*args, **kwargs, out_val=output) // 2
    elif name in NORMS:
        kind = "norm"
    elif name in WINDOW_POOLS:
        kernel = args[1] if len(args[1]) > 1 else list(args[1]) * (args[0].ndim - 2)
        kind, work = "pooling", outputs * math.prod(kernel)
    elif name in REDUCTIONS and not pointwise:
        read = next(a.numel() for a in tree_leaves((args, kwargs)) if isinstance(a, torch.Tensor))
        kind, work = "pooling", read
    elif name in ONE_EACH or (pointwise and name not in MOVES):
        kind = "elementwise"
    yield Step(kind, name, outputs, work)
    if name == "addmm" or (name == "convolution" and args[2] is not None):
        yield Step("elementwise", "linear_bias" if name == "addmm" else "convolution_bias", outputs, outputs)


def on_meta(spec: str, num_classes: int) -> VideoModel:
    """The network of a spec without storage: enough to count, at no cost. Raises ModelError as `create_from_spec`."""
    with structure_only():
        return create_from_spec(spec, num_classes)


def without_storage(model: nn.Module, *shape: int) -> tuple[nn.Module, torch.Tensor]:
    """A copy of `model` on the meta device, in the same mode, and clips of `shape` for it, of its parameters' dtype. It
    costs no memory and hardly any time, and the model stays as it is."""
    tensors = [*model.parameters(), *model.buffers()]
    # deepcopy takes what the memo holds instead of copying: parameters and buffers get no storage at any moment.
    memo = {id(tensor): _empty_twin(tensor) for tensor in tensors}
    dtype = next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.float32)
    return copy.deepcopy(model, memo), torch.empty(shape, device="meta", dtype=dtype)


def _empty_twin(tensor: torch.Tensor) -> torch.Tensor:
    empty = torch.empty_like(tensor, device="meta", requires_grad=False)
    return nn.Parameter(empty, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def executed_steps(model: nn.Module, input_shape: tuple[int, ...]) -> list[Step]:
    """Every operation of the forward pass in evaluation mode of one clip of `input_shape`, (C, T, H, W), in order."""
    shadow, clip = without_storage(model, 1, *input_shape)
    with torch.no_grad(), Recorder() as recorder:
        shadow.eval()(clip)
    return recorder.steps


def count_macs(model: nn.Module, input_shape: tuple[int, ...]) -> MacCount:
    """Count the work of one clip of `input_shape`, (C, T, H, W): the batch axis is put in front here. It costs no
    memory and leaves the model as it is."""
    work: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    for step in executed_steps(model, input_shape):
        work[step.kind][step.name] += step.work
    uncounted, operations = work.pop("uncounted"), work["pooling"] + work["norm"] + work["elementwise"]
    return MacCount(
        **{kind: names.total() for kind, names in work.items()},
        operations=dict(sorted(operations.items())),
        uncounted=dict(sorted(uncounted.items())),
        input_shape=tuple(input_shape),
    )


def num_params(model: nn.Module) -> int:
    """The trainable parameters' elements; frozen ones do not count."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
