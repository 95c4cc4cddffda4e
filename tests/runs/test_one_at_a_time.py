"""One run at a time in a folder: two batches, a batch that was killed, runs by hand, and folders that are not ours."""

import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
from batches import batch_of, make_project, status
from training import params

from actlib import locks
from actlib.locks import Locked
from actlib.loops import prepare, train
from actlib.params import CompareParams, DataPrepParams, ParamsError, TrainParams
from actlib.runs.batch import read_batch
from actlib.runs.execute import run_batch
from actlib.runs.folder import RunFolder

MODES = pytest.mark.parametrize("mode", [(), ("--cold",)], ids=["forked", "cold"])
SLEEP = {"name": "a", "set": {"runs": ["sleep"]}}


@pytest.fixture
def project(tmp_path, monkeypatch):
    return make_project(tmp_path, monkeypatch)


@pytest.fixture
def batches(project):
    """Starts `actlib batch` on the project's file; whatever works below the project is gone at the end."""
    begun = []

    def start(path, *options, before=()):
        command = [*before, sys.executable, "-m", "actlib", "batch", str(path), *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        how = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)}  # the tests may run under nohup
        begun.append(subprocess.Popen(command, cwd=project, start_new_session=True, **how, **pipes))
        return begun[-1]

    yield start
    for process in [*begun, *at_work(project)]:
        process.kill()
    for process in begun:
        process.communicate()


def at_work(project) -> list[psutil.Process]:
    """All processes that hold a run folder of the project."""
    found = []
    for process in psutil.process_iter():
        try:
            files = [each.path for each in process.open_files()]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(f.startswith(str(project)) and f.endswith(".lock") for f in files):
            found.append(process)
    return found


def wait_for(what, seconds=120):
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def log_of(project, name="a"):
    path = project / "outputs" / "b" / name / "log.txt"
    return path.read_text() if path.exists() else ""


@pytest.mark.slow
@MODES
def test_of_two_batches_on_one_file_one_runs(project, batches, mode):
    path = batch_of(project, [SLEEP, {"name": "b"}])
    first = batches(path, *mode)
    wait_for(lambda: "sleeping" in log_of(project))
    kernel = status(project / "outputs" / "b" / "a")["pid"]
    said = batches(path, *mode).communicate(timeout=120)[0]
    assert f"a: failed: {project}/outputs/b/a: process {first.pid} (" in said and "has been at work" in said
    assert "b: done" in said  # what nobody works on is done
    assert first.poll() is None and status(project / "outputs" / "b" / "a")["pid"] == kernel
    assert psutil.pid_exists(kernel) and log_of(project).count("sleeping") == 1


@pytest.mark.slow
@MODES
def test_a_batch_that_is_killed_leaves_nothing_running_and_goes_on_when_started_again(project, batches, mode):
    path, run = batch_of(project, [SLEEP, {"name": "b"}]), project / "outputs" / "b" / "a"
    first = batches(path, *mode)
    wait_for(lambda: "sleeping" in log_of(project))
    family, kernel = psutil.Process(first.pid).children(recursive=True), status(run)["pid"]
    assert len(family) > 1 and kernel in {each.pid for each in family}
    first.kill()
    first.wait()
    wait_for(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in family))
    assert not at_work(project)
    assert f"process {first.pid}, which started this one" in log_of(project)
    (run / "log.txt").unlink()
    again = batches(path, *mode)
    wait_for(lambda: "sleeping" in log_of(project))
    assert status(run)["pid"] != kernel and log_of(project).count("sleeping") == 1
    again.send_signal(signal.SIGTERM)
    assert again.wait(60) == 130 and not at_work(project)


@pytest.mark.slow
def test_a_closed_terminal_ends_a_batch_but_not_under_nohup(project, batches):
    path = batch_of(project, [SLEEP, {"name": "b"}])
    batch = batches(path)
    wait_for(lambda: "sleeping" in log_of(project))
    batch.send_signal(signal.SIGHUP)
    assert batch.wait(60) == 130
    wait_for(lambda: not at_work(project), 10)
    assert status(project / "outputs" / "b" / "a") | {"state": "failed", "why": "interrupted"} == status(
        project / "outputs" / "b" / "a"
    )
    (project / "outputs" / "b" / "a" / "log.txt").unlink()
    kept = batches(path, before=["nohup"])
    wait_for(lambda: "sleeping" in log_of(project))
    kept.send_signal(signal.SIGHUP)
    time.sleep(1)
    assert kept.poll() is None and at_work(project)


