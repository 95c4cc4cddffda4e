"""What every registered model must do, and the parts of ResNet, MobileNetV2, TSN and TAM that no vector covers."""

import math
import re

import pytest
import torch
import torchvision
from networks import QuickNorms, losses_on_contrast, small_spec, smallest_of_each_family
from torch import nn
from torch.nn import functional as F
from vectors import VECTORS, create_on_meta, read_vector

from actlib.models import (
    ModelError,
    create_from_spec,
    create_model,
    list_models,
    model_options,
)
from actlib.models.parts.residual import ShortcutA
from actlib.models.parts.temporal import TemporalAggregation, shift_time, temporal_pool
from actlib.models.resnet import BasicBlock

SMALL = (2, 3, 8, 48, 48)
COUNTED = ("resnet", "preresnet", "wideresnet", "resnext", "i3d_resnet", "tsn_resnet", "tam_resnet", "tsm_resnet")

# --- depths and options that no vector covers -----------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in list_models() if n.rstrip("0123456789") in COUNTED])
def test_depth_counts_the_layers(name):
    """A ResNet's depth is its convolutions outside shortcuts and temporal modules, and the linear layer."""
    model = create_on_meta(name, 10)
    layers = [
        key
        for key, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear) and "downsample" not in key and "tam" not in key
    ]
    assert len(layers) == int(re.search(r"\d+$", name)[0])


@pytest.mark.parametrize(("depth", "more_blocks"), [(152, (4, 13)), (200, (20, 13))])
def test_deeper_networks_add_identity_blocks(depth, more_blocks):
    """Against the reference's resnet101: a bottleneck of width w has (4 + 27 + 4)·w² weights, its norms 12w."""
    resnet101 = read_vector(next(p for p in VECTORS if p.stem == "hara2018_resnet101_b"))["num_params"]
    added = sum(count * (35 * width**2 + 12 * width) for count, width in zip(more_blocks, (128, 256)))
    assert sum(p.numel() for p in create_on_meta(f"resnet{depth}", 400).parameters()) == resnet101 + added


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_tsn_has_the_layout_of_the_image_network(depth):
    with torch.device("meta"):
        image_network = getattr(torchvision.models, f"resnet{depth}")()
    layout = [(key, tensor.shape) for key, tensor in image_network.state_dict().items()]
    assert [(key, t.shape) for key, t in create_on_meta(f"tsn_resnet{depth}", 1000).state_dict().items()] == layout


def test_tsn_averages_the_image_network_over_the_frames():
    image_network = torchvision.models.resnet34(num_classes=7).eval()
    model = create_on_meta("tsn_resnet34 temporal_stride=false", 7).eval()
    model.load_state_dict(image_network.state_dict(), assign=True)
    clips = torch.randn(2, 3, 5, 32, 48)
    with torch.no_grad():
        frames = torch.stack([image_network(clips[:, :, t]) for t in range(5)])
        torch.testing.assert_close(model(clips), frames.mean(0), rtol=1e-4, atol=1e-4)


def test_mobilenetv2_widths_are_truncated_and_the_last_layer_never_shrinks():
    for width_mult, stem, stage, last in [(0.45, 14, 43, 1280), (1.0, 32, 96, 1280), (1.3, 41, 124, 1664)]:
        model = create_on_meta(f"mobilenetv2 width_mult={width_mult}", 5)
        # the last 96-channel block is the thirteenth
        assert model.features[0][0].out_channels == stem
        assert model.features[13].conv[-1].num_features == stage
        assert model.classifier[1].in_features == last


def test_stem_options():
    model = create_on_meta("resnet18 conv1_t_size=3 conv1_t_stride=2 max_pool=false widen_factor=0.5", 5)
    assert model.conv1.weight.shape == (32, 3, 3, 7, 7)
    clips = torch.empty(1, 3, 16, 64, 64, device="meta")
    # the stem halves T, H and W; without max-pool only stages 2 to 4 halve them again
    assert model.forward_features(clips).shape == (1, 256, 1, 4, 4)
    assert create_on_meta("resnet18", 5).forward_features(clips).shape == (1, 512, 1, 2, 2)


