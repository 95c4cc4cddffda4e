"""Tables out of a table of predictions: right numbers, and videos without scores counted as wrong."""

import numpy as np
import pandas as pd
import pytest

from actlib.analysis.results import metrics

PREDICTIONS = pd.DataFrame(
    [
        ("a1", "a", "a", 0.9, 1, True, ""),
        ("a2", "a", "b", 0.8, 2, False, ""),
        ("a3", "a", "b", 0.6, 4, False, ""),
        ("b1", "b", "b", 0.7, 1, True, ""),
        ("c1", "c", "", np.nan, pd.NA, False, "broken"),
    ],
    columns=["video_id", "label", "prediction", "score", "rank", "correct", "error"],
)


def test_accuracies_count_undecodable_videos_as_wrong():
    assert metrics.top_k(PREDICTIONS, 1) == pytest.approx(40)
    assert metrics.top_k(PREDICTIONS, 2) == pytest.approx(60)
    assert metrics.top_k(PREDICTIONS, 5) == pytest.approx(80)


def test_confusions_and_classes():
    counts = metrics.confusion(PREDICTIONS, ["a", "b", "c"])
    assert counts.to_numpy().tolist() == [[1, 2, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]
    assert counts.columns[-1] == metrics.UNDECODABLE
    by_class = metrics.per_class(PREDICTIONS).set_index("label")
    assert by_class["recall"].round(1).to_dict() == {"c": 0, "a": 33.3, "b": 100}
    assert by_class["videos"].to_dict() == {"c": 1, "a": 3, "b": 1}
    assert by_class["precision"].round(1).to_dict() == {"c": 0, "a": 100, "b": 33.3}
    assert by_class["f1"].to_dict() == {"c": 0, "a": 50, "b": 50}
    assert metrics.macro_f1(PREDICTIONS) == pytest.approx(by_class["f1"].mean())
    assert by_class["mostly_taken_for"].to_dict() == {"c": metrics.UNDECODABLE, "a": "b", "b": ""}
    assert metrics.worst(PREDICTIONS, 2)["video_id"].tolist() == ["c1", "a2"]


def test_accuracies_by_the_order_of_the_frames():
    labels, errors = ["left", "right", "grow", "grow"], ["", "", "", "broken"]
    answers = {"forward": ["left", "left", "grow", ""], "reversed": ["right", "left", "grow", ""]}
    tables = {
        order: pd.DataFrame({"label": labels, "prediction": given, "error": errors}) for order, given in answers.items()
    }
    for table in tables.values():
        table["rank"] = (table["prediction"] != table["label"]).astype("Int64") + 1
    found = metrics.by_order(tables, ["left", "right", "grow"])
    assert found.to_numpy().tolist() == [["forward", 50, 50], ["reversed", 25, 75]]


def test_the_pareto_front():
    cost = pd.Series([1.0, 2.0, 3.0, 2.0, np.nan, 3.0])
    gain = pd.Series([10.0, 30.0, 30.0, 20.0, 99.0, 40.0])
    one = pd.Series("d", index=cost.index)
    assert metrics.pareto_front(cost, gain, one).tolist() == [True, True, False, False, False, True]
    assert metrics.pareto_front(pd.Series([1.0, 1.0]), pd.Series([5.0, 5.0]), one[:2]).tolist() == [True, True]
    two = pd.Series(["d", "d", "e", "e", "e", "e"])  # data sets do not compete with each other
    assert metrics.pareto_front(cost, gain, two).tolist() == [True, True, False, True, False, True]
