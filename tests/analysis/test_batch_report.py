"""The report of a batch: one file with all in it, whatever the runs hold."""

import html.parser
import json
import re

import pandas as pd
import pytest
from batches import batch_of, make_project
from runfolders import PROTOCOL, status, training

from actlib import __main__ as command_line
from actlib import batch_progress
from actlib.analysis.batch_report import write_report
from actlib.analysis.plots import tradeoff, validation_curves
from actlib.analysis.results import batch_runs
from actlib.files import write_json, write_text
from actlib.params import VideoAccuracyParams
from actlib.run_progress import Told

EVIL = "<script>alert(1)</script> & $\\nofraction$"


class Page(html.parser.HTMLParser):
    """The tags of a page that have to be closed, what it asks for from elsewhere, and its text."""

    def __init__(self, source: str):
        super().__init__()
        self.open, self.asks, self.texts, self.tags = [], [], [], []
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        self.asks += [value for name, value in attributes if name in ("src", "href") and value]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.texts.append(text)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def evaluated(folder, top1: float, gmacs: float, model="resnet10", **numbers):
    status(folder)
    params = VideoAccuracyParams(run_dir=str(folder), table="t/table.csv", checkpoint=f"{folder.parent}/a/best.pt")
    write_text(folder / "params.yaml", params.as_yaml())
    on = {"protocol": "10 clips × 3 crops @ 256", "videos": 18434, "expected": 19796}
    told = {"video_top1": {"value": top1, **on}, "clip_top1": {"value": top1 - 9, "protocol": PROTOCOL}, **numbers}
    result = {"kind": "video_accuracy", "model": model, "dataset": "kinetics", "gmacs": gmacs, "numbers": told}
    write_json(folder / "result.json", result)
    write_json(folder / "environment.json", {"python": "3.11.7", "packages": {"torch": "2.15.0"}, "device": "H100"})


@pytest.fixture
def batch(tmp_path):
    """A batch that was interrupted: trainings, evaluations, a failure, a damaged one, one blocked, one not begun."""
    folder = tmp_path / "b"
    names = ["train-0.1", "train-0.01", "accuracy", "other", "bad", "half", "child", "late"]
    told = batch_progress.BatchProgress.begin(folder, "params/batch/b.yaml", names)
    training(folder / "train-0.1", top1=50.0, lr=0.1)
    training(folder / "train-0.01", top1=62.5, lr=0.01)
    evaluated(folder / "accuracy", 71.2, 3.0, frozen_top1={"value": 9.5, "protocol": f"{PROTOCOL}, one frame"})
    evaluated(folder / "other", 60.0, 1.5, model=f"{EVIL}.py:net")
    status(folder / "bad", "failed", why=f"ValueError: {EVIL}")
    lines = [f"\x1b[31mline {number}\x1b[0m" for number in range(300)]
    (folder / "bad" / "log.txt").write_text("\n".join([*lines, EVIL, "Ending Cell 3----"]))
    (status(folder / "half") / "result.json").write_text('{"kind": "tra')
    training(folder / "child", top1=99.0)  # what an earlier batch left
    states = dict.fromkeys(names[:4], "done") | {"bad": "failed", "half": "failed", "child": "blocked"}
    told.runs |= {name: Told(state) for name, state in states.items()} | {"late": Told("waiting")}
    told.end()
    return folder


def test_all_is_in_one_file(batch):
    path = write_report(batch, {"half": ("failed", 61.0, "the kernel died")})
    source = path.read_text(encoding="utf-8")
    page = Page(source)
    assert path == batch / "batch_report.html" and not page.open
    assert len(page.asks) == 3 and all(each.startswith("data:image/png;base64,") for each in page.asks)
    assert "script" not in page.tags and "link" not in page.tags and "url(" not in source
    assert page.text.count(EVIL) >= 3, "why it failed, the end of its log, and a network"
    assert "A part is missing" not in page.text
    for words in (
        "runs: 8 2 failed 1 blocked 1 waiting 4 done", "Not complete (stopped, or not begun: 1)", "params/batch/b.yaml",
        "line 299", "the kernel died", "Blocked by a run that failed (1): child", "1:01",
        "video_top1 71.2 (10 clips × 3 crops @ 256, 18,434 of 19,796 videos)", "2 more protocols",
        "2 trainings;", "train-0.01 best 62.5 % in epoch 1", "val_top1 62.5 (centre clip, best epoch, 15 of 16 videos)",
        "device H100", "torch 2.15.0",
    ):  # fmt: skip
        assert words in page.text, words
    for words in ("line 200", "\x1b", "Ending Cell", "val_top1 99"):
        assert words not in page.text, words
    order = [page.text.index(words) for words in ("bad failed", "half failed", "Training curves", "All runs")]
    assert order == sorted(order)
    heads = re.findall(r"<thead><tr>(.*?)</tr>", source)
    assert "<th>run</th><th>state</th><th>lr</th><th>numbers</th><th>time</th>" in heads, heads
    assert page.text.index("val_top1 62.5") < page.text.index("val_top1 50 "), "the most accurate first"


