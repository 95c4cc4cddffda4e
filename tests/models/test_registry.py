"""Model names, options and specs: what is accepted, and what a refusal says."""

from collections import Counter

import pytest
import torch

from actlib.models import (
    ModelError,
    create_from_spec,
    create_model,
    format_spec,
    list_models,
    model_options,
    parse_spec,
)
from actlib.models.parts.structure import structure_only
from actlib.models.registry import library_of, register_model
from actlib.models.torchvision_models import NAMES
from actlib.models.transformers_models import NAMES as HF_NAMES


def test_list_models():
    names = list_models()
    assert names.index("resnet18") < names.index("resnet101")
    own = [name for name in names if not library_of(name) and not name.startswith("tv_")]
    families = Counter(name.rstrip("0123456789") for name in own)
    assert families == {
        **{"resnet": 7, "preresnet": 6, "wideresnet": 1, "resnext": 3, "densenet": 4, "r2plus1d": 7},
        **{"c3d": 1, "squeezenet": 1, "mobilenet": 1, "mobilenetv": 1, "shufflenet": 1, "shufflenetv": 1},
        **{"i3d_r": 1, "i3d_r50_nl": 1, "i3d": 1, "s3d": 1, "i3d_resnet": 5, "s3d_resnet": 5},
        **{f"{kind}_resnet": 5 for kind in ("tsn", "tam", "tsm")},
        **{f"{kind}_inception_v": 1 for kind in ("tsn", "tam", "tsm")},
        **{"x3d_xs": 1, "x3d_s": 1, "x3d_m": 1, "x3d_l": 1, "slow_r": 1, "c2d_r": 1, "i3d_r50_8x": 1},
        **{"slowfast_r": 2, "slowfast_r101_16x": 1, "csn_r": 1, "r2plus1d_r": 1},
    }
    assert {name for name in names if name.startswith("tv_")} == {f"tv_{name}" for name in NAMES}
    assert {name for name in names if library_of(name) == "transformers"} == set(HF_NAMES.values())
    assert {name for name in names if library_of(name) == "timm"} == {"tsn_timm", "tam_timm", "tsm_timm"}
    assert model_options("resnet50") == {
        "shortcut": "B",
        "conv1_t_size": 7,
        "conv1_t_stride": 1,
        "max_pool": True,
        "widen_factor": 1.0,
    }
    assert list(model_options("tam_resnet18").items()) == [
        ("num_frames", 8),
        ("temporal_stride", True),
        ("pooling", "max"),
        ("blending_frames", 3),
        ("blending_method", "sum"),
        ("depthwise", True),
        ("width_mult", 1.0),
    ]


def test_a_duplicate_name_is_refused():
    def resnet18(num_classes: int):
        raise AssertionError("never built")

    with pytest.raises(ModelError, match="'resnet18' is registered already"):
        register_model(resnet18)


def test_an_option_without_a_scalar_default_is_refused():
    def fresh_model(num_classes: int, *, widths=(1, 2)):
        raise AssertionError("never built")

    with pytest.raises(ModelError, match="fresh_model.*'widths'"):
        register_model(fresh_model)
    assert "fresh_model" not in list_models()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet19", {}, "unknown model 'resnet19'.*resnet1"),
        ("zzz", {}, r"unknown model 'zzz'; list_models\(\)"),
        ("resnet18", {"shortcuts": "A"}, "no option 'shortcuts'; did you mean shortcut.*conv1_t_size"),
        ("mobilenetv2", {"shortcut": "A"}, "no option 'shortcut'.*width_mult"),
        ("resnet18", {"shortcut": "C"}, "resnet18: shortcut='C': use one of A, B"),
        ("resnet18", {"widen_factor": 0}, "resnet18: widen_factor=0.0: a number above 0"),
        ("resnet18", {"widen_factor": float("nan")}, "widen_factor=nan"),
        ("resnet18", {"widen_factor": "wide"}, "widen_factor='wide' must be a number"),
        ("resnet18", {"conv1_t_size": 0}, "conv1_t_size=0"),
        ("resnet18", {"conv1_t_stride": -1}, "conv1_t_stride=-1"),
        ("resnet18", {"conv1_t_size": 3.5}, "conv1_t_size=3.5 must be a whole number"),
        ("resnet18", {"max_pool": 1}, "max_pool=1 must be true or false"),
        ("mobilenetv2", {"width_mult": 0.05}, "width_mult=0.05: leaves a layer of 16 channels without any"),
        ("mobilenetv2", {"width_mult": -1.0}, "width_mult=-1.0"),
        ("tsn_resnet18", {"num_frames": 0}, "num_frames=0"),
        ("tsn_resnet18", {"pooling": "mean"}, "pooling='mean': use one of max, avg"),
        ("tam_resnet18", {"blending_frames": 0}, "blending_frames=0: at least 1"),
        ("tam_resnet18", {"blending_frames": -1}, "blending_frames=-1: at least 1"),
        ("tam_resnet18", {"blending_method": "mean"}, "blending_method='mean': use one of sum, max"),
    ],
)
def test_refused_names_and_options(name, options, message):
    with pytest.raises(ModelError, match=message):
        create_model(name, 5, **options)


