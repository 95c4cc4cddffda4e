"""Converting all videos of a table in processes that can be killed; a run that was killed goes on where it was."""

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

from actlib.datasets.errors import DataError
from actlib.datasets.prepare.journal import Journal, fingerprint
from actlib.datasets.prepare.layout import JOURNAL, Job, StorageOptions, claim_root, jobs
from actlib.datasets.prepare.probe import QUARANTINE
from actlib.datasets.prepare.workers import run_all
from actlib.datasets.prepare.write import convert_video, remove_partial
from actlib.datasets.video import lmdb_store
from actlib.datasets.video.pyav_reader import VideoInfo
from actlib.datasets.video.reader import split_lmdb

_SLOWEST = 5.0  # frames/s that a conversion is given time for, on top of the decoder's timeout
_PACKS, _LOCK = ".packs", ".lock"
SAMPLES = 4


@dataclass(frozen=True)
class Estimate:
    """What a conversion needs. `needed`: bytes on disk for the `left` videos that are not converted yet, None if none
    of the sampled ones could be; `free`: bytes that are free there; `sampled`: converted videos it is drawn from."""

    needed: int | None
    free: int
    left: int
    sampled: int

    def __str__(self) -> str:
        if not self.left:
            return "nothing is left to convert"
        free = f"{self.free / 1e9:,.1f} GB are free"
        if self.needed is None:
            return (
                f"{self.left:,} videos are left to convert, their size unknown (no sample could be converted); {free}"
            )
        size = f"{self.needed / 1e9:,.1f} GB" if self.needed >= 1e9 else f"{self.needed / 1e6:,.1f} MB"
        return f"{self.left:,} more videos will take {size}, by {self.sampled} converted ones; {free}"


def estimate(
    table: pd.DataFrame, options: StorageOptions, *, workers: int = 2, timeout: float = 20.0, samples: int = SAMPLES
) -> Estimate:
    """How much disk the conversion of `table` takes: `samples` videos, spread over the table, are converted into place
    (or were, by a run before) and their bytes a pixel are taken for all others. Raises DataError as `convert`."""
    if options.storage == "original":
        return Estimate(0, _free(options.root), 0, 0)
    with Conversion(table, options) as conversion:
        _run([(conversion, conversion.left(samples)[: conversion.lacking(samples)])], workers, timeout)
        return conversion.estimate()


