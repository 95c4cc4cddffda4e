"""torchvision's video networks under our interface: the same layout, initialisation and logits as torchvision's own."""

import re

import pytest
import torch
import torchvision
from torch import nn
from vectors import create_on_meta

from actlib.analysis.costs.flops import count_macs, num_params
from actlib.models import ModelError, create_from_spec, create_model, list_models
from actlib.models.torchvision_models import NAMES, tv_weights
from actlib.models.weights.published import published_table

SMALLEST = ("mc3_18", "r2plus1d_18", "r3d_18", "s3d", "swin3d_t")  # of each architecture that takes any size
MVITS = ("mvit_v1_b", "mvit_v2_s")


def test_all_of_torchvisions_video_networks_are_here():
    assert set(NAMES) == {name for name in torchvision.models.list_models() if name in dir(torchvision.models.video)}
    assert len(NAMES) >= 9 and {f"tv_{name}" for name in NAMES} == {n for n in list_models() if n.startswith("tv_")}


@pytest.mark.parametrize("name", NAMES)
def test_layout(name):
    with torch.device("meta"):
        theirs = torchvision.models.get_model(name, num_classes=7)
    ours = create_on_meta(f"tv_{name}", 7)
    for described in ("state_dict", "named_parameters", "named_buffers"):
        layouts = [[(key, t.shape) for key, t in dict(getattr(m, described)()).items()] for m in (ours, theirs)]
        assert layouts[0] == layouts[1]
    assert ours.num_classes == 7


def check_against_torchvision(name, shape, theirs, spec):
    """The same seed gives the same weights, and these the same logits in evaluation and in training mode."""
    torch.manual_seed(0)
    ours = create_from_spec(spec, 7)
    for key, tensor in theirs.state_dict().items():
        assert torch.equal(tensor, ours.state_dict()[key]), key
    x = torch.randn(shape)
    with torch.no_grad():
        assert torch.equal(ours.eval()(x), theirs.eval()(x))
    ours.train(), theirs.train()
    logits = []
    for model in (ours, theirs):
        torch.manual_seed(1)  # dropout and stochastic depth
        logits.append(model(x))
    assert torch.equal(*logits)


@pytest.mark.parametrize("name", SMALLEST)
def test_equals_torchvision(name):
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name, num_classes=7)
    shape = (2, 3, 5, 50, 66)
    if name == "s3d":  # its last average pool takes no clip under 224×224; the window that ours shrinks to replaces it
        shape = (2, 3, 14, 64, 64)
        theirs.avgpool = nn.AvgPool3d(2, stride=1)
    check_against_torchvision(name, shape, theirs, f"tv_{name}")


@pytest.mark.parametrize("size", [(2, 7, 7), (3, 8, 10)])
def test_s3ds_average_pool_slides_as_torchvisions(size):
    theirs = torchvision.models.video.s3d(num_classes=7).eval()
    ours = create_model("tv_s3d", 7).eval()
    ours.load_state_dict(theirs.state_dict(), assign=True)
    torch.manual_seed(0)
    features = torch.randn(2, 1024, *size)
    theirs.features = nn.Identity()
    with torch.no_grad():
        assert torch.equal(ours.forward_head(features), theirs(features))


@pytest.mark.parametrize("name", MVITS)
def test_mvit_equals_torchvision(name, monkeypatch):
    """In a small size, which torchvision's function builds once its two size arguments are replaced."""
    from torchvision.models.video import mvit

    build = mvit._mvit
    monkeypatch.setattr(mvit, "_mvit", lambda **kw: build(**(kw | {"spatial_size": (64, 64), "temporal_size": 4})))
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name, num_classes=7)
    monkeypatch.undo()
    check_against_torchvision(name, (2, 3, 4, 64, 64), theirs, f"tv_{name} num_frames=4 crop_size=64")


@pytest.mark.parametrize("name", MVITS)
def test_mvit_of_the_usual_size_has_torchvisions_depth_rates(name):
    theirs = {}
    with torch.device("meta"):
        for model in (torchvision.models.get_model(name, num_classes=7), create_model(f"tv_{name}", 7)):
            theirs[type(model).__name__] = [
                (type(m).__name__, p) for m in model.modules() if (p := getattr(m, "p", None)) is not None
            ]
    first, second = theirs.values()
    assert first == second and len(first) > 16


