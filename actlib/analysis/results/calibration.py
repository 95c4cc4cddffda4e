"""Whether scores mean what they say: of the answers given with a score of 0.8, are 80 % right?

Guo et al., On Calibration of Modern Neural Networks (2017): the reliability diagram, the expected calibration error,
and one temperature for all scores, which changes how sure a network says it is, and no answer.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from actlib.analysis.results.scores import Scores


def reliability(predictions: pd.DataFrame, bins: int = 10) -> pd.DataFrame:
    """The answers of a predictions table (see `metrics`) by their score: a row a bin of equal width that has any, with
    the columns low and high (its borders, 0 to 1; a score on a border belongs to the bin below it), videos, confidence
    (their mean score) and accuracy (share of them that is right, 0 to 1). Videos without a score are left out."""
    known = predictions[predictions["score"].notna()]
    number = np.clip(np.ceil(known["score"].to_numpy(float) * bins) - 1, 0, bins - 1).astype(int)
    grouped = known.assign(right=known["correct"].astype(float)).groupby(number)
    table = grouped.agg(videos=("right", "size"), confidence=("score", "mean"), accuracy=("right", "mean"))
    table.insert(0, "low", table.index / bins)
    table.insert(1, "high", (table.index + 1) / bins)
    return table.reset_index(drop=True)


def calibration_error(bins: pd.DataFrame) -> float:
    """The expected calibration error in percent: the distance of accuracy and confidence in each bin of `reliability`,
    weighted by its videos. NaN without any."""
    if not len(bins):
        return float("nan")
    distance = (bins["accuracy"] - bins["confidence"]).abs()
    return 100 * float((distance * bins["videos"]).sum() / bins["videos"].sum())


def with_temperature(scores: Scores, temperature: float) -> Scores:
    """The same scores with their logarithms divided by `temperature` before the softmax: above 1 less sure, below 1
    surer. Raises ValueError for one that is not above 0."""
    if not temperature > 0:
        raise ValueError(f"temperature {temperature:g}: it must be above 0")
    cooled = np.exp(_cooled(scores.scores, temperature)).astype(np.float32)
    return replace(scores, scores=cooled, losses=None)


def best_temperature(scores: Scores) -> float:
    """The temperature of the lowest cross-entropy on these videos, between 0.05 and 20. Find it on other videos than
    those that you then measure on. Raises ValueError without any score."""
    known = scores.known
    if not known.any():
        raise ValueError("no video has scores, so no temperature suits them best")
    index = {name: place for place, name in enumerate(scores.classes)}
    labels = np.array([index[label] for label in scores.labels])[known]
    tried = np.exp(np.linspace(np.log(0.05), np.log(20), 1199))  # half a percent from one to the next
    losses = [-_cooled(scores.scores[known], each)[np.arange(len(labels)), labels].mean() for each in tried]
    return float(tried[int(np.argmin(losses))])


def _cooled(scores: np.ndarray, temperature: float) -> np.ndarray:
    """Logarithms of the scores at that temperature."""
    logits = np.log(np.maximum(scores.astype(np.float64), 1e-30)) / temperature
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
