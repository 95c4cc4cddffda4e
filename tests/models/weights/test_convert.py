"""Weights from elsewhere as a checkpoint of ours, by the command line, and what then takes it."""

import pandas as pd
import pytest
import torch

from actlib.__main__ import main
from actlib.datasets.table import read_table
from actlib.loops import evaluate, prepare
from actlib.models import create_model
from actlib.models.weights.checkpoint import read_checkpoint
from actlib.models.weights.convert import ConvertError, convert, read_classes
from actlib.models.weights.published import published_table
from actlib.params import FinetuneParams, VideoAccuracyParams

SMALL = {"num_frames": 4, "frame_stride": 2, "short_side": 32, "crop_size": 32}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ACTLIB_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


def write_tiny(path, num_classes=8, **options):
    """A checkpoint as the references write it."""
    torch.manual_seed(0)
    model = create_model("resnet10", num_classes, **({"widen_factor": 0.125} | options))
    state = {f"module.{key}": tensor for key, tensor in model.state_dict().items()}
    torch.save({"epoch": 9, "arch": "resnet-10", "state_dict": state, "optimizer": {"state": {}}}, path)
    return model


def test_a_published_file_becomes_a_checkpoint(folder, tmp_path, capsys):
    """Network, number of classes and preprocessing come from the table."""
    torch.manual_seed(0)
    name = "kinetics_mobilenetv2_0.2x_RGB_16_best.pth"
    model = create_model("mobilenetv2", 600, width_mult=0.2)
    torch.save({"state_dict": {f"module.{k}": t for k, t in model.state_dict().items()}}, folder / name)
    target = tmp_path / "mobilenet.pt"
    assert main(["weights", "convert", name, str(target)]) == 0
    printed = capsys.readouterr().out
    assert "mobilenetv2 width_mult=0.2, 600 classes" in printed and "class_0000" not in printed and "bgr" in printed
    content = torch.load(target, weights_only=True)
    assert content["model"]["spec"] == "mobilenetv2 width_mult=0.2" and content["classes"][599] == "zumba"
    assert content["preprocessing"] == {"modality": "rgb"} | published_table()[name].preprocessing
    assert content["preprocessing"]["channel_order"] == "bgr"
    loaded = create_model(pretrained=target)
    assert all(torch.equal(tensor, loaded.state_dict()[key]) for key, tensor in model.state_dict().items())


def test_names_of_classes_and_other_clips(tmp_path):
    write_tiny(tmp_path / "a.pth", num_classes=3)
    (tmp_path / "classes.txt").write_text("1 wave\n2 clap hands\n3 jump\n")
    arguments = ["--classes", str(tmp_path / "classes.txt"), "--num-frames", "8", "--mean", "0.1", "0.2", "0.3"]
    arguments += ["--model", "resnet10 widen_factor=0.125 max_pool=false", "--channel-order", "bgr"]
    assert main(["weights", "convert", str(tmp_path / "a.pth"), str(tmp_path / "a.pt"), *arguments]) == 0
    content = read_checkpoint(tmp_path / "a.pt").content
    assert content["classes"] == ["wave", "clap hands", "jump"] and content["model"]["options"]["max_pool"] is False
    how = content["preprocessing"]
    assert (how["num_frames"], how["mean"], how["channel_order"], how["crop_size"]) == (8, [0.1, 0.2, 0.3], "bgr", 112)


def test_what_nobody_tells_is_said(tmp_path):
    write_tiny(tmp_path / "a.pth")
    said = []
    convert(tmp_path / "a.pth", tmp_path / "a.pt", say=said.append, num_frames=32)
    assert any("usual values were assumed: frame_stride 1 · short_side 112" in line for line in said)
    assert not any("assumed: num_frames" in line for line in said)
    assert read_checkpoint(tmp_path / "a.pt").content["preprocessing"]["num_frames"] == 32
    with pytest.raises(ConvertError, match="fps: preprocessing consists of num_frames"):
        convert(tmp_path / "a.pth", tmp_path / "a.pt", fps=3)


def test_torchvisions_class_names_go_along(folder, tmp_path, monkeypatch):
    row = published_table()["r3d_18-b3b3357e.pth"]
    torch.save(create_model("tv_r3d_18", 400).state_dict(), folder / row.file)
    convert("R3D_18_Weights.KINETICS400_V1", tmp_path / "r3d.pt", say=lambda line: None)
    content = read_checkpoint(tmp_path / "r3d.pt").content
    assert content["classes"] == list(row.classes) and content["model"]["name"] == "tv_r3d_18"


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("run\nwalk fast\n", ["run", "walk fast"]),
        ("1 run\n0 walk\n", ["walk", "run"]),
        ("2, walk\n1, run\n", ["run", "walk"]),
        ("10 pull ups\n", None),
        ("0 a\n2 b\n", None),
        ("a\na\n", None),
        ("\n", None),
    ],
)
def test_lists_of_classes(tmp_path, text, classes):
    (tmp_path / "classes.txt").write_text(text)
    if classes is None:
        with pytest.raises(ConvertError, match=r"classes\.txt"):
            read_classes(tmp_path / "classes.txt")
    else:
        assert read_classes(tmp_path / "classes.txt") == classes


