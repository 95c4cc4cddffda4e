"""A training as it is watched: the picture tells what the validation found, and changes nothing."""

import io

import numpy as np
import pytest
from PIL import Image
from training import assert_same_weights, params, run, weights

from actlib.analysis import plots
from actlib.analysis.plots.clips import RIGHT, WRONG
from actlib.analysis.widgets import LiveTraining
from actlib.loops import prepare, train


@pytest.fixture(autouse=True)
def unseen(monkeypatch):
    monkeypatch.setattr("IPython.display.display", lambda *shown: None)


def test_watching_does_not_change_the_run(motion_table, tmp_path):
    more = {"model": "mobilenetv2 width_mult=0.2", "momentum": 0.9}
    run(params(motion_table, tmp_path / "alone", **more))
    job = prepare(params(motion_table, tmp_path / "watched", **more))
    live = LiveTraining(job, interactive=True)
    for row in train(job, live.progress):
        live.update(row)
    assert_same_weights(weights(tmp_path / "alone"), weights(tmp_path / "watched"))


def test_the_clips_are_the_validations_and_so_are_the_answers(motion_table, tmp_path):
    job = prepare(params(motion_table, tmp_path))
    live = LiveTraining(job, interactive=True)
    assert len(live.clips) == len(live.boxes) == 6 and live.stop.state == "idle" and not len(live.answers)
    shown = Image.open(io.BytesIO(live.boxes[0].children[0].value))
    assert shown.n_frames == 4 and shown.size == (32, 32)
    assert np.array_equal(live.clips[1], job.val_data[3].clips[0].permute(0, 2, 3, 1).numpy())
    pictures = []
    for row in train(job, live.progress):
        live.update(row)
        pictures.append(live.image.value)
        table = job.val_scores.table.set_index("video_id")
        for answer, box in zip(live.last_answers.itertuples(), live.boxes):
            told = table.loc[answer.video_id]
            assert (answer.label, answer.prediction) == (told["label"], told["prediction"])
            assert answer.score == pytest.approx(told["score"])
            right = answer.prediction == answer.label
            assert box.layout.border_top == f"3px solid {RIGHT if right else WRONG}"
            assert f"{'✓' if right else '✗'} {answer.score:.2f} {answer.prediction}" in box.children[2].value
    assert live.answers["epoch"].tolist() == [1] * 6 + [2] * 6 and pictures[0] != pictures[1]
    assert live.stop.state == "over" and live.stop.said == ""
    axes = plots.answers(live.clips, live.last_answers)
    colors = [patch.get_edgecolor()[:2] for patch in axes.patches]
    right = (live.last_answers["label"] == live.last_answers["prediction"]).tolist()
    assert len(colors) == 6 and [color[1] > color[0] for color in colors] == right


def test_the_button_follows_the_training(motion_table, tmp_path, capsys):
    job = prepare(params(motion_table, tmp_path, epochs=3))
    live = LiveTraining(job, interactive=True)
    states = []
    for row in train(job, live.progress):
        states.append(live.stop.state)
        live.update(row)
        if row["epoch"] == 1:
            states.append(live.stop.state)
            job.stop.ask()
            live.update(row)
    assert states == ["running", "running"] and live.stop.state == "over"
    assert live.stop.said == "stopped after 1 of 3 epochs" and "run all cells again" in live.now.value
    again = prepare(params(motion_table, tmp_path, epochs=3))
    capsys.readouterr()
    headless = LiveTraining(again, interactive=False)
    for row in train(again, headless.progress):
        headless.update(row)
    said = capsys.readouterr().out
    assert "epoch   1 of 3" in said and "epoch   3 of 3" in said
    assert headless.answers["epoch"].unique().tolist() == [2, 3], "those of epoch 1 were not asked for again"
