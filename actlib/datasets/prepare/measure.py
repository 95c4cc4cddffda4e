"""What each storage brings, measured on a few of the user's own videos: clips a second and bytes."""

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from actlib.datasets.clips import sampling
from actlib.datasets.errors import DataError, VideoError
from actlib.datasets.prepare.convert import convert
from actlib.datasets.prepare.layout import StorageOptions, stored_bytes
from actlib.datasets.video.reader import check_backend, installed_backends, read_frames

COLUMNS = ["storage", "backend", "clips_per_s", "times_original", "mb", "share_of_original", "estimated_gb", "note"]
_VIDEO_FILES = ("original", "short_gop")  # storages that a video backend decodes


def measure_storages(
    table: pd.DataFrame,
    storages: Sequence[str],
    options: StorageOptions,
    *,
    backends: Sequence[str] | None = None,
    videos: int = 4,
    num_frames: int = 16,
    frame_stride: int = 1,
    crop_size: int = 112,
    clips: int = 16,
    rounds: int = 3,
    workers: int = 2,
    timeout: float = 20.0,
) -> pd.DataFrame:
    """How fast random clips of `videos` videos of the table load from each storage, and what it takes: one row a
    storage, of video files one for each of `backends` (None: pyav, and decord where it is installed).

    The videos, spread over the table, are converted beside `options.root` into a folder that is deleted at the end.
    A clip is `num_frames` frames at a random place, a random resized crop of `crop_size` pixels, as in training, read
    in this process by one thread, as by a worker of a loader. Each row reads the same `clips` clips in each of `rounds`
    rounds, the rows taking turns; the best round counts.

    Columns: storage, backend (empty where the storage is no video file), clips_per_s, times_original (of the original
    read with the first backend), mb (of these videos), share_of_original (of their bytes), estimated_gb (of all videos
    of the table, by their number of frames) and note: why a row could not be measured, its numbers are empty then.
    `original` is always measured. Raises ValueError for an unknown storage or backend, DataError for decord where it is
    not installed.
    """
    from actlib.datasets.clips.transforms import train_transform  # torch comes with it: who only converts need not wait

    backends = list(dict.fromkeys(map(check_backend, backends or installed_backends())))
    names = list(dict.fromkeys(["original", *storages]))
    places = np.unique(np.linspace(0, len(table) - 1, min(videos, len(table))).round().astype(int))
    chosen = table.iloc[places].drop_duplicates("path").reset_index(drop=True)
    every = table.drop_duplicates("path")["num_frames"].sum() / chosen["num_frames"].sum()
    parent = Path(options.root).parent
    parent.mkdir(parents=True, exist_ok=True)
    transform = train_transform("random_resized", crop_size, crop_size)
    rows = []
    with tempfile.TemporaryDirectory(prefix=".measured-", dir=parent) as folder:
        for stored in [replace(options, storage=name, root=Path(folder) / name) for name in names]:
            converted, note = _converted(chosen, stored, workers, timeout)
            for backend in backends if stored.storage in _VIDEO_FILES else [""]:
                row = {"storage": stored.storage, "backend": backend, "clips_per_s": np.nan}
                row |= {"bytes": np.nan, "note": note}
                rows.append(row)
                if note:
                    continue
                how = {"modality": stored.modality, "backend": backend or "auto", "timeout": timeout}
                row["read"] = _Clips(converted, num_frames, frame_stride, transform, how)
                try:
                    row["read"].seconds(len(converted))  # opens the files, fills caches
                    row["bytes"] = sum(map(stored_bytes, converted["path"]))
                except VideoError as error:
                    row["note"] = str(error)
        for _ in range(rounds):
            for row in rows:
                if not row["note"]:
                    row["clips_per_s"] = np.fmax(row["clips_per_s"], clips / row["read"].seconds(clips))
    found = pd.DataFrame(rows)
    found["times_original"] = found["clips_per_s"] / found["clips_per_s"][0]
    found["share_of_original"] = found["bytes"] / found["bytes"][0]
    found["mb"], found["estimated_gb"] = found["bytes"] / 1e6, found["bytes"] * every / 1e9
    return found[COLUMNS]


def _converted(table: pd.DataFrame, options: StorageOptions, workers: int, timeout: float) -> tuple[pd.DataFrame, str]:
    """The videos in a storage, and why it could not be made of them all, if so."""
    try:
        converted, quarantine = convert(table, options, workers=workers, timeout=timeout)
    except DataError as error:
        return table, str(error)
    return converted, f"{quarantine['path'][0]}: {quarantine['reason'][0]}" if len(quarantine) else ""


class _Clips:
    """Random clips of the videos of a table, the same ones at every reading."""

    def __init__(self, table: pd.DataFrame, num_frames: int, stride: int, transform: Callable, how: dict):
        self._paths, self._lengths = table["path"].tolist(), table["num_frames"].astype(int).tolist()
        self._window, self._transform, self._how = (num_frames, stride), transform, how

    def seconds(self, clips: int) -> float:
        """How long reading the first `clips` clips takes. Raises VideoError."""
        import torch

        from actlib.datasets.clips.transforms import as_clip

        rng = np.random.default_rng(0)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as in a loader's worker
        with torch.random.fork_rng(devices=[]), ExitStack() as after:
            after.callback(torch.set_num_threads, threads)
            torch.manual_seed(0)
            begin = time.perf_counter()
            for number in range(clips):
                place = number % len(self._paths)
                frames = sampling.training_window("random", self._lengths[place], *self._window, rng)
                self._transform(as_clip(read_frames(self._paths[place], frames, **self._how))).contiguous()
            return time.perf_counter() - begin