def test_shortcut_a_subsamples_appends_zeros_and_passes_the_gradient():
    x = torch.randn(2, 4, 5, 6, 7, requires_grad=True)
    y = ShortcutA(4, 6, stride=2)(x)
    torch.testing.assert_close(y[:, :4], F.avg_pool3d(x, kernel_size=1, stride=2))
    assert y.shape[1] == 6 and not y[:, 4:].any()

    block = BasicBlock(4, 6, 2, ShortcutA(4, 6, stride=2))
    nn.init.zeros_(block.bn2.weight)  # F(x) = 0: what reaches x comes through the shortcut
    block(x).sum().backward()
    kept = x.detach()[:, :, ::2, ::2, ::2] > 0
    assert kept.any() and torch.equal(x.grad[:, :, ::2, ::2, ::2], kept.float())


@pytest.mark.parametrize("blending_method", ["sum", "max"])
@pytest.mark.parametrize("depthwise", [True, False])
@pytest.mark.parametrize(("blending_frames", "num_frames"), [(1, 4), (2, 4), (3, 4), (4, 3), (5, 4), (5, 1), (7, 2)])
def test_temporal_aggregation_is_its_equation(blending_frames, num_frames, depthwise, blending_method):
    tam = TemporalAggregation(6, blending_frames, blending_method, depthwise)
    weights = dict(tam.named_parameters())
    if blending_frames == 3:
        assert list(weights) == ["prev_se.fc1.weight", "next_se.fc1.weight", "curr_se.fc1.weight"]
        window = [weights[f"{name}_se.fc1.weight"] for name in ("prev", "curr", "next")]
    else:
        assert list(weights) == [f"blending_layers.{i}.fc1.weight" for i in range(blending_frames)]
        window = list(weights.values())
    x = torch.randn(2, num_frames, 6, 3, 3)
    want = torch.empty_like(x)
    for t in range(num_frames):
        terms = []
        for j, weight in enumerate(window, start=t - blending_frames // 2):
            frame = x[:, j] if 0 <= j < num_frames else torch.zeros_like(x[:, 0])
            matrix = weight[:, 0, 0, 0].diag() if depthwise else weight[:, :, 0, 0]
            terms.append(torch.einsum("oc,bchw->bohw", matrix, frame))
        terms = torch.stack(terms)
        want[:, t] = (terms.sum(0) if blending_method == "sum" else terms.amax(0)).relu()
    torch.testing.assert_close(tam(x.flatten(0, 1), num_frames), want.flatten(0, 1))


def test_shift_time():
    x = torch.arange(1.0, 5.0).reshape(1, 4, 1)
    for offset, want in {0: [1, 2, 3, 4], 1: [2, 3, 4, 0], -2: [0, 0, 1, 2], 4: [0] * 4, -9: [0] * 4}.items():
        assert shift_time(x, offset).flatten().tolist() == want


@pytest.mark.parametrize("num_frames", [1, 2, 3, 7, 8])
def test_temporal_pool(num_frames):
    x = torch.randn(num_frames, 2, 3, 3)
    pooled_max, length = temporal_pool(x, num_frames, "max")
    pooled_avg, _ = temporal_pool(x, num_frames, "avg")
    assert length == len(pooled_max) == len(pooled_avg) == math.ceil(num_frames / 2)
    for i in range(length):
        window = x[max(2 * i - 1, 0) : 2 * i + 2]
        torch.testing.assert_close(pooled_max[i], window.amax(0))
        torch.testing.assert_close(pooled_avg[i], window.sum(0) / 3)


# --- what every model must do ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_models())
def test_every_model_answers(name):
    """Without storage: the options are complete, the spec is read back, the logits have the right shape."""
    model = create_on_meta(small_spec(name), 5)
    assert (model.name, model.spec) == (name, small_spec(name))
    assert model.options.keys() == model_options(name).keys()
    with torch.no_grad(), QuickNorms():
        assert model.eval()(torch.empty(2, 3, 4, 32, 32, device="meta")).shape == (2, 5)


@pytest.mark.parametrize("name", smallest_of_each_family())
def test_every_family_has_the_whole_interface(name):
    """Without storage: both halves of forward, in training mode, and another head."""
    model = create_on_meta(small_spec(name), 5)
    x = torch.empty(2, 3, 4, 32, 32, device="meta")
    with torch.no_grad(), QuickNorms():
        features = model.forward_features(x)
        assert features.ndim == 5 and features.shape[0] == 2
        assert model.forward_head(features).shape == (2, 5)

        layout = {key: tensor.shape for key, tensor in model.state_dict().items()}
        head = {f"{model.classifier_name}.weight", f"{model.classifier_name}.bias"}
        model.reset_classifier(7, dropout=0.25)
        assert model(x).shape == (2, 7) and model.num_classes == 7
    assert model.get_submodule(model.dropout_name).p == 0.25
    after = model.state_dict()
    assert list(after) == list(layout)
    assert {key for key, shape in layout.items() if after[key].shape != shape} == head


@pytest.mark.parametrize("name", smallest_of_each_family())
def test_every_family_computes(name):
    """Finite logits and gradients for every parameter; a second model with its state dict answers the same."""
    torch.manual_seed(0)
    model = create_from_spec(small_spec(name), 5)
    x = torch.randn(2, 3, 4, 32, 32)
    logits = model(x)
    assert logits.isfinite().all()
    F.cross_entropy(logits, torch.tensor([0, 3])).backward()
    assert not [key for key, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]

    model.eval()
    twin = create_on_meta(small_spec(name), 5).eval()
    twin.load_state_dict(model.state_dict(), assign=True)
    with torch.no_grad():
        logits = model(x)
        assert torch.equal(twin(x), logits)
        features = model.forward_features(x)
        assert torch.equal(model.forward_head(features), logits)
        model.reset_classifier(5)
        assert torch.equal(model.forward_features(x), features)
        assert not torch.equal(model(x), logits)


@pytest.mark.parametrize(
    "spec",
    ["resnet10", "resnet10 shortcut=A", "mobilenetv2 width_mult=0.2", "tsn_resnet18", "tam_resnet18 pooling=avg"],
)
@pytest.mark.parametrize("shape", [SMALL, (1, 3, 1, 32, 32), (1, 3, 7, 50, 66), (1, 3, 33, 32, 32)])
def test_any_clip_size(spec, shape):
    model = create_on_meta(spec, 4).eval()
    assert model(torch.empty(shape, device="meta")).shape == (shape[0], 4)


@pytest.mark.parametrize(
    "spec", ["resnet10 widen_factor=0.25", "mobilenetv2 width_mult=0.45", "tam_resnet18 width_mult=0.25"]
)
def test_learns_from_scratch(spec):
    torch.manual_seed(0)
    model = create_from_spec(spec, 2)
    losses = losses_on_contrast(model)
    assert losses[0] < 3, "the initial logits are far too large"
    assert min(losses[-3:]) < 0.3 * losses[0], losses


def test_initialisation_of_the_references():
    torch.manual_seed(0)
    resnet = create_model("resnet18", 400)
    weight = resnet.layer3[1].conv2.weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (256 * 27)), rel=0.01)
    tam = create_model("tam_resnet34", 400).layer4[1].tam.prev_se.fc1.weight
    assert tam.std().item() == pytest.approx(math.sqrt(2 / 512), rel=0.15) and tam.min() < 0 < tam.max()
    head = create_model("mobilenetv2", 400).classifier[1]
    assert head.weight.std().item() == pytest.approx(0.01, rel=0.02) and not head.bias.any()


