"""Batches on a Dask cluster: a real LocalCluster of two worker processes, and workers of the command line."""

import json
import os
import re
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
import torch
from batches import batch_of, make_project, status
from training import TINY, assert_same_weights, params, run, weights

from actlib.__main__ import main
from actlib.params import TrainParams
from actlib.runs.batch import read_batch
from actlib.runs.execute import run_batch

pytest.importorskip("distributed")
from dask.system import CPU_COUNT

pytestmark = pytest.mark.slow
PATIENCE_S = 600
EPOCHS = 16  # of the training that is broken off: more than are done before that is noticed

BODY = """
import json, os, time
from actlib.params import TrainParams
from actlib.runs.folder import RunFolder

p = TrainParams.from_notebook(globals())
run = RunFolder.start(p)
begin = time.time()
time.sleep(1)
while not os.path.exists("go"):
    time.sleep(0.1)
told = {"gpus": os.environ.get("CUDA_VISIBLE_DEVICES"), "threads": os.environ["OMP_NUM_THREADS"]}
facts = told | {"begin": begin, "end": time.time()}
run.path("facts.json").write_text(json.dumps(facts))
run.finish(kind="test")
"""


@pytest.fixture(scope="module")
def cluster():
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster:
        yield cluster


@pytest.fixture
def project(tmp_path, monkeypatch):
    return make_project(tmp_path, monkeypatch)


@pytest.fixture
def training(project, motion_table):
    """Makes a batch of runs that train nothing: each waits until there is a file `go` in the project's folder."""
    cells = [nbformat.v4.new_code_cell(each) for each in (TrainParams.cell(), BODY)]
    cells[0].metadata["tags"] = ["parameters"]
    other = nbformat.read(project / "notebooks" / "06_compare.ipynb", 4)
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=other.metadata)
    nbformat.write(notebook, project / "notebooks" / "02_train.ipynb")

    def batch(**asks):
        common = {"table": str(motion_table)}
        return batch_of(
            project, [{"name": name, "notebook": "02_train", "set": common | each} for name, each in asks.items()]
        )

    return batch


@pytest.fixture
def begun():
    """Starts processes, each with all that it says in a file; they are gone at the end."""
    processes = []

    def start(command, said, **how):
        with open(said, "wb") as file:
            how = {"stdout": file, "stderr": subprocess.STDOUT, "start_new_session": True, **how}
            processes.append(subprocess.Popen(list(map(str, command)), **how))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def worker(begun, cluster, tmp_path):
    """Starts a worker as users do, and waits until the scheduler knows it."""

    def start(name, *options, before=(), **environment):
        command = [*before, sys.executable, "-m", "distributed.cli.dask_worker", cluster.scheduler_address]
        command += ["--no-nanny", "--no-dashboard", "--name", name, "--nthreads", "1", *options]
        said = tmp_path / f"{name}.txt"
        process = begun(command, said, env={**os.environ, **environment}, cwd=tmp_path)
        wait_for(lambda: name in names(cluster), said, process)
        return process

    yield start


def names(cluster):
    return [each.name for each in cluster.scheduler.workers.values()]


def wait_for(what, said=None, process=None):
    """Wait until `what` returns something true; the test fails with what the file `said` holds if that takes too long,
    or if `process` ends before."""
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        there = time.monotonic() < deadline and (process is None or process.poll() is None)
        assert there or what(), said and said.read_text()
        time.sleep(0.2)


def log_of(folder):
    return (folder / "log.txt").read_text() if (folder / "log.txt").exists() else ""


def at_work(folder):
    """The processes that have something below `folder` on their command line or hold a lock there."""
    found = []
    for process in psutil.process_iter():
        try:
            files = [each.path for each in process.open_files() if each.path.endswith(".lock")]
            if any(str(folder) in each for each in [*files, *process.cmdline()]):
                found.append(process)
        except psutil.Error:
            continue
    return found


def worker_of(cluster, folder):
    """The process of the worker that a run was begun on."""
    name = json.loads((folder / "batch.json").read_text())["worker"]
    return psutil.Process(next(each for each in cluster.workers.values() if str(each.name) == name).pid)


