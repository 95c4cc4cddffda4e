"""Networks of the user's own: in a file, in a module, in a notebook's cell, or a plain module handed over."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

import actlib
from actlib.models import (
    ModelError,
    VideoModel,
    adopt,
    create_from_spec,
    create_model,
    format_spec,
    list_models,
    model_options,
    parse_spec,
    register_model,
)
from actlib.models.entries import code_file, load_entry

SMALL = """
from torch import nn

class Small(nn.Module):
    def __init__(self, num_classes, width, bias):
        super().__init__()
        self.body = nn.Conv3d(3, width, 3, padding=1, bias=bias)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.head(self.drop(self.body(x).relu().mean(dim=(2, 3, 4))))

def small3d(num_classes, *, width=8, bias=True):
    return Small(num_classes, width, bias)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with my_nets.py in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_nets.py").write_text(SMALL)
    return tmp_path


def plain(num_classes: int = 4, size: int = 6) -> nn.Module:
    return nn.Sequential(nn.Conv3d(3, size, 1), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(size, num_classes))


# --- a file or a module -------------------------------------------------------------------------------------------


def test_a_file_stands_wherever_a_name_does(folder):
    assert parse_spec("my_nets.py:small3d width=16") == ("my_nets.py:small3d", {"width": 16})
    assert parse_spec("my_nets.py=small3d bias:false") == ("my_nets.py:small3d", {"bias": False})  # as params write it
    assert model_options("my_nets.py:small3d") == {"width": 8, "bias": True}
    assert format_spec("my_nets.py:small3d", {"width": 8, "bias": False}) == "my_nets.py:small3d bias=false"
    for model in (
        create_model("my_nets.py:small3d width=16", 5),
        create_model("my_nets.py:small3d", 5, width=16),
        create_from_spec("my_nets.py:small3d", 5, width=16),
        create_model(f"{folder}/my_nets.py:small3d width=16", 5),
    ):
        assert model.spec.endswith("my_nets.py:small3d width=16") and model.options == {"width": 16, "bias": True}
        assert (model.num_classes, model.in_channels, model.body.out_channels) == (5, 3, 16)
        assert isinstance(model, VideoModel) and model.code["sha256"] and model.training
        assert model(torch.randn(2, 3, 4, 8, 8)).shape == (2, 5)
    assert "my_nets.py:small3d" not in list_models()


def test_a_module_stands_there_too(folder):
    package = folder / "nets_of_mine" / "deep"
    package.mkdir(parents=True)
    (package / "layers.py").write_text("WIDTH = 5\n")
    (package / "net.py").write_text(SMALL + "\nfrom .layers import WIDTH\nfrom my_nets import small3d as other\n")
    (folder / "nets_of_mine" / "__init__.py").touch()
    (package / "__init__.py").touch()
    model = create_model("nets_of_mine.deep.net:small3d width=4", 3)
    assert model.spec == "nets_of_mine.deep.net:small3d width=4"
    assert code_file(model.name) == package / "net.py" and model.code["file"] == "nets_of_mine.deep.net"
    assert create_model("nets_of_mine.deep.net:other", 3).options["width"] == 8
    assert create_model("my_nets:small3d", 3).body.out_channels == 8
    assert str(folder) not in sys.path


def test_a_class_and_options_of_every_kind(folder):
    (folder / "kinds.py").write_text(
        SMALL.replace("def __init__(self, num_classes, width, bias)", "def __init__(self, num_classes, *, width=4, "
                      "bias=False, rate=0.5, mode='a')")
    )  # fmt: skip
    model = create_model("kinds.py:Small rate=1 mode=b bias=true", 3)
    assert model.options == {"width": 4, "bias": True, "rate": 1.0, "mode": "b"}
    assert type(model).__name__ == "Small" and model.spec == "kinds.py:Small bias=true rate=1.0 mode=b"


