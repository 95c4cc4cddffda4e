"""Image networks of timm under TSN, TAM and TSM: the numbers of timm, and of the same networks written here."""

import copy
from importlib.util import find_spec

import pytest
import torch
from vectors import create_on_meta

from actlib.models import ModelError, create_model

# Imported where it is used, as transformers is.
pytestmark = pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")


@pytest.mark.parametrize("kind", ["tsn", "tam", "tsm"])
def test_of_a_resnet_it_computes_what_ours_does(kind):
    torch.manual_seed(0)
    model, ours = create_model(f"{kind}_timm backbone=resnet18", 5), create_model(
        f"{kind}_resnet18 temporal_stride=false", 5
    )
    state, blocks = {}, []
    for key, tensor in ours.state_dict().items():
        block, tam, rest = key.partition(".tam.")
        if tam and block not in blocks:
            blocks.append(block)
        state[f"tams.{blocks.index(block)}.{rest}" if tam else key] = tensor
    assert model.state_dict().keys() == state.keys() and len(blocks) == (8 if kind == "tam" else 0)
    model.load_state_dict(state)
    clips, longer = torch.randn(2, 3, 4, 32, 32), torch.randn(1, 3, 5, 32, 32)
    twin = copy.deepcopy(model).eval()  # whose frames are its own
    with torch.no_grad():
        for network in (model.eval(), twin):
            torch.testing.assert_close(network(clips), ours.eval()(clips), rtol=0, atol=1e-5)
        torch.testing.assert_close(twin(longer), ours(longer), rtol=0, atol=1e-5)


@pytest.mark.parametrize("backbone", ["test_vit", "test_convnext", "test_efficientnet", "test_resnet"])
def test_tsn_averages_what_timm_says_of_the_frames(backbone, tmp_path):
    import timm

    torch.manual_seed(0)
    theirs = timm.create_model(backbone, num_classes=1000).eval()
    torch.save(theirs.state_dict(), tmp_path / "image.pth")
    model = create_model(f"tsn_timm backbone={backbone}", pretrained=tmp_path / "image.pth").eval()
    assert model.num_classes == 1000 and model.load_report.matched == model.load_report.total
    frames = torch.randn(3, 3, 160, 160)
    with torch.no_grad():
        torch.testing.assert_close(model(frames.transpose(0, 1)[None])[0], theirs(frames).mean(0))


def test_weights_of_timm_go_into_networks_that_mix_frames(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    import timm

    theirs = timm.create_model("test_resnet", num_classes=1000)
    safetensors.save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    spec, file = "tam_timm backbone=test_resnet blending_frames=5", tmp_path / "model.safetensors"
    model = create_model(spec, 7, pretrained=file)
    assert model.load_report.skipped == ("fc.weight", "fc.bias") and len(model.load_report.kept) == 4 * 5
    assert torch.equal(model.conv1[0].weight, theirs.conv1[0].weight) and model.fc.out_features == 7


def test_what_cannot_be_built_is_said(monkeypatch):
    for spec, message in {
        "tsm_timm backbone=vit_tiny_patch16_224": "no residual block of it begins with a convolution; tsn_timm",
        "tsn_timm backbone=convnext_tinny": "Unknown model .*; did you mean convnext_tiny",
        "tsn_timm backbone=deit_tiny_distilled_patch16_224": "its head is not one linear layer",
        "tsm_timm backbone=test_resnet shift_div=1": "shift_div=1: from 2",
    }.items():
        with pytest.raises(ModelError, match=message):
            create_on_meta(spec, 5)
    with pytest.raises(ModelError, match=r"tsn_timm backbone=vit_tiny_patch16_224: Input height \(32\) doesn't match"):
        create_on_meta("tsn_timm backbone=vit_tiny_patch16_224", 5)(torch.empty(1, 3, 2, 32, 32, device="meta"))
    monkeypatch.setattr("actlib.models.parts.variants.find_spec", lambda library: None)
    with pytest.raises(ModelError, match=r"tsn_timm: it is built by timm: pip install -e '\.\[timm\]'"):
        create_model("tsn_timm", 5)
