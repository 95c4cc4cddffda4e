"""Time by part: it is where it is spent, whatever the MACs say."""

import time

import pytest
import torch
from torch import nn

from actlib.analysis import plots
from actlib.analysis.costs.layer_times import layer_times
from actlib.models import adopt


class Slow(nn.Module):
    def forward(self, x):
        time.sleep(0.02)
        return x


class Uneven(nn.Module):
    """All MACs in `work`, nearly all time in `wait` and, called as a function, in no part at all."""

    def __init__(self):
        super().__init__()
        self.work = nn.Conv3d(3, 2, 3)
        self.wait = Slow()
        self.fc = nn.Linear(2, 4)

    def forward(self, x):
        time.sleep(0.02)
        return self.fc(self.wait(self.work(x)).mean(dim=(2, 3, 4)))


def test_time_is_told_apart_from_macs():
    table = layer_times(adopt(Uneven(), 4), torch.randn(2, 3, 4, 8, 8), steps=2)
    assert table["time_share"].sum() == pytest.approx(100) and table["share"].sum() == pytest.approx(100)
    rows = table.set_index(table["layer"].str.removeprefix("network."))
    assert rows.loc["work", "share"] > 99 and rows.loc["wait", "share"] == 0
    for name in ("wait", "(elsewhere)"):
        assert rows.loc[name, "ms"] > 9 and rows.loc[name, "time_share"] > 20  # 20 ms for a batch of two
    axes = plots.shares_by_layer(table.assign(network="uneven"))
    widths = [bar.get_width() for bar in axes.patches]
    assert sum(width for width in widths if width < 0) == pytest.approx(-100, abs=1)
    assert sum(width for width in widths if width > 0) == pytest.approx(100, abs=1)
