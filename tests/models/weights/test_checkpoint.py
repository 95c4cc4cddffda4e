"""Checkpoints of one's own networks: written by any loop, opened again, and never a way to run a stranger's code."""

import os
import sys

import numpy as np
import pytest
import torch
from torch import nn

import actlib
from actlib.__main__ import main
from actlib.models import (
    CheckpointError,
    ModelError,
    VideoModel,
    create_model,
    list_models,
    load_weights,
    read_checkpoint,
    register_model,
    registry,
)
from actlib.models.weights.checkpoint import network_content, save_checkpoint, save_network
from actlib.models.weights.file import FORMAT, WeightsFile

HOW = {"num_frames": 4, "frame_stride": 1, "short_side": 8, "crop_size": 8, "mean": [0.4, 0.4, 0.4], "std": [0.2] * 3}
CLASSES = ["a", "b", "c"]
# Every module leaves a mark when it is executed, and every function when it is called.
NET = """
from pathlib import Path
from torch import nn

(Path({marks!r}) / "executed").touch()

class Net(nn.Module):
    def __init__(self, num_classes, width):
        super().__init__()
        self.module = nn.Conv3d(3, width, 1)  # names that other files have other meanings for
        self.aux1 = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.aux1(self.module(x).mean(dim=(2, 3, 4)))

def net(num_classes, *, width=4):
    (Path({marks!r}) / "called").touch()
    return Net(num_classes, width)
"""


@pytest.fixture
def marks(tmp_path):
    (tmp_path / "marks").mkdir()
    return tmp_path / "marks"


@pytest.fixture
def folder(tmp_path, monkeypatch, marks):
    """A working folder with nets.py in it, whose execution leaves a mark."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    (tmp_path / "work" / "nets.py").write_text(NET.format(marks=str(marks)))
    return tmp_path / "work"


def saved(folder, spec="nets.py:net width=6", name="a.pt", **options):
    torch.manual_seed(1)
    model = create_model(spec, 3, **options)
    return model, save_checkpoint(folder / name, network_content(model, CLASSES, HOW))


def plain() -> nn.Module:
    return nn.Sequential(nn.Conv3d(3, 6, 1), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(6, 3))


# --- there and back ---------------------------------------------------------------------------------------------------


def test_a_network_in_a_file_is_opened_again(folder, capsys):
    model, path = saved(folder)
    file = read_checkpoint(path)
    assert isinstance(file, WeightsFile) and file.own and "state_dict" not in file.content
    assert file.content["model"]["code"] == {"file": "nets.py", "sha256": model.code["sha256"]}
    assert file.content["preprocessing"] == {**HOW, "channel_order": "rgb", "modality": "rgb"}
    for source in (path, str(path), file):
        again = create_model(pretrained=source)
        assert again.spec == "nets.py:net width=6" and again.classes == CLASSES and again.code == model.code
        assert again.preprocessing == file.content["preprocessing"] and again.load_report.matched == 4
        assert all(torch.equal(each, again.state_dict()[key]) for key, each in model.state_dict().items())
    assert capsys.readouterr().out == ""
    assert create_model("nets.py:net", 5, pretrained=file).classes is None  # a fresh head


def test_one_reading_is_enough(folder, monkeypatch):
    _, path = saved(folder, "resnet10 widen_factor=0.125")
    file = read_checkpoint(path)
    path.unlink()
    model = create_model(pretrained=file)
    assert model.spec == "resnet10 widen_factor=0.125" and model.code is None
    report = load_weights(create_model(model.spec, 3), saved(folder, model.spec)[1])
    assert report.matched == report.total == model.load_report.total


def test_a_changed_file_is_told(folder, capsys):
    model, path = saved(folder)
    (folder / "nets.py").write_text((folder / "nets.py").read_text() + "\n# a line more\n")
    again = create_model(pretrained=path)
    printed = capsys.readouterr().out
    assert f"{path}: nets.py has changed since this checkpoint was written (sha256 {model.code['sha256']}," in printed
    assert again.code["sha256"] != model.code["sha256"] and again.spec == model.spec
    (folder / "nets.py").write_text(
        (folder / "nets.py").read_text().replace("num_classes, *, width", "num_classes, *, w")
    )
    with pytest.raises(ModelError, match="nets.py:net has no option 'width'"):
        create_model(pretrained=path)


def test_the_users_own_word_opens_code_anywhere(folder, tmp_path, monkeypatch, capsys):
    """A file that was moved, and a checkpoint from elsewhere: the function's name must be the same, not the file."""
    _, path = saved(folder)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (folder / "nets.py").rename(elsewhere / "moved.py")
    model = create_model(f"{elsewhere}/moved.py:net", pretrained=path)
    assert model.spec == f"{elsewhere}/moved.py:net width=6"
    monkeypatch.chdir(elsewhere)
    assert create_model("moved:net", pretrained=path).name == "moved:net"
    assert create_model("../elsewhere/moved.py:net width=6", pretrained=path).options == {"width": 6}
    with pytest.raises(ModelError, match="width=6, not 7"):
        create_model("moved.py:net width=7", pretrained=path)
    with pytest.raises(ModelError, match="is of nets.py:net, not of resnet18"):
        create_model("resnet18", pretrained=path)
    (elsewhere / "other.py").write_text("def other(num_classes): ...")
    with pytest.raises(ModelError, match="is of nets.py:net, not of other.py:other"):
        create_model("other.py:other", pretrained=path)


