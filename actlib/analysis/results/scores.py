"""The scores of one run: of every video its softmax scores over the classes, and what follows from them.

A run of notebook 04 has such scores, a fusion of several runs has, and a result file of another codebase gives them.
"""

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from actlib.analysis.results.metrics import macro_f1, top_k
from actlib.files import write_with
from actlib.messages import cut, problems_in_words, shown

SCORES = "scores.npz"
NO_SCORES = "no run has scores of it"


class ScoresError(ValueError):
    """Scores that cannot be read, or that do not belong together. Says whose, and what to do."""


@dataclass(frozen=True, eq=False)
class Scores:
    """One run's scores, the videos in the order of `video_ids` everywhere.

    labels: the true class of each video. scores: float32 (videos, classes), softmax scores, 0 to 1, each row summing
    to 1; a row of NaN where there are none. expected: how many videos there should be (None: unknown). table_digest:
    of the table of videos. paths: the files. views: int (videos), how many views were averaged. errors: why there are
    no scores of a video, "" where there are; None says NO_SCORES of those. losses: float64 (videos), the cross-entropy
    of the averaged scores, NaN where there are none.
    """

    name: str
    video_ids: list[str]
    labels: list[str]
    classes: list[str]
    scores: np.ndarray
    protocol: str
    subset: str = "validation"
    expected: int | None = None
    table_digest: str = ""
    paths: list[str] | None = None
    views: np.ndarray | None = None
    errors: list[str] | None = None
    losses: np.ndarray | None = None

    @property
    def known(self) -> np.ndarray:
        """Whether there are scores of each video: bool (videos)."""
        return ~np.isnan(self.scores).any(axis=1)

    @property
    def num_scored(self) -> int:
        """How many videos there are scores of."""
        return int(self.known.sum())

    def order(self) -> np.ndarray:
        """The classes of each video, the highest score first: int (videos, classes). Of equal scores the one of the
        lower index comes first; without scores the order of the classes stays."""
        return np.argsort(-np.nan_to_num(self.scores), axis=1, kind="stable")

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row a video: video_id, path, label, prediction, score (that of the prediction), rank (the place of the true
        label, 1 is right), correct, views, error. Without scores the prediction and error say so, score and rank are
        empty, and the video is wrong. Columns of which nothing is known (path, views) are left out."""
        known, order = self.known, self.order()
        index = {name: place for place, name in enumerate(self.classes)}
        labels = np.array([index[label] for label in self.labels], dtype=int)
        ranks, best = np.argmax(order == labels[:, None], axis=1) + 1, order[:, 0]
        errors = self.errors or [""] * len(known)
        columns = {
            "video_id": self.video_ids,
            "path": self.paths,
            "label": self.labels,
            "prediction": [self.classes[place] if ok else "" for place, ok in zip(best, known)],
            "score": np.where(known, self.scores[np.arange(len(best)), best], np.nan),
            "rank": pd.arrays.IntegerArray(ranks, mask=~known),
            "correct": known & (ranks == 1),
            "views": self.views,
            "error": ["" if ok else error or NO_SCORES for ok, error in zip(known, errors)],
        }
        return pd.DataFrame({name: values for name, values in columns.items() if values is not None})

    def top(self, k: int) -> float:
        """Percent of all videos whose label is among the k highest scores; those without scores are wrong."""
        return top_k(self.table, k)

    def macro_f1(self) -> float:
        """The mean of the classes' F1 scores in percent (see `metrics.macro_f1`)."""
        return macro_f1(self.table)

    def accuracies(self, name: str) -> dict[str, float]:
        """The headline numbers in percent: `name`_top1, `name`_top5, `name`_macro_f1."""
        return {f"{name}_top1": self.top(1), f"{name}_top5": self.top(5), f"{name}_macro_f1": self.macro_f1()}

    def loss(self) -> float:
        """Mean cross-entropy over the videos with scores; NaN where there are none."""
        known = self.known
        return float(self.losses[known].mean()) if self.losses is not None and known.any() else float("nan")

    def reordered(self, video_ids: list[str], classes: list[str]) -> "Scores":
        """The same scores of these videos and classes, in this order; each of them must be here."""
        places = {video: place for place, video in enumerate(self.video_ids)}
        rows = [places[video] for video in video_ids]
        columns = [self.classes.index(name) for name in classes]
        lists = {name: getattr(self, name) for name in ("labels", "paths", "errors")}
        arrays = {name: getattr(self, name) for name in ("views", "losses")}
        return replace(
            self, video_ids=list(video_ids), classes=list(classes), scores=self.scores[np.ix_(rows, columns)],
            **{name: values and [values[row] for row in rows] for name, values in lists.items()},
            **{name: None if values is None else values[rows] for name, values in arrays.items()},
        )  # fmt: skip


