"""The table of a batch at work: in a terminal, and what it tells others in the batch's folder."""

import codecs
import json
import os
import pty
import re
import subprocess
import sys
import time

import nbformat
import pytest
from batches import batch_of, make_project
from runfolders import status as make_status
from runfolders import training

from actlib import batch_progress
from actlib.files import write_json
from actlib.run_progress import ProgressTable, Row, Told
from actlib.runs.batch import read_batch
from actlib.runs.live_table import LiveTable, table_lines
from actlib.runs.time_left import time_left


@pytest.fixture
def project(tmp_path, monkeypatch):
    return make_project(tmp_path, monkeypatch)


class Terminal:
    """What a terminal shows of what is written to it: it knows new lines, and the codes of a table."""

    def __init__(self):
        self.lines, self.row, self.seen = [""], 0, []

    def write(self, text: str) -> None:
        for part in re.findall(r"\x1b\[\d*[A-Za-z]|\n|\r|[^\x1b\n\r]+", text):
            if code := re.fullmatch(r"\x1b\[(\d*)([A-Za-z])", part):
                if code[2] == "F":
                    self.row -= int(code[1])
                    assert self.row >= 0
                elif code[2] == "J":
                    self.seen.append("\n".join(self.lines))
                    del self.lines[self.row :]
                    self.lines.append("")
                else:
                    raise AssertionError(part)
            elif part == "\n":
                self.row += 1
                self.lines += [""] * (self.row == len(self.lines))
            elif part != "\r":
                self.lines[self.row] += part


TRAINS = """
for number in (1, 2, 3):
    run.path("metrics.csv").write_text(
        f"epoch,val_top1,val_videos,clips_per_s,seconds\\n{number},{12.5 * number},16,21.5,1.5\\n")
    beginning = time.monotonic()
    while time.monotonic() < beginning + 120 and not (run.folder.parent / f"seen_{number}").exists():
        time.sleep(0.1)
"""


@pytest.mark.slow
def test_in_a_terminal_a_table_moves_below_the_lines_that_stay(project):
    path, out = project / "notebooks" / "06_compare.ipynb", project / "outputs" / "b"
    content = nbformat.read(path, 4)
    content.cells.insert(2, nbformat.v4.new_code_cell(TRAINS))
    nbformat.write(content, path)
    steps = [{"name": "a"}, {"name": "bad", "set": {"runs": ["fail"]}}, {"name": "late", "after": "all"}]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "actlib", "batch", str(batch_of(project, steps, workers=2))], cwd=project,
        stdout=theirs, stderr=theirs, close_fds=True,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
    )  # fmt: skip
    os.close(theirs)
    screen, decoder, told = Terminal(), codecs.getincrementaldecoder("utf-8")(), []
    follower = batch_progress.Follower(out)
    try:
        while part := os.read(ours, 4096):
            screen.write(decoder.decode(part))
            for number in (1, 2, 3):
                seen, both = out / f"seen_{number}", rf"^(?:\w+ +running +{number} of.*\n){{2}}"
                if not seen.exists() and re.search(both, "\n".join(screen.lines), re.M):
                    told.append(follower.look())
                    seen.touch()
    except OSError:  # a terminal that nobody writes to any more ends so
        pass
    assert process.wait(timeout=120) == 1, "\n".join(screen.lines)
    batch, rows = told[-1]
    assert batch.state == "running" and batch.pid == process.pid and batch.command.endswith("batch " + str(batch.file))
    assert [(row.run, row.state, row.epoch, row.accuracy, row.rate) for row in rows] == [
        ("a", "running", 3, 37.5, 21.5), ("bad", "running", 3, 37.5, 21.5), ("late", "waiting", None, None, None),
    ]  # fmt: skip
    both = next(each for each in reversed(screen.seen) if len(re.findall(r"^\w+ +running +3 of", each, re.M)) == 2)
    assert re.search(r"^\[0/3\] 2 running · 1 waiting · \d:\d\d gone$", both, re.M), both
    assert re.search(r"^a +running +3 of \? +37.5 val top-1 +21.5$", both, re.M), both
    assert re.search(r"^and 1 waiting$", both, re.M) and all(len(line) < 80 for line in both.splitlines()), both
    stay = "\n".join(screen.lines)
    assert "running" not in stay and "clips/s" not in stay
    assert re.search(r"^bad: failed in \d+ s: RuntimeError: asked to fail$", stay, re.M), stay
    assert re.search(r"^late: done in", stay, re.M), stay
    after, rows = follower.look()
    assert after.state == "done" and after.ended >= after.begun
    assert [(row.state, row.why) for row in rows] == [
        ("done", ""), ("failed", "RuntimeError: asked to fail"), ("done", "")
    ]  # fmt: skip


