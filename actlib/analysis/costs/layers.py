"""Where a network's parameters and its work are: a row for each of its parts, in the order in which a clip meets them.

The counts are those of `flops.count_macs`, told apart by the module in whose forward pass they arise.
"""

from collections.abc import Iterator

import pandas as pd
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from actlib.analysis.costs.flops import MACS, Recorder, Step, without_storage

COLUMNS = ("layer", "kind", "output", "parameters", "gmacs", "share")
ELSEWHERE = "(elsewhere)"
_NEARLY_ALL = 0.9  # of the MACs: a part that holds them is shown by its own parts


def layer_table(model: nn.Module, input_shape: tuple[int, ...], depth: int = 1) -> pd.DataFrame:
    """The parts of `model` and what one clip of `input_shape`, (C, T, H, W), costs in each: a table of COLUMNS.

    A part is a module `depth` names below the network (`layer1` at 1, `layer1.0` at 2); one that is never called as a
    whole, or has nearly all of the MACs, stands there by its own parts. `output`: the shape without the batch axis.
    `parameters`: all elements, frozen ones too, shared ones where they stand first. `gmacs`: 10⁹ MACs. `share`: of all
    MACs, in percent. What no part holds stands in a last row, ELSEWHERE. The model stays as it is.
    """
    shadow, clip = without_storage(model, 1, *input_shape)
    with torch.no_grad(), Recorder() as recorder:
        calls = _Calls(shadow, recorder.steps)
        shadow.eval()(clip)
    total, counted = _macs(recorder.steps), set()
    parts = dict(_parts(shadow, depth, calls, _NEARLY_ALL * total))
    rows = []
    for name in sorted(parts, key=lambda name: calls.first.get(parts[name], len(calls.first))):
        module = parts[name]
        size, macs = _new_elements(module, counted), calls.macs.get(module, 0)
        rows.append((name, type(module).__name__, calls.shapes.get(module, ""), size, macs / 1e9))
    size, macs = _new_elements(shadow, counted), total / 1e9 - sum(row[4] for row in rows)
    if size or macs > 1e-12:
        rows.append((ELSEWHERE, "", "", size, macs))
    table = pd.DataFrame(rows, columns=COLUMNS[:-1])
    return table.assign(share=100e9 * table["gmacs"] / max(total, 1))


class _Calls:
    """What each module of a network did: when it was called `first`, its `macs`, the shape of its last output."""

    def __init__(self, model: nn.Module, steps: list[Step]):
        self.first: dict[nn.Module, int] = {}
        self.macs: dict[nn.Module, int] = {}
        self.shapes: dict[nn.Module, str] = {}
        self._steps, self._begun = steps, []
        for module in model.modules():
            module.register_forward_pre_hook(self._begin)
            module.register_forward_hook(self._end)

    def _begin(self, module: nn.Module, args) -> None:
        self.first.setdefault(module, len(self.first))
        self._begun.append(len(self._steps))

    def _end(self, module: nn.Module, args, output) -> None:
        self.macs[module] = self.macs.get(module, 0) + _macs(self._steps[self._begun.pop() :])
        found = [each for each in tree_leaves(output) if isinstance(each, torch.Tensor)]
        self.shapes[module] = " × ".join(map(str, found[0].shape[1:])) if found else ""


def _parts(module: nn.Module, depth: int, calls: _Calls, most: float, above: str = "") -> Iterator[tuple]:
    """(name, module) of the parts below a module."""
    for name, child in module.named_children():
        split = depth > 1 or child not in calls.first or calls.macs[child] > most
        if split and any(child.children()):
            yield from _parts(child, depth - 1, calls, most, f"{above}{name}.")
        else:
            yield above + name, child


def _macs(steps: list[Step]) -> int:
    return sum(step.work for step in steps if step.kind in MACS)


def _new_elements(module: nn.Module, counted: set[int]) -> int:
    """The elements of the parameters that are not counted yet."""
    new = [each for each in module.parameters() if id(each) not in counted]
    counted.update(map(id, new))
    return sum(each.numel() for each in new)
