"""A network of one's own, in a file or a cell: trained, evaluated, fine-tuned and counted like any other."""

import pytest
import torch
from torch import nn
from training import params, run

import actlib
from actlib.analysis.costs.networks import describe_models, specs_of
from actlib.loops import evaluate, prepare
from actlib.models import create_model, register_model
from actlib.models.weights.checkpoint import CheckpointError
from actlib.params import FinetuneParams, FlopsParams, TrainParams, VideoAccuracyParams

FILE = """
from torch import nn


def small3d(num_classes, *, width=8):
    return nn.Sequential(
        nn.Conv3d(3, width, 3, stride=2, padding=1), nn.BatchNorm3d(width), nn.ReLU(),
        nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(width, num_classes),
    )
"""
QUICK = {"num_workers": 0, "precision": "float32", "memory_format": "contiguous"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with my_nets.py in it."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "my_nets.py").write_text(FILE)
    monkeypatch.chdir(folder)
    return folder


def accuracy(table, checkpoint, **more) -> VideoAccuracyParams:
    return VideoAccuracyParams.build({**QUICK, "table": str(table), "checkpoint": str(checkpoint), **more}, "test")


def test_a_network_in_a_file_is_one_everywhere(here, motion_table, finetune_table, capsys):
    spec = "my_nets.py:small3d width=6"
    rows = run(params(motion_table, here / "run", model=spec, epochs=1))
    best = here / "run" / "checkpoints" / "best.pt"
    again = create_model(pretrained=best)
    assert again.spec == spec and again.num_classes == 8 and again[0].out_channels == 6
    scores = evaluate(prepare(accuracy(motion_table, best, protocol="clip")))["clip"]
    assert scores.top(1) == rows[0]["val_top1"] and scores.loss() == pytest.approx(rows[0]["val_loss"], abs=1e-4)
    values = {**QUICK, "table": str(finetune_table), "pretrained": str(best), "run_dir": str(here / "tuned")}
    job = prepare(FinetuneParams.build(values | {"train_from": "head", "head_dropout": 0.4}, "test"))
    assert job.model.num_classes == 4 and job.model[5].p == 0.4 and not job.model[0].weight.requires_grad
    p = FlopsParams.build({"models": [spec, str(best), "resnet10"]}, "test")
    table, refused = describe_models(specs_of(p.models, 8, 32), 8, (8, 32, 32))
    assert table["model"].tolist() == [spec, "resnet10"] and not refused and table["gmacs"].gt(0).all()
    capsys.readouterr()
    (here / "my_nets.py").write_text(FILE.replace("0.1", "0.2"))
    assert create_model(pretrained=best)[5].p == 0.2
    assert "my_nets.py has changed since this checkpoint was written" in capsys.readouterr().out


def test_code_that_a_checkpoint_names_is_run_only_if_the_user_named_it(here, tmp_path, monkeypatch, motion_table):
    run(params(motion_table, here / "run", model="my_nets.py:small3d width=6", epochs=1))
    best, elsewhere = here / "run" / "checkpoints" / "best.pt", tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)  # no my_nets.py here
    with pytest.raises(CheckpointError, match="my_nets.py:small3d.*not run on the word of a checkpoint.*`model`"):
        prepare(accuracy(motion_table, best))
    named = prepare(accuracy(motion_table, best, model=f"{here / 'my_nets.py'}:small3d width=6"))
    assert named.model.num_classes == 8


def test_a_network_of_a_cell_can_be_registered_again(unregistered, motion_table, tmp_path, capsys):
    def cell(channels):
        @register_model
        def one_layer(num_classes, *, width=channels):
            head = nn.Linear(3, width), nn.Linear(width, num_classes)
            return nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), *head)

    cell(4)
    cell(5)
    assert "one_layer" in capsys.readouterr().out
    assert create_model("one_layer", 3)[2].out_features == 5
    rows = run(TrainParams.build({**QUICK, "model": "one_layer width=7", "table": str(motion_table), "epochs": 1,
                                  "run_dir": str(tmp_path)}, "test"))  # fmt: skip
    assert prepare(accuracy(motion_table, tmp_path / "checkpoints" / "best.pt")).model[2].out_features == 7 and rows


def test_weights_of_a_loop_of_ones_own(here, motion_table):
    """save_network writes what notebooks 03, 04 and 05 take."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = create_model("my_nets.py:small3d", 8)
    how = {"num_frames": 4, "frame_stride": 4, "short_side": 32, "crop_size": 32, "mean": [0.5] * 3, "std": [0.25] * 3}
    classes = sorted(["left", "right", "up", "down", "clockwise", "counterclockwise", "grow", "shrink"])
    path = actlib.save_network(model, here / "mine.pt", classes=classes, preprocessing=how)
    job = prepare(accuracy(motion_table, path))
    assert job.classes == classes and job.model.spec == "my_nets.py:small3d" and job.normalisation["mean"] == [0.5] * 3
    assert torch.equal(job.model[0].weight, model[0].weight) and evaluate(job)["video"].num_scored == 16


def test_a_network_in_memory_is_evaluated_as_it_is(motion_table):
    model = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, 8))
    size = {"num_frames": 4, "frame_stride": 4, "short_side": 32, "crop_size": 32}
    p = accuracy(motion_table, "", **size)
    with pytest.raises(ValueError, match="set model.preprocessing to a dict of mean, std"):
        prepare(p, model=model)
    model.preprocessing = {"mean": [0.5] * 3, "std": [0.25] * 3}
    job = prepare(p, model=model)
    assert job.model is model and evaluate(job)["video"].num_scored == 16