def test_what_is_left(project):
    """Two at a time: a and b, then c after both; d alone."""
    steps = [{"name": "a"}, {"name": "b"}, {"name": "c", "after": ["a", "b"]}, {"name": "d"}]
    batch = read_batch(batch_of(project, steps, workers=2), project)
    takes = dict(a=10.0, b=4.0, c=5.0, d=3.0)

    def expected(run):
        return takes[run.name]

    assert time_left(batch, set(), {}, expected) == (15.0, True)  # d beside a, after b
    assert time_left(batch, {"b", "d"}, {"a": 6.0}, expected) == (11.0, True)
    assert time_left(batch, set(), {"a": 6.0, "b": 1.0, "d": 1.0}, expected) == (11.0, True)  # three workers
    takes["c"] = None
    assert time_left(batch, {"b", "d"}, {"a": 6.0}, expected) == (6.0, False)


def test_a_run_that_takes_longer_than_the_last_time_has_no_known_end(tmp_path):
    make_status(tmp_path / "a", "running")
    table, now = ProgressTable(tmp_path), time.time()
    assert table.rows({"a": Told("running", since=now - 3, takes=5.0)})[0].left == pytest.approx(2, abs=1)
    assert table.rows({"a": Told("running", since=now - 9, takes=5.0)})[0].left is None


def test_rows_of_folders(tmp_path, monkeypatch):
    training(tmp_path / "done", epochs=3, top1=62.5)
    make_status(tmp_path / "failed", "failed", why="ValueError: no videos")
    training(tmp_path / "old", epochs=3)
    training(tmp_path / "trains", epochs=8)
    make_status(tmp_path / "trains", "running")
    history = "epoch,val_top1,val_videos,clips_per_s,seconds\n1,20.0,16,30,100\n2,31.25,16,1234.5,200\n"
    (tmp_path / "trains" / "metrics.csv").write_text(history)
    told = {
        "done": Told("done"), "failed": Told("failed"), "old": Told("waiting"), "child": Told("blocked"),
        "trains": Told("running", "tcp://10.0.0.7:1"),
    }  # fmt: skip
    table = ProgressTable(tmp_path)
    rows = {row.run: row for row in table.rows(told)}
    assert list(rows) == list(told)
    assert (rows["done"].accuracy, rows["done"].measure, rows["done"].epoch) == (62.5, "val_top1", 3)
    assert rows["done"].protocol == "centre clip, best epoch, 15 of 16 videos"
    assert rows["failed"].why == "ValueError: no videos" and rows["child"].why == "needs a run that failed"
    assert rows["old"] == Row("old", "waiting"), "what lies there is of an earlier run"
    trains = rows["trains"]
    assert (trains.epoch, trains.epochs, trains.accuracy, trains.rate) == (2, 8, 31.25, 1234.5)
    assert trains.protocol == "centre clip × centre crop, epoch 2, 16 videos"
    assert trains.left == pytest.approx(6 * 150, abs=60)
    cells = trains.cells()
    assert cells["epoch"] == "2 of 8" and cells["accuracy, %"] == "31.2 val top-1" and cells["clips/s"] == "1,234"
    assert cells["where"] == "tcp://10.0.0.7:1" and re.fullmatch(r"1[45]:\d\d", cells["left"])

    opened = []
    monkeypatch.setattr("actlib.run_progress.read_text", lambda path: opened.append(path.name) or path.read_text())
    monkeypatch.setattr("actlib.run_progress.read_mapping", lambda path: opened.append(path.name) or {})
    assert {row.run: row for row in table.rows(told)}.keys() == rows.keys() and opened == [], "nothing has changed"
    (tmp_path / "trains" / "metrics.csv").write_text(history + "3,50.0,16,30,200\n")
    assert {row.run: row for row in table.rows(told)}["trains"].epoch == 3 and opened == ["metrics.csv"]
    (tmp_path / "trains" / "metrics.csv").write_text("epoch,val_top1\n")
    assert {row.run: row for row in table.rows(told)}["trains"].epoch is None


