"""Run folders and batches: real papermill, real kernels, on notebooks small enough to start in seconds."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import psutil
import pytest
from batches import batch_of, make_project, status

from actlib import lifeline
from actlib.files import project_root, write_text
from actlib.models.weights.checkpoint import save_checkpoint
from actlib.params import CompareParams, ParamsError
from actlib.runs.batch import read_batch
from actlib.runs.execute import run_batch, summary
from actlib.runs.folder import RunFolder, number
from actlib.runs.supervise import STOP_S


@pytest.fixture
def project(tmp_path, monkeypatch):
    return make_project(tmp_path, monkeypatch)


def read(project, *steps, **more):
    return read_batch(batch_of(project, steps, **more), project)


def states(outcomes):
    return {each.run.name: each.state for each in outcomes}


def test_a_batch_is_refused_whole_before_anything_starts(project):
    (project / "params" / "c.yaml").write_text("runz: [a]\n")
    with pytest.raises(ParamsError) as error:
        read(
            project,
            {"name": "a", "set": {"accuracy": "video_top3", "run": ["x"]}},
            {"name": "a"},
            {"name": "b", "notebook": "07_dream"},
            {"name": "c", "params": "params/c.yaml"},
            {"name": "d", "set": {"runs": ["{nobody}/x"]}},
            {"name": "e", "sett": {}},
            {"name": "f", "after": ["nobody"]},
            {"name": "g", "grid": {"accuracy": "video_top1"}},
            {"name": "h/i"},
        )
    text = str(error.value)
    for words in (
        "nothing was started",
        "step 1 (a):   - accuracy: 'video_top3'",
        "step 1 (a):   - run: no such parameter; did you mean runs?",
        "step 2 (a): name: 'a' stands twice",
        "step 3 (b):   - notebook: '07_dream': Input should be '01_data_prep'",
        "step 4 (c):   - runz: no such parameter; did you mean runs?",
        "step 5 (d): '{nobody}/x': no earlier step 'nobody'",
        "step 6 (e):   - sett: no such parameter; did you mean set?",
        "step 7 (f): after: 'nobody': no earlier step",
        "step 8 (g):   - grid.accuracy: 'video_top1': Input should be a valid list",
        "step 9 (h/i):   - name: 'h/i': 1 to 100 letters",
    ):
        assert words in text, words
    with pytest.raises(ParamsError) as error:
        read(project, {"name": "a"}, colour="blue", workers=0)
    for words in ("colour: no such parameter", "workers: 0: Input should be greater than or equal to 1"):
        assert words in str(error.value)
    assert not (project / "outputs").exists()


def test_a_file_that_nobody_writes_is_missed_early(root, tmp_path):
    path = tmp_path / "b.yaml"
    steps = [
        {"name": "data", "notebook": "01_data_prep"},
        {"name": "good", "notebook": "02_train", "set": {"table": "{data}/table.csv"}},
        {"name": "bad", "notebook": "02_train", "set": {"table": "outputs/nowhere/table.csv"}},
        {"name": "costs", "notebook": "05_flops", "set": {"models": ["c3d", "{good}/checkpoints/best.pt"]}},
        {"name": "lost", "notebook": "05_flops", "set": {"models": ["c3d", "outputs/nowhere/best.pt"]}},
    ]
    path.write_text(json.dumps({"run_dir": str(tmp_path / "out"), "steps": steps}))
    with pytest.raises(ParamsError, match="bad: table: 'outputs/nowhere/table.csv': no such file") as error:
        read_batch(path, root)
    assert "good: table" not in str(error.value) and "costs: models" not in str(error.value)
    assert "outputs/nowhere/best.pt: no such file; no earlier step writes it" in str(error.value)


def test_grids_and_references(project):
    batch = read(
        project,
        {"name": "a", "set": {"runs": ["x"]}},
        {"name": "b", "grid": {"accuracy": ["video_top1", "clip_top1"], "runs": [["{a}/x"], ["y"]]}},
        {"name": "c", "after": "all"},
    )
    runs = {run.name: run for run in batch.runs}
    grid = [name for name in runs if name.startswith("b-")]
    assert list(runs) == ["a", *grid, "c"] and len(grid) == 4 and grid[1] == "b-video_top1-y"
    first = batch.runs[1]
    assert first.params.runs == ["outputs/b/a/x"] and first.needs == ("a",)
    assert runs["c"].after == ("a", "b") and runs["c"].needs == ()
    assert len({run.params.run_dir for run in batch.runs}) == 6
    prints = batch.fingerprints(project)
    changed = read(
        project,
        {"name": "a", "set": {"runs": ["z"]}},
        {"name": "b", "grid": {"accuracy": ["video_top1", "clip_top1"], "runs": [["{a}/x"], ["y"]]}},
        {"name": "c", "after": "all"},
    ).fingerprints(project)
    same = {name for name in prints if prints[name] == changed[name]}
    assert same == {name for name in grid if name.endswith("-y")}  # what a run builds on is part of it


def test_a_changed_network_file_makes_another_run(root, tmp_path):
    code = tmp_path / "my_nets.py"
    code.write_text("from torch import nn\n\n\ndef tiny(num_classes, *, width=4):\n    return nn.Linear(3, width)\n")
    path = tmp_path / "own.yaml"
    step = {"name": "costs", "notebook": "05_flops", "set": {"models": [f"{code}:tiny width=8", "resnet10"]}}
    path.write_text(json.dumps({"run_dir": str(tmp_path / "out"), "steps": [step]}))
    before = read_batch(path, root).fingerprints(root)
    assert before == read_batch(path, root).fingerprints(root)
    code.write_text(code.read_text() + "# changed\n")
    assert before != read_batch(path, root).fingerprints(root)


@pytest.mark.slow
def test_runs_are_done_skipped_repeated_and_blocked(project):
    steps = [
        {"name": "good"},
        {"name": "bad", "set": {"runs": ["fail"]}},
        {"name": "child", "set": {"runs": ["{bad}/x"]}},
        {"name": "last", "after": "all"},
    ]
    outcomes = run_batch(read(project, *steps, workers=2), project)
    assert states(outcomes) == {"good": "done", "bad": "failed", "child": "blocked", "last": "done"}
    out = project / "outputs" / "b"
    assert status(out / "good")["state"] == "done"
    assert status(out / "bad") == {**status(out / "bad"), "state": "failed", "why": "RuntimeError: asked to fail"}
    assert "epoch of video_top1" in (out / "good" / "log.txt").read_text()
    executed = nbformat.read(out / "bad" / "notebook.ipynb", 4)
    assert any(output.output_type == "error" for cell in executed.cells for output in cell.get("outputs", []))
    environment = json.loads((out / "good" / "environment.json").read_text())
    assert environment["python"] and environment["packages"]["papermill"]
    table = summary(outcomes).splitlines()
    assert table[0].startswith("failed   bad") and table[1].startswith("blocked  child")

    # The same again: only what is not done runs. Then with another parameter: the old results are put aside.
    steps[1] = {"name": "bad", "set": {"runs": ["now good"]}}
    again = run_batch(read(project, *steps), project)
    assert states(again) == {"good": "skipped", "bad": "done", "child": "done", "last": "done"}
    assert states(run_batch(read(project, *steps), project)) == dict.fromkeys(states(again), "skipped")
    assert status(out / "bad~1")["state"] == "failed"
    notebook = project / "notebooks" / "06_compare.ipynb"
    notebook.write_text(notebook.read_text().replace("epoch of", "epoch with"))
    assert states(run_batch(read(project, steps[0]), project)) == {"good": "done"}
    assert states(run_batch(read(project, steps[0]), project, force=True)) == {"good": "done"}
    assert {path.name for path in out.iterdir()} >= {"good", "good~1", "good~2"}


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_the_kernels(project, how):
    path = batch_of(project, [{"name": "a", "set": {"runs": ["sleep"]}}, {"name": "b"}])
    process = subprocess.Popen(
        [sys.executable, "-m", "actlib", "batch", str(path)], cwd=project, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background inherit SIG_IGN
    )  # fmt: skip
    folder = project / "outputs" / "b" / "a"
    deadline = time.monotonic() + 120
    while "sleeping" not in (folder / "log.txt").read_text() if (folder / "log.txt").exists() else True:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.2)
    family = psutil.Process(process.pid).children(recursive=True)
    assert status(folder)["pid"] in [each.pid for each in family]  # the kernel's
    process.send_signal(how)
    assert process.wait(timeout=90) == 130
    assert "goes on from here" in process.stderr.read()
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []
    assert status(folder)["state"] == "failed" and status(folder)["why"] == "interrupted"
    assert not (project / "outputs" / "b" / "b").exists()
    assert "interrupted" in (project / "outputs" / "b" / "batch_report.html").read_text(encoding="utf-8")


def test_stop_ends_what_does_not_want_to():
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    lifeline.stop(process.pid, STOP_S)
    assert not psutil.pid_exists(process.pid)
    lifeline.stop(process.pid, STOP_S)  # gone already: nothing to do
    process.stdout.close()


def test_a_run_folder_holds_what_was_given_and_found(project, capsys):
    (project / "deep" / "er").mkdir(parents=True)
    os.chdir(project / "deep" / "er")
    assert project_root() == project
    run = RunFolder.start(CompareParams.build({"run_dir": "outputs/x"}, "test"))
    assert Path.cwd() == project and status(run.folder)["state"] == "running"
    assert CompareParams.from_file(run.path("params.yaml")).run_dir == "outputs/x"
    numbers = run.numbers({"top1": 71.23456}, protocol="clip", videos=9, expected=10, of="a run")
    assert capsys.readouterr().out.endswith("a run: top1 71.23 (clip, 9 of 10 videos)\n")
    assert numbers == {"top1": number(71.23456, protocol="clip", videos=9, expected=10)}
    run.finish(kind="test", model="resnet10", numbers=numbers, input=[8, 48, 48])
    assert status(run.folder)["state"] == "done"
    result = run.read("result.json")
    assert list(result) == ["kind", "model", "numbers", "input"]
    found = result["numbers"]["top1"]
    assert found == {"value": 71.2346, "protocol": "clip", "videos": 9, "expected": 10}
    assert [path.name for path in run.folder.iterdir() if path.name.startswith(".")] == [".lock"]
    with pytest.raises(ValueError, match="Out of range float"):
        run.finish(kind="test", broken=float("nan"))
    assert "top1" in run.path("result.json").read_text()  # the good file is still there


def test_a_run_is_done_only_while_what_it_made_is_there(project):
    run = RunFolder.start(CompareParams.build({"run_dir": "outputs/x"}, "test"))
    made = {"checkpoints/best.pt": {"epoch": 2}, "table.csv": {}}
    with pytest.raises(FileNotFoundError):
        run.finish(kind="test", files=made)
    assert status(run.folder)["state"] == "running" and not run.is_done()
    save_checkpoint(run.path("checkpoints/best.pt"), {"epoch": 2})
    write_text(run.path("table.csv"), "a,b")
    run.finish(kind="test", files=made)
    assert run.is_done() and run.read("result.json")["files"]["checkpoints/best.pt"]["epoch"] == 2
    write_text(run.path("table.csv"), "a,b,c")  # a table may be edited by hand
    assert run.is_done()
    save_checkpoint(run.path("checkpoints/best.pt"), {"epoch": 3})
    assert not run.is_done()
    save_checkpoint(run.path("checkpoints/best.pt"), {"epoch": 2})
    assert run.is_done()
    run.path("table.csv").unlink()
    assert not run.is_done()
    write_text(run.path("result.json"), '{"files": 5}')
    assert not run.is_done()


def test_thousands_of_runs_are_checked_and_named_apart(project):
    choices = {"accuracy": ["video_top1"], "runs": [[f"outputs/{n}"] for n in range(3000)]}
    batch = read(project, {"name": "a", "grid": choices}, {"name": "b", "after": "all"})
    assert len(batch.runs) == len(batch.fingerprints(project)) == 3001
    with pytest.raises(ParamsError, match=r"a-8: 2 runs have this name and folder, of step a and a-8; rename a step"):
        read(project, {"name": "a", "grid": {"runs": [["8"]]}}, {"name": "a-8"})
    with pytest.raises(ParamsError, match="grid: 1,000,000 combinations; a step may have 200,000"):
        read(project, {"name": "a", "grid": {name: list(range(100)) for name in ("runs", "accuracy", "x")}})
    long = read(project, {"name": "a", "grid": {"runs": [["x" * 300], ["x" * 299 + "y"]]}}).runs
    assert len({run.name for run in long}) == 2 and all(len(run.name) < 100 for run in long)


def test_a_picture_is_saved_with_the_table_behind_it(tmp_path):
    run = RunFolder(tmp_path)
    table = pd.DataFrame({"x": [1, 2], "y": [3, 4]})
    axes = table.plot("x", "y")
    run.show(axes, "alone")
    run.show(axes, "both", table)
    plt.close(axes.figure)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone.png", "both.csv", "both.png"]
    assert run.path("both.png").read_bytes().startswith(b"\x89PNG")
    assert pd.read_csv(run.path("both.csv")).equals(table)
    run.save_table([table, table.head(1)], "longer.csv")
    assert pd.read_csv(run.path("longer.csv"))["x"].tolist() == [1, 2, 1]
    assert run.read("status.json") == {} and list(run.progress("abc", desc="letters")) == ["a", "b", "c"]


def test_the_command_line_checks_files(project, root):
    (project / "params" / "compare").mkdir()
    good, bad = project / "params/compare/good.yaml", project / "params/compare/bad.yaml"
    good.write_text("accuracy: clip_top1\n")
    bad.write_text("accuracyy: clip_top1\n")
    command = [sys.executable, "-m", "actlib", "check", str(good), str(bad)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 2
    assert "good for 06_compare" in done.stdout and "did you mean accuracy?" in done.stderr
