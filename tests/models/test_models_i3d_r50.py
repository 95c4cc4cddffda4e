"""I3D ResNet-50 and its non-local blocks: what the one vector does not cover."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from vectors import create_on_meta, fill

from actlib.analysis.costs.flops import count_macs
from actlib.models import create_model
from actlib.models.i3d_r50 import NonLocal
from actlib.models.parts.layers import FittingPool3d


@pytest.mark.parametrize("shape", [(2, 6, 3, 4, 4), (1, 6, 2, 5, 3), (1, 6, 2, 1, 1)])
def test_non_local_is_its_equation(shape):
    torch.manual_seed(0)
    block = NonLocal(6).double().eval()
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    block.bn.running_mean.uniform_()
    block.bn.running_var.uniform_(0.5, 2)
    x = torch.randn(shape, dtype=torch.double)
    b, c, t, h, w = shape
    pooled = x[..., : h // 2 * 2, : w // 2 * 2].unflatten(4, (-1, 2)).unflatten(3, (-1, 2)).amax((4, 6)) if h > 1 else x

    def project(conv, y):
        return torch.einsum("oc,bcn->bon", conv.weight.flatten(1), y.flatten(2)) + conv.bias[:, None]

    theta, phi, g = project(block.theta, x), project(block.phi, pooled), project(block.g, pooled)
    y = torch.zeros_like(theta)
    for sample in range(b):
        for i in range(t * h * w):
            affinity = torch.stack([theta[sample, :, i] @ phi[sample, :, j] for j in range(phi.shape[2])])
            weight = torch.exp(affinity / math.sqrt(c // 2))
            y[sample, :, i] = (g[sample] * weight / weight.sum()).sum(1)
    z = x + block.bn(project(block.out, y).unflatten(2, (t, h, w)))
    torch.testing.assert_close(block(x), z)
    assert (block(x) - x).abs().max() > 0.1


def test_where_the_non_local_blocks_are():
    model = create_on_meta("i3d_r50_nl", 400)
    blocks = {name: module for name, module in model.named_modules() if isinstance(module, NonLocal)}
    assert list(blocks) == ["layer2.1.nl", "layer2.3.nl", "layer3.1.nl", "layer3.3.nl", "layer3.5.nl"]
    # a bottleneck's own modules come first in the state dict, as the reference registers them
    keys = [key for key in model.state_dict() if key.startswith("layer2.1.")]
    assert keys[0] == "layer2.1.conv1.weight" and keys.index("layer2.1.nl.theta.weight") == 18
    plain = create_on_meta("i3d_r50", 400).state_dict()
    assert list(plain) == [key for key in model.state_dict() if ".nl." not in key]


def test_macs_of_the_non_local_blocks():
    """By hand at 32×224×224: stage 2 has 4×28×28 positions and d = 256, stage 3 4×14×14 and 512."""
    plain, non_local = (count_macs(create_on_meta(name, 400), (3, 32, 224, 224)) for name in ("i3d_r50", "i3d_r50_nl"))
    attention = convs = 0
    for blocks, channels, side in ((2, 512, 28), (3, 1024, 14)):
        positions, inner = 4 * side**2, channels // 2
        attention += blocks * 2 * positions * (positions // 4) * inner
        convs += blocks * channels * inner * (2 * positions + 2 * positions // 4)  # θ and W, φ and g
    assert (plain.attention, non_local.attention) == (0, attention)
    assert (non_local.conv, non_local.linear) == (plain.conv + convs, plain.linear)


def test_the_non_local_network_starts_as_the_plain_one():
    """Its new norms begin at scale 0, so that with equal weights elsewhere the logits are equal."""
    torch.manual_seed(0)
    plain, non_local = create_model("i3d_r50", 5).eval(), create_model("i3d_r50_nl", 5).eval()
    weights = non_local.state_dict()
    plain.load_state_dict({key: weights[key] for key in plain.state_dict()})
    x = torch.randn(1, 3, 8, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(non_local(x), plain(x))
    block = non_local.layer3[1].nl
    assert block.theta.weight.std().item() == pytest.approx(0.01, rel=0.02) and not block.out.bias.any()
    assert non_local.fc.weight.std().item() == pytest.approx(0.01, rel=0.05) and not non_local.fc.bias.any()
    assert non_local.drop.p == 0.5
    # He's initialisation by fan-out everywhere else: 256 outputs, kernel 1×3×3
    assert plain.layer3[1].conv2.weight.std().item() == pytest.approx(math.sqrt(2 / (256 * 9)), rel=0.02)


@pytest.mark.parametrize("name", ["i3d_r50", "i3d_r50_nl"])
def test_strides_and_pools(name):
    """Per axis, from the arithmetic of unpadded pools: 112 → 55 in the stem, and 32 frames become 4."""
    model = create_on_meta(name, 400).eval()
    x, shapes = torch.empty(1, 3, 32, 224, 224, device="meta"), []
    for module in ("conv1", "maxpool1", "layer1", "maxpool2", "layer2", "layer3", "layer4"):
        x = model.get_submodule(module)(x)
        shapes.append((module, tuple(x.shape[2:])))
    assert shapes == [
        ("conv1", (16, 112, 112)),
        ("maxpool1", (8, 55, 55)),
        ("layer1", (8, 55, 55)),
        ("maxpool2", (4, 55, 55)),
        ("layer2", (4, 28, 28)),
        ("layer3", (4, 14, 14)),
        ("layer4", (4, 7, 7)),
    ]
    assert model.forward_features(torch.empty(1, 3, 32, 224, 224, device="meta")).shape[2:] == x.shape[2:]


@pytest.mark.parametrize("name", ["i3d_r50", "i3d_r50_nl"])
@pytest.mark.parametrize("shape", [(1, 3, 1, 1, 1), (1, 3, 4, 32, 32), (2, 3, 7, 50, 66), (1, 3, 64, 256, 340)])
def test_any_clip_size(name, shape):
    assert create_on_meta(name, 4).eval()(torch.empty(shape, device="meta")).shape == (shape[0], 4)


def test_a_fitting_pool_is_the_usual_one_wherever_that_works():
    torch.manual_seed(0)
    pool, usual = FittingPool3d((2, 3, 3), stride=2), nn.MaxPool3d((2, 3, 3), stride=2)
    for shape in [(1, 2, 2, 3, 3), (2, 2, 5, 8, 9)]:
        x = torch.randn(shape)
        assert torch.equal(pool(x), usual(x))
    short = torch.randn(1, 2, 1, 8, 2)
    assert torch.equal(pool(short), F.max_pool3d(short, (1, 3, 2), 2))


def test_every_parameter_counts():
    """With the vectors' fill no block is silent: every gradient has a value that is not zero."""
    model = create_on_meta("i3d_r50_nl", 5)
    model.load_state_dict({key: fill(key, tuple(t.shape), 0.7) for key, t in model.state_dict().items()}, assign=True)
    model.eval().requires_grad_()
    torch.manual_seed(0)
    model(torch.randn(1, 3, 8, 64, 64))[0, 1].backward()
    assert not [key for key, p in model.named_parameters() if not p.grad.isfinite().all() or not p.grad.any()]
