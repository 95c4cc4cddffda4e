"""Uneven classes in training: how often a class is drawn, or how much its clips count in the loss.

A class of n_c of the n training videos is drawn, or weighted, by a power of n_c:

- `class_sampling` draws it in proportion to n_c (natural, also called instance-balanced), to √n_c (square_root) or
  equally often (balanced): q = 1, 1/2 and 0 of Kang et al., "Decoupling representation and classifier", 2020.
- `class_weights` weigh each of its clips by 1 (none), 1/√n_c (square_root) or 1/n_c (balanced), scaled so that the mean
  weight of the n videos is 1. Balanced is scikit-learn's class_weight="balanced": n / (k · n_c) of k classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

POWERS = {"natural": 1.0, "none": 1.0, "square_root": 0.5, "balanced": 0.0}  # of n_c, in the share of a class


class Counts(NamedTuple):
    """`videos`: how many training videos each class has, int64 (classes); `of`: the classes of these videos, int64 (n);
    0 of a class is allowed: nothing is drawn of it, and its weight is 1."""

    videos: np.ndarray
    of: np.ndarray


class Again(int):
    """The index of a video that an epoch has drawn already: `time` says how many times."""

    time: int

    def __new__(cls, index: int, time: int):
        again = super().__new__(cls, index)
        again.time = time
        return again

    def __getnewargs__(self):
        return int(self), self.time


def times_before(index: int) -> int:
    """How many times its epoch has drawn this video already."""
    return getattr(index, "time", 0)


def count(labels: Sequence[int], num_classes: int) -> Counts:
    """`labels`: the class index of each training video."""
    of = np.asarray(labels, dtype=np.int64)
    return Counts(np.bincount(of, minlength=num_classes), of)


def shares(videos: np.ndarray, how: str) -> np.ndarray:
    """The share of each class in what is drawn or in the loss, float64 (classes), summing to 1. `how`: of POWERS."""
    weights = np.where(videos > 0, videos.astype(float) ** POWERS[how], 0.0)
    return weights / weights.sum()


def class_weights(videos: np.ndarray, how: str) -> np.ndarray:
    """How much a clip of each class counts in the loss, float64 (classes): its mean over the videos is 1."""
    return np.where(videos > 0, shares(videos, how) * videos.sum() / np.maximum(videos, 1), 1.0)


def quotas(videos: np.ndarray, how: str) -> np.ndarray:
    """How many clips of each class an epoch has, int64 (classes); as many in all as there are videos, at least one of
    each class that has any."""
    ends = np.floor(videos.sum() * np.cumsum(shares(videos, how)) + 0.5)
    return np.diff(ends.astype(np.int64), prepend=0)


def epoch_order(counts: Counts, how: str, rng: np.random.Generator) -> list[int]:
    """The videos of an epoch in their order: `quotas` of each class. Of a class each video is drawn the same number of
    times, and the rest of the quota from all of them at random; one that comes again is an `Again`."""
    drawn: list[int] = []
    by_class = np.split(np.argsort(counts.of, kind="stable"), np.cumsum(counts.videos)[:-1])
    for members, quota in zip(by_class, quotas(counts.videos, how).tolist()):
        for begin in range(0, quota, max(1, len(members))):
            some = rng.permutation(members)[: quota - begin].tolist()
            drawn += [Again(video, begin // len(members)) for video in some] if begin else some
    return [drawn[place] for place in rng.permutation(len(drawn))]
