"""Plots: each takes a table (or frames) and, if it is one picture, an optional `ax`, draws, labels every axis, and
returns the axes (of several panels the first one's; `.figure` is the whole). Nothing here shows or saves."""

from actlib.analysis.plots.accuracy import accuracy_bars, agreement_bars, class_bars, confusion_matrix, order_bars
from actlib.analysis.plots.clips import film_strip
from actlib.analysis.plots.costs import (
    COSTS,
    cost_panels,
    macs_against_published,
    model_bars,
    published_accuracy,
    speed_bars,
    tradeoff,
)
from actlib.analysis.plots.datasets import class_counts, storage_bars
from actlib.analysis.plots.training import learning_rates, training_curves

__all__ = [
    "COSTS", "accuracy_bars", "agreement_bars", "class_bars", "class_counts", "confusion_matrix", "cost_panels",
    "film_strip", "learning_rates", "macs_against_published", "model_bars", "order_bars", "published_accuracy",
    "speed_bars", "storage_bars", "tradeoff", "training_curves",
]  # fmt: skip
