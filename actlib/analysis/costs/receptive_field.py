"""How far in time a network sees: the receptive field of each layer in frames, computed and measured.

Computed, as by Araujo et al., "Computing Receptive Fields of Convolutional Neural Networks" (Distill, 2019), by walking
what a forward pass executes. Where position i of the input of a convolution or pool sees the frames from a + i·j to
b + i·j, position i of its output, with kernel k, stride s, dilation d and padding p in time, sees those
    from a − p·j + i·(s·j)   to   b + ((k − 1)·d − p)·j + i·(s·j)
and where branches meet, from the earliest to the latest frame of any. The modules that mix the frames of folded clips
(TSM, TAM) count as kernels of their width.

Measured: the gradient of one position's features in time by each input frame. What the arithmetic leaves out is exactly
zero there; what it lets in may still be very small (Luo et al., "Understanding the Effective Receptive Field", 2016).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from actlib.analysis.costs.flops import REDUCTIONS, WINDOW_POOLS, without_storage
from actlib.models.parts.temporal import TemporalAggregation, TemporalShift

FIELD_COLUMNS = ("layer", "frames", "step", "first", "last")
_ATTENTION = {"bmm", "baddbmm", "scaled_dot_product_attention"}


@dataclass(frozen=True)
class _Field:
    """Position i sees the frames from `first` + i · `step` to `last` + i · `step`."""

    first: int = 0
    last: int = 0
    step: int = 1

    def behind(self, kernel: int, stride: int, padding: int, dilation: int = 1) -> "_Field":
        last = self.last + ((kernel - 1) * dilation - padding) * self.step
        return _Field(self.first - padding * self.step, last, self.step * stride)


class _Walk(TorchDispatchMode):
    """Hands the field of what goes into each operation on to what comes out."""

    def __init__(self):
        super().__init__()
        self._fields: dict[int, _Field] = {}
        self._kept: list[torch.Tensor] = []  # so that no identity is used again

    def of(self, tensors) -> _Field | None:
        found = [self._fields.get(id(each)) for each in tree_leaves(tensors)]
        found = [each for each in found if each is not None]
        if len({each.step for each in found}) > 1:
            raise ValueError(f"branches with steps of {sorted({each.step for each in found})} frames meet")
        if not found:
            return None
        return _Field(min(each.first for each in found), max(each.last for each in found), found[0].step)

    def put(self, tensors, field: _Field | None) -> None:
        for each in tree_leaves(tensors):
            if field is not None and isinstance(each, torch.Tensor):
                self._fields[id(each)] = field
                self._kept.append(each)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        field = self.of((args, kwargs))
        if field is not None:
            self.put(output, _behind(func._overloadpacket.__name__.strip("_"), args, field))
        return output


def _behind(name: str, args: tuple, field: _Field) -> _Field:
    """The field of an operation's output, from that of its input."""
    over_time = isinstance(args[0], torch.Tensor) and args[0].ndim == 5
    if name == "convolution" and over_time:
        stride, padding, dilation = (each[0] for each in args[3:6])
        return field.behind(args[1].shape[2], stride, padding, dilation)
    if name in WINDOW_POOLS and over_time:
        padding = args[3] if len(args) > 3 else (0,)
        return field.behind(args[1][0], args[2][0], padding[0])
    if name == "index_select" and over_time and args[1] == 2:
        raise ValueError("index_select picks frames at uneven steps: such a network has no receptive field by layer")
    if name in _ATTENTION or name.startswith("scaled_dot_product") or (name in REDUCTIONS and over_time):
        raise ValueError(f"{name} sees all frames at once: such a network has no receptive field by layer")
    return field


