"""Fusion: scores of several runs, aligned by video and class, averaged, and honest about what does not fit."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from actlib.analysis import plots
from actlib.analysis.plots.accuracy import PARTS
from actlib.analysis.results import fusion, val_json
from actlib.analysis.results.metrics import top_k
from actlib.analysis.results.scores import NO_SCORES, SCORES, Scores, ScoresError, save_scores

CLASSES = ["jump", "run", "walk"]
VIDEOS = ["a", "b", "c", "d"]
LABELS = ["run", "walk", "jump", "run"]


def scores_of(name, rows, **more) -> Scores:
    scores = np.array(rows, dtype=np.float32)
    told = {"protocol": f"{name}'s protocol", "subset": "validation", "expected": 5, "table_digest": "0123"} | more
    return Scores(name, VIDEOS[: len(rows)], LABELS[: len(rows)], CLASSES, scores, **told)


@pytest.fixture
def runs():
    """One is right about a and c, and could not decode d; two about a, b and d; together they are right about all."""
    one = [[0.1, 0.8, 0.1], [0.0, 0.6, 0.4], [0.9, 0.1, 0.0], [np.nan] * 3]
    two = [[0.2, 0.7, 0.1], [0.0, 0.1, 0.9], [0.3, 0.4, 0.3], [0.0, 0.6, 0.4]]
    return [scores_of("one", one), scores_of("two", two)]


def saved(run, folder):
    """A run folder of notebook 04, as far as fusion reads it."""
    (folder / run.name).mkdir()
    save_scores(folder / run.name / SCORES, run)
    (folder / run.name / "val.json").write_text(json.dumps(val_json.content_of(run)))
    return str(folder / run.name)


def same(one: Scores, other: Scores) -> bool:
    alike = all(getattr(one, name) == getattr(other, name) for name in Scores.__annotations__ if name != "scores")
    return alike and np.array_equal(one.scores, other.scores, equal_nan=True)


def test_runs_are_read_from_their_folders(runs, tmp_path):
    folders = [saved(run, tmp_path) for run in runs]
    assert all(same(read, run) for read, run in zip(fusion.read_scores(folders), runs))


def test_what_cannot_be_read_is_named_all_at_once(runs, tmp_path):
    (tmp_path / "older").mkdir()
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "scores.npz").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(ScoresError) as caught:
        fusion.read_scores([str(tmp_path / "older"), str(damaged), str(tmp_path / "none"), str(tmp_path / "v.json")])
    words = ("older: no scores.npz in it; notebook 04", "damaged/scores.npz: not a file of scores", "none: no such run")
    for each in (*words, "v.json: a result file holds no true labels"):
        assert each in str(caught.value)


def test_fusion_is_the_weighted_mean_over_the_runs_that_have_scores(runs):
    aligned, left_out = fusion.align(runs)
    assert left_out == {"one": 0, "two": 0}
    fused = fusion.fuse(aligned, [3, 1])
    np.testing.assert_allclose(fused.scores[:3], 0.75 * runs[0].scores[:3] + 0.25 * runs[1].scores[:3], rtol=1e-6)
    np.testing.assert_allclose(fused.scores[3], runs[1].scores[3], rtol=1e-6)
    assert fused.protocol == "scores of 3 × one (one's protocol) + 1 × two (two's protocol)"
    assert (fused.expected, fused.subset, fused.table_digest) == (5, "validation", "0123")
    table = fusion.predictions(fusion.fuse(aligned), aligned)
    assert table["runs"].tolist() == [2, 2, 2, 1] and table["correct"].all() and (table["error"] == "").all()
    assert table["prediction"].tolist() == LABELS and table["score"][3] == pytest.approx(0.6)
    alike = [replace(run, protocol="10 clips") for run in aligned]
    assert fusion.fuse(alike).protocol == "scores of one + two, each 10 clips"
    assert fusion.fuse(alike[:1]).protocol == "10 clips"
    with pytest.raises(ValueError, match="one above 0 is needed for each of the 2 runs"):
        fusion.fuse(aligned, [1])


def test_a_video_without_any_score_is_wrong_and_says_so(runs):
    blind = replace(runs[1], scores=np.where(np.arange(4)[:, None] == 3, np.nan, runs[1].scores))
    fused = fusion.fuse([runs[0], blind])
    table = fusion.predictions(fused, [runs[0], blind])
    assert table["error"].tolist() == ["", "", "", NO_SCORES] and table["rank"].isna().tolist()[3]
    assert not table["correct"][3] and table["prediction"][3] == "" and top_k(table, 3) == 75
    summary = fusion.summary([fused])
    assert summary[["videos", "of", "expected"]].values.tolist() == [[3, 4, 5]]
    assert set(val_json.content_of(fused)["results"]) == {"a", "b", "c"}


def test_other_orders_of_videos_and_classes_are_put_right(runs):
    columns, rows = [2, 0, 1], [3, 1, 0, 2]
    turned = replace(
        runs[1],
        video_ids=[VIDEOS[row] for row in rows],
        labels=[LABELS[row] for row in rows],
        classes=[CLASSES[column] for column in columns],
        scores=runs[1].scores[np.ix_(rows, columns)],
    )
    assert same(fusion.align([runs[0], turned])[0][1], runs[1])


def test_runs_that_do_not_belong_together_are_refused(runs):
    one, two = runs
    other = replace(two, subset="testing", classes=["jump", "run", "swim"], labels=["jump", *LABELS[1:]])
    with pytest.raises(ScoresError) as caught:
        fusion.align([one, other])
    for words in ("subset validation and testing", "only in one: 'walk'; only in two: 'swim'", "other labels for 'a'"):
        assert words in str(caught.value)
    with pytest.raises(ScoresError, match="two: 2 video ids stand twice, 'a' first"):
        fusion.align([one, replace(two, video_ids=list("aabb"))])
    with pytest.raises(ScoresError, match="scores from -1 to 5 are no softmax scores"):
        fusion.align([one, replace(two, scores=np.array([[-1, 0, 5]] * 4, dtype=np.float32))])


def test_runs_over_other_videos_need_to_be_asked_for(runs):
    one = replace(runs[0], video_ids=["x", *VIDEOS[1:]])
    with pytest.raises(ScoresError, match="4 and 4 videos; only in one: 'x'; only in two: 'a'; videos: common fuses"):
        fusion.align([one, runs[1]])
    aligned, left_out = fusion.align([one, runs[1]], "common")
    assert left_out == {"one": 1, "two": 1} and [run.video_ids for run in aligned] == [["b", "c", "d"]] * 2
    np.testing.assert_array_equal(aligned[1].scores, runs[1].scores[1:])
    with pytest.raises(ScoresError, match="no video is in all of one, two"):
        fusion.align([replace(one, video_ids=list("stuv")), runs[1]], "common")


def test_a_run_counts_the_same_from_its_result_file(runs, tmp_path):
    path = tmp_path / "val.json"
    path.write_text(json.dumps(val_json.content_of(runs[0])))
    results, truth = val_json.read_results(path), val_json.truth_of(runs[0])
    read = val_json.scores_of(results, truth, "one")
    np.testing.assert_array_equal(read.scores, runs[0].scores)  # every digit that tells two scores apart is written
    assert read.protocol == "result file" and read.expected == 4
    table = runs[0].table
    for k in (1, 2, 3):
        assert val_json.video_accuracy(results, truth, "accuracy", k).percent == top_k(table, k)
    path.write_text(json.dumps(val_json.content_of(runs[0], 2)))
    best = val_json.scores_of(val_json.read_results(path), truth, "one")
    assert best.protocol == "result file, the 2 best classes" and best.scores[0].tolist().count(0) == 1
    entries = [{"label": "walk", "score": -7.5}, {"label": "run", "score": -1.5}]
    path.write_text(json.dumps({"results": {"a": entries}}))  # logits, as both codebases can write them
    logits = val_json.scores_of(val_json.read_results(path), truth, "two")
    assert fusion.align([logits])[0][0].table["rank"].tolist() == [1, pd.NA, pd.NA, pd.NA]
    with pytest.raises(ScoresError, match="two: scores from -8.5 to -1.5 are no softmax scores"):
        fusion.align([runs[0], logits])


def test_names_tell_runs_apart():
    assert fusion.short_names(["o/a/rgb", "o/a/flow"]) == ["rgb", "flow"]
    assert fusion.short_names(["o/a/rgb", "o/b/rgb/val.json", "o/b/flow"]) == ["a/rgb", "b/rgb", "flow"]
    assert fusion.short_names(["o/a/1.json", "o/a/2.json"]) == ["o/a/1.json", "o/a/2.json"]


def test_who_is_right_where_the_other_is_not(runs):
    fused = fusion.fuse(runs)
    pair = fusion.agreement(runs).iloc[0]
    counts = [pair[part] for part in PARTS]
    assert counts == [1, 1, 2, 0] and pair["videos"] == 4 and pair["same_answer"] == 25
    by_runs = fusion.by_runs_right(runs, fused)
    assert by_runs.values.tolist() == [[2, 1, 1], [1, 3, 3], [0, 0, 0]]
    summary = fusion.summary([*runs, fused])
    assert summary["top1"].tolist() == [50, 75, 100] and summary["videos"].tolist() == [3, 4, 4]
    axes = plots.accuracy_bars(summary)
    assert [bar.get_width() for bar in axes.patches[:3]] == [50, 75, 100]
    assert axes.get_yticklabels()[0].get_text() == "one\n3 of 5 videos\none's protocol"
    axes = plots.agreement_bars(fusion.agreement(runs))
    assert [bar.get_width() for bar in axes.patches] == [25, 25, 50, 0]


def test_fusion_and_its_plots_need_no_torch(root):
    imports = "import sys, actlib.analysis.plots; from actlib.analysis.results import fusion, val_json"
    code = f"{imports}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False", done.stderr
