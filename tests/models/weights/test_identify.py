"""Which network a file is of: found from its layers alone, for every model and the options that layers show."""

from pathlib import Path

import pytest
import torch

from actlib.models import create_from_spec
from actlib.models.weights.file import WeightsFile
from actlib.models.weights.identify import fits, unseen_options


def layers_of(spec: str, num_classes: int = 7) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return create_from_spec(spec, num_classes).state_dict()


def identified(state, name="file.pth", **facts) -> list[str]:
    return [f"{fit.spec} · {fit.num_classes}" for fit in fits(WeightsFile(Path(name), state, **facts))]


@pytest.mark.parametrize(
    "spec",
    [
        "resnet10 widen_factor=0.25",
        "resnet18 shortcut=A conv1_t_size=3 widen_factor=0.33",
        "preresnet18 shortcut=A",
        "wideresnet50 release=2020",
        "resnext50 cardinality=16",
        "resnext50 release=2020",
        "densenet121 conv1_t_size=3 release=2020",
        "densenet121",
        "r2plus1d18 conv1_t_size=3 widen_factor=0.25",
        "mobilenet width_mult=1.5",
        "mobilenetv2 width_mult=0.45",
        "shufflenet groups=8 width_mult=2.0",
        "shufflenetv2 width_mult=0.25",
        "squeezenet version=1.0",
        "c3d num_frames=32 crop_size=160",
        "i3d_r50",
        "i3d_r50_nl",
        "i3d",
        "s3d depthwise_temporal=true",
        "s3d_resnet18 depthwise_temporal=true",
        "tam_resnet18 blending_frames=5 depthwise=false",
        "tam_inception_v1",
        "tv_r3d_18",
        "tv_s3d",
    ],
)
def test_the_layers_tell_the_network_and_its_options(spec):
    assert f"{spec} · 7" in identified(layers_of(spec))[:1]


def test_old_files_without_counters():
    state = {key: each for key, each in layers_of("densenet121").items() if not key.endswith("num_batches_tracked")}
    assert identified(state) == ["densenet121 · 7"]


def test_networks_with_the_same_layers_are_all_named():
    state = layers_of("tsn_resnet18")
    assert identified(state) == ["tsn_resnet18 · 7", "tsm_resnet18 · 7"]
    placed = identified(state, tsm_placement="inplace")
    assert placed == ["tsm_resnet18 placement=inplace · 7", "tsn_resnet18 · 7"]
    assert identified(layers_of("i3d_resnet18")) == ["i3d_resnet18 · 7", "resnet18 conv1_t_size=3 · 7"]


def test_what_layers_do_not_show_comes_from_the_table_or_the_file():
    state = layers_of("tam_resnet50", 400)
    (fit,) = fits(WeightsFile(Path("K400-TAM-ResNet-50-f32.pth.tar"), state))
    assert fit.spec == "tam_resnet50 num_frames=32 temporal_stride=false" and "table" in fit.why
    assert fit.unseen == ("num_frames", "temporal_stride", "pooling", "blending_method")
    arch = "kinetics400-rgb-TAM-b3-max-resnet-50-ts-avg-f16-cosine-bs72-e100"
    (fit,) = fits(WeightsFile(Path("mine.pth.tar"), state, content={"arch": arch}))
    assert fit.spec == "tam_resnet50 num_frames=16 pooling=avg blending_method=max" and "file itself" in fit.why
    (fit,) = fits(WeightsFile(Path("mine.pth.tar"), state, content={"arch": "something else"}))
    assert (fit.spec, fit.why) == ("tam_resnet50", "")
    assert unseen_options("resnet18") == ("conv1_t_stride", "max_pool")
    assert unseen_options("c3d") == () and "num_frames" in unseen_options("tsm_resnet18")


def test_nothing_fits_a_file_with_a_layer_more_or_less():
    state = layers_of("mobilenetv2")
    state.pop("features.1.conv.0.weight")
    assert identified(state) == []
    state = layers_of("mobilenetv2") | {"extra.weight": torch.zeros(1, device="meta")}
    assert identified(state) == []


def test_names_narrow_the_search():
    file = WeightsFile(Path("x.pth"), layers_of("tsn_resnet18"))
    assert [fit.spec for fit in fits(file, names=["tsm_resnet18"])] == ["tsm_resnet18"]
    assert fits(file, names=["resnet18"]) == []