def save_scores(path: str | Path, scores: Scores) -> Path:
    """Write `scores.npz`: arrays of text and float32, nothing that would need unpickling. Not written are the name,
    and what `predictions.csv` holds: paths, views, errors and losses."""
    arrays = {
        "video_id": np.array(scores.video_ids, dtype=str),
        "label": np.array(scores.labels, dtype=str),
        "classes": np.array(scores.classes, dtype=str),
        "scores": np.asarray(scores.scores, dtype=np.float32),
        "protocol": np.array(scores.protocol),
        "subset": np.array(scores.subset),
        "expected": np.array(-1 if scores.expected is None else scores.expected),
        "table": np.array(scores.table_digest),
    }
    return write_with(path, lambda temporary: np.savez(temporary, **arrays))


def load_scores(path: str | Path, name: str = "") -> Scores:
    """Read what `save_scores` wrote; without a name it gets its folder's. Raises ScoresError for a file that is damaged
    or is none of these."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        videos, labels, classes = (arrays[key].tolist() for key in ("video_id", "label", "classes"))
        protocol, subset, digest = (str(arrays[key]) for key in ("protocol", "subset", "table"))
        scores, expected = arrays["scores"], int(arrays["expected"])
    except FileNotFoundError:
        raise ScoresError(f"{path}: no such file of scores") from None
    except Exception as error:  # of zip, numpy or zlib: whatever their parsers meet
        reason = cut(str(error) or type(error).__name__)
        raise ScoresError(f"{path}: not a file of scores of notebook 04 ({reason}); run it again") from error
    if scores.shape != (len(videos), len(classes)) or len(labels) != len(videos):
        raise ScoresError(
            f"{path}: scores of shape {scores.shape} for {len(videos):,} videos and {len(classes):,} classes"
        )
    if problems := _problems(videos, labels, classes, scores):
        raise ScoresError(problems_in_words(path, [*problems, "it was not written by notebook 04; run that again"]))
    name = name or Path(path).resolve().parent.name
    expected = None if expected < 0 else expected
    return Scores(name, videos, labels, classes, scores, protocol, subset, expected, digest)


def _problems(videos: list, labels: list, classes: list, scores: np.ndarray) -> list[str]:
    """What is wrong with arrays of fitting shapes."""
    if not all(isinstance(each, str) and each for each in [*videos, *labels, *classes]):
        return ["video_id, label, classes: expected names, not empty"]
    if scores.dtype.kind != "f":
        return [f"scores: expected numbers with a fraction, found {scores.dtype}"]
    found = [f"classes: {shown(name)} stands there twice" for name, n in Counter(classes).items() if n > 1]
    found += [f"video_id: {shown(name)} stands there twice" for name, n in Counter(videos).items() if n > 1]
    unknown = sorted({*labels} - {*classes})
    found += [f"label: {shown(name)} is not among the {len(classes)} classes" for name in unknown]
    some = ~np.isfinite(scores).all(axis=1) & ~np.isnan(scores).all(axis=1)
    found += [f"scores: of {shown(videos[row])} some are no numbers" for row in np.flatnonzero(some)]
    return found
