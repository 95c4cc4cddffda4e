"""Probing every video of a table: which can be read, how long and how large they are."""

import os
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from actlib.datasets.prepare.journal import Journal, fingerprint
from actlib.datasets.prepare.workers import run_all
from actlib.datasets.video.reader import probe, read_frames

if TYPE_CHECKING:
    import pandas as pd  # the workers run without it: they start a second sooner

_COLUMNS = ["video_id", "path", "label", "subset", "start", "end", "num_frames", "fps", "width", "height"]
QUARANTINE = ["video_id", "path", "label", "subset", "reason"]


def probe_table(
    table: "pd.DataFrame",
    *,
    workers: int = 2,
    timeout: float = 20.0,
    modality: str = "rgb",
    journal: str | Path | None = None,
    progress=None,
) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Open every video of `table` and decode its first, middle and last frame. Returns (readable, quarantine).

    `table` has the columns video_id, path, label, subset, start, end, num_frames, fps, width, height; `path` is
    whatever `sources` reads. `readable` holds the rows of the readable videos with the last four filled in (frames, or
    pairs for modality "flow"; frames per second, where only the table knows it as it is there; pixels as displayed);
    `quarantine` the others: video_id, path, label, subset, reason. Both keep the order of `table` and are numbered from
    0. A path that stands in several rows is opened once. A video that takes longer than `timeout` seconds, or that
    crashes the decoder, is quarantined too. `workers` is the number of processes; none is left when this returns or
    raises. What is readable is written to the file `journal`, if one is given, and is not opened again by a later call
    with that journal unless its size or time changed. `progress`, if given, wraps an iterable and takes `total`, as
    tqdm does. Raises ValueError for a table or options that do not fit.
    """
    missing = [name for name in _COLUMNS if name not in table.columns]
    if missing:
        raise ValueError(f"the table of videos lacks {', '.join(missing)}; its columns are {', '.join(table.columns)}")
    if workers < 1 or timeout <= 0:
        raise ValueError(f"workers must be at least 1 and timeout positive, got {workers} and {timeout}")
    table = table.reset_index(drop=True)
    paths = list(dict.fromkeys(str(path) for path in table["path"]))
    with closing(Journal(journal, "path")) as known:
        by_path = {path: known.entries[path] for path in paths if _is_same(known.entries.get(path), path, modality)}
        asked = [[path, modality] for path in paths if path not in by_path]
        with closing(run_all(probe_file, asked, workers=workers, timeouts=[timeout] * len(asked))) as answers:
            for number, answer in progress(answers, total=len(asked)) if progress else answers:
                path = asked[number][0]
                by_path[path] = answer
                if "reason" not in answer:
                    known.add({"path": path, "modality": modality, "source": fingerprint(path), **answer})
    results = [by_path[str(path)] for path in table["path"]]

    failed = np.array(["reason" in result for result in results], dtype=bool)
    good = [result for result in results if "reason" not in result]
    readable = table[~failed].copy()
    for name in ("num_frames", "width", "height"):
        readable[name] = [result[name] for result in good]
    readable["fps"] = [result["fps"] or known for result, known in zip(good, readable["fps"])]
    quarantine = table[failed].copy()
    quarantine["reason"] = [result["reason"] for result in results if "reason" in result]
    return readable.reset_index(drop=True), quarantine[QUARANTINE].reset_index(drop=True)


def _is_same(entry: dict | None, path: str, modality: str) -> bool:
    """Whether a journal's `entry` is of this very file; of a video inside an LMDB file nobody can tell."""
    known = entry is not None and entry["modality"] == modality and os.path.exists(path)
    return known and entry["source"] == fingerprint(path)


def probe_file(value: list[str]) -> dict:
    """VideoInfo's fields of the video [path, modality]. Raises VideoError. Run by the worker processes."""
    path, modality = value
    info = probe(path, modality)
    # In this order of numbers the decoder must seek and arrive: a count that promises too much is found out here.
    read_frames(path, [0, (info.num_frames - 1) // 2, info.num_frames - 1], modality=modality)
    return asdict(info)