def test_a_network_of_a_notebook(folder, marks, unregistered, monkeypatch):
    @register_model
    def mine(num_classes, *, width=6):
        return plain()

    model, path = saved(folder, "mine")
    assert read_checkpoint(path).content["model"]["code"] is None and create_model(pretrained=path).spec == "mine"
    monkeypatch.delitem(registry._ENTRIES, "mine")  # another kernel
    message = r"a.pt: its network 'mine' was registered or made in a notebook.*run the cell.*my_nets.py:mine"
    with pytest.raises(CheckpointError, match=message):
        create_model(pretrained=path)
    (folder / "now.py").write_text("from torch import nn\ndef mine(num_classes, *, width=6):\n    return nn.Sequential("
        "nn.Conv3d(3, 6, 1), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(6, num_classes))\n")  # fmt: skip
    again = create_model("now.py:mine", pretrained=path)
    assert again.spec == "now.py:mine" and torch.equal(again[0].weight, model[0].weight)


# --- save_network -----------------------------------------------------------------------------------------------------


def test_any_loop_can_save_its_network(folder):
    model = create_model("nets.py:net", 3)
    state = torch.get_rng_state()
    path = actlib.save_network(model, folder / "out" / "mine.pt", classes=CLASSES, preprocessing=HOW)
    assert path == folder / "out" / "mine.pt" and create_model(pretrained=path).spec == "nets.py:net"
    loose = HOW | {"mean": (0.4, 0.4, 0.4), "std": (np.float64(0.2),)}
    save_network(model, path, classes=CLASSES, preprocessing=loose)
    assert create_model(pretrained=path).preprocessing["mean"] == (0.4, 0.4, 0.4)
    bare = create_model("nets.py:net width=5", 3)
    bare.__class__ = type(bare).__mro__[1]  # as the user's own code makes it
    assert not isinstance(bare, VideoModel)
    state = torch.get_rng_state()
    save_network(bare, path, classes=CLASSES, preprocessing=HOW, spec="nets.py:net width=5")
    assert torch.equal(torch.get_rng_state(), state)
    again = create_model(pretrained=path)
    assert again.options == {"width": 5} and torch.equal(again.module.weight, bare.module.weight)
    compiled = torch.compile(create_model("nets.py:net", 3))
    save_network(compiled, path, classes=CLASSES, preprocessing=HOW)
    assert create_model(pretrained=path).load_report.matched == 4


def test_a_module_without_a_spec_is_opened_by_whoever_names_one(folder):
    path = save_network(plain(), folder / "plain.pt", classes=CLASSES, preprocessing=HOW)
    with pytest.raises(
        CheckpointError, match=r"its network 'Sequential \(own module\)' was registered or made in a note"
    ):
        create_model(pretrained=path)
    (folder / "later.py").write_text("from torch import nn\ndef Sequential(num_classes):\n    return nn.Sequential("
        "nn.Conv3d(3, 6, 1), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(6, num_classes))\n")  # fmt: skip
    assert create_model("later.py:Sequential", pretrained=path).classes == CLASSES
    wide = (folder / "later.py").read_text().replace("classes):", "classes, *, size=9):").replace("6", "size")
    (folder / "later.py").write_text(wide)
    assert create_model("later.py:Sequential size=6", pretrained=path).spec == "later.py:Sequential size=6"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"classes": ["a", "b"]}, CheckpointError, "x.pt: classes: 2 names for a network of 3"),
        ({"classes": ["a", "b", "b"]}, CheckpointError, "x.pt: classes: 2 names for a network of 3"),
        ({"preprocessing": {}}, CheckpointError, "x.pt: preprocessing: num_frames is missing; .*std is missing"),
        ({"preprocessing": HOW | {"meen": [1]}}, CheckpointError, r"meen is unknown; did you mean mean\?"),
        ({"preprocessing": HOW | {"crop_size": 0}}, CheckpointError, "crop_size=0: a whole number above 0 is needed"),
        ({"preprocessing": HOW | {"std": []}}, CheckpointError, r"std=\[\]: a list of numbers is needed"),
        (
            {"spec": "nets.py:net width=9"},
            ModelError,
            "x.pt: not the network of spec='nets.py:net width=9' with 3 clas",
        ),
        ({"spec": "nets.py:nets"}, ModelError, "no function 'nets'; did you mean net"),
    ],
)
def test_what_save_network_refuses(folder, changes, error, message):
    model = create_model("nets.py:net", 3)
    with pytest.raises(error, match=message):
        save_network(model, folder / "x.pt", **({"classes": CLASSES, "preprocessing": HOW} | changes))
    assert not (folder / "x.pt").exists()


