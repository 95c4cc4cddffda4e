"""The networks of PyTorchVideo beyond their vectors: pathways, windows, depthwise layers, starts, files."""

from pathlib import Path

import pytest
import torch
from networks import QuickNorms, randomise_norms
from torch import nn
from vectors import create_on_meta

from actlib.analysis.costs.receptive_field import receptive_fields
from actlib.analysis.gradcam import GradCam
from actlib.models import ModelError, WeightsError, create_from_spec, create_model, find_published
from actlib.models.parts.depthwise import DepthwiseConv3d
from actlib.models.parts.numbered_blocks import Branch
from actlib.models.slowfast import slow_frames
from actlib.models.weights.fetch import fetch_weights
from actlib.models.weights.file import WeightsFile, read_weights
from actlib.models.weights.identify import fits

XS = "x3d_xs"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty weights folder."""
    monkeypatch.setenv("ACTLIB_WEIGHTS", str(tmp_path))
    return tmp_path


def zeros_of(spec: str, num_classes: int) -> dict[str, torch.Tensor]:
    """A state dict of zeros, of hardly any bytes."""
    layout = create_on_meta(spec, num_classes).state_dict()
    return {key: torch.zeros((), dtype=each.dtype).expand(each.shape) for key, each in layout.items()}


# --- what they compute --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_frames", "alpha", "frames"),
    [(32, 4, [0, 4, 8, 13, 17, 22, 26, 31]), (16, 8, [0, 15]), (6, 4, [0, 5]), (3, 4, [0]), (1, 4, [0])],
)
def test_frames_of_the_slow_pathway(num_frames, alpha, frames):
    assert slow_frames(num_frames, alpha).tolist() == frames


def test_pathways_of_any_length_and_size_meet():
    model = create_on_meta("slowfast_r50", 4).eval()
    with torch.no_grad(), QuickNorms():
        for num_frames, there in {1: 1, 3: 1, 6: 2, 32: 8, 33: 9, 50: 13}.items():
            features = model.forward_features(torch.empty(2, 3, num_frames, 64, 96, device="meta"))
            assert features.shape == (2, 2048 + 256, there, 2, 3)
            assert model.forward_head(features).shape == (2, 4)


def test_the_fast_pathway_sees_every_frame_and_the_slow_one_its_own():
    torch.manual_seed(0)
    model = randomise_norms(create_from_spec("slowfast_r50", 4))
    clip = torch.randn(1, 3, 8, 32, 32, requires_grad=True)
    first = model.blocks[0].multipathway_blocks
    seen = {}
    for name, stem in zip(("slow", "fast"), first):
        stem.register_forward_pre_hook(lambda module, given, name=name: seen.update({name: given[0]}))
    model(clip)[0, 0].backward()
    assert torch.equal(seen["slow"], clip[:, :, [0, 7]]) and seen["fast"] is clip
    assert (clip.grad.abs().sum(dim=(0, 1, 3, 4)) > 0).all()
    with pytest.raises(ValueError, match="index_select picks frames"):
        receptive_fields(model, (3, 8, 32, 32))


def test_windows_of_the_head():
    """By hand: maps of 4 × 6 × 6 and windows of 4 × 5 × 5 are four; a smaller map is one window."""
    torch.manual_seed(0)
    model = create_from_spec("slow_r50 num_frames=4 crop_size=160", 5).eval()
    features = torch.randn(2, 2048, 4, 6, 6)
    corners = [features[:, :, :, i : i + 5, j : j + 5].mean(dim=(2, 3, 4)) for i in (0, 1) for j in (0, 1)]
    want = torch.stack([model.blocks[-1].proj(each) for each in corners]).mean(dim=0)
    with torch.no_grad():
        torch.testing.assert_close(model.forward_head(features), want)
        small = features[:, :, :2, :3, :3]
        torch.testing.assert_close(model.forward_head(small), model.blocks[-1].proj(small.mean(dim=(2, 3, 4))))
    assert model.window == (4, 5, 5) and create_on_meta("c2d_r50", 5).window == (4, 7, 7)
    assert create_on_meta("csn_r101 num_frames=9 crop_size=33", 5).window == (2, 2, 2)
    with pytest.raises(ModelError, match="slow_r50: crop_size=0"):
        create_on_meta("slow_r50 crop_size=0", 5)


@pytest.mark.parametrize(("spec", "wide"), [(XS, 26), ("csn_r101", 33)])
def test_depthwise_layers_are_those_with_the_fast_backward_pass(spec, wide):
    model = create_on_meta(spec, 5)
    depthwise = [module for module in model.modules() if isinstance(module, nn.Conv3d) and module.groups > 1]
    cubes = [module for module in depthwise if module.kernel_size == (3, 3, 3)]
    assert len(cubes) == wide and all(isinstance(module, DepthwiseConv3d) for module in depthwise)


def test_every_block_begins_as_its_shortcut():
    torch.manual_seed(0)
    model = create_from_spec(XS, 2)
    branches = [module for module in model.modules() if isinstance(module, Branch)]
    assert len(branches) == 26 and not any(branch.norm_c.weight.any() for branch in branches)
    assert model.blocks[5].proj.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert not model.blocks[1].res_blocks[0].branch2.norm_b[1].block[0].bias.any()


def test_the_receptive_field_by_block():
    """By hand: a stem of 5; three blocks of 3; pairs of frames; from there on a kernel of 3 widens by 4."""
    table = receptive_fields(create_on_meta("i3d_r50_8x8", 4), (3, 16, 32, 32)).set_index("layer")
    frames = {"blocks.0": 5, "blocks.1": 11, "blocks.2": 12, "blocks.3": 20, "blocks.4": 32, "blocks.5": 36}
    assert table["frames"].to_dict() == frames and table["step"].tolist() == [1, 1, 2, 2, 2, 2]
    with pytest.raises(ValueError, match="mean sees all frames at once"):  # squeeze and excitation
        receptive_fields(create_on_meta(XS, 4), (3, 16, 32, 32))


def test_maps_of_a_network_whose_features_are_coarse():
    torch.manual_seed(0)
    seen = GradCam(randomise_norms(create_from_spec(XS, 4)))
    assert seen.maps(torch.randn(1, 3, 4, 64, 64), 1)[2] == (4, 4, 4) and seen.layer == "blocks.3"


# --- their files --------------------------------------------------------------------------------------------------


def test_a_published_file_by_its_name_and_a_strangers(folder):
    """What lies there as `model_state` opens with all that the table tells; so does another name, by layers alone."""
    torch.manual_seed(0)
    trained = randomise_norms(create_from_spec(XS, 400))
    torch.save({"model_state": trained.state_dict()}, folder / "X3D_XS.pyth")
    model = create_model(pretrained="X3D_XS.pyth").eval()
    assert (model.spec, model.num_classes) == (XS, 400)
    how = {"num_frames": 4, "frame_stride": 12, "short_side": 182, "crop_size": 182, "channel_order": "rgb"}
    how |= {"mean": [0.45] * 3, "std": [0.225] * 3}
    assert how.items() <= model.preprocessing.items()
    clips = torch.randn(2, 3, 4, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(clips), trained(clips))
    config = "DATA:\n  NUM_FRAMES: 13\n  TRAIN_CROP_SIZE: 160\nSLOWFAST: null\n"
    state = {f"model.{key}": each for key, each in trained.state_dict().items()}
    torch.save({"epoch": 3, "model_state": state, "optimizer_state": {}, "cfg": config}, folder / "checkpoint.pyth")
    theirs = create_model(pretrained=folder / "checkpoint.pyth")
    assert (theirs.spec, theirs.num_classes) == ("x3d_s", 400)  # what its configuration tells
    torch.save({"model_state": {"a": 1}}, folder / "odd.pyth")
    with pytest.raises(WeightsError, match="'state_dict' or 'model_state'"):
        read_weights(folder / "odd.pyth")


def test_files_of_one_name_and_several_data_sets(folder):
    kinetics, something = find_published("SLOW_8x8_R50.pyth"), find_published("ssv2-SLOW_8x8_R50.pyth")
    assert find_published(something.url) is something and find_published(kinetics.url) is kinetics
    torch.save({"model_state": zeros_of("slow_r50", 174)}, folder / "SLOW_8x8_R50.pyth")
    model = create_model(pretrained="SLOW_8x8_R50.pyth")
    assert (model.num_classes, model.preprocessing["channel_order"]) == (174, "bgr")
    (folder / something.file).write_bytes(b"theirs")
    assert fetch_weights(something.url).name == something.file
    assert fetch_weights(kinetics.url).name == kinetics.file


@pytest.mark.parametrize(
    "spec",
    [
        "slow_r50", "c2d_r50", "i3d_r50_8x8", "slowfast_r50", "slowfast_r50 fusion_t_size=5", "slowfast_r101",
        "slowfast_r101_16x8", "csn_r101", "r2plus1d_r50", "x3d_l",
    ],
)  # fmt: skip
def test_the_layers_tell_which_one_it_is(spec):
    file = WeightsFile(Path("file.pyth"), create_on_meta(spec, 7).state_dict())
    found = [f"{fit.spec} · {fit.num_classes}" for fit in fits(file)]
    assert found == [f"{spec} · 7"]