def test_dropout_of_the_references():
    assert create_on_meta("resnet18", 5).dropout.p == 0
    assert create_on_meta("mobilenetv2", 5).classifier[0].p == 0.2
    assert create_on_meta("tam_resnet18", 5).dropout.p == 0.5


def test_reset_classifier_keeps_dtype_and_refuses_nonsense():
    model = create_model("mobilenetv2", 5, width_mult=0.2).to(torch.bfloat16)
    model.reset_classifier(3)
    assert model.classifier[1].weight.dtype == torch.bfloat16 and model.classifier[0].p == 0.2
    with pytest.raises(ModelError, match="num_classes=0"):
        model.reset_classifier(0)
    with pytest.raises(ModelError, match="dropout=1.5"):
        model.reset_classifier(3, dropout=1.5)
    assert model.num_classes == 3


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(3, 8, 48, 48), r"\(3, 8, 48, 48\).*\(B, 3, T, H, W\)"),
        (torch.zeros(1, 8, 3, 48, 48), r"\(1, 8, 3, 48, 48\).*permute"),
        (torch.zeros(SMALL, dtype=torch.uint8), "uint8.*float"),
    ],
)
def test_wrong_input(x, message):
    with pytest.raises(ModelError, match=message):
        create_on_meta("tsn_resnet18", 5)(x)
