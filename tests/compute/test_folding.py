"""Batch norms folded into convolutions: the same answers, and only where that is right."""

import pytest
import torch
from networks import randomise_norms, small_spec, smallest_of_each_family
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from actlib.compute.folding import fold_batch_norm
from actlib.models import create_from_spec

# Norms that do not follow a convolution: those before one, and after a concatenation.
UNFOLDED = {"densenet121": 62, "preresnet18": 8}


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, _BatchNorm) for module in model.modules())


@pytest.mark.parametrize("name", smallest_of_each_family())
def test_every_family_answers_the_same(name):
    torch.manual_seed(0)
    model = randomise_norms(create_from_spec(small_spec(name), 5)).train()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    clips = torch.randn(2, 3, 4, 32, 32)
    folded = fold_batch_norm(model, clips[:1])
    assert norms(folded) == UNFOLDED.get(name, 0) and model.training and not folded.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    with torch.inference_mode():
        want = model.eval()(clips)
        torch.testing.assert_close(folded(clips), want, rtol=1e-3, atol=1e-3 * want.abs().mean().item())


class Net(nn.Module):
    """Norms behind a convolution in several ways; `way` chooses one."""

    def __init__(self, way: str):
        super().__init__()
        self.way = way
        self.conv = nn.Conv3d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm3d(3)
        nn.init.uniform_(self.norm.running_mean, 1, 2)

    def forward(self, x):
        y = self.conv(x)
        if self.way == "a sum in place between":
            y += x
        if self.way == "the convolution used twice":
            y = self.conv(y)
        if self.way == "another user of the output":
            return (self.norm(y) + y).mean((2, 3, 4))
        return self.norm(y).mean((2, 3, 4))


@pytest.mark.parametrize(
    ("way", "left"),
    [
        ("plain", 0),
        ("a sum in place between", 1),
        ("the convolution used twice", 1),
        ("another user of the output", 1),
    ],
)
def test_only_what_alone_follows_a_convolution_is_folded(way, left):
    torch.manual_seed(0)
    model, clips = Net(way).eval(), torch.randn(2, 3, 2, 4, 4)
    with torch.inference_mode():
        folded = fold_batch_norm(model, clips)
        assert norms(folded) == left
        torch.testing.assert_close(folded(clips), model(clips))
