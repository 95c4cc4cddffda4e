"""The run browser: any run folders in one table, and what the chosen ones hold, without a browser."""

import json
import re
import socket

import matplotlib
import pytest
from runfolders import status, training

from actlib.analysis.plots import curves_of_runs
from actlib.analysis.results.run_files import compare_parameters, read_histories
from actlib.analysis.results.runs import survey_runs
from actlib.analysis.widgets import RunBrowser
from actlib.files import write_text

matplotlib.use("Agg")
DEAD = 2**22 + 1  # above the largest number that Linux gives a process


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Eight run folders in every state, three of them damaged each in its own way."""
    monkeypatch.setattr("IPython.display.display", lambda *shown: None)
    training(tmp_path / "slow", top1=40, picture=True, lr=0.001)
    training(tmp_path / "fast", top1=59, picture=True, lr=0.01, model="c3d width_mult=0.5")
    training(tmp_path / "third", top1=45, lr=0.01)
    status(tmp_path / "failed", "failed", why="ParamsError: lr is <b>too</b> high")
    status(tmp_path / "running", "running")
    (status(tmp_path / "killed", "running") / "status.json").write_text(json.dumps({"state": "running", "pid": DEAD}))
    write_text(tmp_path / "killed" / "params.yaml", "epochs: 3\nmodel: resnet10\ntable: some/motion/table.csv\n")
    write_text(status(tmp_path / "half") / "result.json", '{"kind": "tra')
    write_text(tmp_path / "empty" / "status.json", "")
    write_text(training(tmp_path / "list", top1=30) / "params.yaml", "- no\n- mapping\n")
    return tmp_path


def shown_rows(browser) -> list[str]:
    return re.findall(r'data-key="row:[^"]*/([^"/]+)"', browser.rows.html)


def test_every_folder_is_in_the_table_whatever_its_state(runs):
    table, problems = survey_runs([f"{runs}/*", f"{runs}/nothing*"])
    states = dict(zip(table["run"], table["state"]))
    assert states == {
        "slow": "done", "fast": "done", "third": "done", "failed": "failed", "running": "running", "killed": "stopped",
        "half": "damaged", "empty": "damaged", "list": "damaged",
    }  # fmt: skip
    assert len(problems) == 1 and "nothing*' names no run folder" in problems[0]
    by_name = table.set_index("run").astype(object).fillna("")
    assert "half/result.json: not valid JSON" in by_name.loc["half", "why"]
    assert "expected a mapping" not in by_name.loc["list", "why"] and "params.yaml" in by_name.loc["list", "why"]
    row = by_name.loc["fast"]
    assert (row["accuracy"], row["measure"], row["protocol"]) == (59, "val top-1", "centre clip, best epoch")
    assert (row["videos"], row["dataset"]) == ("15 of 16", "motion")
    assert by_name.loc["killed", ["kind", "model", "dataset"]].tolist() == ["train", "resnet10", "motion"]
    lock = {"pid": DEAD, "host": socket.gethostname() + "-other"}
    (runs / "killed" / ".lock").write_text(json.dumps(lock))
    assert survey_runs([f"{runs}/killed"])[0]["state"].tolist() == ["running"], (
        "another machine's processes are unknown"
    )


def test_typing_filters_and_clicks_sort_and_choose(runs):
    browser = RunBrowser([f"{runs}/*"], interactive=True)
    assert browser.count.value == "9 of 9 runs" and "3 damaged: empty, half, list" in browser.message.value
    assert {folder.rsplit("/", 1)[1] for folder in browser.chosen} == {"slow", "fast", "third", "list"}
    browser.find.value = "RESNET10 train"
    assert set(shown_rows(browser)) == {"slow", "third", "killed"}
    browser.find.value = ""
    browser.rows.click("sort:accuracy")
    assert shown_rows(browser)[:3] == ["fast", "third", "slow"]
    browser.rows.click("sort:accuracy")
    assert shown_rows(browser)[:3] == ["slow", "third", "fast"], "runs without a number stay last"
    browser.rows.click("sort:run")
    assert shown_rows(browser) == sorted(shown_rows(browser))

    browser.rows.click(f"row:{runs}/fast")
    assert browser.history["run"].unique().tolist() == ["fast"]
    assert "centre clip, best epoch" in browser.numbers.value and "15 of 16" in browser.numbers.value
    assert "<details>" in browser.parameters.value and "width_mult=0.5" in browser.parameters.value
    alone, picture = bytes(browser.curves.value), browser.pictures.value
    browser.rows.click(f"tick:{runs}/slow")
    assert [each.rsplit("/", 1)[1] for each in browser.chosen] == ["fast", "slow"]
    assert alone.startswith(b"\x89PNG") and bytes(browser.curves.value) != alone
    assert browser.history["run"].unique().tolist() == ["fast", "slow"]
    assert "0.001" in browser.parameters.value and "batch_size" not in browser.parameters.value
    assert browser.picture.options == ("curves",) and browser.pictures.value.count("<img") == 2 * picture.count("<img")
    browser.rows.click(f"row:{runs}/fast", more=True)
    browser.rows.click(f"tick:{runs}/slow")
    assert browser.chosen == [] and browser.curves.layout.display == "none" and browser.numbers.value == ""

    browser.rows.click(f"row:{runs}/failed")
    assert "failed: failed. ParamsError: lr is &lt;b&gt;too&lt;/b&gt; high" in browser.message.value
    browser.choose([f"{runs}/half", f"{runs}/list", f"{runs}/slow"])
    assert "half/result.json" in browser.message.value and "list/params.yaml" in browser.message.value
    assert "slow" in browser.numbers.value


def test_reading_again_finds_what_has_changed(runs):
    browser = RunBrowser([f"{runs}/*"], interactive=True)
    training(runs / "new", top1=99)
    write_text(runs / "slow" / "metrics.csv", "epoch,loss\none,two\n")
    browser.again.click()
    assert browser.count.value == "10 of 10 runs" and "new" in shown_rows(browser)
    assert "slow/metrics.csv: no history of a training" in browser.message.value
    assert RunBrowser([f"{runs}/nothing"], interactive=True).count.value == "0 of 0 runs"


def test_runs_side_by_side(runs):
    table, others, problems = compare_parameters({"a": f"{runs}/slow", "b": f"{runs}/third", "c": f"{runs}/list"})
    assert table.index.tolist() == ["lr"] and table.loc["lr"].tolist() == ["0.001", "0.01"]
    assert others > 40 and len(problems) == 1
    write_text(runs / "half" / "params.yaml", "lr: 0.1\nviews: 3\nmodel: resnet10\n")
    table = compare_parameters({"a": f"{runs}/slow", "b": f"{runs}/half"})[0]
    assert table.index.tolist() == ["lr", "model"], "what one kind of run alone has does not differ"
    histories, problems = read_histories({"a": f"{runs}/slow", "b": f"{runs}/failed"})
    assert histories["run"].tolist() == ["a"] * 3 and histories["val_top1"].tolist() == [40.0] * 3 and not problems


def test_a_run_has_a_colour_and_its_name_is_no_formula(runs):
    history = read_histories({"$a_b$": f"{runs}/slow", "b": f"{runs}/third"})[0]
    loss = curves_of_runs(history, colours={"$a_b$": "#102030"})
    accuracy = loss.figure.axes[1]
    assert [line.get_color() for line in loss.lines] == ["#102030"] * 2 + ["C1"] * 2
    assert [line.get_linestyle() for line in accuracy.lines] == ["-", "--"] * 2
    assert accuracy.lines[2].get_ydata().tolist() == [45, 45, 45] and loss.get_ylabel() == "loss"
    legend = loss.figure.legends[0].get_texts()
    assert [text.get_text() for text in legend] == ["$a_b$", "b"] and not any(text.get_parse_math() for text in legend)


def test_without_a_screen_the_table_is_shown(runs, monkeypatch, capsys):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    browser = RunBrowser([f"{runs}/*"], interactive=False)
    assert len(shown) == 1 and {"run", "accuracy, %", "protocol"} <= set(shown[0].columns) and len(shown[0]) == 9
    said = capsys.readouterr().out
    assert "3 damaged" in said and "failed: failed. ParamsError: lr is <b>too</b> high" in said and "slow" not in said
    assert len(browser.history) == 12
