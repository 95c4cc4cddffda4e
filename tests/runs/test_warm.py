"""Batches from the command line, which forks its runs, with real kernels; and the line that moves in a terminal."""

import json
import os
import pty
import re
import subprocess
import sys
import time

import nbformat
import pytest
from batches import batch_of, make_project, status

from actlib.runs.batch import read_batch
from actlib.runs.status_line import Progress, describe, time_left

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


@pytest.mark.slow
def test_in_a_terminal_one_line_moves(project):
    loop = "for number in (1, 2, 3):\n    time.sleep(0.7)\n    print(f'epoch   {number} of 3: good', flush=True)"
    with_cells(project, loop)
    path = batch_of(project, [{"name": "a"}, {"name": "b"}], workers=2)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "actlib", "batch", str(path)], cwd=project, stdout=theirs, stderr=theirs, close_fds=True
    )
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 4096):
            said += part
    except OSError:  # a terminal that nobody writes to any more ends so
        pass
    assert process.wait(timeout=60) == 0
    lines = said.decode().replace("\r\n", "\n").split("\n")
    moving = [each for line in lines for each in line.split("\r\x1b[K")[1:-1]]
    assert any(re.fullmatch(r"\[0/2\] 2 running: a epoch 2/3, b epoch 2/3 · 0:\d\d gone, about 0:0\d left", each)
               for each in moving), moving  # fmt: skip
    stay = [line.split("\r\x1b[K")[-1] for line in lines]
    assert any(line.startswith("a: done in") for line in stay) and not any("epoch" in line for line in stay)
    assert all(len(each) < 80 for each in moving)


def test_what_is_left(project):
    """Two at a time: a and b, then c after both; d alone."""
    steps = [{"name": "a"}, {"name": "b"}, {"name": "c", "after": ["a", "b"]}, {"name": "d"}]
    batch = read_batch(batch_of(project, steps, workers=2), project)
    takes = dict(a=10.0, b=4.0, c=5.0, d=3.0)

    def expected(run):
        return takes[run.name]

    assert time_left(batch, set(), {}, expected) == (15.0, True)  # d beside a, after b
    running = {"a": Progress(begin=time.monotonic())}
    running["a"].epochs = [(1, 5, time.monotonic() - 2), (2, 5, time.monotonic())]
    left, known = time_left(batch, {"b", "d"}, running, expected)
    assert known and left == pytest.approx(3 * 2 + 5, abs=0.1)
    takes["c"] = None
    left, known = time_left(batch, {"b", "d"}, running, expected)
    assert not known and left == pytest.approx(6, abs=0.1)
    words = describe(batch, {"b", "d"}, running, time.monotonic() - 130, (3700, False))
    assert words == "[2/4] 1 running: a epoch 2/5 · 2:10 gone, more than 1:01:40 left"
    assert describe(batch, {"b", "d"}, {"a": Progress()}, time.monotonic(), (0, False)).endswith("a · 0:00 gone")


def test_a_run_that_takes_longer_than_the_last_time_has_no_known_end():
    each = Progress(expected=5.0, begin=time.monotonic() - 3)
    assert each.left() == pytest.approx(2, abs=0.1)
    each.begin -= 4
    assert each.left() is None
    each.note("epoch   1 of 4: loss 1.0")
    assert each.left() is None and str(each) == " epoch 1/4"
    each.note("an epoch   2 of 4: no")
    assert len(each.epochs) == 1
