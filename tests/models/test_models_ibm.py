"""TSN, TAM and TSM of ResNets and Inception v1, I3D, S3D and their ResNets, beyond what the vectors cover.

torchvision's image networks are the yardstick: on frames one by one, or inflated to 3-D on a clip that stands still.
"""

import itertools

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from vectors import create_on_meta, fill

from actlib.models import ModelError, create_model
from actlib.models.i3d import I3D
from actlib.models.parts.layers import pool3d
from actlib.models.parts.temporal import TemporalShift, mit_tsm_key
from actlib.models.s3d import S3D

pytestmark = pytest.mark.usefixtures("quick_norms")

NUM_CLASSES = 7


def image_network(name: str) -> nn.Module:
    """A torchvision network in evaluation mode, its tensors filled from their names; googlenet without extra heads."""
    googlenet = {"aux_logits": False, "transform_input": False, "init_weights": False}
    with torch.device("meta"):
        extra = googlenet if name == "googlenet" else {}
        network = getattr(torchvision.models, name)(num_classes=NUM_CLASSES, **extra)
    state = {key: fill(key, tuple(tensor.shape), gain=1.0) for key, tensor in network.state_dict().items()}
    network.load_state_dict(state, assign=True)
    return network.eval()


def layout(model: nn.Module) -> list[tuple[str, torch.Size]]:
    return [(key, tensor.shape) for key, tensor in model.state_dict().items()]


def with_state(spec: str, state: dict[str, torch.Tensor]) -> nn.Module:
    model = create_on_meta(spec, NUM_CLASSES).eval()
    model.load_state_dict(state, assign=True)
    return model


def assert_same_logits(got: torch.Tensor, want: torch.Tensor) -> None:
    assert got.shape == want.shape
    assert (got - want).abs().max() <= 1e-4 * want.abs().mean()


# --- against the image networks -------------------------------------------------------------------------------


def test_tsn_inception_averages_googlenet_over_the_frames():
    network = image_network("googlenet")
    model = with_state("tsn_inception_v1 temporal_stride=false", network.state_dict())
    assert layout(model) == layout(network) == layout(create_on_meta("tsm_inception_v1", NUM_CLASSES))
    clips = torch.randn(2, 3, 3, 75, 64)
    with torch.inference_mode():
        frames = torch.stack([network(clips[:, :, t]) for t in range(3)])
        assert_same_logits(model(clips), frames.mean(0))


def test_tsn_is_blind_to_the_order_of_frames_and_its_temporal_pooling_is_not():
    """Backwards, a pool of 3 frames and stride 2 over 8 frames sees other threes: 1 and 2-3-4 become 8-7 and 6-5-4."""
    torch.manual_seed(0)
    clips = torch.randn(2, 3, 8, 64, 64)
    for spec, blind in (("tsn_resnet18 temporal_stride=false", True), ("tsn_resnet18", False)):
        model = create_model(spec, NUM_CLASSES).eval()
        with torch.inference_mode():
            forward, *others = (model(clips[:, :, order]) for order in (range(8), range(7, -1, -1), torch.randperm(8)))
        for logits in others:
            assert ((logits - forward).abs().max() <= 1e-4 * forward.abs().mean()) == blind