@pytest.mark.parametrize(
    "spec",
    [*(f"tv_{name}" for name in SMALLEST), "tv_mvit_v2_s num_frames=2 crop_size=36", "tv_mvit_v1_b num_frames=18"],
)
def test_sizes(spec):
    model = create_on_meta(spec, 4).eval()
    frames, size = (int(model.options.get(o, d)) for o, d in (("num_frames", 0), ("crop_size", 0)))
    shapes = [(1, 3, frames, size, size)] if frames else [(1, 3, 1, 8, 8), (2, 3, 33, 112, 112), (1, 3, 4, 60, 32)]
    for shape in shapes:
        assert model(torch.empty(shape, device="meta")).shape == (shape[0], 4)


def test_mvit_names_the_size_it_was_built_for():
    model = create_on_meta("tv_mvit_v1_b num_frames=8 crop_size=64", 4)
    with pytest.raises(ModelError, match="16×64×64.*built for 8×64×64.*num_frames and crop_size"):
        model(torch.empty(1, 3, 16, 64, 64, device="meta"))
    for option in ("num_frames=3", "num_frames=0", "crop_size=222", "crop_size=-4"):
        with pytest.raises(ModelError, match=option):
            create_on_meta(f"tv_mvit_v1_b {option}", 4)
    with pytest.raises(ModelError, match="crop_size"):
        create_on_meta("tv_swin3d_t crop_size=64", 4)


def test_mvits_head_leaves_the_features_alone():
    model = create_from_spec("tv_mvit_v2_s num_frames=2 crop_size=32", 4)
    features = torch.ones(2, 768, 1, 1, 1)
    model.forward_head(features)
    assert features.eq(1).all()


def test_new_heads_start_as_torchvisions():
    torch.manual_seed(0)
    for name, std in (("tv_r3d_18", 0.01), ("tv_swin3d_t", 0.02), ("tv_s3d", 1024**-0.5 / 3**0.5)):
        model = create_model(name, 5)
        model.reset_classifier(400)
        head = model.get_submodule(model.classifier_name)
        assert head.weight.std().item() == pytest.approx(std, rel=0.05)
        assert isinstance(head, nn.Conv3d if name == "tv_s3d" else nn.Linear)
        assert name == "tv_s3d" or not head.bias.any()


# --- published weights ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_published_weights(name):
    enum = torchvision.models.get_model_weights(name)
    entries = tv_weights(f"tv_{name}")
    assert entries == tv_weights(name) and len(entries) == len(enum) and entries[0] is enum.DEFAULT
    rows = [row for row in published_table().values() if row.spec == f"tv_{name}"]
    assert [torchvision.models.get_weight(row.enum) for row in rows] == entries
    for row, theirs in zip(rows, entries):
        assert (row.url, list(row.classes)) == (theirs.url, theirs.meta["categories"])
        assert row.url.endswith(f"/{row.file}") and re.fullmatch("[0-9a-f]{8}", row.sha256)
        (accuracy,) = row.accuracies
        assert 50 < accuracy.top1 < accuracy.top5 < 100 and row.num_classes == 400
        assert all(0.2 < m < 0.5 for m in row.mean) and all(0.2 < s < 0.25 for s in row.std)
        transforms = theirs.transforms()
        assert len(row.mean) == len(row.std) == 3 and len(transforms.crop_size) == 2
        assert min(transforms.resize_size) > min(transforms.crop_size) and row.num_frames in (16, 32, 128)
        assert (row.short_side, row.crop_size) == (min(transforms.resize_size), min(transforms.crop_size))
        assert row.frame_stride == (4 if name in MVITS else 2)
        # the transforms of torchvision, applied by torchvision, give what these numbers say
        clip = torch.full((1, *transforms.crop_size, 3), 255, dtype=torch.uint8).permute(0, 3, 1, 2)
        white = transforms(clip)
        assert white.shape == (3, 1, *transforms.crop_size)
        torch.testing.assert_close(white[:, 0, 0, 0], (1 - torch.tensor(row.mean)) / torch.tensor(row.std))

        model = create_on_meta(row.spec, row.num_classes)
        assert num_params(model) == theirs.meta["num_params"]
        count = count_macs(model, (3, 16, *transforms.crop_size))  # torchvision counts 16 frames for all of them
        assert count.total / 1e9 == pytest.approx(theirs.meta["_ops"], abs=6e-4)


def test_weights_of_an_unknown_network():
    with pytest.raises(ModelError, match="'resnet18'.*r3d_18"):
        tv_weights("resnet18")