# --- checkpoints from elsewhere ---------------------------------------------------------------------------------------


def forged(folder, name: str, **model):
    """A checkpoint that names `name` as its network, whatever that is."""
    content = {"name": name, "options": {}, "num_classes": 3, "spec": name, "code": None} | model
    state = {"module.weight": torch.zeros(4, 3, 1, 1, 1)}
    torch.save({"format": FORMAT, "model": content, "state_dict": state, "classes": CLASSES}, folder / "forged.pt")
    return folder / "forged.pt"


def refused(folder, marks, path, why=""):
    """Every way to open it is refused, and nothing was executed or imported."""
    before = set(sys.modules)
    for mark in marks.iterdir():
        mark.unlink()
    with pytest.raises(CheckpointError, match=rf"(?s)forged.pt: its network is code.*{why}.*the parameter `model`"):
        create_model(pretrained=path)
    with pytest.raises(CheckpointError, match="its network is code"):
        create_model(pretrained=read_checkpoint(path))
    for command in (["weights", "convert", str(path), "out.pt"], ["export", str(path), "out.onnx"]):
        assert main(command) == 2
    assert main(["weights", "inspect", str(path)]) in (0, 1)
    assert not list(marks.iterdir()), "code was executed"
    assert not {each for each in set(sys.modules) - before if "evil" in each or "nets" in each}


@pytest.mark.parametrize("where", ["absolute", "dots", "inside and out", "home"])
def test_code_outside_the_working_folder_is_refused(folder, tmp_path, marks, monkeypatch, where):
    (tmp_path / "evil.py").write_text(NET.format(marks=str(marks)))
    monkeypatch.setenv("HOME", str(tmp_path))
    (folder / "sub").mkdir()
    name = {
        "absolute": f"{tmp_path}/evil.py",
        "dots": "../evil.py",
        "inside and out": "sub/../../evil.py",
        "home": "~/evil.py",
    }
    refused(folder, marks, forged(folder, f"{name[where]}:net"), "is not in the working folder")


@pytest.mark.parametrize("name", ["link.py:net", "linked/evil.py:net", "linked.evil:net", "back.py:net"])
def test_links_out_of_the_working_folder_are_refused(folder, tmp_path, marks, name):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "evil.py").write_text(NET.format(marks=str(marks)))
    os.symlink(tmp_path / "there" / "evil.py", folder / "link.py")
    os.symlink(tmp_path / "there", folder / "linked")
    os.symlink("../there/evil.py", folder / "back.py")
    refused(folder, marks, forged(folder, name), "is not in the working folder")


@pytest.mark.parametrize(
    "place",
    [
        ".venv/lib/evil.py",
        ".evil.py",
        "deep/.hidden/evil.py",
        "venv/lib/python3.11/site-packages/evil.py",
        "env/evil.py",
        "conda/lib/evil.py",
    ],
)
def test_hidden_and_installed_code_is_refused(folder, marks, place):
    file = folder / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(NET.format(marks=str(marks)))
    for marker in ("env/pyvenv.cfg", "conda/conda-meta/history"):
        (folder / marker).parent.mkdir(parents=True, exist_ok=True)
        (folder / marker).touch()
    why = "is hidden" if "/." in f"/{place}" else "is part of an installed Python"
    refused(folder, marks, forged(folder, f"{place}:net"), why)
    os.symlink(file, folder / "innocent.py")  # a link to it makes it no better
    refused(folder, marks, forged(folder, "innocent.py:net"), why)
    refused(folder, marks, forged(folder, f"{folder}/{place}:net"), why)


@pytest.mark.parametrize(
    "name",
    [
        "shutil:rmtree",
        "os:system",
        "os.path:exists",
        "subprocess:run",
        "torch.hub:load",
        "pytest:main",
        "builtins:exec",
    ],
)
def test_modules_of_python_and_of_libraries_are_refused(folder, marks, name):
    refused(folder, marks, forged(folder, name))


