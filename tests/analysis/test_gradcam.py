"""Grad-CAM through time: captum's numbers where it has them, maps of every kind of network, a check that can fail."""

import numpy as np
import pytest
import torch
from networks import randomise_norms
from torch import nn

from actlib.analysis.gradcam import FEATURES, GradCam, NoMapsError
from actlib.models import create_model
from actlib.models.registry import adopt

CLIP = (3, 8, 64, 64)


def network(spec: str) -> nn.Module:
    torch.manual_seed(0)
    return randomise_norms(create_model(spec, 5))


@pytest.fixture
def clip():
    return torch.randn(CLIP, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("spec", "layer"),
    [("resnet10 widen_factor=0.125", "layer3"), ("resnet10 widen_factor=0.125", "layer4"),
     ("densenet121", "features.denseblock3"), ("tsn_resnet18 width_mult=0.125 temporal_stride=false", "layer4.1")],
)  # fmt: skip
def test_maps_are_captums(clip, spec, layer):
    captum = pytest.importorskip("captum.attr", reason="captum is not installed")
    model, clips = network(spec), torch.stack([clip, clip.flip(1)])
    maps, logits, grid = GradCam(model, layer).maps(clips, 2)
    torch.testing.assert_close(logits, model(clips).detach())
    theirs = captum.LayerGradCam(model, model.get_submodule(layer)).attribute(clips, 2, relu_attributions=True)
    if theirs.ndim == 4:  # folded: the frames of a clip one after another
        theirs = theirs.unflatten(0, (2, -1)).transpose(1, 2)
    assert tuple(theirs.shape[2:]) == grid
    theirs = nn.functional.interpolate(theirs, size=CLIP[1:], mode="trilinear", align_corners=False)[:, 0].detach()
    theirs = theirs / theirs.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-30)
    torch.testing.assert_close(maps, theirs, atol=1e-4, rtol=0)
    assert maps.max() == 1 and maps.min() >= 0


@pytest.mark.parametrize(
    "spec",
    ["resnet10 widen_factor=0.125", "tsn_resnet18 width_mult=0.125", "tam_resnet18 width_mult=0.125",
     "tsm_resnet18 width_mult=0.125", "densenet121", "i3d_r50_nl", "tv_r3d_18", "s3d_resnet18",
     "mobilenetv2 width_mult=0.2", "c3d width_mult=0.125 num_frames=8 crop_size=64", "r2plus1d10 widen_factor=0.125"],
)  # fmt: skip
def test_every_kind_of_network_has_maps_over_frames_and_places(clip, spec):
    cam = GradCam(network(spec))
    maps, logits, grid = cam.maps(clip[None], int(torch.tensor(1)))
    assert maps.shape == (1, *CLIP[1:]) and logits.shape == (1, 5)
    assert np.prod(grid) > 1 and grid[0] >= 2 and grid[1] >= 4 and maps.isfinite().all()
    assert cam.layer and (cam.layer == FEATURES or cam.layer in dict(cam.model.named_modules()))


def test_networks_without_maps_say_so(clip):
    mvit = network("tv_mvit_v2_s num_frames=4 crop_size=32")
    with pytest.raises(NoMapsError, match="no maps over frames and places"):
        GradCam(mvit).maps(torch.randn(1, 3, 4, 32, 32), 0)
    with pytest.raises(NoMapsError, match="'layer9': no such module of resnet10.*layer3"):
        GradCam(network("resnet10 widen_factor=0.125"), "layer9")
    folded = GradCam(network("tsn_resnet18 width_mult=0.125"), "layer1")  # whose parts are called one by one
    assert folded.maps(clip[None], 0)[2] == (8, 16, 16) and folded.layer == "layer1.1"
    with pytest.raises(NoMapsError, match="fc are no maps"):
        GradCam(network("resnet10 widen_factor=0.125"), "fc").maps(clip[None], 0)


class Corner(nn.Module):
    """Answers class 1 by how bright the upper left quarter of the last half of the frames is; nothing else counts."""

    def __init__(self):
        super().__init__()
        self.look = nn.Conv3d(3, 2, 1, bias=False)
        self.look.weight.data.fill_(1.0)
        self.head = nn.Linear(2, 2, bias=False)
        self.head.weight.data = torch.tensor([[0.0, 0.0], [4.0, 4.0]])
        place = torch.zeros(1, 1, 8, 16, 16)
        place[:, :, 4:, :8, :8] = 1
        self.register_buffer("place", place)

    def forward(self, x):
        maps = nn.functional.adaptive_avg_pool3d(self.look(x) * self.place, (8, 16, 16))
        return self.head(maps.mean(dim=(2, 3, 4)))


def test_the_check_tells_a_map_that_is_right_from_one_that_is_wrong():
    """A network of known answer: the marked half falls further, and a map turned round does not."""
    model = adopt(Corner().eval(), 2)
    clip = torch.zeros(3, 8, 16, 16)
    clip[:, 4:, :4, :4] = 1.0  # hidden by the mean of its frame, a sixteenth
    cam = GradCam(model, "look")
    found = cam.explain(clip, 1, share=1 / 32, regions=20)
    assert found.grid == (8, 16, 16) and found.maps[4:, :4, :4].min() == 1 and found.maps[:4].max() == 0
    assert found.score > 0.5 and found.fall_marked > 3 * found.fall_random > 0 and len(found.falls_random) == 20
    assert cam.explain(clip, 1, share=1 / 32, regions=20).falls_random == found.falls_random  # the same seed
    wrong, others = cam.falls(clip, torch.from_numpy(1 - found.maps), 1, share=1 / 32, regions=20)
    assert wrong < found.fall_marked / 3
    with torch.no_grad():
        assert found.score == pytest.approx(float(model(clip[None]).softmax(1)[0, 1]))


def test_a_class_for_which_nothing_speaks_has_an_empty_map():
    model = adopt(Corner().eval(), 2)
    maps, _, _ = GradCam(model, "look").maps(torch.ones(1, 3, 8, 16, 16), 0)
    assert maps.eq(0).all()


def test_the_network_itself_stays_as_it_is(clip):
    model = network("resnet10 widen_factor=0.125")
    before = {name: each.clone() for name, each in model.state_dict().items()}
    GradCam(model).explain(clip, 0, regions=2)
    assert all(each.requires_grad and each.grad is None for each in model.parameters())
    assert all(before[name].equal(each) for name, each in model.state_dict().items())