def receptive_fields(model: nn.Module, input_shape: tuple[int, ...]) -> pd.DataFrame:
    """What one position in time sees behind each part of `model`, for clips of `input_shape`, (C, T, H, W): a table of
    FIELD_COLUMNS in the order of the parts, which are its children up to the features, norms and ReLUs left out.

    `frames`: how many input frames. `step`: input frames from one position to the next. `first`, `last`: of position 0,
    counted from the clip's first frame; those below 0 are padding. `model` needs `forward_features` and stays as it is.
    Raises ValueError for a network whose frames meet otherwise, by attention or means over time, and for two pathways.
    """
    shadow, clip = without_storage(model, 1, *input_shape)
    rows: dict[str, _Field] = {}
    with torch.no_grad(), _Walk() as walk:
        walk.put(clip, _Field())

        def mixed(module, args, output):
            earlier, later = _reach(module)
            field = walk.of(args[0])
            first, last = field.first - earlier * field.step, field.last + later * field.step
            walk.put(output, replace(field, first=first, last=last))

        for module in shadow.modules():
            if isinstance(module, TemporalShift | TemporalAggregation):
                module.register_forward_hook(mixed)
        for name, module in _parts(shadow):
            module.register_forward_hook(lambda module, args, output, name=name: rows.update({name: walk.of(output)}))
        shadow.eval().forward_features(clip)
    seen = [(name, field.last - field.first + 1, field.step, field.first, field.last) for name, field in rows.items()]
    return pd.DataFrame(seen, columns=FIELD_COLUMNS)


def _parts(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The children of a network that may widen what it sees, with their names, and below the same name their own
    children: some are never called as a whole. What comes out last is the part's output. The members of a list are
    parts of their own."""
    for name, child in model.named_children():
        if isinstance(child, nn.ModuleList):
            yield from ((f"{name}.{number}", each) for number, each in child.named_children())
        elif not isinstance(child, _BatchNorm | nn.ReLU):
            yield name, child
            yield from ((name, each) for each in child.children())


def _reach(module: TemporalShift | TemporalAggregation) -> tuple[int, int]:
    """How many positions earlier and later a module that mixes frames looks."""
    if isinstance(module, TemporalShift):
        return 1, 1
    width = len(module.frame_weights())
    return width // 2, (width - 1) // 2


def frame_influence(model: nn.Module, clip: torch.Tensor) -> dict[str, tuple[int, np.ndarray]]:
    """The measured counterpart of `receptive_fields`, by part: (position, influence).

    `clip`: float32 (1, C, T, H, W) on the model's device. `position`: the middle one in time of the part's output.
    `influence`: float64 (T,), by input frame the length of the gradient of that position's features, added up with
    random signs, as shares of the sum; zero where nothing was seen. The model is in evaluation mode meanwhile.
    """
    was_training, outputs = model.training, {}
    clip = clip.detach().clone().requires_grad_()
    handles = [
        module.register_forward_hook(lambda module, args, output, name=name: outputs.update({name: output.clone()}))
        for name, module in _parts(model)
    ]
    try:
        model.eval().forward_features(clip)
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    signs = torch.Generator().manual_seed(0)
    found = {}
    for name, output in outputs.items():
        features = output[0].transpose(0, 1) if output.ndim == 5 else output  # one clip: frames lie in the batch axis
        position = len(features) // 2
        random = torch.randn(features[position].shape, generator=signs).sign().to(output.device)
        (gradient,) = torch.autograd.grad((features[position] * random).sum(), clip, retain_graph=True)
        length = gradient[0].double().pow(2).sum(dim=(0, 2, 3)).sqrt().cpu().numpy()
        found[name] = position, length / max(length.sum(), np.finfo(float).tiny)
    return found


def fields_beside_influence(model: nn.Module, clip: torch.Tensor, most: float = 0.9) -> pd.DataFrame:
    """`receptive_fields` and `frame_influence` of `clip`, float32 (1, C, T, H, W), side by side, a row a part.

    `first` and `last` are those of the middle position, within the clip or not; beside FIELD_COLUMNS stand `measured`
    (how many frames of the clip have any influence), `measured_first`, `measured_last`, `used` (the fewest frames that
    together have the share `most` of it) and `influence` (the shares by frame).
    """
    table, influence = receptive_fields(model, tuple(clip.shape[1:])), frame_influence(model, clip)
    rows = []
    for row in table.itertuples():
        position, shares = influence[row.layer]
        seen = np.flatnonzero(shares)
        used = 1 + int(np.searchsorted(np.sort(shares)[::-1].cumsum(), most))
        moved = position * row.step
        rows.append((row.first + moved, row.last + moved, len(seen), seen.min(), seen.max(), used, shares))
    names = ["first", "last", "measured", "measured_first", "measured_last", "used", "influence"]
    return table.drop(columns=["first", "last"]).join(pd.DataFrame(rows, columns=names))
