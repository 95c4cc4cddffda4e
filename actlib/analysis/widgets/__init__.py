"""Widgets for JupyterLab, each with a plain form without a screen; imported when they are asked for."""

import importlib

_HOMES = {
    "BatchProgress": "batch",
    "ClipExplorer": "clips", "ViewExplorer": "views",
    "FilteredTable": "filtered",
    "Guess": "guess",
    "LiveCurves": "live",
    "LiveTraining": "live_training",
    "NetworkExplorer": "networks",
    "ParameterForm": "form",
    "PredictionBrowser": "predictions",
    "RunBrowser": "runs",
    "Upload": "upload", "play": "upload",
    "tensorboard": "tensorboard_page",
}  # fmt: skip
__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"{__name__} has no widget {name!r}; there are {', '.join(__all__)}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
