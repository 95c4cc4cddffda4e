"""Macro-F1, the reliability of scores and their temperature, against numbers computed by hand."""

import numpy as np
import pandas as pd
import pytest

from actlib.analysis import plots
from actlib.analysis.results import calibration, metrics
from actlib.analysis.results.scores import Scores


def predictions(*rows: tuple[str, str, float]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["label", "prediction", "score"])
    return table.assign(correct=table["label"] == table["prediction"])


def test_macro_f1_counts_every_class_alike():
    """a: 2 of 3 right, named 2 times, 2·2/(3+2); b: 1 of 1, named 2 times, 2·1/(1+2); c: not decodable; d: named once,
    true nowhere."""
    table = predictions(("a", "a", 0.9), ("a", "a", 0.8), ("a", "b", 0.7), ("b", "b", 0.9), ("c", "", np.nan))
    assert metrics.macro_f1(table) == pytest.approx(100 * (4 / 5 + 2 / 3 + 0) / 3)
    more = pd.concat([table, predictions(("a", "d", 0.4))])
    assert metrics.macro_f1(more) == pytest.approx(100 * (4 / 6 + 2 / 3 + 0 + 0) / 4)


def test_macro_f1_of_the_usual_answer():
    """Always the frequent class: accuracy 90 %, F1 of 18/19 and of 0. And nothing where there is nothing."""
    table = predictions(*[("often", "often", 0.5)] * 9, ("rare", "often", 0.5))
    assert metrics.macro_f1(table) == pytest.approx(100 * (18 / 19) / 2)
    assert np.isnan(metrics.macro_f1(table.head(0)))


def test_reliability_and_its_error_by_hand():
    """A score on a border, 0.5, belongs below it; 1 into the last bin; a video without a score nowhere."""
    table = predictions(
        ("a", "a", 0.5), ("a", "b", 0.42), ("a", "a", 0.95), ("a", "a", 1.0), ("b", "a", 0.93), ("c", "", np.nan)
    )
    bins = calibration.reliability(table, bins=10)
    assert bins[["low", "high"]].to_numpy().tolist() == pytest.approx(np.array([[0.4, 0.5], [0.9, 1.0]]))
    assert bins["videos"].tolist() == [2, 3]
    assert bins["confidence"].tolist() == pytest.approx([0.46, 0.96])
    assert bins["accuracy"].tolist() == pytest.approx([0.5, 2 / 3])
    by_hand = 100 * (2 * 0.04 + 3 * (0.96 - 2 / 3)) / 5
    assert calibration.calibration_error(bins) == pytest.approx(by_hand)
    assert np.isnan(calibration.calibration_error(bins.head(0)))


def scores_of(probabilities: list[list[float]], labels: str) -> Scores:
    scores = np.array(probabilities, dtype=np.float32)
    names = [f"v{number}" for number in range(len(labels))]
    return Scores("run", names, list(labels), ["a", "b"], scores, "centre clip")


def test_a_temperature_changes_how_sure_and_no_answer():
    """At temperature 2 the odds are their square roots: 0.9 against 0.1 becomes 3 against 1. No score stays none."""
    scores = scores_of([[0.9, 0.1], [0.2, 0.8], [np.nan, np.nan]], "aab")
    cooled = calibration.with_temperature(scores, 2)
    assert cooled.scores[:2].tolist() == pytest.approx(np.array([[0.75, 0.25], [1 / 3, 2 / 3]]))
    assert np.isnan(cooled.scores[2]).all() and cooled.table["prediction"].tolist() == ["a", "b", ""]
    assert calibration.with_temperature(scores, 1).scores[:2] == pytest.approx(scores.scores[:2])
    with pytest.raises(ValueError, match="above 0"):
        calibration.with_temperature(scores, 0)


def test_the_best_temperature_makes_the_scores_true():
    """Three of four right at 0.9: the lowest cross-entropy is at 0.75, whose odds are the square root of 0.9's."""
    scores = scores_of([[0.9, 0.1]] * 4, "aaab")
    temperature = calibration.best_temperature(scores)
    assert temperature == pytest.approx(2, rel=0.01)
    error = [calibration.calibration_error(calibration.reliability(each.table))
             for each in (scores, calibration.with_temperature(scores, temperature))]  # fmt: skip
    assert error == pytest.approx([15, 0], abs=0.3)
    with pytest.raises(ValueError, match="no video"):
        calibration.best_temperature(scores_of([[np.nan, np.nan]], "a"))


def test_the_reliability_diagram_draws_what_the_bins_say():
    ax = plots.reliability_diagram(calibration.reliability(scores_of([[0.9, 0.1]] * 4, "aaab").table))
    right, missing, beyond = (bars.patches[0] for bars in ax.containers)
    assert right.get_height() == pytest.approx(75) and missing.get_height() == pytest.approx(15)
    assert missing.get_y() == pytest.approx(75) and beyond.get_height() == 0
    assert ax.get_xlabel() and ax.get_ylabel() and "4" in [text.get_text() for text in ax.texts]
    ax.figure.clear()
