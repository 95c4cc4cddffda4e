"""Runs on two devices as a notebook conducts them: real agents and ranks on the CPU, and what becomes of them when one
is killed, fails or is stopped. That the numbers are exact is tested without agents, in test_ranks.py."""

import contextlib
import os
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from doubled import double_network
from kernels import watched_kernel
from training import content, params, run, weights

from actlib.loops import evaluate, prepare, train
from actlib.loops.channel import FOLDER, SAID, Lines
from actlib.loops.conduct import LOG, RanksError
from actlib.loops.travel import PartsError
from actlib.params import VideoAccuracyParams

TWO = {"devices": 2, "sync_bn": True, "epochs": 3, "momentum": 0.5}
MOST_S = 600
# A network of the user's that fails in a rank alone, as a full GPU would.
FAILING = """
import os
from torch import nn

def small(num_classes):
    if os.environ.get("RANK") == "1":
        raise MemoryError("none left for the second")
    return nn.Sequential(nn.Conv3d(3, 4, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, num_classes))
"""


def wait_until(what):
    """What `what` returns as soon as that is true."""
    deadline = time.monotonic() + MOST_S
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def pids_of(folder: Path) -> list[int]:
    """Of the ranks at work in a run folder, by rank; empty where none are, or have not met yet."""
    with contextlib.suppress(OSError):
        said = Lines(folder / FOLDER / SAID).new()
        return next((each["joined"] for each in reversed(said) if "joined" in each), [])
    return []


def family_of(pid: int) -> list[psutil.Process]:
    """All that a process has started, and what these have."""
    return psutil.Process(pid).children(recursive=True)


def without_times(rows: list[dict]) -> pd.DataFrame:
    return pd.DataFrame(rows).drop(columns=["clips_per_s", "data_wait", "seconds"])


@pytest.fixture(scope="module")
def by_one(motion_table, tmp_path_factory):
    """The run folder and rows of one process, and what it was given."""
    folder = tmp_path_factory.mktemp("by_one")
    given = TWO | {"model": double_network(folder)}
    return folder, run(params(motion_table, folder, **given | {"devices": 1})), given


class Counted:
    """A `progress` that counts: what it was asked to show, of how many, and how many came."""

    def __init__(self):
        self.seen: list[list] = []

    def __call__(self, items, *, total, desc=""):
        self.seen.append([desc, total, 0])
        for item in items:
            self.seen[-1][2] += 1
            yield item


@pytest.mark.slow
def test_a_killed_rank_comes_back_and_the_run_is_that_of_one_process(motion_table, tmp_path, by_one, capfd):
    folder, expected, given = by_one
    job, rows, shown = prepare(params(motion_table, tmp_path, **given)), [], Counted()
    assert job.devices == 2 and job.processes()["number"] == 2
    for row in train(job, shown):
        rows.append(row)
        assert job.history == rows and job.best_epoch == job.best["epoch"]
        if row["epoch"] == 1:
            assert job.val_scores.top(1) == pytest.approx(row["val_top1"], abs=1e-3)
            os.kill(pids_of(tmp_path)[1], signal.SIGKILL)
    said = capfd.readouterr().out
    assert "rank 1 (" in said and "was ended by SIGKILL" in said and "goes on after epoch" in said, said
    pd.testing.assert_frame_equal(without_times(rows), without_times(expected), atol=2e-5)
    assert {(desc, total) for desc, total, _ in shown.seen} >= {("epoch 1", 3), ("epoch 2", 3), ("epoch 3", 3)}
    assert [total == count for desc, total, count in shown.seen if desc == "epoch 3"][-1], shown.seen
    last = weights(tmp_path)
    for name, value in weights(folder).items():
        np.testing.assert_allclose(last[name], value, rtol=0, atol=1e-10, err_msg=name)
        assert job.model.state_dict()[name].equal(last[name])
    assert {each.name for each in tmp_path.iterdir()} <= {".lock", "checkpoints"}
    job, before = prepare(params(motion_table, tmp_path, **given)), set(family_of(os.getpid()))
    assert list(train(job)) == rows
    assert set(family_of(os.getpid())) <= before, "all is done: nothing is started"


