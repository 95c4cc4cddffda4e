"""The receptive field in time: by hand, by arithmetic and by gradients, which agree to the frame."""

import numpy as np
import pytest
import torch
from torch import nn

from actlib.analysis.costs.receptive_field import fields_beside_influence, frame_influence, receptive_fields
from actlib.models import create_from_spec

# frames and step behind the last layer, counted by hand
BY_HAND = {
    "resnet18 widen_factor=0.0625": (221, 16),  # 7, a pool, then per stage four kernels of 3, a stride before each
    "resnet10 widen_factor=0.0625 conv1_t_size=1 max_pool=false": (1 + 2 * (2 + 1 + 2 + 2 + 4 + 4 + 8), 8),
    "tsn_resnet18 width_mult=0.0625 temporal_stride=false": (1, 1),
    "tsn_resnet18 width_mult=0.0625": (1 + 2 + 4 + 8, 8),
    "tsm_resnet18 width_mult=0.125": (1 + 8 * 2, 1),
    "tam_resnet18 width_mult=0.0625": (1 + 4 + 2 + 8 + 4 + 16 + 8 + 32, 8),
}


@pytest.mark.parametrize("spec", BY_HAND)
def test_the_field_of_the_last_layer_is_as_counted_by_hand(spec):
    table = receptive_fields(create_from_spec(spec, 4), (3, 16, 32, 32))
    assert table["layer"].iloc[-1] == "layer4"
    assert tuple(table[["frames", "step"]].iloc[-1]) == BY_HAND[spec]
    assert (table["last"] - table["first"] + 1 == table["frames"]).all() and table["frames"].is_monotonic_increasing


@pytest.mark.parametrize("spec", [
    "resnet10 widen_factor=0.0625", "r2plus1d10 widen_factor=0.125", "s3d_resnet18",
    "tsn_resnet18 width_mult=0.0625", "tsm_resnet18 width_mult=0.125 placement=inplace temporal_stride=true",
    "tam_resnet18 width_mult=0.125", "tam_resnet18 width_mult=0.125 blending_frames=4 temporal_stride=false",
])  # fmt: skip
def test_computed_and_measured_agree_to_the_frame(spec):
    torch.manual_seed(0)
    model = create_from_spec(spec, 4)
    for name, weight in model.named_parameters():
        if ".tam." in name:
            weight.data.abs_()  # TAM's own ReLU else shuts whole channels for some of the frames
    table = fields_beside_influence(model, torch.randn(1, 3, 48, 16, 16))
    assert model.training
    assert (table["measured_first"] == table["first"].clip(lower=0)).all()
    assert (table["measured_last"] == table["last"].clip(upper=47)).all()
    assert (table["measured"] == table["measured_last"] - table["measured_first"] + 1).all()
    assert (table["used"] <= table["measured"]).all() and table["frames"].iloc[-1] >= 15


class Branches(nn.Module):
    """A wide kernel with dilation beside a narrow one."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Conv3d(3, 4, (3, 1, 1), (2, 1, 1), (4, 0, 0), dilation=(4, 1, 1))
        self.narrow = nn.Conv3d(3, 4, 1, (2, 1, 1))
        self.last = nn.Conv3d(4, 2, (2, 1, 1))

    def forward_features(self, x):
        return self.last(self.wide(x) + self.narrow(x))


def test_branches_dilation_and_even_kernels():
    table = receptive_fields(Branches(), (3, 12, 2, 2)).set_index("layer")
    assert table.loc["wide"].tolist() == [9, 2, -4, 4] and table.loc["narrow"].tolist() == [1, 2, 0, 0]
    assert table.loc["last"].tolist() == [11, 2, -4, 6]
    position, influence = frame_influence(Branches(), torch.randn(1, 3, 12, 2, 2))["last"]
    seen = np.flatnonzero(influence)  # of the frames between, only each fourth is read
    assert position == 2 and influence.sum() == pytest.approx(1)
    assert seen.tolist() == [0, 2, 4, 6, 8, 10]


def test_a_network_that_sees_all_frames_at_once_is_refused():
    with pytest.raises(ValueError, match="bmm sees all frames at once"):
        receptive_fields(create_from_spec("i3d_r50_nl", 4), (3, 8, 64, 64))