def test_a_part_that_cannot_be_made_says_why(batch):
    path = batch / "other" / "result.json"
    write_json(path, json.loads(path.read_text()) | {"gmacs": {"no": "number"}})
    text = Page(write_report(batch).read_text(encoding="utf-8")).text
    assert "A part is missing here: ValueError" in text and "gmacs" in text
    assert "Training curves" in text and "video_top1 71.2" in text


def test_a_folder_without_a_runner_and_an_empty_one(tmp_path):
    training(tmp_path / "old" / "a", top1=50)
    text = Page(write_report(tmp_path / "old").read_text(encoding="utf-8")).text
    assert "runs: 1 1 done" in text and "val_top1 50 (centre clip" in text
    (tmp_path / "empty").mkdir()
    assert "runs: 0" in Page(write_report(tmp_path / "empty").read_text(encoding="utf-8")).text


def test_of_many_runs_the_best_are_named(tmp_path):
    for number in range(30):
        training(tmp_path / f"run{number:02}", epochs=2, top1=number, seed=number)
    for number in range(40):
        status(tmp_path / f"bad{number}", "failed", why=f"reason {number}.")
    source = write_report(tmp_path).read_text(encoding="utf-8")
    page = Page(source)
    assert "30 trainings;" in page.text and "The 10 best are named, the others grey." in page.text
    named = re.findall(r'<li><i style="background:(#\w+)"></i>(\w+)', source)
    assert [name for _, name in named] == [f"run{number}" for number in range(29, 19, -1)]
    assert len({colour for colour, _ in named}) == 10
    assert all(f"reason {number}." in page.text for number in range(40)) and len(source) < 1_000_000


def test_the_others_are_one_grey_line_with_gaps():
    histories = pd.DataFrame({"run": ["a", "a", "b", "b", "c"], "epoch": [1, 2, 1, 2, 1], "val_top1": range(5)})
    grey, coloured = validation_curves(histories, "val_top1", {"b": "#ff0000"}).lines
    assert coloured.get_color() == "#ff0000" and coloured.get_ydata().tolist() == [2, 3]
    assert pd.Series(grey.get_ydata()).isna().tolist() == [False, False, True, False, True]


def test_points_without_a_label_stay_points():
    points = pd.DataFrame({"gmacs": [1.0, 2.0], "top1": [50.0, 60.0], "label": ["$a$ \\x", ""], "dataset": "d"})
    axes = tradeoff(points, "gmacs", "top1", points["top1"] > 0, groups="dataset", ylabel="%")
    assert [text.get_text() for text in axes.texts] == ["$a$ \\x"]
    axes.figure.canvas.draw()
    assert sum(len(each.get_offsets()) for each in axes.collections) == 2


def test_differing_parameters_and_environments():
    def run(name, where="", **parameters):
        row = batch_runs.Row(name, "done", where)
        told = {"device": "H100", "packages": {"torch": "2"}}
        return batch_runs.ReportedRun(row, None, parameters={"run_dir": f"o/{name}", **parameters}, environment=told)

    runs = [run("a", "w1", lr="0.1", seed="0"), run("b", "w2", lr="0.2", seed="0", more="1", to="o/a/x.pt")]
    assert batch_runs.differing(runs) == ["lr", "more", "to"]
    assert runs[1].parameter("to") == "…/a/x.pt" and runs[0].parameter("to") == ""
    found = dict(batch_runs.environments(runs))
    assert found["device"] == [("H100", 2)] and found["torch"] == [("2", 2)]
    assert found["ran on"] == [("w1", 1), ("w2", 1)]


@pytest.mark.slow
def test_a_batch_ends_with_its_report_or_a_line_that_says_why_not(tmp_path, monkeypatch, capsys):
    project = make_project(tmp_path, monkeypatch)
    steps = [{"name": "bad", "set": {"runs": ["fail"]}}, {"name": "child", "set": {"runs": ["{bad}/x"]}}]
    path = batch_of(project, steps)
    assert command_line.main(["batch", "--cold", str(path)]) == 1
    report = project / "outputs" / "b" / "batch_report.html"
    assert "report: outputs/b/batch_report.html\n" in capsys.readouterr().out
    text = Page(report.read_text(encoding="utf-8")).text
    assert "RuntimeError: asked to fail" in text and "Blocked by a run that failed (1): child" in text
    report.unlink()
    report.mkdir()
    (report / "something").touch()
    assert command_line.main(["batch", "--cold", str(path)]) == 1
    assert "no report: " in capsys.readouterr().err
