"""A run's scores: the table that follows from them, what they say of videos without scores, and their file."""

import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest

from actlib.analysis.results.scores import NO_SCORES, Scores, ScoresError, load_scores, save_scores

CLASSES = ["jump", "run", "walk"]
ROWS = [[0.1, 0.8, 0.1], [0.4, 0.4, 0.2], [0.6, 0.3, 0.1], [np.nan] * 3]
RUN = Scores(
    "one", list("abcd"), ["run", "run", "walk", "jump"], CLASSES, np.array(ROWS, np.float32), "10 clips", expected=5,
    table_digest="0123",
)  # fmt: skip
FULL = replace(
    RUN, paths=["a.mp4", "b.mp4", "c.mp4", "d.mp4"], views=np.array([10, 10, 3, 0]), errors=["", "", "", "broken"],
    losses=np.array([0.25, 0.75, 2.0, np.nan]),
)  # fmt: skip


def same(one: Scores, other: Scores) -> bool:
    def equal(a, b):
        return np.array_equal(a, b, equal_nan=True) if isinstance(a, np.ndarray) else a == b

    return all(equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(Scores))


def test_the_table_has_a_row_a_video_and_equal_scores_take_the_first_class():
    table = FULL.table
    columns = ["video_id", "path", "label", "prediction", "score", "rank", "correct", "views", "error"]
    assert table.columns.tolist() == columns
    assert table["prediction"].tolist() == ["run", "jump", "jump", ""]
    assert table["rank"].tolist() == [1, 2, 3, pd.NA] and table["rank"].dtype == "Int64"
    assert table["correct"].tolist() == [True, False, False, False] and table["correct"].dtype == bool
    np.testing.assert_allclose(table["score"], [0.8, 0.4, 0.6, np.nan], rtol=1e-6)
    assert table["error"].tolist() == ["", "", "", "broken"] and table["views"].tolist() == [10, 10, 3, 0]
    assert FULL.table is table, "computed once"


def test_what_is_not_known_is_left_out_and_a_missing_reason_is_said():
    assert RUN.table.columns.tolist() == ["video_id", "label", "prediction", "score", "rank", "correct", "error"]
    assert RUN.table["error"].tolist() == ["", "", "", NO_SCORES]
    assert RUN.known.tolist() == [True, True, True, False] and RUN.num_scored == 3


def test_accuracies_are_of_all_videos_and_the_loss_of_those_with_scores():
    assert [FULL.top(k) for k in (1, 2, 3)] == [25, 50, 75]
    assert FULL.loss() == pytest.approx(1.0) and np.isnan(RUN.loss())
    assert np.isnan(replace(FULL, scores=np.full((4, 3), np.nan)).loss())


def test_everything_about_a_video_moves_with_it():
    turned = FULL.reordered(["d", "a"], ["walk", "jump", "run"])
    assert (turned.labels, turned.paths, turned.errors) == (["jump", "run"], ["d.mp4", "a.mp4"], ["broken", ""])
    np.testing.assert_array_equal(turned.scores[1], np.float32([0.1, 0.1, 0.8]))
    assert turned.views.tolist() == [0, 10] and turned.losses[1] == 0.25
    assert turned.table["prediction"].tolist() == ["", "run"]
    assert same(turned.reordered(["a", "d"], CLASSES), FULL.reordered(["a", "d"], CLASSES))


def test_scores_read_back_as_they_were(tmp_path):
    path = save_scores(tmp_path / "one" / "scores.npz", FULL)
    assert same(load_scores(path), RUN)  # what predictions.csv holds is not in the file
    assert load_scores(path, "another").name == "another"
    unknown = replace(RUN, expected=None)
    assert load_scores(save_scores(tmp_path / "x.npz", unknown)).expected is None
    assert not list(tmp_path.glob("**/.*"))


def test_a_file_of_another_kind_or_shape_is_refused(tmp_path):
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(b"PK\x03\x04 no")
    with pytest.raises(ScoresError, match=r"damaged.npz: not a file of scores of notebook 04 \(.*\); run it again"):
        load_scores(damaged)
    with np.load(save_scores(tmp_path / "x.npz", RUN)) as file:
        np.savez(tmp_path / "short.npz", **{**file, "scores": np.zeros((2, 3), np.float32)})
    with pytest.raises(ScoresError, match=r"scores of shape \(2, 3\) for 4 videos and 3 classes"):
        load_scores(tmp_path / "short.npz")


def test_scores_need_nothing_heavy(root):
    code = "import sys, actlib.analysis.results.scores; print({'torch', 'matplotlib', 'ipywidgets'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "set()", done.stderr
