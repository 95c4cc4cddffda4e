"""The table of a network's parts against its whole, and against a count by hand."""

import pytest
from torch import nn
from torch.nn import functional as F

from actlib.analysis.costs.flops import count_macs, on_meta
from actlib.analysis.costs.layers import ELSEWHERE, layer_table


class Parts(nn.Module):
    """A part called twice, one that is never called, one whose blocks are called alone, and work outside of parts."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.conv = nn.Conv3d(4, 4, 1)
        self.blocks = nn.Sequential(nn.Conv3d(4, 4, 1), nn.Conv3d(4, 4, 1))
        self.unused = nn.Linear(7, 3)
        self.weight = nn.Parameter(self.head.weight.new_zeros(4, 4))

    def forward(self, x):  # (B, 4, 2, 3, 3)
        x = self.blocks[1](self.conv(self.conv(x)))
        return self.head(F.linear(x.mean((2, 3, 4)), self.weight))


def test_parts_by_hand():
    table = layer_table(Parts(), (4, 2, 3, 3)).set_index("layer")
    voxels = 2 * 3 * 3
    assert list(table.index) == ["conv", "blocks.1", "head", "blocks.0", "unused", ELSEWHERE]
    assert (table["gmacs"] * 1e9).round(6).tolist() == [2 * 16 * voxels, 16 * voxels, 8, 0, 0, 16]
    assert table["parameters"].tolist() == [20, 20, 10, 20, 24, 16]
    assert table["output"].tolist() == ["4 × 2 × 3 × 3", "4 × 2 × 3 × 3", "2", "", "", ""]
    assert table["share"].sum() == pytest.approx(100) and table.loc["conv", "kind"] == "Conv3d"


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(
    "spec", ["resnet18", "mobilenetv2", "tam_resnet18", "i3d", "densenet121", "r2plus1d18", "tv_mvit_v1_b", "c3d"]
)
def test_parts_add_up_to_the_network(spec, depth):
    model, shape = on_meta(spec, 10), (3, 16, 224 if "mvit" in spec else 112, 224 if "mvit" in spec else 112)
    table = layer_table(model, shape, depth)
    assert table["gmacs"].sum() * 1e9 == pytest.approx(count_macs(model, shape).total, abs=0.5)
    assert table["parameters"].sum() == sum(each.numel() for each in model.parameters())
    assert len(table) > 5 and table["layer"].is_unique and table["share"].max() < 90


def test_the_first_row_is_what_a_clip_meets_first():
    table = layer_table(on_meta("i3d_r50", 10), (3, 8, 64, 64))
    assert table["layer"].iloc[0] == "conv1" and table["layer"].iloc[-1] == "fc"
    assert table.set_index("layer").loc["layer4", "output"] == "2048 × 1 × 2 × 2"
