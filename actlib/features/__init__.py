"""Embeddings of videos, for retrieval and linear probes: what a network's last layer gets, the mean over a video's
clips. `clip_features` makes them, `nearest` and `recall_at` look up what is alike, `linear_probe` asks what they
tell of the classes."""

from actlib.features.embeddings import (
    Features,
    FeaturesError,
    features_of_windows,
    load_features,
    save_features,
    write_features,
)
from actlib.features.extract import clip_features
from actlib.features.probes import LinearProbe, knn_probe, linear_probe
from actlib.features.retrieval import nearest, plane, recall_at

__all__ = [
    "Features", "FeaturesError", "LinearProbe", "clip_features", "features_of_windows", "knn_probe", "linear_probe",
    "load_features", "nearest", "plane", "recall_at", "save_features", "write_features",
]  # fmt: skip
