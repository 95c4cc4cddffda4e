"""Scores and result files that spell a class each their own way."""

import json
from dataclasses import replace

import numpy as np
import pytest

from actlib.analysis.results import fusion, val_json
from actlib.analysis.results.scores import Scores
from actlib.datasets.errors import DataError


def test_runs_are_fused_in_the_spelling_of_the_first():
    one = Scores("one", ["a", "b"], ["Thumb Up", "run"], ["run", "Thumb Up"], np.float32([[0.2, 0.8], [0.9, 0.1]]), "p")
    names = ["Thumb_Up", "Run"]
    two = replace(one, name="two", labels=names, classes=names, scores=np.float32([[0.6, 0.4], [0.3, 0.7]]))
    (first, second), _ = fusion.align([one, two])
    assert second.classes == first.classes == one.classes and second.labels == one.labels
    np.testing.assert_allclose(fusion.fuse([first, second]).scores, [[0.3, 0.7], [0.8, 0.2]], atol=1e-6)
    both = replace(two, classes=["Thumb_Up", "thumb up"], labels=["Thumb_Up", "Thumb_Up"])
    with pytest.raises(DataError, match="'Thumb_Up' and 'thumb up' of two differ in case"):
        fusion.align([one, both])


def test_a_result_file_is_read_in_the_spelling_of_the_truth(tmp_path):
    def written(name, content):
        path = tmp_path / name
        path.write_text(json.dumps(content))
        return path

    entry = {"subset": "validation", "annotations": {"label": "swiping-up"}}
    truth = written("truth.json", {"labels": ["Swiping Up", "No gesture"], "database": {"a": entry}})
    results = {"a": [{"label": "Swiping_Up", "score": 0.75}, {"label": "No_gesture", "score": 0.25}]}
    truth = val_json.read_truth(truth)
    found = val_json.read_results(written("val.json", {"results": results}))
    assert truth.videos == {"a": ("Swiping Up",)}
    assert set(val_json.accuracies(found, truth, ks=[1])["percent"]) == {100.0}
    assert val_json.match(found, truth).missing == []
    scores = val_json.scores_of(found, truth, "theirs")
    assert scores.classes == ["Swiping Up", "No gesture"] and scores.scores.tolist() == [[0.75, 0.25]]
    results["a"].append({"label": "swiping up", "score": 0.0})
    twice = val_json.read_results(written("twice.json", {"results": results}))
    with pytest.raises(val_json.ResultError, match="twice.json: .*'Swiping_Up' and 'swiping up' of its results differ"):
        val_json.match(twice, truth)
    with pytest.raises(val_json.ResultError, match="labels: 'a b' and 'a_b' differ"):
        val_json.read_truth(written("bad.json", {"labels": ["a b", "a_b"], "database": {"a": entry}}))
