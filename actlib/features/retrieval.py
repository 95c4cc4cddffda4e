"""Which videos are alike: nearest neighbours by cosine similarity, how often they are of one class, and a map."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch

from actlib.features.embeddings import Features, FeaturesError

_QUERIES = 1024  # compared with all videos at once


def nearest(features: Features, query: Features | np.ndarray, k: int = 5) -> pd.DataFrame:
    """The `k` videos of `features` that are most alike each of `query` (features, or vectors (D,) or (Q, D)), by the
    cosine of their vectors: query (its number), rank, row (the number in `features`), video_id, label, path,
    similarity (−1 to 1). A video is no neighbour of itself; one without a vector has none and is none.

    Raises FeaturesError where their networks or the sizes of their vectors differ.
    """
    columns, tables = ["query", "rank", "row", "video_id", "label", "path", "similarity"], []
    for begin, similar, rows in closest(features, query, k):
        numbers, ranks = np.nonzero(np.isfinite(similar))
        places = rows[numbers, ranks]
        named = features.videos[["video_id", "label", "path"]].iloc[places].reset_index(drop=True)
        told = {"query": begin + numbers, "rank": ranks + 1, "row": places, "similarity": similar[numbers, ranks]}
        tables.append(pd.DataFrame(told).join(named))
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def recall_at(features: Features, query: Features, ks: Sequence[int] = (1, 5, 10)) -> dict[int, float]:
    """Recall at k as the literature of video retrieval counts it: the percentage of `query` with a video of their class
    among the k nearest of `features`, of training videos usually. A video without a vector counts as one without."""
    labels = features.videos["label"].to_numpy()
    found = np.full(len(query), np.inf)  # the rank of the first of the class
    for begin, similar, rows in closest(features, query, max(ks)):
        wanted = query.videos["label"].to_numpy()[begin : begin + len(rows), None]
        right = (labels[rows] == wanted) & np.isfinite(similar)
        found[begin : begin + len(rows)] = np.where(right.any(axis=1), right.argmax(axis=1), np.inf)
    return {k: 100 * float((found < k).mean()) for k in ks}


def closest(
    features: Features, query: Features | np.ndarray, k: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:  # fmt: skip
    """(number of the first query, similarity, rows) of successive queries, both (queries, at most k), the most alike
    first; similarity is −inf where there is none."""
    if k < 1:
        raise FeaturesError(f"k is {k}: at least one neighbour")
    size = features.vectors.shape[1]
    if isinstance(query, Features):
        require_alike(features.spec, size, query)
    vectors = query.vectors if isinstance(query, Features) else np.atleast_2d(query).astype(np.float32)
    if vectors.shape[1:] != (size,):
        raise FeaturesError(f"query: vectors of {vectors.shape[1:]} numbers, and those of the features have {size}")
    gallery, unknown = _unit(features.vectors), torch.from_numpy(~features.known)
    same: dict[tuple, list[int]] = {}
    for row, key in enumerate(_segments(features)):
        same.setdefault(key, []).append(row)
    themselves = [same.get(key, []) for key in _segments(query)] if isinstance(query, Features) else [[]] * len(vectors)
    for begin in range(0, len(vectors), _QUERIES):
        similar = _unit(vectors[begin : begin + _QUERIES]) @ gallery.T
        similar[:, unknown] = -torch.inf
        similar[~torch.isfinite(torch.from_numpy(vectors[begin : begin + _QUERIES])).all(dim=1)] = -torch.inf
        for number, rows in enumerate(themselves[begin : begin + _QUERIES]):
            similar[number, rows] = -torch.inf
        best = similar.topk(min(k, len(features)), dim=1)
        yield begin, best.values.numpy(), best.indices.numpy()


def require_alike(spec: str, size: int, features: Features) -> None:
    """Raise FeaturesError where these are not of the network `spec`, whose vectors have so many numbers."""
    if (features.spec, features.vectors.shape[1]) != (spec, size):
        raise FeaturesError(
            f"features of {features.spec} ({features.vectors.shape[1]} numbers) and of {spec} ({size}) cannot be "
            "compared: take one network's"
        )


def _unit(vectors: np.ndarray) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.from_numpy(np.nan_to_num(vectors)), dim=1)


def _segments(features: Features) -> Iterator[tuple]:
    """What tells a video from others: its file and frames."""
    return features.videos[["path", "start", "end"]].itertuples(index=False, name=None)


def plane(features: Features, *others: Features) -> list[pd.DataFrame]:
    """`features.videos` on the plane of their two principal components, and `others` on the same: the videos that have
    a vector, with columns x and y. The first of them varies most; neither has a unit."""
    given = torch.from_numpy(features.vectors[features.known])
    if len(given) < 2 or given.shape[1] < 2:
        raise FeaturesError("a map needs at least two videos, and vectors of at least two numbers")
    centre = given.mean(dim=0)
    with torch.random.fork_rng(devices=[]):  # it starts from a random matrix
        torch.manual_seed(0)
        _, _, axes = torch.pca_lowrank(given - centre, q=min(6, *given.shape), center=False)
    axes = axes[:, :2] * axes[axes[:, :2].abs().argmax(dim=0), [0, 1]].sign()  # else either end could be the right one
    found = []
    for each in (features, *others):
        require_alike(features.spec, given.shape[1], each)
        points = ((torch.from_numpy(each.vectors[each.known]) - centre) @ axes).numpy()
        videos = each.videos[each.known].reset_index(drop=True)
        found.append(videos.assign(network=each.network, x=points[:, 0], y=points[:, 1]))
    return found
