"""Where a network's time goes, part by part, beside its MACs.

Timed are the parts of `layers.layer_table` in the passes of one batch in inference, as evaluation runs them: batch
norms folded into convolutions. On a GPU every part waits for the one before, which by itself makes a pass slower.
"""

import time

import pandas as pd
import torch
from torch import nn

from actlib.analysis.costs.layers import ELSEWHERE, layer_table
from actlib.compute.folding import fold_batch_norm
from actlib.compute.measure import WARM_UP


def layer_times(model: nn.Module, clips: torch.Tensor, depth: int = 1, steps: int = 5) -> pd.DataFrame:
    """`layer_table` at `depth` for one of `clips`, float32 (B, C, T, H, W) on the model's device; two columns more.

    `ms`: milliseconds a clip in the fastest of `steps` passes, which the machine's other work disturbed least, after
    some to warm up. `time_share`: of that whole pass, in percent. The last row, ELSEWHERE, has what is in
    no part: functions between modules, such as pooling over time. The model stays as it is.
    """
    folded, shape = fold_batch_norm(model, clips[:1]), tuple(clips.shape[1:])
    table = layer_table(folded, shape, depth)
    clock = _Clock(clips.device)
    for name in table["layer"]:
        if name != ELSEWHERE:
            part = folded.get_submodule(name)
            part.register_forward_pre_hook(lambda module, args: clock.begin())
            part.register_forward_hook(lambda module, args, output, name=name: clock.end(name))
    passes: list[dict[str, float]] = []
    with torch.inference_mode():
        for _ in range(WARM_UP + steps):
            clock.spent = {}
            clock.begin()
            folded(clips)
            clock.end("")
            passes.append(clock.spent)
    spent = min(passes[WARM_UP:], key=lambda each: each[""])
    whole = spent.pop("")
    spent[ELSEWHERE] = whole - sum(spent.values())
    if ELSEWHERE not in set(table["layer"]):
        table = pd.concat([table, pd.DataFrame([(ELSEWHERE, "", "", 0, 0.0, 0.0)], columns=table.columns)])
    seconds = table["layer"].map(spent).fillna(0.0)
    times = table.assign(ms=1000 * seconds / len(clips), time_share=100 * seconds / whole)
    return times.reset_index(drop=True)


class _Clock:
    """Adds up the seconds between `begin` and `end`, by name; they may be nested."""

    def __init__(self, device: torch.device):
        self._device, self._begun = device, []
        self.spent: dict[str, float] = {}

    def begin(self) -> None:
        self._begun.append(self._now())

    def end(self, name: str) -> None:
        self.spent[name] = self.spent.get(name, 0.0) + self._now() - self._begun.pop()

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()
