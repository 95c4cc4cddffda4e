"""Trainings killed at random moments, again and again, end as if nothing had been."""

import json
import os
import random
import signal
import time

import pytest
from training import assert_same_weights, content, params, run, weights

from actlib import locks

PROGRAM = """
import sys
from actlib.loops import prepare, train
from actlib.params import TrainParams
from actlib.runs.folder import RunFolder
p = TrainParams.model_validate_json(sys.argv[1])
run = RunFolder.start(p)
job = prepare(p)
print("prepared", flush=True)
for row in train(job):
    print("epoch", flush=True)
run.finish(kind="train", files=job.checkpoints)
"""
MORE = {"epochs": 3, "checkpoint_every": 1, "checkpoint_minutes": 1e-6}


@pytest.fixture(scope="module")
def undisturbed(motion_table, tmp_path_factory):
    """The run folder of a training that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    run(params(motion_table, folder, **MORE))
    return folder


@pytest.mark.slow
@pytest.mark.seeds(1, 40)
def test_a_training_that_is_killed_again_and_again(motion_table, undisturbed, tmp_path, warmed, record_property, seed):
    rng, folder = random.Random(seed), tmp_path / "run"
    p = params(motion_table, folder, **MORE)
    outcome = "failed"
    try:
        for most in (1.0, 0.6, 0.3, None):
            errors = tmp_path / "errors.txt"
            process = warmed.start(PROGRAM, p.model_dump_json(), cwd=tmp_path, errors=errors)
            if most is not None:
                for line in process.stdout:
                    if line == "prepared\n":
                        break
                time.sleep(rng.uniform(0, most))
                os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
        assert code == 0, errors.read_text()
        assert_same_weights(weights(undisturbed), weights(folder))
        assert_same_weights(weights(undisturbed, "best.pt"), weights(folder, "best.pt"))
        names = sorted(each.name for each in (undisturbed / "checkpoints").iterdir())
        assert sorted(each.name for each in (folder / "checkpoints").iterdir()) == names
        assert [each.name for each in folder.glob(".*")] == [locks.NAME]
        result = json.loads((folder / "result.json").read_text())["files"]
        best = content(folder / "checkpoints" / "best.pt")
        assert result["checkpoints/best.pt"]["epoch"] == best["epoch"] == len(best["history"])
        outcome = "equal"
    finally:
        record_property("hostile", ["kill", outcome])
