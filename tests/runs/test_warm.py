"""Batches from the command line, which forks its runs, with real kernels."""

import json
import os
import re
import subprocess
import sys

import nbformat
import pytest
from batches import batch_of, make_project, status

SAYS = """
import json, os, numpy, torch
import matplotlib.pyplot as plt
if "die" in p.runs:
    os.kill(os.getpid(), 9)
plt.plot([1, 2])
facts = {"pid": os.getpid(), "drawn": numpy.random.rand(), "threads": torch.get_num_threads()}
run.path("facts.json").write_text(json.dumps(facts | {"headless": os.environ["ACTLIB_HEADLESS"]}))
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    return make_project(tmp_path, monkeypatch)


def with_cells(project, *cells):
    """The project's notebook, with these cells between its imports and its end."""
    path = project / "notebooks" / "06_compare.ipynb"
    content = nbformat.read(path, 4)
    content.cells[2:2] = [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(content, path)


def run(project, path, *options):
    command = [sys.executable, "-m", "actlib", "batch", str(path), *options]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_forked_runs_keep_what_a_batch_promises(project):
    with_cells(project, SAYS)
    asked = {"good": [], "bad": ["fail"], "dead": ["die"], "child": ["{bad}/x"], "other": []}
    steps = [{"name": name, "set": {"runs": runs or ["x"]}} for name, runs in asked.items()]
    done = run(project, batch_of(project, [*steps, {"name": "last", "after": "all"}], workers=os.cpu_count()))
    assert done.returncode == 1 and done.stderr == ""
    assert "importing once for all runs" in done.stdout and "\r" not in done.stdout
    ends = dict(re.findall(r"^(\w+): (done|failed|blocked)\b", done.stdout, re.M))
    assert ends == dict(good="done", bad="failed", dead="failed", child="blocked", other="done", last="done")
    out = project / "outputs" / "b"
    assert status(out / "bad")["why"] == "RuntimeError: asked to fail"
    assert "the kernel died" in status(out / "dead")["why"]
    facts = {name: json.loads((out / name / "facts.json").read_text()) for name in ("good", "bad", "other", "last")}
    assert len({each["pid"] for each in facts.values()}) == len({each["drawn"] for each in facts.values()}) == 4
    assert all(each["threads"] == 1 and each["headless"] == "1" for each in facts.values())
    assert status(out / "good")["pid"] == facts["good"]["pid"]
    log = (out / "good" / "log.txt").read_text()
    assert "epoch of video_top1" in log and "Executing Cell 3" in log and "Ctrl-C" not in log
    assert "    good: epoch of video_top1" in done.stdout
    assert json.loads((out / "good" / "batch.json").read_text())["seconds"] > 0
    executed = nbformat.read(out / "good" / "notebook.ipynb", 4)
    kinds = [kind for cell in executed.cells for each in cell.get("outputs", []) for kind in each.get("data", {})]
    assert "image/png" in kinds
    assert json.loads((out / "good" / "environment.json").read_text())["device"] is None  # nothing to compute on one


@pytest.mark.slow
def test_where_a_fork_is_not_safe_each_run_starts_anew(project):
    sleeps = "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    (project / "restless.py").write_text(f"import threading, time\n{sleeps}\n")
    with_cells(project, "import restless")
    done = run(project, batch_of(project, [{"name": "a"}, {"name": "b"}]))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "each run starts its own processes" in done.stdout and "2 threads" in done.stdout
    assert status(project / "outputs" / "b" / "b")["state"] == "done"
