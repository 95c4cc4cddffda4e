"""Converting all videos of a table in processes that can be killed; a run that was killed goes on where it was."""

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from actlib import locks
from actlib.datasets.errors import DataError, reading
from actlib.datasets.prepare.compute_flow import opencv
from actlib.datasets.prepare.journal import Journal, fingerprint
from actlib.datasets.prepare.layout import Job, StorageOptions, remove_partial, target_path
from actlib.datasets.prepare.probe import QUARANTINE, divide
from actlib.datasets.prepare.workers import check_limits, run_all
from actlib.datasets.prepare.write import convert_video, read_pack
from actlib.datasets.video import lmdb_store
from actlib.datasets.video.info import VideoInfo
from actlib.datasets.video.reader import check_backend
from actlib.files import read_mapping, write_json
from actlib.messages import cut

JOURNAL = "converted.jsonl"  # the files in a folder of converted videos
_OPTIONS, _PACKS = "storage.json", ".packs"
_NUMBERS = ("num_frames", "width", "height", "disk")  # that the journal has of a video
_SLOWEST = 5.0  # frames/s that a conversion is given time for, on top of the decoder's timeout
_SAMPLES = 4  # videos, spread over the table, that are converted before the disk for the others is estimated


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
            unknown = "their size unknown (no sample could be converted)"
            return f"{self.left:,} videos are left to convert, {unknown}; {free}"
        size = f"{self.needed / 1e9:,.1f} GB" if self.needed >= 1e9 else f"{self.needed / 1e6:,.1f} MB"
        return f"{self.left:,} more videos will take {size}, by {self.sampled} converted ones; {free}"


