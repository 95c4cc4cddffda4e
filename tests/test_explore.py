"""Notebook 07 runs headless, with and without a network; the scores of its views are those of an evaluation."""

import json

import numpy as np
import pandas as pd
import pytest
import runfolders
from training import params, run

from actlib.loops import evaluate, looking, open_videos, prepare
from actlib.params import ExploreParams, ParamsError


@pytest.fixture(scope="module")
def checkpoint(motion_table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    run(params(motion_table, folder, epochs=1))
    return folder / "checkpoints" / "best.pt"


def test_the_scores_of_the_views_are_those_of_an_evaluation(motion_table, checkpoint):
    more = {"num_clips": 3, "num_crops": 3, "subset": "all", "precision": "float32"}
    p = ExploreParams.build({"table": str(motion_table), "checkpoint": str(checkpoint), **more}, "test")
    videos, info = open_videos(p)
    look = looking(p, videos, info)
    assert str(look.protocol) == "3 clips × 3 crops @ 32, 4 frames, stride 4" and len(videos) == 40
    job = prepare(p.evaluation("validation"))
    expected = evaluate(job)["video"].scores
    logits = look.score(job.val_data, 5)[1:]  # after the centre clip, which notebook 04 evaluates too
    assert logits.shape == (9, 8)
    assert np.allclose(logits.softmax(-1).mean(0), expected[5], atol=1e-5)


def test_views_without_a_network_are_those_of_the_training_clips(motion_table):
    p = ExploreParams.build({"table": str(motion_table), "checkpoint": "", "num_frames": 6, "crop_size": 32}, "test")
    look = looking(p, *open_videos(p))
    assert look.score is None and str(look.protocol) == "5 clips × centre crop @ 32, 6 frames, stride 2"


def test_parameters_that_do_not_go_together_are_refused():
    with pytest.raises(ParamsError) as error:
        ExploreParams.build({"crop_size": 200, "num_crops": 3, "crop_position": "top_left", "protocol": "clip"}, "test")
    for words in ("crop_size: 200: larger than short_side 48", "belongs to num_crops: 1", "protocol clip has its own"):
        assert words in str(error.value)


def test_the_notebook_runs_headless(root, tmp_path, motion_table, checkpoint, run_notebook):
    given = {"table": str(motion_table), "checkpoint": str(checkpoint), "run_dir": str(tmp_path / "run")}
    runfolders.training(tmp_path / "runs" / "trained", top1=60)
    judged = runfolders.evaluation(tmp_path / "runs" / "judged", motion_table, wrong={1: "right"})
    given |= {"precision": "float32", "runs": [f"{tmp_path}/runs/*"], "predictions": str(judged)}
    run_notebook(root / "notebooks" / "07_explore.ipynb", given)
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "done"
    clips, views = (pd.read_csv(tmp_path / "run" / f"{name}.csv") for name in ("clips", "views"))
    assert len(clips) == 4 * 8 and clips["frame"].between(0, 31).all()
    assert views["clip"].tolist() == [1, 2, 3, 4, 5] and views["true_score"].between(0, 1).all()
    assert sorted(pd.read_csv(tmp_path / "run" / "runs.csv")["run"]) == ["judged", "trained"]
    assert pd.read_csv(tmp_path / "run" / "selected.csv")["prediction"].tolist() == ["right"]
    pictures = ("clips", "views", "run_curves", "selected")
    assert all((tmp_path / "run" / f"{name}.png").stat().st_size > 10_000 for name in pictures)