def test_a_batch_whose_runner_is_gone_has_stopped(project):
    batch = read_batch(batch_of(project, [{"name": "a"}, {"name": "b"}, {"name": "c"}]), project)
    table, out = LiveTable(batch, project), project / "outputs" / "b"
    make_status(out / "a", "running")
    table.show({"a": ("running", "w1"), "b": ("done", "")})
    told = batch_progress.read(out)
    assert told.state == "running" and told.runs["a"].where == "w1" and told.runs["c"].state == "waiting"
    assert batch_progress.under_way([f"{project}/outputs/*"]) == [out] == batch_progress.under_way([f"{out}/*"])
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for of_another in ({"pid": gone.pid}, {"host": "elsewhere", "heard": time.time() - 600}):
        write_json(out / batch_progress.NAME, json.loads((out / batch_progress.NAME).read_text()) | of_another)
        told = batch_progress.read(out)
        assert told.state == "stopped" and told.runs["a"].state == "stopped" and told.runs["c"].state == "waiting"
    assert batch_progress.under_way([f"{out}/*"]) == []
    table.close({"a": ("running", "w1"), "b": ("done", "")})
    told = batch_progress.read(out)
    assert (told.state, told.runs["a"].state, told.runs["b"].state) == ("stopped", "stopped", "done")
    assert told.ended is not None


def test_folders_alone_tell_of_a_batch(tmp_path):
    training(tmp_path / "a", top1=50)
    make_status(tmp_path / "b", "failed", why="no")
    (tmp_path / "videos").mkdir()
    batch, rows = batch_progress.Follower(tmp_path).look()
    assert batch is None and [(row.run, row.state) for row in rows] == [("a", "done"), ("b", "failed")]
    assert batch_progress.count_states(rows) == "1 failed · 1 done"


def test_where_a_batch_lies(project):
    file = batch_of(project, [{"name": "a"}])
    assert batch_progress.folder_of(file) == project / "outputs" / "b"
    file.write_text("steps: []")
    assert batch_progress.folder_of(str(file)) == project / "outputs" / "b", "a folder of its own name"
    file.write_text("lr: 0.1")
    with pytest.raises(ValueError, match="is no batch file"):
        batch_progress.folder_of(file)
    with pytest.raises(FileNotFoundError):
        batch_progress.folder_of("nowhere.yaml")
    assert batch_progress.folder_of(project) == project


def test_a_table_fits_the_terminal():
    running = [Row(f"run_{number}_with_a_very_long_name_indeed", "running", "tcp://10.0.0.1:12345", number, 100, 50.0,
                   "val_top1", "", 100.0, 4000.0) for number in range(30)]  # fmt: skip
    rows = [Row("好" * 30, "failed", why="日本 \x1b[31m" + "x" * 300), *running, Row("w"), Row("d", "done")]
    for width, height in ((20, 3), (40, 10), (80, 24), (200, 60)):
        lines = table_lines(rows, "[2/33] …", width, height)
        assert all(sum(1 + (each > "⺀") for each in line) <= width for line in lines), width
        assert len(lines) <= max(height, 4) and not any("\x1b" in line for line in lines)
    lines = table_lines(rows, "", 80, 24)
    assert lines[1].split() == ["run", "state", "where", "epoch", "accuracy,", "%", "clips/s", "left"]
    assert lines[-1] == "and 9 running · 1 failed · 1 waiting · 1 done"
    wide = table_lines(rows, "", 200, 60)
    told = "run_0_with_a_very_long_name_indeed running tcp://10.0.0.1:12345 0 of 100 50.0 val top-1 100 1:06:40"
    assert wide[2].split() == told.split()
    assert wide[32].startswith("好" * 19 + "…") and wide[-1] == "and 1 waiting · 1 done"
