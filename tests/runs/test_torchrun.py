"""Runs that torchrun starts: `python -m actlib train` as a rank of several, on machines of which one is lost, and what
the notebooks then find."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import papermill
import psutil
import pytest
from doubled import double_network
from training import params, run, weights

from actlib.__main__ import main
from actlib.files import write_text
from actlib.loops import prepare, train
from actlib.params import VideoAccuracyParams

MOST_S = 600
ANEW = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}  # else an agent that was lost cannot join the others again
SPAN = {"sync_bn": True, "epochs": 5, "momentum": 0.5}


class Nodes:
    """torchrun's agents, each with a rank, as on so many machines; one loopback address stands for one."""

    def __init__(self, file, root, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.file, self.root, self.folder, self.begun = file, root, folder, []

    def start(self, number: int) -> subprocess.Popen:
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"),
            *("--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{self.port}", "--max-restarts", "3"),
            *("--rdzv-conf", f"is_host={int(number == 1)},read_timeout=300"),  # who has the store is not to be lost
            *("--local-addr", f"127.0.0.{number}", "--log-dir", str(self.folder / f"torchrun{number}")),
            *("-m", "actlib", "train", str(self.file), "--notebook", "02_train"),
        ]
        with open(self.folder / f"said{number}.txt", "ab") as said:
            how = {"stdout": said, "stderr": subprocess.STDOUT, "start_new_session": True}
            environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(self.root)} | ANEW
            self.begun.append(subprocess.Popen(command, cwd=self.root, env=environment, **how))
        return self.begun[-1]

    def said(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("said*.txt")))

    def lose(self, agent: subprocess.Popen) -> None:
        """As if the machine were gone: the agent and its rank."""
        family = [psutil.Process(agent.pid), *psutil.Process(agent.pid).children(recursive=True)]
        for each in family:
            with contextlib.suppress(psutil.Error):
                each.kill()
        agent.wait()

    def end(self) -> None:
        for each in self.begun:
            if each.poll() is None:
                self.lose(each)


@pytest.fixture
def nodes(motion_table, tmp_path, root):
    given = SPAN | {"model": double_network(tmp_path)}
    file = write_text(tmp_path / "given.yaml", params(motion_table, tmp_path / "run", **given).as_yaml())
    nodes = Nodes(file, root, tmp_path)
    yield nodes
    nodes.end()


def rows_in(folder) -> pd.DataFrame:
    path = folder / "metrics.csv"
    return pd.read_csv(path) if path.is_file() else pd.DataFrame()


@pytest.mark.slow
def test_a_lost_machine_comes_back_and_the_run_is_that_of_one_process(nodes, motion_table, tmp_path):
    given = SPAN | {"model": double_network(tmp_path)}
    expected = run(params(motion_table, tmp_path / "one", **given))
    kept, lost = nodes.start(1), nodes.start(2)
    deadline = time.monotonic() + MOST_S
    while rows_in(tmp_path / "run").empty:
        assert time.monotonic() < deadline and kept.poll() is None, nodes.said()
        time.sleep(0.1)
    nodes.lose(lost)
    assert len(rows_in(tmp_path / "run")) < SPAN["epochs"]
    lost = nodes.start(2)
    with contextlib.suppress(subprocess.TimeoutExpired):
        kept.wait(timeout=MOST_S), lost.wait(timeout=MOST_S)
    codes = [each.poll() for each in (kept, lost)]
    assert codes == [0, 0], nodes.said()
    found, times = rows_in(tmp_path / "run"), ["clips_per_s", "data_wait", "seconds"]
    pd.testing.assert_frame_equal(found.drop(columns=times), pd.DataFrame(expected).drop(columns=times), atol=2e-5)
    last = weights(tmp_path / "run")
    for name, value in weights(tmp_path / "one").items():
        np.testing.assert_allclose(last[name], value, rtol=0, atol=1e-10, err_msg=name)
    assert nodes.said().count("epoch   5 of 5") == 1, "the first rank alone prints"
    told = {name: json.loads((tmp_path / "run" / f"{name}.json").read_text()) for name in ("status", "environment")}
    assert told["status"]["state"] == "done"
    started = told["environment"]["processes"]
    assert (started["number"], started["machines"], started["backend"]) == (2, 2, "gloo")
    job = prepare(params(motion_table, tmp_path / "run", **given, devices=2))
    assert [row["epoch"] for row in train(job)] == [1, 2, 3, 4, 5], "the notebook has nothing left to do"


@pytest.mark.slow
def test_notebook_02_trains_on_two_devices(root, motion_table, tmp_path):
    given = params(motion_table, tmp_path / "run", epochs=1, devices=2, num_workers=2).model_dump()
    notebook = str(root / "notebooks" / "02_train.ipynb")
    papermill.execute_notebook(notebook, str(tmp_path / "out.ipynb"), given, cwd=root, kernel_name="python3")
    told = {name: json.loads((tmp_path / "run" / f"{name}.json").read_text()) for name in ("result", "environment")}
    started = told["environment"]["processes"]
    assert (started["number"], started["decoding_processes"], started["machines"]) == (2, [1, 1], 1)
    assert told["result"]["numbers"]["val_top1"]["videos"] == 16 and len(rows_in(tmp_path / "run")) == 1
    assert "epoch   1 of 1: loss" in (tmp_path / "out.ipynb").read_text()
    assert not (tmp_path / "run" / ".ranks").exists()


def test_without_torchrun_one_trains_and_evaluates(motion_table, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    file = write_text(tmp_path / "a.yaml", params(motion_table, tmp_path / "run", epochs=1).as_yaml())
    assert main(["train", str(file)]) == 2 and "or say --notebook 02_train" in capsys.readouterr().err
    assert main(["evaluate", str(file), "--notebook", "02_train"]) == 2
    assert "`python -m actlib train` takes it" in capsys.readouterr().err
    assert main(["train", str(file), "--notebook", "02_train"]) == 0
    checkpoint = str(tmp_path / "run" / "checkpoints" / "best.pt")
    given = {"checkpoint": checkpoint, "table": str(motion_table), "run_dir": "accuracy", "num_workers": 0}
    file = write_text(tmp_path / "b.yaml", VideoAccuracyParams.build({**given, "devices": 2}, "test").as_yaml())
    assert main(["evaluate", str(file), "--notebook", "04_video_accuracy"]) == 0
    said = capsys.readouterr().out
    assert "epoch   1 of 1: loss" in said and "video_top1" in said
    for folder, kind in (("run", "train"), ("accuracy", "video_accuracy")):
        result = json.loads((tmp_path / folder / "result.json").read_text())
        assert result["kind"] == kind and result["model"].startswith("resnet10")
        assert json.loads((tmp_path / folder / "environment.json").read_text())["processes"]["number"] == 1
    bad = params(motion_table, tmp_path / "bad", epochs=1, lr=1e30)
    assert main(["train", str(write_text(tmp_path / "c.yaml", bad.as_yaml())), "--notebook", "02_train"]) == 2
    status = json.loads((tmp_path / "bad" / "status.json").read_text())
    assert status["state"] == "failed" and status["why"].startswith("TrainingError: the loss is")
