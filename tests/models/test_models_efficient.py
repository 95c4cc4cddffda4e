"""The networks of Efficient-3DCNNs: what no reference vector covers. Widths, groups, versions, clips of other sizes."""

import pytest
import torch
from networks import losses_on_contrast, randomise_norms
from torch import nn
from torch.nn import functional as F
from vectors import create_on_meta

from actlib.models import ModelError, create_from_spec, create_model
from actlib.models.mobilenet import SeparableConv
from actlib.models.parts.layers import FittingPool3d, channel_shuffle
from actlib.models.shufflenet import ShuffleUnit, pooled_shortcut
from actlib.models.shufflenetv2 import ShuffleUnitV2
from actlib.models.squeezenet import Fire

# a narrow network of each family; C3D's first linear layer is made for one position
NARROW = [
    "c3d crop_size=32 width_mult=0.1",
    "mobilenet width_mult=0.25",
    "mobilenetv2 width_mult=0.2",
    "shufflenet width_mult=0.25",
    "shufflenetv2 width_mult=0.25",
    "squeezenet width_mult=0.25",
]


# --- the equations of the blocks ------------------------------------------------------------------------------


def test_separable_convolution_is_its_equation():
    block = randomise_norms(SeparableConv(4, 6, stride=2))
    x = torch.randn(2, 4, 4, 6, 6)
    y = torch.cat([F.conv3d(x[:, c : c + 1], block.conv1.weight[c : c + 1], stride=2, padding=1) for c in range(4)], 1)
    y = torch.einsum("oc,bcthw->bothw", block.conv2.weight[:, :, 0, 0, 0], block.bn1(y).relu())
    torch.testing.assert_close(block(x), block.bn2(y).relu(), rtol=1e-4, atol=1e-4)


def test_channel_shuffle_takes_one_channel_of_each_group_in_turn():
    x = torch.arange(6.0).reshape(1, 6, 1, 1, 1)
    assert channel_shuffle(x, 3).flatten().tolist() == [0, 2, 4, 1, 3, 5]
    assert channel_shuffle(x, 2).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    assert torch.equal(channel_shuffle(x, 1), x)


@pytest.mark.parametrize("size", [(2, 3, 3), (4, 6, 5), (8, 7, 28)])
def test_pooled_shortcut_counts_the_padding(size):
    x = torch.randn(2, 3, *size)
    torch.testing.assert_close(pooled_shortcut(x), nn.AvgPool3d((2, 3, 3), stride=2, padding=(0, 1, 1))(x))


def test_pooled_shortcut_of_an_odd_number_of_frames():
    x = torch.randn(2, 3, 5, 6, 6)
    last = nn.AvgPool2d(3, stride=2, padding=1)(x[:, :, 4])
    pooled = pooled_shortcut(x)
    assert pooled.shape == (2, 3, 3, 3, 3)
    torch.testing.assert_close(pooled[:, :, 2], last)
    torch.testing.assert_close(pooled[:, :, :2], pooled_shortcut(x[:, :, :4]))
    assert pooled_shortcut(x[:, :, :1, :1, :1]).shape == (2, 3, 1, 1, 1)


@pytest.mark.parametrize(
    ("in_channels", "groups", "first_groups"), [(24, 3, 1), (24, 8, 1), (12, 3, 3), (48, 2, 2), (24, 1, 1)]
)
def test_shuffle_unit_groups_its_first_convolution_unless_it_sees_24_channels(in_channels, groups, first_groups):
    unit = ShuffleUnit(in_channels, 96, groups, halve=True)
    assert (unit.conv1.groups, unit.conv2.groups, unit.conv3.groups) == (first_groups, 24, groups)
    assert unit(torch.randn(2, in_channels, 4, 6, 6)).shape == (2, 96, 2, 3, 3)


def test_shuffle_unit_has_no_relu_after_the_depthwise_convolution():
    unit = randomise_norms(ShuffleUnit(16, 16, groups=2, halve=False))
    seen = []
    unit.conv3.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    unit(torch.randn(1, 16, 2, 4, 4))
    assert seen[0].min() < 0


