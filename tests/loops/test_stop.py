"""A training that is stopped after an epoch, by whatever hand, goes on as if nothing had happened."""

import signal

import pytest
from kernels import watched_kernel
from training import assert_same_weights, content, params, run, weights

from actlib.loops import prepare, train


def test_a_stopped_run_goes_on_and_ends_with_the_same_weights(motion_table, tmp_path, capsys):
    more = {"model": "mobilenetv2 width_mult=0.2", "momentum": 0.9, "epochs": 3, "tensorboard": False}
    run(params(motion_table, tmp_path / "whole", **more))
    p = params(motion_table, tmp_path / "broken", **more)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "stop").touch()  # of a training before this one
    job, rows = prepare(p), []
    for row in train(job):
        rows.append(row)
        if row["epoch"] == 1:
            (tmp_path / "broken" / "stop").touch()
    assert [row["epoch"] for row in rows] == [1] and job.stopped == "stopped after 1 of 3 epochs"
    assert "stopped after 1 of 3 epochs" in capsys.readouterr().out
    assert not (tmp_path / "broken" / "stop").exists(), "what was asked for has been done"
    assert content(tmp_path / "broken" / "checkpoints" / "best.pt")["epoch"] == 1
    job = prepare(p)
    for row in train(job):
        job.stop.ask() if row["epoch"] == 2 else None
    assert job.stopped == "stopped after 2 of 3 epochs"
    job = prepare(p)
    for _ in train(job):
        if len(job.history) == 3:
            job.stop.ask()  # too late
    assert job.stopped == "" and len(job.history) == 3
    assert_same_weights(weights(tmp_path / "whole"), weights(tmp_path / "broken"))


def test_a_script_is_interrupted_at_once(motion_table, tmp_path):
    before, job = signal.getsignal(signal.SIGINT), prepare(params(motion_table, tmp_path, epochs=1))
    with job.stop.listening():
        assert signal.getsignal(signal.SIGINT) is before


CELL = """
import json, os, signal
from actlib.loops import prepare, train
from actlib.params import TrainParams
job = prepare(TrainParams.build(json.loads({parameters!r}), "test"))
for row in train(job):
    if row["epoch"] == 1:
        assert os.getpgid(0) == os.getpid()  # the kernel's own group
        for number in range({interrupts}):
            os.killpg(0, signal.SIGINT)  # as JupyterLab's
    print("epoch", row["epoch"], flush=True)
"""
AFTER = "print('then', len(job.history), job.stopped, signal.getsignal(signal.SIGINT) is signal.default_int_handler)"


@pytest.mark.slow
def test_a_notebooks_first_interrupt_ends_after_the_epoch_and_the_second_at_once(motion_table, tmp_path, monkeypatch):
    """In a real kernel with a data worker, which the interrupt reaches too."""
    with watched_kernel(monkeypatch) as (_, _, said_by):
        for interrupts, name in ((1, "once"), (2, "twice")):
            given = params(motion_table, tmp_path / name, epochs=3, num_workers=1).model_dump_json()
            said = said_by(CELL.format(parameters=given, interrupts=interrupts))
            assert ("KeyboardInterrupt" in said) == (interrupts == 2), said
            assert ("epoch 1\nstopped after 1 of 3" in said) == (interrupts == 1), said
            assert "then 1 stopped after 1 of 3 epochs True" in said_by(AFTER)
            assert content(tmp_path / name / "checkpoints" / "last.pt")["epoch"] == 1