@pytest.mark.parametrize("num_classes", [0, -3, 2.5, "10"])
def test_refused_num_classes(num_classes):
    with pytest.raises(ModelError, match="num_classes"):
        create_model("resnet10", num_classes)


@pytest.mark.parametrize(
    ("spec", "parsed"),
    [
        ("resnet18", ("resnet18", {})),
        ("  mobilenetv2   width_mult=0.45 ", ("mobilenetv2", {"width_mult": 0.45})),
        ("mobilenetv2 width_mult=2", ("mobilenetv2", {"width_mult": 2.0})),
        ("mobilenetv2 width_mult:2", ("mobilenetv2", {"width_mult": 2.0})),
        (
            "resnet18 shortcut=A max_pool=false conv1_t_stride=2",
            ("resnet18", {"shortcut": "A", "max_pool": False, "conv1_t_stride": 2}),
        ),
    ],
)
def test_parse_spec(spec, parsed):
    name, options = parse_spec(spec)
    assert (name, options) == parsed
    assert [type(value) for value in options.values()] == [type(value) for value in parsed[1].values()]
    assert parse_spec(format_spec(name, options)) == parsed


def test_format_spec_leaves_defaults_out_and_keeps_the_order_of_the_options():
    options = {"depthwise": False, "blending_frames": 5, "pooling": "max", "temporal_stride": False}
    spec = "tam_resnet18 temporal_stride=false blending_frames=5 depthwise=false"
    assert format_spec("tam_resnet18", options) == spec
    assert format_spec("mobilenetv2", {"width_mult": 1}) == "mobilenetv2"
    with torch.device("meta"):
        model = create_from_spec(spec, 5)
    assert model.spec == spec and model.options["blending_frames"] == 5 and model.options["pooling"] == "max"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "empty"),
        ("resnet18 shortcut", "'shortcut' in .*option=value"),
        ("resnet18 shortcut = A", "'shortcut' in .*option=value"),
        ("resnet18 shortcut=A shortcut=B", "'shortcut' is given twice"),
        ("resnet18 max_pool=no", "max_pool='no' must be true or false"),
        ("resnet18 conv1_t_size=7.0", "conv1_t_size='7.0' must be a whole number"),
        ("mobilenetv2 width_mult=half", "width_mult='half' must be a number"),
        ("mobilenetv2 width=0.5", "no option 'width'; did you mean width_mult"),
        ("mobilenet_v2", "did you mean mobilenetv2"),
    ],
)
def test_refused_specs(spec, message):
    with pytest.raises(ModelError, match=message):
        parse_spec(spec)


@pytest.mark.parametrize("spec", ["resnet10 widen_factor=0.0625", "mobilenetv2 width_mult=0.2", "tam_resnet18"])
def test_structure_alone_has_the_layout_and_no_storage(spec):
    built = create_from_spec(spec, 5).state_dict()
    with structure_only():
        state = create_from_spec(spec, 5).state_dict()
    assert all(tensor.is_meta for tensor in state.values())
    assert [(k, t.shape, t.dtype) for k, t in state.items()] == [(k, t.shape, t.dtype) for k, t in built.items()]


def test_create_from_spec_with_extra_options():
    with torch.device("meta"):
        assert create_from_spec("tsn_resnet18", 5, num_frames=16).spec == "tsn_resnet18 num_frames=16"
        with pytest.raises(ModelError, match="num_frames=8.*num_frames=16"):
            create_from_spec("tsn_resnet18 num_frames=8", 5, num_frames=16)
        with pytest.raises(ModelError, match="no option 'num_frames'"):
            create_from_spec("resnet18", 5, num_frames=16)