def test_shuffle_unit_v2_passes_half_of_the_channels_by():
    unit = randomise_norms(ShuffleUnitV2(8, 8, halve=False))
    x = torch.randn(2, 8, 2, 4, 4)
    y = unit(x)
    assert torch.equal(y[:, 0::2], x[:, :4])
    torch.testing.assert_close(y[:, 1::2], unit.banch2(x[:, 4:]))
    halving = randomise_norms(ShuffleUnitV2(6, 8, halve=True))
    x = torch.randn(2, 6, 3, 4, 4)
    y = halving(x)
    assert y.shape == (2, 8, 2, 2, 2)
    torch.testing.assert_close(y[:, 0::2], halving.banch1(x))


@pytest.mark.parametrize("bypass", [True, False])
def test_fire_module_is_its_equation(bypass):
    fire = randomise_norms(Fire(8, 3, 4, bypass))
    x = torch.randn(2, 8, 2, 4, 4)
    before = x.clone()
    s = fire.squeeze_bn(fire.squeeze(x)).relu()
    y = torch.cat((fire.expand1x1_bn(fire.expand1x1(s)), fire.expand3x3_bn(fire.expand3x3(s))), 1)
    torch.testing.assert_close(fire(x), (y + x if bypass else y).relu())
    assert torch.equal(x, before)


# --- options --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "stem", "last"),
    [
        ("mobilenet width_mult=0.45", 14, 460),
        ("mobilenet width_mult=1.5", 48, 1536),
        ("shufflenet groups=1", 24, 567),
        ("shufflenet groups=2", 24, 800),
        ("shufflenet groups=8", 24, 1536),
        ("shufflenet groups=3 width_mult=1.5", 36, 1440),
        ("shufflenet groups=4 width_mult=2", 48, 2176),
        ("shufflenetv2 width_mult=0.5", 24, 1024),
        ("shufflenetv2 width_mult=1.5", 24, 1024),
        ("squeezenet version=1.0", 96, 512),
        ("squeezenet width_mult=0.5", 32, 256),
        ("c3d width_mult=0.5", 32, 2048),
    ],
)
def test_widths(spec, stem, last):
    model = create_on_meta(spec, 5)
    assert next(m for m in model.modules() if isinstance(m, nn.Conv3d)).out_channels == stem
    assert model.get_submodule(model.classifier_name).weight.shape[1] == last


def test_squeezenet_versions_pool_at_other_places():
    """Version 1.1 pools before fire modules 1, 3, 5 and 7, version 1.0 before 1, 3, 5 and 8."""
    for version, sizes in {1.0: [14, 14, 7, 7, 4, 4, 4, 2], 1.1: [14, 14, 7, 7, 4, 4, 2, 2]}.items():
        x = torch.empty(1, 3, 16, 56, 56, device="meta")
        found = []
        for layer in create_on_meta(f"squeezenet version={version}", 5).features:
            x = layer(x)
            if isinstance(layer, Fire):
                found.append(x.shape[-1])
        assert found == sizes


def test_squeezenet_rectifies_before_the_mean():
    model = create_from_spec("squeezenet width_mult=0.1", 4).eval()
    features = torch.randn(2, model.classifier[1].in_channels, 2, 3, 3)
    want = model.classifier[1](features).clamp(min=0).mean(dim=(2, 3, 4))
    torch.testing.assert_close(model.forward_head(features), want)


@pytest.mark.parametrize(
    ("num_frames", "crop_size", "inputs"),
    [(16, 112, 8192), (31, 112, 8192), (32, 112, 16384), (16, 224, 25088), (8, 33, 2048), (1, 1, 512)],
)
def test_c3d_first_linear_layer(num_frames, crop_size, inputs):
    """512 channels at ⌊T/16⌋ × ⌈S/32⌉² positions, and never less than one."""
    model = create_on_meta(f"c3d num_frames={num_frames} crop_size={crop_size}", 5)
    assert model.fc1[0].in_features == inputs
    x = torch.empty(1, 3, num_frames, crop_size, crop_size, device="meta")
    assert model.eval()(x).shape == (1, 5)


def test_c3d_frames_at_every_pool():
    x = torch.empty(1, 3, 16, 112, 112, device="meta")
    model = create_on_meta("c3d", 5)
    shapes = []
    for group in (model.group1, model.group2, model.group3, model.group4, model.group5):
        x = group(x)
        shapes.append((x.shape[2], x.shape[3]))
    assert shapes == [(15, 56), (7, 28), (3, 14), (1, 7), (1, 4)]


