"""Result files of the reference codebases: read, refused with every reason, and counted by each codebase's rule."""

import json
from pathlib import Path

import pytest

from actlib.analysis.results.val_json import (  # fmt: skip
    RULES,
    ResultError,
    accuracies,
    best_labels,
    match,
    read_results,
    read_truth,
    video_accuracy,
)

VECTOR = json.loads((Path(__file__).parents[2] / "data" / "video_accuracy.json").read_text(encoding="utf-8"))


def written(folder, name, content) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def results_of(folder, videos):
    """Results of {video: {label: score}}."""
    entries = {
        video: [{"label": label, "score": score} for label, score in each.items()] for video, each in videos.items()
    }
    return read_results(written(folder, "val.json", {"results": entries}))


def truth_of(folder, videos, **more):
    database = {video: {"subset": "validation", "annotations": {"label": label}} for video, label in videos.items()}
    return read_truth(
        written(folder, "truth.json", {"labels": sorted({*videos.values()}), "database": database} | more)
    )


@pytest.fixture
def vector(tmp_path):
    truth = read_truth(written(tmp_path, "truth.json", VECTOR["ground_truth"]))
    return read_results(written(tmp_path, "val.json", VECTOR["predictions"])), truth


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("k", [1, 3, 5])
def test_each_rule_gives_the_references_figure(vector, rule, k):
    found = video_accuracy(*vector, rule, k)
    assert found.percent / 100 == pytest.approx(VECTOR["expected"][rule][str(k)], abs=1e-12)
    whole, with_result = VECTOR["num_validation_videos"], VECTOR["num_validation_videos_with_result"]
    assert found.expected == whole and found.videos == (with_result if rule.endswith("missing") else whole)


def test_the_rules_side_by_side_name_their_divisor_and_what_is_missing(vector):
    table = accuracies(*vector, ks=(1, 3, 5, 6))  # six are not listed: their sixth class is not known
    assert set(RULES) == set(VECTOR["expected"]) == set(table["rule"]) and table["k"].tolist() == [1, 3, 5] * 3
    assert set(table["missing"]) == {5} and set(table["expected"]) == {40} and set(table["videos"]) == {40, 35}
    matched = match(*vector)
    assert len(matched.missing) == 5 and matched.how == "" and matched.extra == 37 - 35
    assert not set(matched.missing) & set(vector[0].videos)
    with pytest.raises(ValueError, match="rule 'top', k 1: expected one of hit_at_k"):
        video_accuracy(*vector, "top", 1)


def test_equal_scores_fall_as_each_codebase_sorts_them(tmp_path):
    results = results_of(tmp_path, {"v": {"run": 0.5, "walk": 0.5, "jump": 0.0}})
    for label, hits in (("run", (0, 1)), ("walk", (1, 0)), ("jump", (0, 0))):
        truth = truth_of(tmp_path, {"v": label}, labels=["jump", "run", "walk"])
        assert tuple(video_accuracy(results, truth, rule, 1).hits for rule in ("hit_at_k", "accuracy")) == hits
    assert best_labels([("a", 0.1), ("b", 0.3), ("c", 0.2)], 2) == ["b", "c"]


def test_names_of_kinetics_that_the_references_cut(tmp_path):
    """Both drop 14 characters; Efficient-3DCNNs' annotation file has the subsets as one more level, and .mp4."""
    ids = ["abcdefghijk_000010_000020", "abcdefghijk_000030_000040", "zbcdefghijk_001100_001110"]
    truth = truth_of(tmp_path, dict(zip(ids, ["run", "walk", "run"])))
    cut = results_of(tmp_path, {"abcdefghijk": {"walk": 0.9, "run": 0.1}, "zbcdefghijk": {"run": 0.8, "walk": 0.2}})
    matched = match(cut, truth)
    assert matched.how == "without their last 14 characters" and len(matched.truth) == 2
    assert video_accuracy(cut, truth, "hit_at_k", 1).percent == 100  # one of the two labels is enough
    nested = {"validation": {}, "training": {"x_000000_000010.mp4": {"subset": "training", "annotations": {}}}}
    for video, label in zip(ids, ["run", "walk", "run"]):
        nested["validation"][f"{video}.mp4"] = {"subset": "validation", "annotations": {"label": label}, "n_frames": 9}
    path = written(tmp_path, "nested.json", {"labels": ["run", "walk"], "database": nested})
    assert list(read_truth(path).videos) == [f"{video}.mp4" for video in ids]
    cut = results_of(tmp_path, {"abcdefghijk_000": {"walk": 1.0}, "zbcdefghijk_001": {"walk": 1.0}})
    assert video_accuracy(cut, read_truth(path), "accuracy", 1).percent == 50
    ours = results_of(tmp_path, {video: {"run": 1.0} for video in ids})
    assert match(ours, read_truth(path)).how == "without .mp4"
    assert video_accuracy(ours, read_truth(path), "accuracy", 1).hits == 2