def convert(
    table: pd.DataFrame,
    options: StorageOptions,
    *,
    workers: int = 2,
    timeout: float = 20.0,
    progress: Callable | None = None,
    tell: Callable[[Estimate], object] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Convert every video of `table` (probed: num_frames, width and height filled in). Returns (converted, quarantine).

    `converted` holds the rows of the converted videos with the path, num_frames, width and height that these have now;
    frame numbers, and with them segments, stay as they are (for flow, a pair less). `quarantine` holds the others:
    video_id, path, label, subset, reason. Both keep the order of `table` and are numbered from 0.

    `workers`: processes; `timeout`: seconds that a decoder may hang over a video, beside the time for the work itself.
    `progress`, if given, wraps an iterable and takes `total`, as tqdm does. The first videos that are converted, spread
    over the table, tell how much disk the others take: `tell`, such as print, is given that Estimate. Videos that were
    converted before, with the same options and from the same files, are not converted again. Raises DataError when the
    disk is too small for all of them, when `options.root` was made with other options or holds something else, or
    without a needed extra.
    """
    check_limits(workers, timeout)
    table = table.reset_index(drop=True)
    if options.storage == "original" or table.empty:
        return table, table.assign(reason="")[QUARANTINE].iloc[:0]
    with Conversion(table, options) as conversion:
        conversion.run(workers, timeout, progress, tell)
        return conversion.tables(table)


class Conversion(AbstractContextManager):
    """The jobs of a table and what became of them: `results`, by the number of the job, of those that were tried. While
    it lives, no other run can convert into the folder."""

    def __init__(self, table: pd.DataFrame, options: StorageOptions):
        self._options, self._root = options, Path(options.root)
        self.jobs, self._numbers = jobs(table, options)
        check_backend(options.backend)
        if options.storage == "flow":
            opencv()
        claim_root(options)
        self._journal = Journal(self._root / JOURNAL, "target", _NUMBERS)
        self._packs = self._root / _PACKS
        self._writers: dict[str, lmdb_store.Writer] = {}
        with ExitStack() as stack:
            try:
                stack.enter_context(locks.take(self._root))
            except locks.Locked as error:
                raise DataError(str(error)) from None
            if options.storage == "lmdb":
                shutil.rmtree(self._packs, ignore_errors=True)  # of a run that was killed
                self._packs.mkdir()
                stack.callback(shutil.rmtree, self._packs, ignore_errors=True)
                for file in {lmdb_store.split_lmdb(job.target)[0] for job in self.jobs}:
                    self._writers[file] = stack.enter_context(lmdb_store.Writer(file))
            self.results = {number: entry for number, job in enumerate(self.jobs) if (entry := self._done_before(job))}
            self._open = stack.pop_all()

    def __exit__(self, *exception):
        self._open.close()

    def _key(self, job: Job) -> str:
        """A target's name in the journal: relative, so that the folder can move."""
        return os.path.relpath(job.target, self._root)

    def _done_before(self, job: Job) -> dict | None:
        """The journal's entry of a job, if the video is there and of this very source."""
        entry = self._journal.entries.get(self._key(job))
        if not entry or entry.get("source") != fingerprint(job.source):
            return None
        if self._options.storage != "lmdb":
            return entry if os.path.exists(job.target) else None
        file, video_id = lmdb_store.split_lmdb(job.target)
        return entry if self._writers[file].info(video_id) else None

    def left(self) -> list[int]:
        """The jobs that were not tried yet."""
        return [number for number in range(len(self.jobs)) if number not in self.results]

    def run(self, workers: int, timeout: float, progress: Callable | None, tell: Callable | None) -> None:
        """Try all jobs that are left; the first ones are spread evenly, and the estimate is drawn from them."""
        order = self.left()
        places = np.linspace(0, len(order) - 1, min(_SAMPLES, len(order))).round().astype(int).tolist()
        order = list(dict.fromkeys([*(order[place] for place in places), *order]))
        lacking = min(max(0, _SAMPLES - self.estimate().sampled), len(order))
        if not lacking:
            self._check_disk(tell)
        timeouts = [timeout + self.jobs[number].num_frames / _SLOWEST for number in order]
        how = {"workers": workers, "timeouts": timeouts, "backend": self._options.backend}
        with closing(run_all(convert_video, order, request=self._request, **how)) as answers:
            shown = progress(answers, total=len(order)) if progress else answers
            for count, (place, answer) in enumerate(shown, 1):
                self._accept(order[place], answer)
                if count == lacking:
                    self._check_disk(tell)

    def estimate(self) -> Estimate:
        left = self.left()
        done = [number for number, result in self.results.items() if "reason" not in result]
        pixels = sum(self.jobs[number].pixels for number in done)
        disk = sum(self.results[number]["disk"] for number in done)
        remaining = sum(self.jobs[number].pixels for number in left)
        needed = round(disk / pixels * remaining) if pixels else None
        return Estimate(needed, shutil.disk_usage(self._root).free, len(left), len(done))

    def _check_disk(self, tell: Callable | None) -> None:
        """Raise DataError when what is left does not fit."""
        expected = self.estimate()
        if tell:
            tell(expected)
        if expected.needed is not None and expected.needed > expected.free:
            raise DataError(
                f"{self._root}: converting the {expected.left:,} videos that are left takes {expected.needed:,} bytes, "
                f"{expected.free:,} are free. Choose a storage_root on another disk, a smaller storage_side or a "
                "storage that takes less"
            )

    def _request(self, number: int) -> dict:
        """What a worker process is told about a job."""
        job = self.jobs[number]
        entry = self._journal.entries.get(self._key(job))
        replace = entry is not None and entry.get("source") != fingerprint(job.source)
        pack = str(self._packs / str(number))
        return {"job": asdict(job), "options": asdict(self._options), "pack": pack, "replace": replace}

    def _accept(self, number: int, answer: dict) -> None:
        """Keep what a worker answered; a video that is done goes to the journal at once."""
        job, pack = self.jobs[number], self._packs / str(number)
        in_lmdb = self._options.storage == "lmdb"
        if "reason" not in answer:
            if in_lmdb:
                file, video_id = lmdb_store.split_lmdb(job.target)
                info = VideoInfo(job.num_frames, job.fps, answer["width"], answer["height"])
                self._writers[file].add(video_id, info, read_pack(pack, job.num_frames))
            answer |= {"target": self._key(job), "source": fingerprint(job.source)}
            self._journal.add(answer)
        if in_lmdb:
            pack.unlink(missing_ok=True)
        elif "reason" in answer:
            remove_partial(job.target)  # a killed process could not
        self.results[number] = answer

    def tables(self, table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """(converted, quarantine), as `convert` returns them."""
        converted, quarantine, good = divide(table, [self.results[number] for number in self._numbers])
        converted["path"] = [str(self._root / result["target"]) for result in good]
        converted["end"] = converted["end"].astype(float).clip(upper=converted["num_frames"])
        return converted, quarantine


def jobs(table: pd.DataFrame, options: StorageOptions) -> tuple[list[Job], list[int]]:
    """The videos of `table` to convert, and for each row the number of its job.

    Rows that share a file (segments of one video) share a job, for lmdb those of a subset. Raises DataError when a
    column that probing fills in is empty.
    """
    for name in ("num_frames", "width", "height"):
        unknown = table.loc[table[name].isna(), "path"]
        if len(unknown):
            raise DataError(f"{len(unknown):,} videos have no {name}, {unknown.iloc[0]} first; probe_table fills it in")
    keys = ["path", "subset"] if options.storage == "lmdb" else ["path"]
    made = []
    for row in table.drop_duplicates(keys).itertuples():
        height, width = options.size(row.width, row.height)
        fps = float(row.fps) if row.fps and row.fps == row.fps else 0.0
        target = target_path(options, row.video_id, row.label, row.subset)
        pixels = height * width * int(row.num_frames)
        made.append(Job(row.video_id, os.path.abspath(row.path), target, int(row.num_frames), fps, pixels))
    return made, table.groupby(keys, sort=False).ngroup().tolist()


def claim_root(options: StorageOptions) -> None:
    """Note in the folder what it is made by. Raises DataError when it was made otherwise or holds something else."""
    root, asked = Path(options.root), options.made_by()
    path = root / _OPTIONS
    if path.is_file():
        with reading(path, "choose another storage_root, or delete this folder"):
            made_by = {"backend": "pyav"} | read_mapping(path)
        differ = [name for name in asked if made_by.get(name) != asked[name]]
        other = [f"{name} {cut(str(made_by.get(name)))}, not {asked[name]}" for name in differ]
        if other:
            raise DataError(
                f"{root}: holds videos converted with {'; '.join(other)}. Choose another storage_root, "
                "or delete this folder"
            )
    elif root.is_dir() and any(root.iterdir()):
        raise DataError(f"{root}: holds other files; converted videos need a folder of their own as storage_root")
    else:
        write_json(path, asked)