def test_a_run_by_hand_holds_its_folder_until_it_is_finished(project):
    p = CompareParams.build({"run_dir": "outputs/x"}, "test")
    program = (
        "from actlib.params import CompareParams; from actlib.runs.folder import RunFolder\n"
        "RunFolder.start(CompareParams.build({'run_dir': 'outputs/x', 'accuracy': 'clip_top1'}, 'other'))"
    )

    def another():
        return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=project)

    (project / "outputs" / "x").mkdir(parents=True)
    (project / "outputs" / "x" / ".part-status-abc.json").touch()  # of a killed write
    run = RunFolder.start(p)
    run = RunFolder.start(p)  # the first cell again
    assert [each.name for each in run.folder.glob(".part*")] == []
    assert f"process {os.getpid()} (" in another().stderr
    assert CompareParams.from_file(run.path("params.yaml")) == p
    run.finish(kind="test")
    assert another().returncode == 0 and run.folder.resolve() not in locks._held
    other = RunFolder.start(p)
    RunFolder.start(CompareParams.build({"run_dir": "outputs/y"}, "test"))  # the kernel's run is another now
    assert another().returncode == 0
    other.finish(kind="test")
    assert project / "outputs" / "y" in locks._held


def test_training_by_the_api_is_held_too(motion_table, tmp_path):
    job = prepare(params(motion_table, tmp_path / "run", epochs=1))
    program = "import sys; from actlib import locks; locks.take(sys.argv[1]); print('in', flush=True); input()"
    command = [sys.executable, "-c", program, str(tmp_path / "run")]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "in\n"
    with pytest.raises(Locked, match=f"process {holder.pid}"):
        next(train(job))
    holder.communicate("\n")
    assert len(list(train(job))) == 1 and tmp_path / "run" not in locks._held


def test_folders_that_are_no_runs_are_never_moved(project):
    videos = project / "outputs" / "b" / "videos"
    videos.mkdir(parents=True)
    (videos / "film.mp4").write_text("a film")
    (project / "outputs" / "b" / "file").write_text("a file")
    steps = [{"name": "videos"}, {"name": "file"}, {"name": "good"}]
    for force in (False, True):
        outcomes = run_batch(read_batch(batch_of(project, steps[:2]), project), project, force=force)
        assert [each.state for each in outcomes] == ["failed", "failed"]
        assert "no run folder (neither status.json nor batch.json is in it): nothing was moved" in outcomes[0].why
        assert "a file stands where the run folder belongs" in outcomes[1].why
        assert sorted(each.name for each in videos.iterdir()) == ["film.mp4"]
        assert sorted(each.name for each in videos.parent.iterdir()) == ["batch_progress.json", "file", "videos"]
    for name in (".", "..", "..."):
        with pytest.raises(ParamsError, match="not dots alone"):
            read_batch(batch_of(project, [{"name": name}]), project)


def test_a_run_folder_never_holds_what_a_run_reads(project, motion_table):
    shutil.copytree(motion_table.parent, project / "mine" / "data")
    (project / "mine" / "data" / "videos").mkdir(exist_ok=True)
    given = [
        (DataPrepParams, {"source": "folders", "data_root": "mine/data/videos", "run_dir": "mine"}, "data_root 'mine"),
        (DataPrepParams, {"source": "folders", "data_root": "mine/data", "run_dir": "mine/data"}, "data_root 'mine"),
        (TrainParams, {"table": "mine/data/table.csv", "run_dir": "mine"}, "videos of mine/data/table.csv"),
        (TrainParams, {"table": "mine/data/table.csv", "run_dir": "mine/data/videos"}, "videos of mine/data/table"),
        (CompareParams, {"run_dir": "."}, "the project itself"),
        (CompareParams, {"run_dir": ".."}, "the project itself"),
    ]
    for model, values, words in given:
        with pytest.raises(ParamsError, match=f"run_dir: .* holds {words}.*choose a folder of its own"):
            RunFolder.start(model.build(values, "test"))
    assert not (project / "mine" / "params.yaml").exists()
    values = {"table": "mine/data/table.csv"}
    step = {"name": "data", "notebook": "06_compare", "set": {}}
    path = batch_of(project, [step | {"notebook": "02_train", "set": values}], run_dir="mine")
    (project / "notebooks" / "02_train.ipynb").write_bytes((project / "notebooks" / "06_compare.ipynb").read_bytes())
    with pytest.raises(ParamsError, match="data: run_dir: 'mine/data' holds videos of mine/data/table.csv"):
        read_batch(path, project)
    RunFolder.start(TrainParams.build({"table": "mine/data/table.csv", "run_dir": "mine/run"}, "test"))