def convert(
    table: pd.DataFrame,
    options: StorageOptions,
    *,
    workers: int = 2,
    timeout: float = 20.0,
    progress: Callable | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Convert every video of `table` (probed: num_frames, width and height filled in). Returns (converted, quarantine).

    `converted` holds the rows of the converted videos with the path, num_frames, width and height that these have now;
    frame numbers, and with them segments, stay as they are (for flow, a pair less). `quarantine` holds the others:
    video_id, path, label, subset, reason. Both keep the order of `table` and are numbered from 0.

    `workers`: processes; `timeout`: seconds that a decoder may hang over a video, beside the time for the work itself.
    `progress`, if given, wraps an iterable and takes `total`, as tqdm does. Videos that were converted before, with the
    same options and from the same files, are not converted again. Raises DataError when the disk is too small for all
    of them, when `options.root` was made with other options or holds something else, or without a needed extra.
    """
    table = table.reset_index(drop=True)
    if options.storage == "original" or table.empty:
        return table, table.assign(reason="")[QUARANTINE].iloc[:0]
    with Conversion(table, options) as conversion:
        lacking = conversion.lacking(SAMPLES)
        if not lacking:
            conversion.check_disk()
        _run([(conversion, conversion.left(SAMPLES))], workers, timeout, progress, check_after=lacking)
        return conversion.tables(table)


def convert_together(
    table: pd.DataFrame, each: Sequence["Conversion"], *, workers: int, timeout: float
) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """`convert` to several storages with the same worker processes; `each` is entered already."""
    _run([(conversion, conversion.left()) for conversion in each], workers, timeout)
    return [conversion.tables(table) for conversion in each]


def _run(
    tasks: Sequence[tuple["Conversion", Sequence[int]]],
    workers: int,
    timeout: float,
    progress: Callable | None = None,
    check_after: int = 0,
) -> None:
    """Convert the jobs with these numbers; after `check_after` of them look whether the disk suffices for the rest."""
    if workers < 1 or timeout <= 0:
        raise ValueError(f"workers must be at least 1 and timeout positive, got {workers} and {timeout}")
    asked = [(conversion, number) for conversion, numbers in tasks for number in numbers]
    requests = _Requests(asked)
    timeouts = [timeout + conversion.jobs[number].num_frames / _SLOWEST for conversion, number in asked]
    with closing(run_all(convert_video, requests, workers=workers, timeouts=timeouts)) as answers:
        shown = progress(answers, total=len(asked)) if progress else answers
        for count, (place, answer) in enumerate(shown, 1):
            conversion, number = asked[place]
            conversion.accept(number, answer)
            if count == check_after:
                conversion.check_disk()


class _Requests(Sequence):
    """What the workers are told, made when it is asked for: of many videos it would fill the memory."""

    def __init__(self, asked: Sequence[tuple["Conversion", int]]):
        self._asked = asked

    def __len__(self) -> int:
        return len(self._asked)

    def __getitem__(self, place: int) -> dict:
        conversion, number = self._asked[place]
        return conversion.request(number)


class Conversion:
    """The jobs of a table and what became of them: `results`, by the number of the job, of those that were tried."""

    def __init__(self, table: pd.DataFrame, options: StorageOptions):
        self._options = options
        self.jobs, self._numbers = jobs(table, options)
        self._root = Path(os.path.abspath(options.root))
        self._packs = self._root / _PACKS
        if options.storage == "flow" and find_spec("cv2") is None:
            raise DataError("computing optical flow needs OpenCV: pip install -e '.[flow]'")
        claim_root(options)
        self._journal = Journal(self._root / JOURNAL, "target")
        self._writers: dict[str, lmdb_store.Writer] = {}
        self._stack = ExitStack()
        self.results: dict[int, dict] = {}

    def __enter__(self) -> "Conversion":
        self._stack.callback(self._journal.close)
        try:
            self._lock()
            if self._options.storage == "lmdb":
                shutil.rmtree(self._packs, ignore_errors=True)  # of a run that was killed
                self._packs.mkdir()
                self._stack.callback(shutil.rmtree, self._packs, ignore_errors=True)
                for job in self.jobs:
                    file, _ = split_lmdb(job.target)
                    if file not in self._writers:
                        self._writers[file] = self._stack.enter_context(lmdb_store.Writer(file))
            for number, job in enumerate(self.jobs):
                entry = self._journal.entries.get(self._key(job))
                if entry and entry["source"] == fingerprint(job.source) and self._is_there(job):
                    self.results[number] = entry
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exception):
        self._stack.close()

    def _lock(self) -> None:
        """Keep other runs out of the folder; the lock ends with this process, however it ends."""
        file = self._stack.enter_context((self._root / _LOCK).open("w"))
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DataError(f"{self._root}: another run is converting into this folder; wait for it") from None

    def _key(self, job: Job) -> str:
        """A target's name in the journal: relative, so that the folder can move."""
        return os.path.relpath(job.target, self._root)

    def _is_there(self, job: Job) -> bool:
        if self._options.storage != "lmdb":
            return os.path.exists(job.target)
        file, video_id = split_lmdb(job.target)
        return self._writers[file].info(video_id) is not None

    def left(self, samples: int = 0) -> list[int]:
        """The jobs that were not tried yet; `samples` of them, spread evenly, come first."""
        left = [number for number in range(len(self.jobs)) if number not in self.results]
        places = np.linspace(0, len(left) - 1, min(samples, len(left))).round().astype(int)
        chosen = {left[place]: None for place in places}
        return [*chosen, *(number for number in left if number not in chosen)]

    def lacking(self, samples: int) -> int:
        """How many videos must be converted before the rest can be estimated from `samples`."""
        return min(max(0, samples - self._num_done()), len(self.left()))

    def _num_done(self) -> int:
        return sum("reason" not in result for result in self.results.values())

    def estimate(self) -> Estimate:
        left = self.left()
        done = [number for number, result in self.results.items() if "reason" not in result]
        pixels = sum(self.jobs[number].pixels for number in done)
        disk = sum(self.results[number]["disk"] for number in done)
        remaining = sum(self.jobs[number].pixels for number in left)
        needed = (round(disk / pixels * remaining) if pixels else None) if left else 0
        return Estimate(needed, _free(self._root), len(left), len(done))

    def check_disk(self) -> None:
        """Raise DataError when what is left does not fit."""
        expected = self.estimate()
        if expected.needed is not None and expected.needed > expected.free:
            raise DataError(
                f"{self._root}: converting the {expected.left:,} videos that are left takes {expected.needed:,} bytes, "
                f"{expected.free:,} are free. Choose a storage_root on another disk, a smaller storage_side or a "
                "storage that takes less"
            )

    def request(self, number: int) -> dict:
        """What a worker process is told about a job."""
        job = self.jobs[number]
        entry = self._journal.entries.get(self._key(job))
        return {
            "job": asdict(job),
            "options": self._options.task(),
            "pack": str(self._packs / str(number)),
            "replace": entry is not None and entry["source"] != fingerprint(job.source),
        }

    def accept(self, number: int, answer: dict) -> None:
        """Keep what a worker answered; a video that is done goes to the journal at once."""
        job = self.jobs[number]
        if "reason" in answer:
            if self._options.storage == "lmdb":
                (self._packs / str(number)).unlink(missing_ok=True)
            else:
                remove_partial(Path(job.target))  # a killed process could not
        else:
            if self._options.storage == "lmdb":
                self._add_pack(job, self._packs / str(number), answer)
            answer |= {"target": self._key(job), "source": fingerprint(job.source)}
            self._journal.add(answer)
        self.results[number] = answer

    def _add_pack(self, job: Job, pack: Path, answer: dict) -> None:
        data = memoryview(pack.read_bytes())
        ends = np.cumsum(answer.pop("lengths")).tolist()
        info = VideoInfo(job.num_frames, job.fps, answer["width"], answer["height"])
        file, video_id = split_lmdb(job.target)
        frames = [data[begin:end] for begin, end in zip([0, *ends], ends)]
        self._writers[file].add(video_id, info, frames)
        pack.unlink()

    def tables(self, table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """(converted, quarantine), as `convert` returns them."""
        results = [self.results[number] for number in self._numbers]
        failed = np.array(["reason" in result for result in results], dtype=bool)
        converted, quarantine = table[~failed].copy(), table[failed].copy()
        good = [result for result in results if "reason" not in result]
        converted["path"] = [str(self._root / result["target"]) for result in good]
        for name in ("num_frames", "width", "height"):
            converted[name] = [result[name] for result in good]
        converted["end"] = np.fmin(converted["end"].astype(float), converted["num_frames"])
        converted.loc[table["end"][~failed].isna(), "end"] = np.nan
        quarantine["reason"] = [result["reason"] for result in results if "reason" in result]
        return converted.reset_index(drop=True), quarantine[QUARANTINE].reset_index(drop=True)


def _free(root: str | Path) -> int:
    """Free bytes of the disk that `root` is, or will be, on."""
    folder = Path(os.path.abspath(root))
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
