"""Plots: each takes a table (or frames) and, if it is one picture, an optional `ax`, draws, labels every axis, and
returns the axes (of several panels the first one's; `.figure` is the whole). Nothing here shows or saves.

A plot is imported when it is asked for: matplotlib takes a notebook's imports a second.
"""

import importlib

_MODULES = {
    "accuracy": ("accuracy_bars", "agreement_bars", "class_bars", "confusion_matrix", "order_bars"),
    "calibration": ("reliability_diagram",),
    "clips": ("answers", "film_strip"),
    "clock": ("shares_by_layer", "work_and_time"),
    "costs": (
        "COSTS", "cost_panels", "macs_against_published", "model_bars", "published_accuracy", "speed_bars", "tradeoff",
    ),
    "datasets": ("class_counts", "storage_bars"),
    "embeddings": ("embedding_map",),
    "ledger": ("published_and_reproduced",),
    "predictions": ("best_bars", "fall_bars", "marked_strip", "score_curves"),
    "temporal": ("kernel_films", "order_panels", "receptive_fields", "tuning_curves"),
    "training": ("curves_of_runs", "learning_rates", "training_curves", "validation_curves"),
    "views": ("clip_panels", "crop_boxes", "timeline"),
}  # fmt: skip
_HOMES = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"{__name__} has no plot {name!r}; there are {', '.join(__all__)}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