def test_c3d_averages_another_grid_to_its_own():
    model = create_from_spec("c3d crop_size=64 width_mult=0.1", 4).eval()
    features = torch.randn(2, model.fc1[0].in_features // 4, 1, 2, 2)
    doubled = features.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
    torch.testing.assert_close(model.forward_head(doubled), model.forward_head(features))


def test_clipped_max_pool_is_the_plain_one_where_the_input_is_large_enough():
    pool = FittingPool3d((2, 2, 2), (2, 2, 2), (0, 0, 0))
    x = torch.randn(1, 2, 5, 4, 3)
    assert torch.equal(pool(x), F.max_pool3d(x, 2, 2))
    assert torch.equal(pool(x[:, :, :1]), F.max_pool3d(x[:, :, :1], (1, 2, 2), 2))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("squeezenet version=1.2", "squeezenet: version=1.2: use one of 1.0, 1.1"),
        ("shufflenet groups=5", "shufflenet: groups=5: use one of 1, 2, 3, 4, 8"),
        ("shufflenet groups=8 width_mult=0.5", "groups=8: a layer of 12 channels does not split"),
        ("shufflenetv2 width_mult=0.75", "width_mult=0.75: use one of 0.25, 0.5, 1.0, 1.5, 2.0"),
        ("mobilenet width_mult=0.01", "width_mult=0.01"),
        ("mobilenet width_mult=-1", "width_mult=-1.0"),
        ("c3d num_frames=0", "num_frames=0"),
        ("c3d crop_size=-112", "crop_size=-112"),
        ("c3d width_mult=nan", "width_mult=nan"),
    ],
)
def test_values_that_cannot_be_used(spec, message):
    with pytest.raises(ModelError) as error:
        create_on_meta(spec, 5)
    assert message in str(error.value)


# --- heads, clips, training -----------------------------------------------------------------------------------


def test_dropout_of_the_references():
    expected = {"c3d": 0.5, "squeezenet": 0.5, "mobilenet": 0.2, "shufflenet": 0.2, "shufflenetv2": 0.2}
    for name, dropout in expected.items():
        model = create_on_meta(name, 5)
        assert model.get_submodule(model.dropout_name).p == dropout
    assert create_on_meta("c3d", 5).fc1[2].p == 0.5


def test_initialisation_of_the_references():
    torch.manual_seed(0)
    squeezenet = create_model("squeezenet", 400)  # He's, by fan-out
    assert squeezenet.features[-1].expand3x3.weight.std().item() == pytest.approx((2 / (27 * 256)) ** 0.5, rel=0.02)
    mobilenet = create_model("mobilenet", 400)  # torch's: uniform, 1 / (3 · fan-in) in variance
    assert mobilenet.features[13].conv2.weight.std().item() == pytest.approx((1 / (3 * 1024)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("spec", NARROW)
def test_any_clip_size(spec):
    model = create_on_meta(spec, 4).eval()
    for shape in [(2, 3, 16, 112, 112), (1, 3, 1, 32, 32), (1, 3, 7, 50, 66), (1, 3, 33, 24, 24), (1, 3, 32, 160, 224)]:
        assert model(torch.empty(shape, device="meta")).shape == (shape[0], 4)


@pytest.mark.parametrize("spec", [spec for spec in NARROW if "mobilenetv2" not in spec])  # test_models.py has that one
def test_learns_from_scratch(spec):
    torch.manual_seed(0)
    model = create_from_spec(spec, 2)
    model.get_submodule(model.dropout_name).p = 0.0
    losses = losses_on_contrast(model)
    assert min(losses[-3:]) < 0.7 * losses[0], losses


def test_reset_classifier_of_a_convolution():
    model = create_model("squeezenet", 5, width_mult=0.25)
    model.reset_classifier(3, dropout=0.9)
    head = model.classifier[1]
    assert isinstance(head, nn.Conv3d) and head.weight.shape == (3, 128, 1, 1, 1) and model.classifier[0].p == 0.9
    assert model.eval()(torch.randn(2, 3, 4, 32, 32)).shape == (2, 3)
