"""The prediction browser: right and wrong, sure and unsure, by cell of the matrix, without a browser."""

import re
import shutil
from pathlib import Path

import pytest
from runfolders import PROTOCOL, evaluation

from actlib.analysis.results.predictions import most_confused, read_predictions
from actlib.analysis.widgets import PredictionBrowser
from actlib.analysis.widgets.matrix import matrix_svg
from actlib.datasets.table import read_table, rows_of, write_table


@pytest.fixture
def run(tmp_path, motion_table, monkeypatch):
    """A run on 16 videos: 0 and 1 (of one class) wrong alike, 5 wrong, 7 not decoded; the file of 1 is gone."""
    monkeypatch.setattr("IPython.display.display", lambda *shown: None)
    videos = rows_of(read_table(motion_table), "validation")
    gone = tmp_path / "gone.mp4"
    shutil.copy(videos["path"][1], gone)
    videos.loc[1, "path"] = str(gone)
    table, labels = write_table(videos, tmp_path / "table.csv"), videos["label"]
    assert labels[0] == labels[1] and len({*labels[[0, 5, 8, 15]]}) == 4
    wrong = {0: labels[8], 1: labels[8], 5: labels[15]}
    folder = evaluation(tmp_path / "eval", table, wrong, {7: "cut <off>"})
    gone.unlink()
    return folder


def test_the_choice_follows_the_controls(run):
    found = read_predictions(run)
    videos = found.table
    assert found.notes == [] and videos["num_frames"].notna().all()
    assert found.select("wrong", "surest first").index.tolist() == [0, 1, 5]
    assert found.select("wrong", "least sure first").index.tolist() == [5, 1, 0]
    assert found.select("not decoded", "surest first").index.tolist() == [7]
    assert len(found.select("right", "surest first")) == 12
    assert (
        found.select("all", "surest first").index.tolist()[-1] == 7
        and len(found.select("all", "least sure first")) == 16
    )
    assert found.select("all", "surest first", None, "(not decodable)").index.tolist() == [7]
    assert videos["margin"][0] == pytest.approx(0.8) and found.best(7) == []
    assert found.best(5, 2)[0] == (videos["prediction"][5], pytest.approx(videos["score"][5]))


def test_a_click_on_a_cell_plays_its_videos(run):
    browser = PredictionBrowser(str(run), interactive=True)
    macro_f1 = f"{read_predictions(run).scores.macro_f1():.4g}"
    assert f"eval: video top-1 75 %, macro-F1 {macro_f1} % ({PROTOCOL}, 15 of 16 videos)" in browser.message.value
    assert browser.shown.value == "wrong" and browser.count.value == "1 to 3 of 3 videos"
    first = browser.selected.iloc[0]
    assert browser.cards[0].mp4 == Path(first["path"]).read_bytes() and first["label"] in browser.cards[0].said
    assert browser.cards[1].mp4 == b"" and "gone.mp4: cannot be opened: No such file" in browser.cards[1].said
    assert browser.cards[0].said.count("actlib-bar") == 5 and "0.90" in browser.cards[0].said
    assert browser.cards[3].layout.display == "none" and browser.more.disabled

    key = re.search(
        r'data-key="(\d+,\d+)"><title>[^<]*: 2 of 2</title><rect class="actlib-wrong"', browser.matrix.html
    )[1]
    browser.matrix.click(key)
    assert (browser.label.value, browser.prediction.value) == (first["label"], first["prediction"])
    assert (
        browser.count.value == "1 to 2 of 2 videos"
        and browser.shown.value == "all"
        and "actlib-ring" in browser.matrix.html
    )
    browser.matrix.click(key)
    assert browser.label.value == "(any)" and browser.count.value == "1 to 4 of 16 videos"
    shown = [card.said for card in browser.cards]
    browser.more.click()
    assert browser.count.value == "5 to 8 of 16 videos" and [card.said for card in browser.cards] != shown
    browser.back.click()
    assert [card.said for card in browser.cards] == shown and browser.back.disabled

    browser.shown.value = "not decoded"
    assert "not decoded: cut &lt;off&gt;" in browser.cards[0].said and "actlib-bar" not in browser.cards[0].said
    browser.shown.value, browser.prediction.value = "right", first["prediction"]
    assert browser.count.value == "1 to 2 of 2 videos"
    browser.label.value = first["label"]
    assert browser.count.value == "no such video"


def test_the_matrix_of_hundreds_of_classes_shows_the_confused_ones(tmp_path, motion_table, monkeypatch):
    monkeypatch.setattr("IPython.display.display", lambda *shown: None)
    videos = rows_of(read_table(motion_table), "validation")
    real = list(dict.fromkeys(videos["label"]))
    classes = sorted([*real, *(f"class <{number}>" for number in range(392))])
    browser = PredictionBrowser(
        str(evaluation(tmp_path / "run", motion_table, {0: real[7], 1: real[7]}, classes=classes)), True
    )
    assert browser.zoom.value == 20 and browser.matrix.html.count('text-anchor="end"') == 20
    assert most_confused(browser.counts, 2) == sorted([real[0], real[7]])
    assert "class &lt;" in browser.matrix.html and "class <" not in browser.matrix.html
    browser.zoom.value = 400
    assert browser.matrix.html.count("data-key") == 8 and len(browser.matrix.html) < 20_000
    everything = matrix_svg(browser.counts, classes, ("", ""))
    assert everything.count("<text") == 2, "names of 400 classes would lie on each other"


def test_what_is_missing_is_said(run, tmp_path):
    (run / "predictions.csv").write_bytes(b"\xff\xfe")
    (tmp_path / "table.csv").unlink()
    browser = PredictionBrowser(str(run), interactive=True)
    assert (
        "predictions.csv: cannot be read" in browser.message.value
        and "no such annotation table" in browser.message.value
    )
    assert "nobody knows where this video lies" in browser.cards[0].said and browser.strips() == ([], [])
    (run / "scores.npz").write_bytes(b"PK")
    assert "not a file of scores of notebook 04" in PredictionBrowser(str(run), interactive=True).message.value
    assert "no such file of scores" in PredictionBrowser(str(tmp_path / "no"), interactive=True).message.value


def test_without_a_screen_the_surest_mistakes_are_shown(run, monkeypatch, capsys):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    browser = PredictionBrowser(str(run), interactive=False)
    assert PROTOCOL in capsys.readouterr().out and shown[0]["prediction"].nunique() == 2 and len(shown[0]) == 3
    clips, titles = browser.strips(frames=4)
    assert [clip.shape[0] for clip in clips] == [4, 4] and titles[0].endswith("(0.90)")
    assert len(browser.skipped) == 1 and "gone.mp4" in browser.skipped[0]
