"""Our optimisers are torch's: the same weights and states, bit for bit, without torch._dynamo."""

import copy
import pickle

import pytest
import torch

from actlib.loops import optim

KINDS = {
    "AdamW": {"weight_decay": 0.1, "fused": True},
    "SGD": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "fused": True},
}


def stepped(kind, options, model, *, times=4):
    """The optimiser after some steps on `model`, with its state put through state_dict and zero_grad."""
    optimizer = kind([{"params": list(model.parameters())}], lr=0.1, **options)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    torch.manual_seed(1)
    for _ in range(times):
        model(torch.randn(5, 4)).square().sum().backward()
        optimizer.step()
        rates.step()
        optimizer.zero_grad()
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert all(each.grad is None for each in model.parameters())
    return optimizer


@pytest.mark.parametrize(("name", "options"), KINDS.items(), ids=str)
def test_steps_are_torchs(name, options):
    torch.manual_seed(0)
    ours = torch.nn.Linear(4, 3)
    theirs = copy.deepcopy(ours)
    mine = stepped(getattr(optim, name), options, ours)
    other = stepped(getattr(torch.optim, name), options, theirs)
    assert isinstance(mine, type(other)) and type(pickle.loads(pickle.dumps(mine))) is type(mine)
    for a, b in zip(ours.parameters(), theirs.parameters()):
        assert torch.equal(a, b)
        assert all(torch.equal(value, other.state[b][key]) for key, value in mine.state[a].items())


def test_a_step_takes_no_gradient_and_calls_its_hooks_once():
    torch.optim.SGD([torch.zeros(1)], lr=1.0)  # torch puts the hooks around a kind's step when the first is made
    weight, called = torch.ones(2, requires_grad=True), []
    optimizer = optim.SGD([weight], lr=0.5)
    optimizer.register_step_post_hook(lambda *_: called.append(torch.is_grad_enabled()))

    def closure():
        optimizer.zero_grad()
        loss = weight.sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2 and weight.tolist() == [0.5, 0.5]
    assert len(called) == 1 and weight.is_leaf and torch.is_grad_enabled()
