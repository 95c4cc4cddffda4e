"""Precision, layout and compilation of whole runs: what they are, that they go on exactly, and that they are told."""

import copy
import json

import pytest
import torch
from training import assert_same_weights, content, params, run, weights

from actlib.compute.choose import has_bf16
from actlib.compute.execution import has_compiler
from actlib.loops import evaluate, prepare, train
from actlib.runs.folder import RunFolder

CPU = torch.device("cpu")
AUTO = {"precision": "auto", "memory_format": "auto"}


def test_two_runs_with_auto_give_the_same_weights(motion_table, tmp_path):
    for name in "ab":
        run(params(motion_table, tmp_path / name, model="mobilenetv2 width_mult=0.2", **AUTO))
    assert_same_weights(weights(tmp_path / "a"), weights(tmp_path / "b"))
    told = content(tmp_path / "a" / "checkpoints" / "best.pt")["execution"]
    precision = "bf16" if has_bf16(CPU) else "float32"
    assert told == {"precision": precision, "memory_format": "channels_last", "compile": False, "device": "cpu"}


def test_fp16_trains_with_scaled_losses_and_goes_on_exactly(motion_table, tmp_path):
    how = {"precision": "fp16", "batch_size": 12, "clip_grad": 1.0, "schedule": "constant"}
    whole = run(params(motion_table, tmp_path / "whole", epochs=3, **how))
    run(params(motion_table, tmp_path / "parts", epochs=1, **how))
    scaler = content(tmp_path / "parts" / "checkpoints" / "last.pt")["scaler"]
    assert scaler["scale"] < 65536  # a first step was left out, and the scale halved
    assert [row["loss"] for row in run(params(motion_table, tmp_path / "parts", epochs=3, **how))] == [
        row["loss"] for row in whole
    ]
    assert_same_weights(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_a_step_whose_gradients_overflow_is_left_out(motion_table, tmp_path):
    job = prepare(params(motion_table, tmp_path, precision="fp16", epochs=1, batch_size=24))  # a single step
    scale = 1e38
    job.scaler.load_state_dict(job.scaler.state_dict() | {"scale": scale})
    before = {name: parameter.clone() for name, parameter in job.model.named_parameters()}
    list(train(job))
    assert all(torch.equal(before[name], parameter) for name, parameter in job.model.named_parameters())
    assert job.scaler.get_scale() == pytest.approx(scale / 2)


def test_measured_ways_are_told_and_the_fastest_is_taken(motion_table, tmp_path, capsys):
    job = prepare(params(motion_table, tmp_path, epochs=400, memory_format="measure"))
    assert set(job.speeds) == {"float32, contiguous", "float32, channels_last"}
    assert str(job.execution) == max(job.speeds, key=job.speeds.get) == next(iter(job.speeds))
    assert "timing 2 ways to run the network" in capsys.readouterr().out


def test_environment_json_says_how_the_network_runs(motion_table, tmp_path):
    p = params(motion_table, tmp_path, **AUTO)
    folder = RunFolder.start(p)
    folder.record(execution=prepare(p).execution.describe(CPU))
    told = json.loads((tmp_path / "environment.json").read_text())
    assert told["execution"]["torch.backends.cudnn.conv.fp32_precision"] == "ieee"
    assert told["execution"]["memory_format"] == "channels_last" and told["packages"]["torch"]


@pytest.mark.slow
@pytest.mark.skipif(not has_compiler(CPU), reason="no C++ compiler on the PATH, which torch.compile needs")
def test_a_compiled_run_trains_evaluates_and_leaves_ordinary_checkpoints(motion_table, tmp_path):
    from torch import nn

    layers = [nn.Conv3d(3, 8, 3), nn.BatchNorm3d(8), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(8, 8)]
    start = nn.Sequential(*layers)
    rows = {}
    for name in (False, True):
        p = params(motion_table, tmp_path / str(name), compile=name, epochs=2, batch_size=12)
        job = prepare(p, model=copy.deepcopy(start))
        assert job.execution.compile is name
        rows[name] = list(train(job))
    for plain, compiled in zip(rows[False], rows[True]):
        assert compiled["loss"] == pytest.approx(plain["loss"], abs=1e-3)
        assert compiled["val_loss"] == pytest.approx(plain["val_loss"], abs=1e-3)
    assert list(weights(tmp_path / "True")) == list(weights(tmp_path / "False"))
    assert evaluate(job)["clip"].num_scored == 16
    assert str(job.execution) == "float32, contiguous, compiled"
