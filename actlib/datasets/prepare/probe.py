"""Probing every video of a table: which can be read, how long and how large they are."""

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from actlib.datasets.prepare.journal import Journal, fingerprint
from actlib.datasets.prepare.workers import check_limits, run_all
from actlib.datasets.video.reader import check_backend, probe, read_frames
from actlib.messages import printable

if TYPE_CHECKING:
    import pandas as pd  # the workers run without it: they start a second sooner

_COLUMNS = ["video_id", "path", "label", "subset", "start", "end", "num_frames", "fps", "width", "height"]
_NUMBERS = ("num_frames", "fps", "width", "height")
QUARANTINE = ["video_id", "path", "label", "subset", "reason"]


def probe_table(
    table: "pd.DataFrame",
    *,
    workers: int = 2,
    timeout: float = 20.0,
    modality: str = "rgb",
    backend: str = "auto",
    journal: str | Path | None = None,
    progress=None,
) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Open every video of `table` and decode its first, middle and last frame. Returns (readable, quarantine).

    `table` has the columns video_id, path, label, subset, start, end, num_frames, fps, width, height; `path` is
    whatever `read_frames` reads, `backend` what it decodes video files with. `readable` holds the rows of the readable
    videos with the last four filled in (frames, or pairs for modality "flow"; frames per second, where only the table
    knows it as it is there; pixels as displayed); `quarantine` the others: video_id, path, label, subset, reason. Both
    keep the order of `table` and are numbered from 0. A path that stands in several rows is opened once. A video that
    takes longer than `timeout` seconds, or that crashes the decoder, is quarantined too. `workers` is the number of
    processes; none is left when this returns or raises. What is readable is written to the file `journal`, if one is
    given, and is not opened again by a later call with that journal and backend unless its size or time changed.
    `progress`, if given, wraps an iterable and takes `total`, as tqdm does. Raises ValueError for a table or options
    that do not fit.
    """
    missing = [name for name in _COLUMNS if name not in table.columns]
    if missing:
        raise ValueError(f"the table of videos lacks {', '.join(missing)}; its columns are {', '.join(table.columns)}")
    check_limits(workers, timeout)
    backend = check_backend(backend)
    known, results = Journal(journal, "path", _NUMBERS), {}

    def made_of(path: str) -> dict:
        return {"modality": modality, "backend": backend, "source": fingerprint(path)}

    for path in dict.fromkeys(map(str, table["path"])):
        entry = {"backend": "pyav"} | known.entries.get(path, {})
        # Of a video inside an LMDB file, no path of the disk, nobody can tell whether it is the same.
        results[path] = entry if os.path.exists(path) and made_of(path).items() <= entry.items() else None
    asked = [[path, modality, backend] for path, result in results.items() if result is None]
    how = {"workers": workers, "timeouts": [timeout] * len(asked), "backend": backend}
    with closing(run_all(probe_file, asked, **how)) as answers:
        for number, answer in progress(answers, total=len(asked)) if progress else answers:
            path = asked[number][0]
            results[path] = answer
            if "reason" not in answer:
                known.add({"path": path} | made_of(path) | answer)
    readable, quarantine, good = divide(table, [results[str(path)] for path in table["path"]])
    readable["fps"] = [result["fps"] or known for result, known in zip(good, readable["fps"])]
    return readable, quarantine


def divide(table: "pd.DataFrame", results: Sequence[dict]) -> "tuple[pd.DataFrame, pd.DataFrame, list[dict]]":
    """The rows of `table` whose result, one a row, has no `reason`, with their num_frames, width and height; the others
    with the reason (columns QUARANTINE, their names as any file takes them); and the results of the former. Both are
    numbered from 0."""
    failed = np.array(["reason" in result for result in results], dtype=bool)
    good = [result for result in results if "reason" not in result]
    readable, quarantine = table[~failed].reset_index(drop=True), table[failed].reset_index(drop=True)
    for name in ("num_frames", "width", "height"):
        readable[name] = [result[name] for result in good]
    quarantine["path"] = [printable(str(path)) for path in quarantine["path"]]
    quarantine["reason"] = [printable(result["reason"]) for result in results if "reason" in result]
    return readable, quarantine[QUARANTINE], good


def probe_file(value: list[str]) -> dict:
    """VideoInfo's fields of the video [path, modality, backend]. Raises VideoError. Run by the worker processes."""
    path, modality, backend = value
    info = probe(path, modality, backend)
    # In this order of numbers the decoder must seek and arrive: a count that promises too much is found out here.
    numbers = [0, (info.num_frames - 1) // 2, info.num_frames - 1]
    read_frames(path, numbers, modality=modality, backend=backend)
    return asdict(info)
