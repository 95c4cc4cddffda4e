"""What each storage brings, measured on a few of the user's own videos: clips a second and bytes."""

import os
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
from actlib.datasets.prepare.convert import Conversion, convert_together
from actlib.datasets.prepare.layout import StorageOptions, stored_bytes
from actlib.datasets.video import lmdb_store
from actlib.datasets.video import reader as sources
from actlib.datasets.video.reader import split_lmdb

COLUMNS = ["storage", "clips_per_s", "times_original", "mb", "share_of_original", "estimated_gb", "note"]


def measure_storages(
    table: pd.DataFrame,
    storages: Sequence[str],
    options: StorageOptions,
    *,
    videos: int = 4,
    num_frames: int = 16,
    frame_stride: int = 1,
    crop_size: int = 112,
    clips: int = 16,
    rounds: int = 3,
    workers: int = 2,
    timeout: float = 20.0,
) -> pd.DataFrame:
    """One row a storage: how fast random clips of `videos` videos of the table load from it, and what it takes.

    The videos, spread over the table, are converted beside `options.root` into a folder that is deleted at the end.
    A clip is `num_frames` frames at a random place, a random resized crop of `crop_size` pixels, as in training, read
    in this process by one thread, as by a worker of a loader. Each storage reads the same `clips` clips in each of
    `rounds` rounds, the storages taking turns; the best round counts.

    Columns: storage, clips_per_s, times_original, mb (of these videos), share_of_original (of their bytes),
    estimated_gb (of all videos of the table, by their number of frames) and note: why a storage could not be measured,
    its numbers are empty then. `original` is always measured. Raises ValueError for an unknown storage.
    """
    from actlib.datasets.clips.transforms import train_transform  # torch comes with it: who only converts need not wait

    names = list(dict.fromkeys(["original", *storages]))
    places = np.unique(np.linspace(0, len(table) - 1, min(videos, len(table))).round().astype(int))
    chosen = table.iloc[places].drop_duplicates("path").reset_index(drop=True)
    every = table.drop_duplicates("path")["num_frames"].sum()
    options = replace(options, root=os.path.abspath(options.root))
    parent = Path(options.root).parent
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".measured-", dir=parent) as folder:
        tables, notes = _converted(chosen, names, options, Path(folder), workers, timeout)
        transform = train_transform("random_resized", crop_size, crop_size)
        rates = dict.fromkeys(tables, 0.0)
        for name, each in list(tables.items()):
            try:
                _read_clips(each, name, len(each), num_frames, frame_stride, transform, timeout)  # opens, fills caches
            except VideoError as error:
                notes[name] = str(error)
                del rates[name], tables[name]
        for _ in range(rounds):
            for name, each in tables.items():
                seconds = _read_clips(each, name, clips, num_frames, frame_stride, transform, timeout)
                rates[name] = max(rates[name], clips / seconds)
        sizes = {name: _bytes(each) for name, each in tables.items()}
    first_rate, first_size = rates.get("original", np.nan), sizes.get("original", np.nan)
    rows = []
    for name in names:
        rate, size = rates.get(name, np.nan), sizes.get(name, np.nan)
        whole = size / chosen["num_frames"].sum() * every
        rows.append([name, rate, rate / first_rate, size / 1e6, size / first_size, whole / 1e9, notes.get(name, "")])
    return pd.DataFrame(rows, columns=COLUMNS)


def _converted(
    chosen: pd.DataFrame, names: list[str], options: StorageOptions, folder: Path, workers: int, timeout: float
) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """The videos in each storage that could be made of them all, and why in the others not."""
    tables, notes = {"original": chosen}, {}
    with ExitStack() as stack:
        entered = {}
        for name in names:
            if name != "original":
                try:
                    conversion = Conversion(chosen, replace(options, storage=name, root=folder / name))
                    entered[name] = stack.enter_context(conversion)
                except DataError as error:
                    notes[name] = str(error)
        results = convert_together(chosen, list(entered.values()), workers=workers, timeout=timeout)
    for name, (converted, quarantine) in zip(entered, results):
        if len(quarantine):
            notes[name] = f"{quarantine['path'][0]}: {quarantine['reason'][0]}"
        else:
            tables[name] = converted
    return {name: tables[name] for name in names if name in tables}, notes


def _read_clips(
    table: pd.DataFrame, storage: str, clips: int, num_frames: int, stride: int, transform: Callable, timeout: float
) -> float:
    """Seconds that `clips` random clips take, the same ones at every call."""
    import torch

    from actlib.datasets.clips.transforms import as_clip

    modality = "flow" if storage == "flow" else "rgb"
    rng = np.random.default_rng(0)
    paths, lengths = table["path"].tolist(), table["num_frames"].astype(int).tolist()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a loader's worker
    with torch.random.fork_rng(devices=[]), ExitStack() as after:
        after.callback(torch.set_num_threads, threads)
        torch.manual_seed(0)
        begin = time.perf_counter()
        for number in range(clips):
            place = number % len(paths)
            frames = sampling.training_window("random", lengths[place], num_frames, stride, rng)
            clip = sources.read_frames(paths[place], frames, modality=modality, timeout=timeout)
            transform(as_clip(clip)).contiguous()
        return time.perf_counter() - begin


def _bytes(table: pd.DataFrame) -> int:
    """Of all files that the paths name. A video inside an LMDB file counts its frames' JPEGs."""
    inside = [path for path in table["path"] if split_lmdb(path)]
    outside = [path for path in table["path"] if not split_lmdb(path)]
    return sum(map(stored_bytes, outside)) + sum(map(lmdb_store.stored_bytes, inside))