def test_a_batch_on_a_cluster_keeps_what_it_promises(project, cluster, capsys):
    steps = [
        {"name": "good"},
        {"name": "bad", "set": {"runs": ["fail"]}},
        {"name": "child", "set": {"runs": ["{bad}/x"]}},
        {"name": "last", "after": "all"},
    ]
    address = cluster.scheduler_address
    batch = read_batch(batch_of(project, steps, scheduler=address), project)
    outcomes = run_batch(batch, project)
    ends = dict(good="done", bad="failed", child="blocked", last="done")
    assert {each.run.name: each.state for each in outcomes} == ends
    said = capsys.readouterr().out
    assert f"{address}: 2 workers with 2 threads; dashboard http://" in said
    assert ends == dict(re.findall(r"^(\w+): (done|failed|blocked)\b", said, re.M))
    assert re.search(r"^\[[12]/4\] good: 06_compare on [01] …$", said, re.M)
    assert "    good: epoch of video_top1" in said and "answer 42 (by hand)" in said
    out = project / "outputs" / "b"
    assert status(out / "bad")["why"] == "RuntimeError: asked to fail" and not (out / "child").exists()
    assert sorted(each.name for each in out.iterdir() if each.is_dir()) == ["bad", "good", "last"]
    workers = {name: json.loads((out / name / "batch.json").read_text())["worker"] for name in ("good", "bad")}
    assert sorted(workers.values()) == ["0", "1"]
    told = json.loads((out / "batch_progress.json").read_text())
    assert told["dashboard"].startswith("http://") and told["runs"]["bad"]["where"] == workers["bad"]

    path = batch_of(project, [steps[0], {"name": "more", "set": {"runs": ["{good}/x"]}}])
    (out / "more").mkdir()
    (out / "more" / "film.mp4").touch()
    assert main(["batch", str(path), "--scheduler", address]) == 1
    said = capsys.readouterr().out
    assert "good: skipped: answer 42 (by hand)" in said and "more: failed: " in said and "no run folder" in said
    assert re.findall(r"^(failed|skipped) +(\w+)", said, re.M) == [("failed", "more"), ("skipped", "good")]


def test_an_address_that_nobody_answers(project, capsys):
    path = batch_of(project, [{"name": "a"}])
    for address, why in (("tcp://127.0.0.1:1", "Connection refused"), ("nowhere", "missing port")):
        assert main(["batch", str(path), "--scheduler", address]) == 2
        said = capsys.readouterr().err
        assert f"scheduler: '{address}': nobody answers there" in said and why in said and "`dask scheduler`" in said
    assert not (project / "outputs").exists()


def test_a_batch_that_is_killed_or_interrupted_leaves_nothing_running(project, cluster, begun):
    out = project / "outputs" / "b"

    def asleep():
        return [each for each in out.glob("*") if "sleeping" in log_of(each)]

    def start(names, said):
        path = batch_of(project, [{"name": name, "set": {"runs": ["sleep"]}} for name in names])
        command = [sys.executable, "-m", "actlib", "batch", path, "--scheduler", cluster.scheduler_address]
        process = begun(command, said, cwd=project)
        wait_for(lambda: len(asleep()) == min(2, len(names)), said, process)  # the third has no worker
        return process

    killed = start("a", project / "killed.txt")
    killed.kill()
    wait_for(lambda: not at_work(out) and not cluster.scheduler.tasks, project / "killed.txt")
    assert status(out / "a") | {"state": "failed", "why": "interrupted"} == status(out / "a")
    (out / "a" / "log.txt").unlink()

    said = project / "ended.txt"
    ended = start("abc", said)
    ended.terminate()
    assert ended.wait(PATIENCE_S) == 130, said.read_text()
    assert not at_work(out) and "interrupted; the same command goes on from here" in said.read_text()
    for each in asleep():
        assert status(each) | {"state": "failed", "why": "interrupted"} == status(each)
    assert not (out / "c").exists()
    wait_for(lambda: not cluster.scheduler.tasks, said)
    assert len(cluster.scheduler.workers) == 2


def test_a_worker_that_does_not_see_what_runs_read(project, motion_table, training, cluster, worker, begun, capsys):
    before = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs none {motion_table.parent} && exec "$@"', "sh"]
    if subprocess.run([*before, "true"], capture_output=True).returncode:
        pytest.skip("a worker that sees something else needs the right to mount")
    path, said, out = training(a={}, b={}, c={}), project / "said.txt", project / "outputs" / "b"
    command = [sys.executable, "-m", "actlib", "batch", path, "--scheduler", cluster.scheduler_address]
    batch = begun(command, said, cwd=project)
    wait_for(lambda: said.read_text().count(": 02_train on ") == 2, said, batch)
    blind = worker("blind", before=before)  # joins late, and is given the run that waits
    wait_for(lambda: "no run goes there" in said.read_text(), said, batch)
    assert f"does not see {motion_table}" in said.read_text()
    (project / "go").touch()
    assert batch.wait(PATIENCE_S) == 0, said.read_text()
    assert {json.loads((out / name / "batch.json").read_text())["worker"] for name in "abc"} == {"0", "1"}

    assert main(["batch", str(path), "--force", "--scheduler", cluster.scheduler_address]) == 2
    words = capsys.readouterr().err
    assert "nothing was started" in words and "worker blind (tcp://" in words and words.count("worker ") == 1
    assert f"does not see {motion_table}" in words and "Mount the shared folder at the same place" in words
    assert sorted(each.name for each in out.iterdir() if each.is_dir()) == ["a", "b", "c"]  # nothing was moved aside
    blind.kill()
    wait_for(lambda: "blind" not in names(cluster))


