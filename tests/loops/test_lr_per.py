"""`lr_per: 256` scales the rate to the clips of a step, wherever the parameters come from, and says so."""

import subprocess
import sys

import nbformat
import pytest
from training import TINY, params

from actlib.loops import prepare
from actlib.params import FinetuneParams, ParamsError, TrainParams

STEP_OF_64 = {"lr": 0.1, "lr_per": 256, "batch_size": 32, "accumulate": 2}


def test_the_optimiser_has_the_rate_of_its_steps(motion_table, tmp_path, capsys):
    job = prepare(params(motion_table, tmp_path / "scaled", **STEP_OF_64))
    assert [group["initial_lr"] for group in job.optimizer.param_groups] == [pytest.approx(0.1 / 4)]
    assert job.learning_rates()[0] == pytest.approx(0.1 / 4)
    assert capsys.readouterr().out.count("lr: 0.1 for 256 clips, 0.025 for a step of 64\n") == 1
    job = prepare(params(motion_table, tmp_path / "plain", **STEP_OF_64 | {"lr_per": "batch"}))
    assert [group["initial_lr"] for group in job.optimizer.param_groups] == [0.1]
    assert "for a step of" not in capsys.readouterr().out


def test_factors_of_modules_are_of_the_scaled_rate(motion_table, tmp_path):
    network = prepare(params(motion_table, tmp_path / "first")).model
    values = {name: value for name, value in TINY.items() if name != "model"} | STEP_OF_64
    values |= {"table": str(motion_table), "run_dir": str(tmp_path / "second"), "lr_factors": ["fc=10", "layer4=0.1"]}
    values |= {"mean": [0.45], "std": [0.225], "channel_order": "rgb"}
    job = prepare(FinetuneParams.build(values, "test"), model=network)
    rates = {group["name"]: group["initial_lr"] for group in job.optimizer.param_groups}
    assert rates == {"rest": pytest.approx(0.025), "fc": pytest.approx(0.25), "layer4": pytest.approx(0.0025)}


def test_a_recipe_and_papermill_say_it(root, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("lr: 0.1\nlr_per: 256\nbatch_size: 32\naccumulate: 2\n")
    assert TrainParams.from_file(recipe).base_lr == pytest.approx(0.025)
    out = tmp_path / "out.ipynb"
    command = [sys.executable, "-m", "papermill", str(root / "notebooks" / "02_train.ipynb"), str(out)]
    options = ["-p", "lr_per", "256", "-p", "lr", "0.1", "-p", "batch_size", "32", "-p", "accumulate", "2"]
    subprocess.run([*command, "--prepare-only", *options], check=True, capture_output=True, text=True)
    injected = [each for each in nbformat.read(out, 4).cells if "injected-parameters" in each.metadata.get("tags", [])]
    namespace: dict = {}
    exec(injected[0].source, namespace)
    p = TrainParams.from_notebook(namespace | {"In": [injected[0].source]})
    assert (p.lr_per, p.base_lr) == (256, pytest.approx(0.025))
    with pytest.raises(ParamsError, match="lr_per: 128"):
        TrainParams.build({"lr_per": 128}, "test")
