"""What the lessons do behind their notebooks."""

import numpy as np
import pandas as pd
import pytest

from actlib.datasets.dataset_info import read_dataset_info
from actlib.datasets.errors import DataError
from actlib.datasets.table import counts, read_table
from actlib.lessons import one_view_or_thirty, the_mirror, which_frames
from actlib.lessons.chosen_videos import choose
from actlib.loops import prepare


def test_chosen_videos_are_as_many_as_asked_for(motion_table, tmp_path):
    """Of each class there are 3 videos to learn from and 2 to validate on; one that is left goes to the latter."""
    learnt, held_out = {"left": 2, "right": 1, "up": 3}, {"left": 3, "right": 4, "up": 1}
    path = choose(motion_table, tmp_path, learnt, held_out)
    table = read_table(path)
    assert counts(table)[["training", "validation"]].to_dict() == {"training": learnt, "validation": held_out}
    info = read_dataset_info(path, table)
    assert info.classes == ["left", "right", "up"] and info.mirrored == {"left": "right", "right": "left"}
    assert info.expected("training") == 6 and info.expected("validation") == 8
    assert table["video_id"].is_unique and "left_validation_0000" in set(table["video_id"])
    with pytest.raises(DataError, match="'up' has 3 videos to learn from, 4 are asked for"):
        choose(motion_table, tmp_path, {"up": 4}, {"up": 1})
    with pytest.raises(DataError, match="no class 'sideways'"):
        choose(motion_table, tmp_path, {"sideways": 1}, {"sideways": 1})


def test_every_rule_draws_its_frames():
    drawn = which_frames.draws(8, 2, 3)
    assert drawn.groupby("rule")["draw"].nunique().to_dict() == {
        "random": 3, "center": 1, "begin": 1, "dense": 3, "segments": 3, "segments_regular": 3,
    }  # fmt: skip
    clips = drawn.groupby(["rule", "draw"])["frame"].agg(list)
    assert clips["begin", 0] == list(range(0, 16, 2)) and clips["center", 0] == list(range(8, 24, 2))
    assert all([frame // 4 for frame in clips["segments", draw]] == list(range(8)) for draw in range(3))
    assert drawn["frame"].between(0, 31).all()


def views_of(scores: list) -> one_view_or_thirty.ViewScores:
    """Two classes, the true one always the second; `scores` are its scores (videos, clips, crops)."""
    second = np.array(scores, dtype=np.float32)
    labels = np.ones(len(second), dtype=int)
    return one_view_or_thirty.ViewScores(np.stack([1 - second, second], axis=-1), labels, 0.5, "views")


def test_fewer_views_are_counted_from_the_scores_of_all():
    """The first video is right in all views, the second in one of three crops of every clip, and so on average."""
    views = views_of([[[0.9, 0.9, 0.9]] * 4, [[1.0, 0.3, 0.3]] * 4])
    found = one_view_or_thirty.by_number(views, [1, 4, 9], draws=300).set_index(["clips", "crops"])
    assert list(found.index) == [(1, 1), (4, 1), (1, 3), (4, 3)]  # no ninth clip
    assert found["views"].tolist() == [1, 4, 3, 12] and found["gmacs"].tolist() == [0.5, 2, 1.5, 6]
    assert found.loc[(1, 1), "top1"] == pytest.approx(100 * (1 + 1 / 3) / 2, abs=5)
    assert found.loc[(1, 1), ["low", "high"]].tolist() == [50, 100]
    assert found.loc[[(1, 3), (4, 3)], ["top1", "low", "high"]].to_numpy().tolist() == [[100] * 3] * 2


def test_the_mirror_is_refused_and_done_anyway(motion_table, tmp_path):
    values = {"table": str(motion_table), "epochs": 2}
    assert "would turn 'clockwise' into 'counterclockwise'" in the_mirror.refusal(values, str(tmp_path))
    swapped = the_mirror.params(the_mirror.SWAPPED, values, str(tmp_path))
    assert prepare(swapped).mirrored is not None
    kept = the_mirror.params(the_mirror.KEPT, values, str(tmp_path))
    job = prepare(kept, transform=the_mirror.HalfMirrored(kept))
    plain = prepare(kept)
    same = [(job.train_data[index][0] == plain.train_data[index][0]).all().item() for index in range(24)]
    assert not kept.flip and {True, False} == set(same)


def test_pairs_are_counted_by_their_labels():
    labels, right = ["left", "right", "up", "left"], [True, False, True, False]
    predictions = pd.DataFrame({"label": labels, "correct": right})
    assert the_mirror.pair_accuracy(predictions, ["left", "right"]) == pytest.approx(100 / 3)
