"""The families of 3D-ResNets-PyTorch beside ResNet: what no reference vector covers. Depths, options, blocks, sizes."""

import copy
import math

import pytest
import torch
import torchvision
from networks import randomise_norms
from torch import nn
from torch.nn import functional as F
from vectors import VECTORS, create_on_meta, read_vector

from actlib.models import ModelError, create_model, model_options
from actlib.models.densenet import DenseLayer, DenseLayer2018, HalvingPool
from actlib.models.parts.residual import ShortcutA, make_shortcut
from actlib.models.preresnet import PreActivationBasicBlock, PreActivationBottleneck
from actlib.models.r2plus1d import BasicBlock2Plus1, split_width
from actlib.models.resnext import ResNeXtBottleneck
from actlib.models.wideresnet import WideBottleneck

pytestmark = pytest.mark.usefixtures("quick_norms")


def reference_params(stem: str) -> int:
    return read_vector(next(path for path in VECTORS if path.stem == stem))["num_params"]


def count_params(spec: str) -> int:
    return sum(p.numel() for p in create_on_meta(spec, 400).parameters())


# --- depths that no vector covers -----------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "more_blocks"), [(101, (0, 17)), (152, (4, 30)), (200, (20, 30))])
def test_deeper_preresnets_add_identity_blocks(depth, more_blocks):
    """An identity block of width w has (4 + 27 + 4)·w² weights, its norms, of 4w, w and w channels, 12w."""
    added = sum(count * (35 * width**2 + 12 * width) for count, width in zip(more_blocks, (128, 256)))
    assert count_params(f"preresnet{depth}") == reference_params("hara2018_preresnet50_b") + added


def test_preresnet34_adds_identity_blocks():
    """A basic block of width w has 2·27·w² weights, its norms 4w."""
    added = sum(count * (54 * w**2 + 4 * w) for count, w in zip((1, 2, 4, 1), (64, 128, 256, 512)))
    assert count_params("preresnet34") == reference_params("hara2018_preresnet18_b") + added