def test_a_list_of_another_length(tmp_path, capsys):
    write_tiny(tmp_path / "a.pth")
    (tmp_path / "classes.txt").write_text("a\nb\n")
    arguments = [str(tmp_path / "a.pth"), str(tmp_path / "a.pt"), "--classes", str(tmp_path / "classes.txt")]
    assert main(["weights", "convert", *arguments]) == 2
    assert "2 class names for a network of 8" in capsys.readouterr().err
    assert not (tmp_path / "a.pt").exists()


def test_evaluation_and_fine_tuning_take_it(tmp_path, motion_table, finetune_table):
    write_tiny(tmp_path / "a.pth")
    table = read_table(motion_table)
    names = sorted(set(table["label"]))
    (tmp_path / "classes.txt").write_text("\n".join(names))
    checkpoint = tmp_path / "a.pt"
    convert(tmp_path / "a.pth", checkpoint, classes=tmp_path / "classes.txt", say=lambda line: None, **SMALL)

    how = read_checkpoint(checkpoint).content["preprocessing"]
    p = VideoAccuracyParams(
        checkpoint=str(checkpoint), table=str(motion_table), run_dir=str(tmp_path), precision="float32",
        memory_format="contiguous", num_workers=0,
    )  # fmt: skip
    result = evaluate(prepare(p))
    assert isinstance(result["clip"].table, pd.DataFrame)
    assert result["clip"].num_scored == (table["subset"] == "validation").sum()

    p = FinetuneParams(
        table=str(finetune_table), pretrained=str(checkpoint), run_dir=str(tmp_path / "run"), precision="float32",
        memory_format="contiguous", num_workers=0, batch_size=2, flip=False,
    )  # fmt: skip
    job = prepare(p)
    assert (job.p.num_frames, job.p.crop_size, job.p.mean) == (4, 32, how["mean"])
    assert job.model.num_classes == 4
    source = create_model("resnet10", pretrained=checkpoint)
    assert torch.equal(job.model.conv1.weight, source.conv1.weight)


# --- the other words of the command line ------------------------------------------------------------------------


def test_the_list_fits_the_terminal(folder, capsys):
    (folder / "resnext-101-kinetics.pth").touch()
    assert main(["weights"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if str(folder) not in line) <= 120
    assert sum("resnext-101-kinetics.pth" in line for line in lines) == 1
    assert next(line for line in lines if "resnext-101-kinetics.pth" in line).startswith("* ")
    assert any(line.startswith("+ r3d_18-b3b3357e.pth") for line in lines)
    for name in published_table():
        assert any(name in line for line in lines), name


def test_inspect(folder, tmp_path, capsys):
    write_tiny(tmp_path / "a.pth", shortcut="A")
    assert main(["weights", "inspect", str(tmp_path / "a.pth")]) == 0
    printed = capsys.readouterr().out
    assert "checkpoint" in printed and "says it is of 'resnet-10'" in printed
    assert "resnet10 shortcut=A widen_factor=0.125, 8 classes" in printed
    assert "layers do not show: conv1_t_stride, max_pool" in printed
    assert main(["weights", "inspect", "resnext-101-kinetics.pth"]) == 2
    out, err = capsys.readouterr()
    assert "resnext101, Kinetics-400 (400 classes)" in out
    assert "top-1 65.1, top-5 85.7 (all non-overlapping clips × centre crop @ 112, 16 frames)" in out
    assert "rests on: --test of main.py, and the author in issue 29" in out
    assert "by hand: download it from https://drive.google.com" in err
    torch.save({"a.weight": torch.zeros(2, 2, 3, 3, 3)}, tmp_path / "b.pth")
    assert main(["weights", "inspect", str(tmp_path / "b.pth")]) == 1
    assert "no network here has these layers" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["weights", "inspect", "nowhere.pth"],
        ["weights", "convert", "nowhere.pth", "out.pt"],
        ["weights", "fetch", "nowhere.pth"],
        ["weights", "fetch", "resnext-101-kinetics.pth"],
        ["export", "nowhere.pt", "out.onnx"],
        ["export", "nowhere.pt", "out.txt"],
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(folder, tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.glob("out*"))
