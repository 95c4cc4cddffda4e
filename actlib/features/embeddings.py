"""The embeddings of videos by one network, in memory, as a table and as a file."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from actlib.files import write_csv, write_with
from actlib.loops.predict import OpenNetwork, Predicting, Windows
from actlib.messages import cut, listed

VIDEO_COLUMNS = ("video_id", "path", "label", "subset", "start", "end", "clips", "error")
_NUMBERS = ("start", "end", "clips")
NOT_SEEN = "no clip of it could be decoded"


class FeaturesError(ValueError):
    """Features that cannot be read, or that do not fit together. Says which, and what to do."""


@dataclass(kw_only=True, eq=False)
class Features:
    """What a network's last layer gets of each video, the mean over its clips.

    videos: a row a video, numbered from 0: video_id, path, label and subset (empty where nobody told them), start and
    end (its frames [start, end) of the file), clips (how many the mean is of) and error (why there is none, else
    empty). vectors: float32 (N, D), a row of NaN where there is an error. classes: the labels in index order.
    network: its name, spec: what it is. protocol: which clips, in words. preprocessing: of the clips (see
    `models.weights.checkpoint`). expected: by subset, how many videos there should be. clips: the single clips' vectors
    where they were kept, float32 (M, D), and spans int64 (M, 3): the number of the video, and the clip's frames [start,
    end) of the file.
    """

    videos: pd.DataFrame
    vectors: np.ndarray
    classes: list[str]
    network: str
    spec: str
    protocol: str
    preprocessing: dict
    expected: dict[str, int] = field(default_factory=dict)
    clips: np.ndarray | None = None
    spans: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.videos)

    @property
    def known(self) -> np.ndarray:
        """Whether a video has a vector: bool (N)."""
        return (self.videos["error"] == "").to_numpy()

    @property
    def table(self) -> pd.DataFrame:
        """`videos` and a column a number of the vectors, f0, f1, …; empty where there is an error."""
        columns = [f"f{number}" for number in range(self.vectors.shape[1])]
        return pd.concat([self.videos, pd.DataFrame(self.vectors, columns=columns)], axis=1)

    def of(self, subset: str) -> "Features":
        """Those of one subset. Raises FeaturesError where there is none."""
        chosen = (self.videos["subset"] == subset).to_numpy()
        if not chosen.any():
            there = listed(sorted(set(self.videos["subset"])), quote=True)
            raise FeaturesError(f"no video of subset {subset!r} among the features of {self.network}; there is {there}")
        return self[chosen]

    def __getitem__(self, rows: slice | Sequence[int] | np.ndarray) -> "Features":
        """The same of some videos: a slice, their numbers, or bool (N)."""
        rows = np.arange(len(self))[rows]
        chosen = {"videos": self.videos.iloc[rows].reset_index(drop=True), "vectors": self.vectors[rows]}
        if self.clips is not None:
            parts = [np.flatnonzero(self.spans[:, 0] == row) for row in rows]
            order = np.concatenate([*parts, np.zeros(0, dtype=np.int64)])
            spans = self.spans[order].copy()
            spans[:, 0] = np.repeat(np.arange(len(rows)), list(map(len, parts)))
            chosen |= {"clips": self.clips[order], "spans": spans}
        return replace(self, **chosen)

    def and_unreadable(self, unreadable: pd.DataFrame | None) -> "Features":
        """These and a row for each video of which nothing could be read: video_id, path, reason."""
        if unreadable is None or unreadable.empty:
            return self
        rows = unreadable.assign(label="", subset="", start=0, end=0, clips=0, error=unreadable["reason"])
        without = np.full((len(rows), self.vectors.shape[1]), np.nan, dtype=np.float32)
        videos = pd.concat([self.videos, rows[list(VIDEO_COLUMNS)]], ignore_index=True)
        return replace(self, videos=videos, vectors=np.concatenate([self.vectors, without]))

    def __str__(self) -> str:
        failed = int((~self.known).sum())
        words = f"{len(self):,} videos × {self.vectors.shape[1]} numbers of {self.network} ({self.protocol})"
        return words + (f"; {failed:,} without: {listed(self.videos['video_id'][~self.known].tolist())}" * bool(failed))


def features_of_windows(job: Predicting, network: OpenNetwork, answers: Sequence[Windows]) -> Features:
    """Those of notebook 08's videos: the mean over the windows of each, which are kept. `answers` of `job.score` with
    features, in any order, those of other networks left out."""
    by_video = {each.video_id: each for each in answers if each.network == network.name}
    ours = [by_video[name] for name in job.videos["video_id"]]
    whole = [not each.error and len(each.starts) > 0 for each in ours]
    kept = [each.features for each, sound in zip(ours, whole) if sound]
    size = kept[0].shape[1] if kept else 0
    vectors = np.full((len(ours), size), np.nan, dtype=np.float32)
    vectors[whole] = [each.mean(axis=0, dtype=np.float64) for each in kept] or np.zeros((0, size))
    spans = [
        (row, *span) for row, each in enumerate(ours) if whole[row] for span in zip(each.starts, each.ends)
    ]  # fmt: skip
    rows = job.videos.assign(
        start=0, end=job.videos["num_frames"], clips=[len(each.starts) * sound for each, sound in zip(ours, whole)],
        error=["" if sound else each.error or NOT_SEEN for each, sound in zip(ours, whole)],
    )  # fmt: skip
    return Features(
        videos=rows[list(VIDEO_COLUMNS)], vectors=vectors, classes=[], network=network.name, spec=network.model.spec,
        protocol=str(network.protocol), preprocessing=network.model.preprocessing,
        clips=np.concatenate([*kept, np.zeros((0, size), dtype=np.float32)]),
        spans=np.array(spans, dtype=np.int64).reshape(-1, 3),
    ).and_unreadable(job.unreadable)  # fmt: skip


# --- the file -------------------------------------------------------------------------------------------------


def save_features(path: str | Path, features: Features) -> Path:
    """Write an .npz of arrays of text and numbers, nothing that would need unpickling: `features` float32 (N, D);
    `video_id`, `path`, `label`, `subset`, `error` text (N); `start`, `end`, `clips` int64 (N); `classes`; `about`, JSON
    with network, spec, protocol, preprocessing and expected; and where single clips were kept `clip_features` float32
    (M, D), and `clip_video` (which row), `clip_start`, `clip_end` int64 (M)."""
    videos, about = features.videos, ("network", "spec", "protocol", "preprocessing", "expected")
    arrays = {
        name: videos[name].to_numpy(dtype=np.int64) if name in _NUMBERS else np.array(videos[name].to_list(), dtype=str)
        for name in VIDEO_COLUMNS
    }
    arrays |= {"features": features.vectors, "classes": np.array(features.classes, dtype=str)}
    arrays["about"] = np.array(json.dumps({name: getattr(features, name) for name in about}))
    if features.clips is not None:
        spans = dict(zip(("clip_video", "clip_start", "clip_end"), features.spans.T))
        arrays |= {"clip_features": features.clips} | spans
    return write_with(path, lambda temporary: _write(temporary, arrays))


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with open(path, "wb") as file:  # numpy would add .npz to another name
        np.savez(file, **arrays)


def load_features(path: str | Path) -> Features:
    """Read what `save_features` wrote. Raises FeaturesError for a file that is damaged or is none of these."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about, kept = json.loads(str(arrays["about"])), {}
        if "clip_features" in arrays:
            spans = [arrays[name] for name in ("clip_video", "clip_start", "clip_end")]
            kept = {"clips": arrays["clip_features"], "spans": np.stack(spans, axis=1)}
        table = pd.DataFrame({name: arrays[name] for name in VIDEO_COLUMNS})
        found = Features(videos=table, vectors=arrays["features"], classes=arrays["classes"].tolist(), **about, **kept)
        if found.vectors.ndim != 2 or len(found.vectors) != len(table):
            raise ValueError(f"features of shape {found.vectors.shape} for {len(table):,} videos")
    except FileNotFoundError:
        raise FeaturesError(f"{path}: no such file of features") from None
    except Exception as error:  # of zip, numpy, zlib or JSON: whatever their parsers meet
        reason = cut(str(error) or type(error).__name__)
        raise FeaturesError(f"{path}: not a file that save_features wrote ({reason}); make it again") from error
    return found


def write_features(folder: str | Path, features: Features, what: str = "features", *, csv: bool = True) -> Path:
    """Write `features` into a run folder as WHAT_NETWORK.npz, whose path is returned; with `csv` also the table, which
    of thousands of videos is long."""
    name = f"{what}_" + re.sub(r"[^\w.-]+", "_", features.network)
    if csv:
        write_csv(Path(folder) / f"{name}.csv", features.table)
    return save_features(Path(folder) / f"{name}.npz", features)