def test_modules_elsewhere_on_the_path_are_refused(folder, tmp_path, marks, monkeypatch):
    (tmp_path / "lib" / "evilpack").mkdir(parents=True)
    for file in ("__init__.py", "nets.py"):
        (tmp_path / "lib" / "evilpack" / file).write_text(NET.format(marks=str(marks)))
    monkeypatch.syspath_prepend(tmp_path / "lib")
    for name in ("evilpack:net", "evilpack.nets:net"):
        refused(folder, marks, forged(folder, name), "is not in the working folder")


def test_a_root_as_working_folder_allows_nothing(folder, marks, monkeypatch):
    path = forged(folder, f"{folder}/nets.py:net")
    monkeypatch.chdir("/")
    refused(folder, marks, path, "is not in the working folder /")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("def net(path): ...", "is not of the form net"),
        ("def net(num_classes, path): ...", "is not of the form net"),
        ("def net(num_classes, *paths): ...", "is not of the form net"),
        ("def net(num_classes, **options): ...", "is not of the form net"),
        ("def net(num_classes, *, path): ...", "is not of the form net"),
        ("def net(num_classes, /): ...", "is not of the form net"),
        ("class net:\n    pass", "is not of the form net"),
        ("class net:\n    def __init__(self, path): ...", "is not of the form net"),
        ("net = print", "no function net is written in"),
        ("from shutil import rmtree as net", "no function net is written in"),
        ("import shutil as net", "no function net is written in"),
        ("if True:\n    def net(num_classes): ...", "no function net is written in"),
        ("def net(:", "invalid syntax"),
    ],
)
def test_scripts_of_the_users_that_hold_no_such_network_are_not_run(folder, marks, body, why):
    """A checkpoint could name any script that lies in the working folder."""
    script = f"from pathlib import Path\n(Path({str(marks)!r}) / 'executed').touch()\n{body}\n"
    (folder / "script.py").write_text(script)
    refused(folder, marks, forged(folder, "script.py:net"), why)


@pytest.mark.parametrize(
    "name", ["nets.py:", ":net", "nets.py:net:", "nets:net()", "nets.py:__import__('os')", "nets\0.py:f"]
)
def test_names_that_are_none_are_refused(folder, marks, name):
    refused(folder, marks, forged(folder, name))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"spec": "nets.py:net"}, "the spec 'nets.py:net' is not one of 'resnet18'"),
        ({"spec": "resnet18 nets.py:net"}, "is not one of 'resnet18'"),
        ({"spec": 3}, "model.spec: 3: must be a valid string"),
        ({"options": [1]}, r"model.options: \[1\]: must be a valid dictionary"),
        ({"num_classes": "3"}, "model.num_classes: '3': must be a valid integer"),
        ({"num_classes": 4}, "3 classes for a network of num_classes 4"),
    ],
)
def test_a_damaged_description_is_named(folder, marks, model, message):
    path = forged(folder, "resnet18", **model)
    with pytest.raises(CheckpointError, match=rf"(?s)forged.pt: damaged.*{message}"):
        create_model(pretrained=path)
    assert not list(marks.iterdir())


def test_what_other_files_say_of_themselves_is_not_run(folder, marks):
    """`arch` and `spec` beside the tensors of a file from elsewhere are words, never code."""
    state = create_model("resnet10", 3, widen_factor=0.125).state_dict()
    for key in ("arch", "spec", "model"):
        torch.save({"state_dict": state, key: "nets.py:net"}, folder / "x.pth")
        assert create_model(pretrained=folder / "x.pth").spec == "resnet10 widen_factor=0.125"
        assert main(["weights", "inspect", "x.pth"]) == 0
    assert not list(marks.iterdir())


def test_the_command_line_takes_ones_own(folder, tmp_path, capsys):
    """weights convert with --model, and export of a checkpoint whose code lies elsewhere."""
    model, path = saved(folder)
    torch.save(model.state_dict(), folder / "bare.pth")
    assert main(["weights", "convert", "bare.pth", "bare.pt", "--model", "nets.py:net width=6"]) == 0
    content = read_checkpoint(folder / "bare.pt").content
    assert content["model"]["spec"] == "nets.py:net width=6" and content["model"]["num_classes"] == 3
    (folder / "nets.py").rename(tmp_path / "moved.py")
    assert main(["export", str(path), "a.pt2"]) == 2
    assert "no such file" in capsys.readouterr().err
    assert main(["export", str(path), "a.pt2", "--model", f"{tmp_path}/moved.py:net"]) == 0
    assert "nets.py:net" not in list_models() and (folder / "a.pt2").exists()