def test_a_changed_file_is_executed_again(folder):
    first = create_model("my_nets.py:small3d", 3)
    assert load_entry("my_nets.py:small3d")[0] is load_entry("my_nets.py:small3d")[0]
    (folder / "my_nets.py").write_text(SMALL.replace("width=8", "width=9"))  # as long, and within the same second
    second = create_model("my_nets.py:small3d", 3)
    assert (first.body.out_channels, second.body.out_channels) == (8, 9)
    (folder / "my_nets.py").write_text("def half a line")  # while a network of it is being trained
    assert (first.spec, second.spec) == ("my_nets.py:small3d", "my_nets.py:small3d")
    assert first.code["sha256"] != second.code["sha256"] and first.code["file"] == second.code["file"] == "my_nets.py"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("my_net.py:small3d", r"my_net.py:small3d: no such file in the folder .*; did you mean my_nets.py"),
        ("my_nets.py:small", r"my_nets.py has no function 'small'; did you mean small3d"),
        ("my_nets.py:", "is written file.py:function or package.module:function"),
        ("my_nets.py", r"unknown model 'my_nets.py'; .*write my_nets.py:function"),
        ("my_nets.py:small3d widht=3", "my_nets.py:small3d has no option 'widht'; did you mean width"),
        ("my_nets.py:small3d width=wide", "width='wide' must be a whole number"),
        ("no_such_module:f", "no module 'no_such_module'"),
        ("my nets.py:f", "unknown model 'my'"),
        ("my-nets:f", "neither a file with the suffix .py nor the name of a module"),
        ("shutil:rmtree", "belongs to Python itself"),
        ("broken.py:f", r"broken.py, line 3: ZeroDivisionError: division by zero"),
        ("syntax.py:f", r"syntax.py, line 2: SyntaxError"),
        ("shapes.py:f", "shapes.py:f: the first parameter must be num_classes; it is n"),
        ("shapes.py:g", "shapes.py:g: option 'width' must be keyword-only with a bool, int, float or str default"),
        ("shapes.py:h", "shapes.py:h: the first parameter must be num_classes; there is none"),
        ("shapes.py:k", "has no function 'k'"),
    ],
)
def test_what_is_wrong_is_named(folder, spec, message):
    (folder / "broken.py").write_text("def f(num_classes):\n    pass\n1 / 0\n")
    (folder / "syntax.py").write_text("\ndef f(:\n")
    (folder / "shapes.py").write_text("def f(n): ...\ndef g(num_classes, width=3): ...\ndef h(): ...\nk = 3\n")
    with pytest.raises(ModelError, match=message):
        parse_spec(spec)


def test_what_a_function_returns_is_checked(folder):
    (folder / "odd.py").write_text(
        "from torch import nn\ndef text(num_classes): return 'x'\ndef headless(num_classes): return nn.Linear(3, 2)\n"
    )
    with pytest.raises(ModelError, match="odd.py:text gives a str: a torch.nn.Module is needed"):
        create_model("odd.py:text", 5)
    with pytest.raises(ModelError, match="no linear layer or convolution of 5 outputs, and no attribute classifier_"):
        create_model("odd.py:headless", 5)


def test_the_parameters_take_it(folder):
    from actlib.params.base import check_model

    model = create_model(check_model("my_nets.py:small3d width:16"), 5)
    assert model.spec == "my_nets.py:small3d width=16"


# --- a module handed over -----------------------------------------------------------------------------------------