def at_the_middle_frame(model: nn.Module, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A 3-D state dict in which every kernel holds the image network's at its middle frame and zeros elsewhere.

    Layers that the image network lacks, S3D's temporal ones, become the identity.
    """
    inflated = {}
    eps = {f"{name}.running_var": m.eps for name, m in model.named_modules() if isinstance(m, nn.BatchNorm3d)}
    for key, tensor in model.state_dict().items():
        value = torch.zeros(tensor.shape, dtype=tensor.dtype)
        if key in state and tensor.ndim == 5:
            value[:, :, tensor.shape[2] // 2] = state[key]
        elif key in state:
            value = state[key]
        elif tensor.ndim == 5:
            depthwise = tensor.shape[1] == 1
            value[:, :, 1, 0, 0] = 1 if depthwise else torch.eye(len(tensor))
        elif key.endswith("running_var"):
            value += 1 - eps[key]
        elif key.endswith("weight"):
            value += 1
        inflated[key] = value
    return inflated


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("googlenet", "i3d"),
        ("googlenet", "i3d temporal_stride=false"),
        ("googlenet", "s3d"),
        ("googlenet", "s3d temporal_stride=false depthwise_temporal=true"),
        ("resnet18", "i3d_resnet18"),
        ("resnet50", "i3d_resnet50 temporal_stride=false"),
        ("resnet50", "s3d_resnet50 depthwise_temporal=true"),
        ("resnet50", "s3d_resnet50 temporal_stride=false"),
    ],
)
def test_inflated_network_sees_a_still_clip_as_the_image(name, spec):
    """A basic block of S3D-ResNet has one ReLU more than the image network's, so that there the bottleneck is taken."""
    network = image_network(name)
    if name == "googlenet":  # the 3-D networks pad their pools, or do not round up
        for pool in ("maxpool1", "maxpool2", "maxpool3"):
            setattr(network, pool, nn.MaxPool2d(3, stride=2, padding=1))
        last = nn.MaxPool2d(2, stride=2) if spec.startswith("s3d") else nn.MaxPool2d(3, stride=2, padding=1)
        network.maxpool4 = last
    model = create_on_meta(spec, NUM_CLASSES).eval()
    model.load_state_dict(at_the_middle_frame(model, network.state_dict()), assign=True)
    image = torch.randn(1, 3, 64, 80)
    with torch.inference_mode():
        assert_same_logits(model(image.unsqueeze(2).expand(-1, -1, 4, -1, -1)), network(image))


def test_inflated_resnet_keeps_the_frames_apart_without_temporal_taps():
    network = image_network("resnet18")
    model = create_on_meta("i3d_resnet18 temporal_stride=false", NUM_CLASSES).eval()
    model.load_state_dict(at_the_middle_frame(model, network.state_dict()), assign=True)
    clips = torch.randn(2, 3, 3, 64, 64)
    with torch.inference_mode():
        frames = torch.stack([network(clips[:, :, t]) for t in range(3)])
        assert_same_logits(model(clips), frames.mean(0))


# --- TSM ------------------------------------------------------------------------------------------------------


def shifted(x: torch.Tensor, num_frames: int, shift_div: int) -> torch.Tensor:
    """The shift written as assignments, x: (B·T, C, H, W)."""
    x = x.unflatten(0, (-1, num_frames))
    n = x.shape[2] // shift_div
    y = x.clone()
    y[:, :, : 2 * n] = 0
    y[:, :-1, :n] = x[:, 1:, :n]
    y[:, 1:, n : 2 * n] = x[:, :-1, n : 2 * n]
    return y.flatten(0, 1)


@pytest.mark.parametrize(("channels", "shift_div"), [(8, 8), (9, 4), (2, 2), (64, 8), (7, 3)])
@pytest.mark.parametrize("num_frames", [1, 2, 5])
def test_temporal_shift_is_its_equation(channels, shift_div, num_frames):
    x = torch.randn(2 * num_frames, channels, 3, 2)
    assert torch.equal(TemporalShift(channels, shift_div)(x, num_frames), shifted(x, num_frames, shift_div))


def test_first_channels_come_from_the_next_frame():
    x = torch.arange(12.0).reshape(3, 4, 1, 1)  # T = 3, C = 4
    want = [[4, 0, 2, 3], [8, 1, 6, 7], [0, 5, 10, 11]]
    assert TemporalShift(4, 4)(x, 3).flatten(1).tolist() == want


def shift_inputs_of(modules: list[nn.Module], num_frames: int, shift_div: int) -> None:
    for module in modules:
        module.register_forward_pre_hook(lambda _, args: (shifted(args[0], num_frames, shift_div), *args[1:]))


@pytest.mark.parametrize("placement", ["residual", "inplace"])
@pytest.mark.parametrize(("name", "shift_div"), [("resnet18", 8), ("resnet50", 5)])
def test_tsm_is_the_image_network_with_shifted_frames(name, shift_div, placement):
    network = image_network(name)
    model = with_state(f"tsm_{name} placement={placement} shift_div={shift_div}", network.state_dict())
    assert layout(model) == layout(network)
    blocks = [block for stage in (1, 2, 3, 4) for block in getattr(network, f"layer{stage}")]
    shift_inputs_of([b.conv1 for b in blocks] if placement == "residual" else blocks, 4, shift_div)
    clips = torch.randn(2, 3, 4, 32, 32)
    with torch.inference_mode():
        frames = network(clips.transpose(1, 2).flatten(0, 1))
        assert_same_logits(model(clips), frames.unflatten(0, (2, 4)).mean(1))


@pytest.mark.parametrize(
    ("spec", "every"),
    [
        ("tsm_resnet50", 1),
        ("tsm_resnet101", 2),
        ("tsm_resnet152", 2),
        ("tsm_resnet101 placement=inplace", 1),
    ],
)
def test_deep_residual_tsm_shifts_every_second_block(spec, every):
    model = create_on_meta(spec, NUM_CLASSES)
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        assert [block.tam is not None for block in stage] == [index % every == 0 for index in range(len(stage))]


@pytest.mark.parametrize("placement", ["residual", "inplace"])
def test_tsm_inception_shifts_what_its_placement_says(placement):
    """The inputs of conv2 and of one module's branches, told apart by running the network."""
    model = create_model("tsm_inception_v1", NUM_CLASSES, placement=placement).eval()
    seen = {}
    for name in ("conv1", "conv2", "inception4d", "inception4c"):
        model.get_submodule(name).register_forward_hook(
            lambda _, args, out, name=name: seen.update({name: (args[0].clone(), out.clone())})
        )
    for branch in ("branch1", "branch2", "branch3", "branch4"):
        model.get_submodule(f"inception4d.{branch}").register_forward_pre_hook(
            lambda _, args, branch=branch: seen.update({branch: args[0].clone()})
        )
    with torch.inference_mode():
        model(torch.randn(1, 3, 4, 64, 64))
    pooled = F.max_pool2d(seen["conv1"][1], 3, stride=2, ceil_mode=True)
    plain = seen["inception4c"][1]
    moved = shifted(plain, 4, 8)
    inplace = placement == "inplace"
    assert torch.equal(seen["conv2"][0], shifted(pooled, 4, 8) if inplace else pooled)
    assert torch.equal(seen["branch2"], moved) and torch.equal(seen["branch3"], moved)
    assert torch.equal(seen["branch1"], moved if inplace else plain)
    assert torch.equal(seen["branch4"], moved if inplace else plain)


def test_tsm_keys_of_mit_han_lab():
    """The keys that its residual, in-place and unshifted networks save, with and without DataParallel."""
    assert mit_tsm_key("module.base_model.conv1.weight") == "conv1.weight"
    assert mit_tsm_key("module.base_model.layer1.0.conv1.net.weight") == "layer1.0.conv1.weight"
    assert mit_tsm_key("base_model.layer3.5.net.downsample.0.weight") == "layer3.5.downsample.0.weight"
    assert mit_tsm_key("base_model.layer3.5.net.bn2.num_batches_tracked") == "layer3.5.bn2.num_batches_tracked"
    assert mit_tsm_key("module.new_fc.bias") == mit_tsm_key("base_model.fc.bias") == "fc.bias"
    assert mit_tsm_key("layer2.0.conv1.weight") == "layer2.0.conv1.weight"


# --- pools and clip lengths -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["max", "avg"])
@pytest.mark.parametrize("stride", [(1, 2, 2), (2, 2, 2)])
@pytest.mark.parametrize("shape", [(3, 5, 8), (8, 7, 3), (1, 2, 1)])
def test_pool3d_counts_padding_in_the_average_alone(shape, stride, method):
    x = torch.randn(2, 3, *shape)
    pooled = pool3d(x, method, (3, 3, 3), stride, (1, 1, 1))
    for position in itertools.product(*(range(size) for size in pooled.shape[2:])):
        t, h, w = (slice(max(s * i - 1, 0), s * i + 2) for i, s in zip(position, stride))
        window = x[:, :, t, h, w].flatten(2)
        want = window.amax(2) if method == "max" else window.sum(2) / 27
        torch.testing.assert_close(pooled[:, :, *position], want)


def test_average_pooling_replaces_the_spatial_pools_too():
    """With the layers taken out the pools are left. On a clip of ones their average is below 1 where there is padding,
    the near edges in space and both ends in time; an even size leaves the far edges without."""
    for family in (I3D, S3D):
        options = {"depthwise_temporal": False} if family is S3D else {}
        model = family(NUM_CLASSES, temporal_stride=False, pooling="avg", **options)
        for child in list(model._modules):
            if child not in ("fc", "dropout") and not child.startswith("maxpool"):
                setattr(model, child, nn.Identity())  # the pools are left
        x = torch.ones(1, 1, 9, 64, 64)
        features = model.forward_features(x)
        assert features.shape == (1, 1, 9 - (family is S3D), 4, 4)
        assert features[0, 0, 4, -1, -1] == pytest.approx(1.0)
        assert features[0, 0, 4, 0, -1] < 1 and features[0, 0, 0, -1, -1] < 1


@pytest.mark.parametrize(
    ("spec", "frames"),
    [
        ("i3d", {8: 1, 16: 2, 9: 2}),
        ("i3d temporal_stride=false", {8: 8}),
        ("s3d", {8: 1, 16: 2, 9: 1}),
        ("s3d temporal_stride=false", {8: 7, 1: 1}),
        ("i3d_resnet34", {8: 1, 16: 2}),
        ("s3d_resnet34 temporal_stride=false", {8: 8}),
        ("tam_inception_v1", {8: 1, 16: 2}),
        ("tsm_inception_v1", {8: 8}),
        ("tsm_resnet34", {8: 8}),
    ],
)
def test_frames_of_the_features(spec, frames):
    model = create_on_meta(spec, NUM_CLASSES)
    for before, after in frames.items():
        clips = torch.empty(1, 3, before, 224, 224, device="meta")
        assert model.forward_features(clips).shape[2:] == (after, 7, 7)


@pytest.mark.parametrize(
    "spec",
    [
        "i3d",
        "i3d pooling=avg",
        "s3d",
        "s3d pooling=avg",
        "s3d temporal_stride=false",
        "s3d_resnet18",
        "tsm_resnet18 temporal_stride=true pooling=avg",
        "tam_inception_v1 pooling=avg blending_frames=5",
        "tsm_inception_v1 placement=inplace",
    ],
)
def test_any_clip_size(spec):
    model = create_on_meta(spec, NUM_CLASSES).eval()
    for shape in [(1, 3, 1, 32, 32), (2, 3, 2, 48, 50), (1, 3, 7, 50, 66), (1, 3, 33, 32, 32)]:
        assert model(torch.empty(shape, device="meta")).shape == (shape[0], NUM_CLASSES)


# --- options, heads and first weights -------------------------------------------------------------------------


def test_tam_inception_names_the_weights_of_a_longer_window():
    keys = create_on_meta("tam_inception_v1 blending_frames=5 depthwise=false", NUM_CLASSES).state_dict()
    tam = [(key, tuple(keys[key].shape)) for key in keys if key.startswith("tam4d.")]
    assert tam == [(f"tam4d.blending_layers.{i}.fc1.weight", (528, 528, 1, 1)) for i in range(5)]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("tsm_resnet18", {"placement": "block"}, "placement='block'.*residual, inplace"),
        ("tsm_resnet18", {"shift_div": 1}, "shift_div=1: from 2 to 64"),
        ("tsm_resnet18", {"shift_div": 8, "width_mult": 0.1}, "shift_div=8: from 2 to 6"),
        ("tsm_inception_v1", {"placement": "in-place"}, "placement='in-place'"),
        ("tsn_inception_v1", {"num_frames": 0}, "num_frames=0"),
        ("tam_inception_v1", {"blending_frames": 0}, "blending_frames=0"),
        ("tam_inception_v1", {"pooling": "mean"}, "pooling='mean'.*max, avg"),
        ("i3d", {"pooling": "mean"}, "pooling='mean'.*max, avg"),
        ("s3d", {"pooling": ""}, "pooling=''"),
    ],
)
def test_options_that_cannot_be_used(name, options, message):
    with pytest.raises(ModelError, match=message), torch.device("meta"):
        create_model(name, NUM_CLASSES, **options)


@pytest.mark.parametrize("name", ["i3d", "s3d", "i3d_resnet18", "s3d_resnet18", "tsm_resnet18", "tsm_inception_v1"])
def test_head_starts_small_and_drops_half(name):
    model = create_on_meta(name, NUM_CLASSES)
    head = model.new_classifier(2048, 100)
    assert head.weight.std().item() == pytest.approx(0.001, rel=0.02) and not head.bias.any()
    assert model.dropout.p == 0.5


def test_tsn_and_tam_heads_start_as_the_reference_leaves_them():
    for name in ("tsn_resnet18", "tam_inception_v1"):
        head = create_on_meta(name, NUM_CLASSES).new_classifier(1024, 100)
        assert head.weight.abs().max().item() == pytest.approx(1 / 32, rel=0.01) and head.bias.any()