def test_several_labels_a_video_and_files_without_a_class_list(tmp_path):
    """As ActivityNet's own file has them; a version of 3D-ResNets-PyTorch puts the videos beside empty results."""
    entries = {"subset": "validation", "annotations": [{"label": "run"}, {"label": "jump"}, {"label": "run"}]}
    truth = read_truth(written(tmp_path, "truth.json", {"database": {"v": entries}}))
    assert truth.classes == ["run", "jump"] and truth.videos == {"v": ("run", "jump")}
    beside = {"results": {}, "v": [{"label": "jump", "score": 0.75}, {"label": "run", "score": 0.25}]}
    results = read_results(written(tmp_path, "val.json", beside))
    assert all(video_accuracy(results, truth, rule, 1).percent == 100 for rule in RULES)


@pytest.mark.parametrize(
    "content, message",
    [
        ('{"results": ', "not valid JSON"),
        ([], "expected a mapping, found a list"),
        ({"version": 1}, "results: expected a mapping of video ids, found nothing"),
        ({"results": {}}, "no video in it"),
        ({"results": {"v": {"label": "run"}}}, r"results.v: expected a list of labels with scores, found a dict"),
        ({"results": {"v": [{"segment": [0, 16], "result": []}]}}, r"results.v: one result a segment, not averaged"),
        ({"results": {"v": ["run"]}}, r"results.v\[0\]: expected a label and a score, found 'run'"),
        ({"results": {"v": [{"label": "run"}]}}, r"results.v\[0\].score: expected a number, found nothing"),
        ('{"results": {"v": [{"label": "run", "score": NaN}]}}', r"score: expected a number, found nan"),
        ({"results": {"v": [{"label": "a", "score": 1}] * 2}}, "results.v: label 'a' stands there more than once"),
        ('{"results": {"v": [], "v": []}}', "v: stands there more than once"),
    ],
)
def test_a_bad_result_file_is_refused_by_name_and_field(tmp_path, content, message):
    path = written(tmp_path, "bad.json", content)
    with pytest.raises(ResultError, match=message) as caught:
        read_results(path)
    assert str(path) in str(caught.value)


def test_all_problems_of_a_file_come_at_once(tmp_path):
    entries = [{"label": 3, "score": "high"}, {"label": "run", "score": True}]
    with pytest.raises(ResultError) as caught:
        read_results(written(tmp_path, "bad.json", {"results": {"v": entries, "w": None}}))
    for part in ("4 problems", "results.v[0].label: ", "found 'high'", "results.v[1].score", "results.w"):
        assert part in str(caught.value)
    database = {"a": {}, "b": {"subset": "validation", "annotations": {}}}
    database["c"] = {"subset": "validation", "annotations": {"label": "swim"}}
    with pytest.raises(ResultError) as caught:
        read_truth(written(tmp_path, "truth.json", {"labels": ["run"], "database": database}))
    for part in ("3 problems", "database.a.subset", "database.b.annotations: no label", "'swim' is not among labels"):
        assert part in str(caught.value)


def test_files_that_do_not_belong_together(tmp_path):
    truth = truth_of(tmp_path, {"v": "run", "w": "walk"})
    with pytest.raises(ResultError, match=r"none of its 1 videos \('x', …\) is of subset 'validation'.*\('v', …\)"):
        match(results_of(tmp_path, {"x": {"run": 1.0}}), truth)
    with pytest.raises(ResultError, match=r"results.v\[0\].label: 'swim' is not among the 2 classes"):
        match(results_of(tmp_path, {"v": {"swim": 1.0}, "w": {"run": 1.0}}), truth)
    with pytest.raises(ResultError, match=r"no video of subset 'testing'; it has validation \(2\)"):
        read_truth(tmp_path / "truth.json", "testing")