def test_each_run_has_gpus_of_its_own(project, training, cluster, worker, capsys):
    worker("two", "--resources", "gpu=2", "--nthreads", "2", CUDA_VISIBLE_DEVICES="4,5")
    worker("one", "--resources", "gpu=1", CUDA_VISIBLE_DEVICES="7")
    (project / "go").touch()

    def batch(**asks):
        return main(["batch", str(training(**asks)), "--scheduler", cluster.scheduler_address])

    assert batch(good={}, many={"devices": 3}, other={"device": "cuda:1"}) == 2
    words = capsys.readouterr().err
    assert "many: devices: 3: no worker has more than 2 GPUs" in words and "other: device: cuda:1: its GPUs" in words
    assert not (project / "outputs" / "b").exists()
    asks = {"a": {}, "b": {}, "both": {"devices": 2}, "none": {"device": "cpu"}}
    assert batch(**asks) == 0
    facts = {name: json.loads((project / "outputs" / "b" / name / "facts.json").read_text()) for name in asks}
    taken = {name: set(filter(None, (each["gpus"] or "").split(","))) for name, each in facts.items()}
    assert [len(taken[name]) for name in asks] == [1, 1, 2, 0] and taken["both"] == {"4", "5"}
    assert taken["a"] | taken["b"] <= {"4", "5", "7"}
    share = str(max(1, CPU_COUNT // 5))  # of the cores: four workers here have five threads
    assert {each["threads"] for each in facts.values()} == {share}
    for one in facts:
        for other in facts.keys() - {one}:
            if facts[one]["begin"] < facts[other]["end"] and facts[other]["begin"] < facts[one]["end"]:
                assert not taken[one] & taken[other], facts
    worker("double", "--resources", "gpu=1", CUDA_VISIBLE_DEVICES="7")
    assert batch(more={}) == 2
    assert "both hand out GPU 7: start each with its own CUDA_VISIBLE_DEVICES" in capsys.readouterr().err


# The last one: a slow machine may take minutes to start the killed worker anew.
def test_a_training_whose_worker_is_killed_goes_on_elsewhere_to_the_same_weights(
    root, motion_table, tmp_path, cluster, begun
):
    path, said, out = tmp_path / "b.yaml", tmp_path / "said.txt", tmp_path / "out"
    step = {"name": "broken", "notebook": "02_train", "set": TINY | {"table": str(motion_table), "epochs": EPOCHS}}
    wait_for(lambda: len(cluster.scheduler.workers) == 2)  # also those of other tests have a share of the cores
    path.write_text(json.dumps({"run_dir": str(out), "steps": [step]}))
    command = [sys.executable, "-m", "actlib", "batch", path, "--scheduler", cluster.scheduler_address]
    batch = begun(command, said, cwd=root)
    wait_for(lambda: f"epoch   1 of {EPOCHS}" in log_of(out / "broken"), said, batch)
    worker_of(cluster, out / "broken").kill()
    before = status(out / "broken")["state"], log_of(out / "broken")
    wait_for(lambda: batch.poll() is not None, said)
    words, log = said.read_text(), log_of(out / "broken")
    assert batch.returncode == 0 and words.count("] broken: 02_train on ") == 2, words
    last = f"epoch  {EPOCHS} of {EPOCHS}"
    assert before[0] == "running" and last not in before[1]
    # How many it was depends on how soon the processes of the dead worker noticed.
    assert re.search(rf"goes on after epoch \d+ of {EPOCHS}", log) and last in log
    assert len((out / "broken" / "metrics.csv").read_text().splitlines()) == 1 + EPOCHS
    assert not [each for each in at_work(out) if each.pid != os.getpid()]

    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, CPU_COUNT // 2))  # those of a run
    run(params(motion_table, tmp_path / "whole", epochs=EPOCHS))
    torch.set_num_threads(threads)
    assert_same_weights(weights(out / "broken"), weights(tmp_path / "whole"))