@pytest.mark.slow
def test_an_evaluation_is_that_of_one_process_row_by_row(motion_table, tmp_path, by_one):
    checkpoint = str(by_one[0] / "checkpoints" / "last.pt")
    given = {"checkpoint": checkpoint, "table": str(motion_table), "run_dir": str(tmp_path), "num_workers": 0}
    given |= {"model": by_one[2]["model"]}
    given |= {"precision": "float32", "memory_format": "contiguous", "protocol": "even", "num_clips": 3}
    found, shown = {}, Counted()
    for devices in (1, 2):
        job = prepare(VideoAccuracyParams.build({**given, "devices": devices}, "test"))
        found[devices] = evaluate(job, shown)
    assert list(found[2]) == list(found[1]) == ["clip", "video"]
    for one, two in zip(found[1].values(), found[2].values()):
        pd.testing.assert_frame_equal(one.table, two.table)
        np.testing.assert_allclose(one.scores, two.scores, atol=1e-7)
        np.testing.assert_allclose(one.losses, two.losses, rtol=0, atol=1e-10)
        assert (one.protocol, one.expected, one.table_digest) == (two.protocol, two.expected, two.table_digest)
    assert [count for _, _, count in shown.seen] == [total for _, total, _ in shown.seen]


@pytest.mark.slow
def test_a_rank_that_fails_is_named_with_its_error(motion_table, tmp_path):
    (tmp_path / "net.py").write_text(FAILING)
    job = prepare(params(motion_table, tmp_path / "run", **TWO | {"model": f"{tmp_path}/net.py:small"}))
    with pytest.raises(RanksError, match=r"^rank 1 \(.+\): MemoryError: none left for the second"):
        list(train(job))
    assert "MemoryError" in (tmp_path / "run" / LOG).read_text() and not (tmp_path / "run" / FOLDER).exists()


def test_what_one_process_alone_has_is_refused(motion_table, tmp_path):
    p = params(motion_table, tmp_path, **TWO)
    job = prepare(p, loss=torch.nn.MultiMarginLoss())
    with pytest.raises(PartsError, match="loss was given to prepare.*devices: 1"):
        next(train(job))
    job = prepare(p)
    job.model.requires_grad_(False)
    job.train_data = torch.utils.data.Subset(job.train_data, [0, 1])
    with pytest.raises(PartsError, match="job.train_data was changed .*weights of job.model were .*file.py:function"):
        next(train(job))
    assert not (tmp_path / FOLDER).exists()


def test_where_nobody_asked_for_several_devices_own_parts_are_trained_by_one(motion_table, tmp_path, capsys):
    job = prepare(params(motion_table, tmp_path, epochs=1), loss=torch.nn.MultiMarginLoss())
    job.devices = 2  # as `auto` is on a machine with two GPUs
    assert [row["epoch"] for row in train(job)] == [1] and not (tmp_path / FOLDER).exists()
    assert "one device computes, not 2: loss was given to prepare" in capsys.readouterr().out


CELL = """
import json, os, signal
import psutil
from actlib.loops import prepare, train
from actlib.params import TrainParams
job = prepare(TrainParams.build(json.loads({parameters!r}), "test"))
before, begun = len(job.history), []
for row in train(job):
    if row["epoch"] != before + 1:
        continue
    print("epoch", row["epoch"], flush=True)
    begun = psutil.Process().children(recursive=True)
    for number in range({interrupts}):
        os.killpg(0, signal.SIGINT)  # as JupyterLab's
"""
AFTER = "print('then', len(begun), psutil.wait_procs(begun, 60)[1], job.stopped, len(job.history))"


@pytest.mark.slow
def test_an_interrupted_or_killed_kernel_leaves_nothing_at_work(motion_table, tmp_path, monkeypatch):
    given = params(motion_table, tmp_path, **TWO | {"epochs": 500}).model_dump_json()
    with watched_kernel(monkeypatch) as (manager, client, said_by):
        once = said_by(CELL.format(parameters=given, interrupts=1))  # ends after the epoch at hand
        stopped = f"stopped after {content(tmp_path / 'checkpoints' / 'last.pt')['epoch']} of 500 epochs"
        assert stopped in once and "KeyboardInterrupt" not in once, once
        after = said_by(AFTER)
        assert f"[] {stopped}" in after and "then 0" not in after, after
        twice = said_by(CELL.format(parameters=given, interrupts=2))  # at once, within the loop's body
        assert "KeyboardInterrupt" in twice and "goes on after epoch" in twice, twice
        assert "[] stopped after" in said_by(AFTER)
        client.execute(CELL.format(parameters=given, interrupts=0))
        kernel = manager.provisioner.pid
        ranks = wait_until(lambda: pids_of(tmp_path))
        family = [*psutil.Process(kernel).children(recursive=True), psutil.Process(ranks[0])]
        assert len(ranks) == 2 and {*ranks} <= {each.pid for each in family}
        os.kill(kernel, signal.SIGKILL)
        alive = psutil.wait_procs(family, timeout=MOST_S)[1]
        assert not alive, [each.cmdline() for each in alive]