@pytest.mark.parametrize(("depth", "more_blocks"), [(101, (0, 17)), (152, (4, 30))])
def test_deeper_resnexts_add_identity_blocks(depth, more_blocks):
    """An identity block of width w: 1×1×1 from 2w to w and back, 27 taps of w/32 channels; norms of w, w and 2w."""
    added = sum(n * (4 * w**2 + 27 * w * w // 32 + 8 * w) for n, w in zip(more_blocks, (256, 512)))
    assert count_params(f"resnext{depth}") == reference_params("hara2018_resnext50_c32_b") + added


@pytest.mark.parametrize(("depth", "counts"), [(169, (32, 32)), (201, (48, 32)), (264, (64, 48))])
def test_densenet_depths(depth, counts):
    """Layer by layer: from c channels 1×1×1 to 128, 3×3×3 to 32; a transition to half; norms before each."""
    channels, params = 64, 3 * 7**3 * 64 + 2 * 64
    for number, count in enumerate((6, 12, *counts)):
        if number:
            params += 2 * channels + channels * channels // 2
            channels //= 2
        for _ in range(count):
            params += 2 * channels + channels * 128 + 2 * 128 + 27 * 128 * 32
            channels += 32
    assert count_params(f"densenet{depth}") == params + 2 * channels + (channels + 1) * 400
    if depth == 169:
        assert count_params("densenet169") == reference_params("hara2018_densenet169")


def test_r2plus1d_divides_as_torchvision_does():
    """torchvision has one M a block, that of the block's first convolution."""
    with torch.device("meta"):
        theirs = torchvision.models.video.r2plus1d_18()
    ours = create_on_meta("r2plus1d18", 5)
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        for own, other in zip(getattr(ours, stage), getattr(theirs, stage)):
            assert own.conv1_s.out_channels == other.conv1[0][0].out_channels
    # the other convolutions keep the number of channels: 9·27/12, exact in every width divisible by 4
    assert [block.conv2_s.out_channels for block in ours.layer4] == [1152, 1152]
    assert ours.conv1_s.out_channels == 65856 // 595 == 110


@pytest.mark.parametrize(("depth", "more_blocks"), [(101, (0, 17)), (152, (4, 30)), (200, (20, 30))])
def test_deeper_r2plus1ds_add_identity_blocks(depth, more_blocks):
    """Of width w and M = 9w/4: 1×1×1 from 4w and back, 9·w·M and 3·M·w weights; norms of w, M, w and 4w channels."""
    blocks = [(count, w, 9 * w // 4) for count, w in zip(more_blocks, (128, 256))]
    added = sum(count * (8 * w**2 + 12 * w * m + 2 * (6 * w + m)) for count, w, m in blocks)
    assert count_params(f"r2plus1d{depth}") == reference_params("hara2020_resnet2p1d50_b") + added


# --- options --------------------------------------------------------------------------------------------------


def test_options_and_their_defaults():
    stem = {"conv1_t_size": 7, "conv1_t_stride": 1, "max_pool": True}
    assert model_options("preresnet18") == {"shortcut": "B", "release": 2018} | stem
    assert model_options("r2plus1d18") == {"shortcut": "B", "widen_factor": 1.0} | stem
    assert model_options("wideresnet50") == {"shortcut": "B", "widen_k": 2, "release": 2018} | stem
    assert model_options("resnext101") == {"shortcut": "B", "cardinality": 32, "release": 2018} | stem
    assert model_options("densenet121") == {"release": 2018} | stem


@pytest.mark.parametrize(
    ("spec", "width"),
    [
        ("wideresnet50", 64),
        ("wideresnet50 widen_k=3", 64),
        ("wideresnet50 release=2020", 128),
        ("wideresnet50 widen_k=3 release=2020", 192),
        ("resnext50", 64),
        ("resnext50 release=2020", 128),
        ("resnext50 cardinality=8 release=2020", 128),
    ],
)
def test_stem_of_the_two_releases(spec, width):
    model = create_on_meta(spec, 5)
    assert model.conv1.weight.shape == (width, 3, 7, 7, 7)
    assert model.layer1[0].downsample[0].in_channels == width


def test_widths():
    wide = create_on_meta("wideresnet50 widen_k=3", 5)
    assert (wide.layer4[0].conv2.out_channels, wide.fc.in_features) == (1536, 3072)
    r2plus1d = create_on_meta("r2plus1d10 widen_factor=0.3", 5)
    assert [r2plus1d.conv1_t.out_channels, r2plus1d.fc.in_features] == [19, 153]  # truncated
    assert r2plus1d.conv1_s.out_channels == 3 * 7 * 49 * 19 // (3 * 49 + 7 * 19)


@pytest.mark.parametrize("cardinality", [1, 5, 64])
def test_a_group_has_as_many_channels_whatever_the_cardinality(cardinality):
    model = create_on_meta(f"resnext50 cardinality={cardinality}", 5)
    blocks = [getattr(model, f"layer{stage}")[0] for stage in (1, 2, 3, 4)]
    assert [block.conv2.groups for block in blocks] == [cardinality] * 4
    assert [block.conv2.weight.shape[1] for block in blocks] == [4, 8, 16, 32]
    assert model.fc.in_features == 2048
    assert model(torch.empty(2, 3, 4, 32, 32, device="meta")).shape == (2, 5)


@pytest.mark.parametrize("name", ["preresnet18", "resnext50", "densenet121", "r2plus1d10"])
def test_stem_options(name):
    clips = torch.empty(1, 3, 32, 128, 128, device="meta")
    assert create_on_meta(name, 5).forward_features(clips).shape[2:] == (2, 4, 4)
    assert create_on_meta(f"{name} conv1_t_stride=2", 5).forward_features(clips).shape[2:] == (1, 4, 4)
    assert create_on_meta(f"{name} max_pool=false", 5).forward_features(clips).shape[2:] == (4, 8, 8)
    short = create_on_meta(f"{name} conv1_t_size=3", 5)
    kernels = [m.kernel_size for m in short.modules() if isinstance(m, nn.Conv3d)][:2]
    assert (3, 7, 7) in kernels or kernels == [(1, 7, 7), (3, 1, 1)]
    assert short.forward_features(clips).shape[2:] == (2, 4, 4)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnext50 cardinality=0", "resnext50: cardinality=0: a number above 0"),
        ("wideresnet50 widen_k=-1", "wideresnet50: widen_k=-1: a number above 0"),
        ("densenet121 release=2019", r"densenet121: release=2019: use 2018 .*2020"),
        ("resnext101 release=18", "release=18"),
        ("wideresnet50 release=0", "release=0"),
        ("densenet121 conv1_t_size=0", "conv1_t_size=0"),
        ("densenet121 conv1_t_stride=0", "conv1_t_stride=0"),
        ("preresnet18 shortcut=C", "shortcut='C': use one of A, B"),
        ("r2plus1d18 widen_factor=0.001", "widen_factor=0.001"),
        ("r2plus1d18 widen_factor=0.016 conv1_t_size=1", "conv1_t_size=1: a stem of width 1"),
    ],
)
def test_values_that_cannot_be_used(spec, message):
    with pytest.raises(ModelError, match=message):
        create_on_meta(spec, 5)


# --- the equations of the blocks ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["A", "B"])
@pytest.mark.parametrize("block_class", [PreActivationBasicBlock, PreActivationBottleneck])
def test_pre_activation_block_is_its_equation(block_class, kind):
    out_channels = 6 * block_class.expansion
    block = randomise_norms(block_class(4, 6, 2, make_shortcut(kind, 4, out_channels, 2)))
    x = torch.randn(2, 4, 4, 6, 6)
    y = F.conv3d(block.bn1(x).relu(), block.conv1.weight, stride=block.conv1.stride, padding=block.conv1.padding)
    y = F.conv3d(block.bn2(y).relu(), block.conv2.weight, stride=block.conv2.stride, padding=1)
    if block_class is PreActivationBottleneck:
        y = torch.einsum("oc,bcthw->bothw", block.conv3.weight[:, :, 0, 0, 0], block.bn3(y).relu())
    kept = x.clone()
    torch.testing.assert_close(block(x), y + block.downsample(x), rtol=1e-4, atol=1e-4)
    assert torch.equal(x, kept)  # nothing in place reaches the input, which the shortcut takes too


def test_a_preresnet_ends_without_norm_and_relu():
    model = create_model("preresnet18", 5).eval()
    with torch.no_grad():
        assert (model.forward_features(torch.randn(1, 3, 4, 32, 32)) < 0).any()


def test_grouped_bottleneck_is_its_equation():
    block = randomise_norms(ResNeXtBottleneck(8, 64, 2, make_shortcut("B", 8, 128, 2), cardinality=3))
    x = torch.randn(2, 8, 4, 6, 6)
    y = block.bn1(torch.einsum("oc,bcthw->bothw", block.conv1.weight[:, :, 0, 0, 0], x)).relu()
    assert y.shape[1] == 6  # three groups of two
    groups = zip(y.split(2, dim=1), block.conv2.weight.split(2))
    y = torch.cat([F.conv3d(part, weight, stride=2, padding=1) for part, weight in groups], dim=1)
    y = torch.einsum("oc,bcthw->bothw", block.conv3.weight[:, :, 0, 0, 0], block.bn2(y).relu())
    torch.testing.assert_close(block(x), (block.bn3(y) + block.downsample(x)).relu(), rtol=1e-4, atol=1e-4)


def test_wide_bottleneck_doubles_its_width():
    block = WideBottleneck(8, 6, 1, make_shortcut("B", 8, 12, 1))
    assert block(torch.randn(1, 8, 2, 4, 4)).shape == (1, 12, 2, 4, 4)


def test_split_block_is_its_equation():
    block = randomise_norms(BasicBlock2Plus1(4, 6, 2, ShortcutA(4, 6, 2)))
    x = torch.randn(2, 4, 6, 6, 6)
    y = x
    for part, stride in (("1", 2), ("2", 1)):
        conv_s, conv_t = (block.get_submodule(f"conv{part}_{axis}").weight for axis in "st")
        frames = [F.conv2d(y[:, :, t], conv_s[:, :, 0], stride=stride, padding=1) for t in range(y.shape[2])]
        y = block.get_submodule(f"bn{part}_s")(torch.stack(frames, dim=2)).relu()
        lines = y.permute(0, 3, 4, 1, 2).flatten(0, 2)  # (B·H·W, M, T)
        mixed = F.conv1d(lines, conv_t[:, :, :, 0, 0], stride=stride, padding=1)
        y = mixed.unflatten(0, (2, *y.shape[3:])).permute(0, 3, 4, 1, 2)
        y = block.get_submodule(f"bn{part}_t")(y)
        y = y.relu() if part == "1" else y
    torch.testing.assert_close(block(x), (y + block.downsample(x)).relu(), rtol=1e-4, atol=1e-4)
    assert block.conv1_s.out_channels == split_width(4, 6, 3, 3) == 648 // 54


@pytest.mark.parametrize("layer_class", [DenseLayer, DenseLayer2018])
def test_dense_layer_is_its_equation(layer_class):
    layer = randomise_norms(layer_class(5))
    norm1, conv1, norm2, conv2 = (
        [layer.norm1, layer.conv1, layer.norm2, layer.conv2]
        if layer_class is DenseLayer
        else [layer.get_submodule(key) for key in ("norm.1", "conv.1", "norm.2", "conv.2")]
    )
    x = torch.randn(2, 5, 3, 4, 4)
    y = torch.einsum("oc,bcthw->bothw", conv1.weight[:, :, 0, 0, 0], norm1(x).relu())
    y = F.conv3d(norm2(y).relu(), conv2.weight, padding=1)
    torch.testing.assert_close(layer(x), torch.cat([x, y], dim=1), rtol=1e-4, atol=1e-4)


# --- DenseNet's two releases ----------------------------------------------------------------------------------


def to_2020(key: str) -> str:
    """The name that branch master gives a tensor of branch CVPR2018."""
    for old, new in {"conv0": "conv1", "norm0": "norm1", "norm.": "norm", "conv.": "conv"}.items():
        if f".{old}" in key and "transition" not in key:
            key = key.replace(f".{old}", f".{new}")
    return key


def test_the_releases_of_densenet_differ_in_names_only():
    old, new = (create_model("densenet121", 5, release=release).eval() for release in (2018, 2020))
    state = {to_2020(key): tensor for key, tensor in old.state_dict().items()}
    assert list(state) == list(new.state_dict())
    new.load_state_dict(state)
    x = torch.randn(1, 3, 4, 32, 32)
    with torch.no_grad():
        assert torch.equal(old(x), new(x))


def test_dotted_names_are_the_same_everywhere(tmp_path):
    """State dict, parameters and modules agree; copies, parts and files keep the reference's order."""
    model = create_model("densenet121", 5)
    keys = list(model.state_dict())
    assert {key for key, _ in model.named_parameters()} < set(keys)
    layer = "features.denseblock1.denselayer2"
    assert model.get_submodule(f"{layer}.norm.1").num_features == 96
    of_layer = [key.removeprefix(f"{layer}.") for key in keys if key.startswith(f"{layer}.")]
    assert [key for key in of_layer if key.endswith(".weight")] == [
        f"{kind}.{number}.weight" for number in "12" for kind in ("norm", "conv")
    ]
    assert list(model.get_submodule(layer).state_dict()) == of_layer
    assert list(copy.deepcopy(model).state_dict()) == keys

    torch.save(model.state_dict(), tmp_path / "densenet.pth")
    other = create_on_meta("densenet121", 5)
    other.load_state_dict(torch.load(tmp_path / "densenet.pth", weights_only=True), assign=True)
    for (own_key, own), (key, tensor) in zip(other.state_dict().items(), model.state_dict().items()):
        assert own_key == key and torch.equal(own, tensor)


# --- clips of other sizes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["preresnet18", "r2plus1d10", "resnext50", "densenet121"])
def test_the_mean_is_over_the_fixed_window_of_the_reference(name):
    """Branch CVPR2018 averages over ⌈T/16⌉ × (⌈S/32⌉, DenseNet's ⌊S/32⌋)², which is all that there is."""
    model = create_on_meta(name, 5)
    for frames, size in [(15, 112), (16, 112), (16, 224), (31, 124), (32, 128), (48, 96), (64, 112)]:
        side = size // 32 if name == "densenet121" else math.ceil(size / 32)
        features = model.forward_features(torch.empty(1, 3, frames, size, size, device="meta"))
        assert features.shape[2:] == (math.ceil(frames / 16), side, side)


@pytest.mark.parametrize("frames", [8, 20, 24, 40])
def test_a_residual_network_keeps_a_last_partial_window(frames):
    """⌈T/16⌉ for every T; DenseNet's unpadded pools drop it, down to one position."""
    clips = torch.empty(1, 3, frames, 64, 64, device="meta")
    for name in ("preresnet18", "r2plus1d10", "resnext50"):
        assert create_on_meta(name, 5).forward_features(clips).shape[2] == math.ceil(frames / 16)
    assert create_on_meta("densenet121", 5).forward_features(clips).shape[2] == max(frames // 16, 1)


@pytest.mark.parametrize("name", ["preresnet18", "r2plus1d10", "resnext50", "densenet121"])
@pytest.mark.parametrize("shape", [(2, 3, 8, 112, 112), (1, 3, 1, 32, 32), (1, 3, 7, 50, 66), (1, 3, 33, 16, 24)])
def test_any_clip_size(name, shape):
    model = create_on_meta(name, 4).eval()
    assert model(torch.empty(shape, device="meta")).shape == (shape[0], 4)


@pytest.mark.parametrize("size", [(2, 2, 2), (5, 4, 7), (1, 6, 6), (1, 1, 1)])
def test_halving_pool_is_the_average_pool_wherever_that_runs(size):
    x = torch.randn(2, 3, *size)
    if min(size) > 1:
        assert torch.equal(HalvingPool()(x), nn.AvgPool3d(2, stride=2)(x))
    else:
        repeats = [3 - min(each, 2) for each in size]  # an axis of one, twice over, has the same mean
        doubled = x.repeat(1, 1, *repeats)
        torch.testing.assert_close(HalvingPool()(x), nn.AvgPool3d(2, stride=2)(doubled))


# --- training -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["preresnet18", "preresnet50", "r2plus1d10", "r2plus1d50", "resnext50"])
def test_shortcut_a_has_no_parameters_and_reaches_every_other(name):
    model = create_on_meta(f"{name} shortcut=A", 3)
    assert not [key for key in model.state_dict() if "downsample" in key]
    model(torch.empty(2, 3, 4, 32, 32, device="meta")).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("release", [2018, 2020])
def test_initialisation_and_dropout(release):
    torch.manual_seed(0)
    model = create_model("densenet121", 400, release=release)
    convs = [m for m in model.modules() if isinstance(m, nn.Conv3d)]
    assert convs[-1].weight.std().item() == pytest.approx(math.sqrt(2 / (32 * 27)), rel=0.02)
    assert not model.classifier.bias.any() and model.dropout.p == 0
    model.reset_classifier(5, dropout=0.5)
    assert not model.classifier.bias.any() and model.dropout.p == 0.5
