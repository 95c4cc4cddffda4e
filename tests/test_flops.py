"""MAC counts against counts made by hand (the references' counts: test_vectors.py)."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from vectors import create_on_meta

from actlib.analysis.flops import count_macs, num_params
from actlib.models import ModelError, create_model


class TinyNet(nn.Module):
    """Every kind of operation that a count tells apart, small enough to count by hand."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(4, 6, kernel_size=(1, 3, 3), padding=(0, 1, 1), groups=2)
        self.norm = nn.BatchNorm3d(6)
        self.pool = nn.MaxPool3d(2)
        self.fc = nn.Linear(6, 5)

    def forward(self, x):
        x = self.pool(F.relu_(self.norm(self.conv(x))))  # (B, 6, 1, 2, 2)
        tokens = x.flatten(2).transpose(1, 2)  # (B, 4, 6)
        tokens = torch.bmm(tokens, tokens.transpose(1, 2)).softmax(-1) @ tokens
        return self.fc(tokens.mean(1)).sigmoid()


def test_macs_by_hand():
    model = TinyNet()
    count = count_macs(model, (4, 2, 4, 4))
    assert count.conv == (6 * 2 * 4 * 4) * (4 // 2) * (1 * 3 * 3)
    assert count.linear == 5 * 6
    assert count.other == 4 * 4 * 6 + 4 * 6 * 4
    assert count.total == count.conv + count.linear + count.other
    assert count.input_shape == (4, 2, 4, 4)
    assert count.uncounted == {
        "native_batch_norm": 192,
        "relu": 192,
        "max_pool3d_with_indices": 24,
        "softmax": 16,
        "mean": 6,
        "sigmoid": 5,
    }


def test_the_model_stays_as_it_is():
    model = create_model("resnet10", 5, widen_factor=0.25)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    model.fc.bias.requires_grad_(False)
    with torch.inference_mode():
        in_inference = count_macs(model, (3, 4, 32, 32))
    assert model.training and model.spec == "resnet10 widen_factor=0.25"
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert in_inference == count_macs(model.eval(), (3, 4, 32, 32))
    assert count_macs(model.half(), (3, 4, 32, 32)) == in_inference
    assert num_params(model) == sum(p.numel() for p in model.parameters()) - 5


def test_a_batch_axis_is_refused():
    with pytest.raises(ModelError, match=r"\(1, 2, 3, 4, 32, 32\)"):
        count_macs(create_on_meta("resnet10", 5), (2, 3, 4, 32, 32))
