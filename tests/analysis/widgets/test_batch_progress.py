"""The widget that follows a batch, without a browser."""

import asyncio
import re

import pytest
from runfolders import status, training

from actlib import batch_progress
from actlib.analysis.widgets import BatchProgress
from actlib.run_progress import Told


@pytest.fixture
def shown(monkeypatch) -> list:
    """What was displayed."""
    found = []
    monkeypatch.setattr("IPython.display.display", lambda *what: found.extend(what))
    return found


@pytest.fixture
def batch(tmp_path) -> batch_progress.BatchProgress:
    """A batch at work in this process: a training, a failure, one that waits."""
    told = batch_progress.BatchProgress.begin(tmp_path / "b", "params/b.yaml", ["late", "bad", "trains"])
    training(tmp_path / "b" / "trains", epochs=2, top1=40)
    status(tmp_path / "b" / "trains", "running")
    (tmp_path / "b" / "trains" / "log.txt").write_text("epoch 2: <b>5 of 9</b>\n")
    status(tmp_path / "b" / "bad", "failed", why="ValueError: no <i>videos</i>")
    told.runs |= {"trains": Told("running", "tcp://10.0.0.7:1"), "bad": Told("failed")}
    told.dashboard = "http://10.0.0.1:8787/status"
    told.write()
    return told


def test_a_row_a_run_those_at_work_first(batch, shown):
    widget = BatchProgress(batch.folder, interactive=True)
    assert shown == [widget.widget] and not widget.follows, "there is no loop here"
    assert re.findall(r'data-key="(\w+)"', widget.rows.html) == ["trains", "bad", "late"]
    assert "b: 1 running · 1 failed · 1 waiting · 0:0" in widget.head.value
    assert 'href="http://10.0.0.1:8787/status"' in widget.head.value
    assert "2 of 2" in widget.rows.html and "40.0 val top-1" in widget.rows.html
    assert 'title="centre clip × centre crop, epoch 2"' in widget.rows.html
    assert "tcp://10.0.0.7:1" in widget.rows.html
    assert "no &lt;i&gt;videos" in widget.rows.html and "<i>" not in widget.rows.html
    assert widget.log.value == ""
    widget.click("trains")
    assert "epoch 2: &lt;b&gt;5 of 9&lt;/b&gt;" in widget.log.value
    widget.click("late")
    assert "it has said nothing yet" in widget.log.value
    widget.click("late")
    assert widget.log.value == ""
    batch.runs |= {"trains": Told("done"), "late": Told("blocked")}
    batch.end()
    widget.refresh()
    assert "1 failed · 1 blocked · 1 done · done 20" in widget.head.value and "href" not in widget.head.value
    assert widget.table["state"].tolist() == ["blocked", "failed", "done"]


def test_it_follows_until_the_batch_ends_or_it_is_closed(batch, shown):
    async def until(holds) -> None:
        for _ in range(1200):
            if holds():
                return
            await asyncio.sleep(0.05)
        raise AssertionError(widgets[0].head.value)

    widgets = []

    async def watch() -> None:
        widgets.extend(BatchProgress(batch.folder, interactive=True, every_s=0.05) for _ in range(3))
        assert all(each.follows for each in widgets)
        batch.runs["late"] = Told("running")
        batch.write()
        await until(lambda: "2 running" in widgets[0].head.value)
        widgets[1].close()
        widgets[2].widget.close()
        await until(lambda: not widgets[1].follows and not widgets[2].follows)
        assert widgets[0].follows
        batch.end()
        await until(lambda: not widgets[0].follows)
        assert "2 stopped · 1 failed" not in widgets[0].head.value and "1 failed · 2 stopped" in widgets[0].head.value

    asyncio.run(watch())


def test_without_a_screen_it_is_shown_once(batch, shown, capsys, tmp_path):
    batch.end()
    widget = BatchProgress(batch.folder, interactive=False)
    assert shown[0] is widget.table and list(widget.table["run"]) == ["late", "bad", "trains"]
    assert capsys.readouterr().out.startswith("b: 1 failed · 1 stopped · 1 waiting · stopped 20")
    assert BatchProgress(tmp_path / "nothing", interactive=False).table.empty, "it may begin later"
    assert "nothing has begun yet" in capsys.readouterr().out


def test_thousands_of_runs_are_counted(tmp_path, shown):
    names = [f"r{number}" for number in range(1000)]
    told = batch_progress.BatchProgress.begin(tmp_path / "b", "b.yaml", names)
    told.runs["r999"] = Told("running")
    told.write()
    widget = BatchProgress(told.folder, interactive=True)
    assert len(widget.table) == 1000 and widget.rows.html.count("<tr data-key") == 200
    assert 'data-key="r999"' in widget.rows.html and "and 800 more" in widget.rows.html