def test_an_adopted_module_has_what_every_model_has():
    module = plain()
    clips = torch.randn(2, 3, 2, 4, 4)
    want, keys = module(clips), list(module.state_dict())
    model = adopt(module, 4)
    assert model is module and isinstance(model, VideoModel) and isinstance(model, nn.Sequential)
    assert torch.equal(model(clips), want) and list(model.state_dict()) == keys
    assert model.spec == model.name == "Sequential (own module)" and model.options == {} and model.code is None
    assert (model.num_classes, model.in_channels, model.classifier_name) == (4, 3, "3")
    assert model.classes is None and model.preprocessing is None and model.load_report is None
    features = model.forward_features(clips)
    assert features.shape == (2, 6) and torch.equal(model.forward_head(features), want)
    assert torch.equal(copy.deepcopy(model)(clips), want) and type(adopt(plain(), 4)) is type(model)
    again = adopt(model, 4)
    assert again is model and type(again).__mro__.count(VideoModel) == 1 and again.spec == "Sequential (own module)"
    assert adopt(model, 4, "resnet18", {}).name == "resnet18"
    model.reset_classifier(9)
    assert model(clips).shape == (2, 9) and model.num_classes == 9
    with pytest.raises(ModelError, match=r"dropout=0.5: .* has no dropout module"):
        model.set_dropout(0.5)


def test_a_head_may_be_named_or_be_a_convolution():
    class Odd(nn.Module):
        classifier_name = "answer"

        def __init__(self):
            super().__init__()
            self.answer = nn.Conv3d(3, 4, (1, 2, 2), stride=(1, 2, 2), bias=False)
            self.drop = nn.Dropout3d(0.2)
            self.other = nn.Linear(4, 4)

        def forward(self, x):
            return self.other(self.answer(self.drop(x)).mean(dim=(2, 3, 4)))

    model = adopt(Odd(), 4)
    assert model.classifier_name == "answer" and model.dropout_name == "drop"
    model.set_dropout(0.5)
    model.other = nn.Identity()
    model.reset_classifier(7)
    assert model.drop.p == 0.5 and model.answer.bias is None and model.answer.stride == (1, 2, 2)
    assert model(torch.randn(1, 3, 2, 4, 4)).shape == (1, 7)


def test_the_channels_of_ones_own_clips(folder):
    flow = nn.Sequential(nn.Conv3d(2, 4, 1), nn.Flatten(), nn.Linear(4, 3))
    assert adopt(flow, 3).in_channels == 2
    stacked = nn.Sequential(nn.Conv2d(24, 4, 1), nn.Flatten(), nn.Linear(4, 3))  # eight frames at once
    assert adopt(stacked, 3).in_channels == 3
    counting = plain(3)
    counting.in_channels = 512  # as code that counts its layers' channels leaves it behind
    assert adopt(counting, 3).in_channels == 3
    (folder / "own.py").write_text(SMALL.replace("Conv3d(3,", "Conv3d(C,").replace("from torch", "C = 2\nfrom torch"))
    assert create_model("own.py:small3d", 3).in_channels == 2
    (folder / "both.py").write_text(SMALL.replace("bias=True", "bias=True, in_channels=2"))
    assert create_model("both.py:small3d in_channels=3", 3).options["in_channels"] == 3
    wide = create_model("my_nets.py:small3d in_channels=10", 3)
    assert wide.body.in_channels == wide.in_channels == 10 and wide.spec == "my_nets.py:small3d in_channels=10"


# --- a notebook's cell --------------------------------------------------------------------------------------------


def test_a_cell_may_be_run_again(unregistered, capsys):
    def cell(width):
        @register_model
        def mine(num_classes, *, size=width):
            return plain(num_classes, size)

        return mine

    cell(4)
    assert capsys.readouterr().out == "" and "mine" in list_models()
    assert create_model("mine", 3)[0].out_channels == 4
    cell(6)
    assert "mine: replaces the network" in capsys.readouterr().out
    assert create_model("mine", 3)[0].out_channels == 6 and create_model("mine size=2", 3).spec == "mine size=2"


def test_what_cannot_be_registered(unregistered):
    with pytest.raises(ModelError, match="has no name to be registered under"):
        register_model(lambda num_classes: None)
    with pytest.raises(ModelError, match="nothing: the first parameter must be num_classes; there is none"):

        @register_model
        def nothing():
            raise AssertionError("never built")


def test_the_package_alone_imports_no_torch():
    code = "import sys, actlib; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"] and actlib.save_network.__name__ == "save_network"
