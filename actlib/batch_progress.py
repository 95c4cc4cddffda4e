"""How far a batch is: what its runner writes into the batch's folder while it works, and what anybody reads there.

`batch_progress.json` names all runs in order with their state and where they run. With the run folders beside it a
batch can be followed from another process or machine. This module knows of the package `files` and `run_progress`
alone; everybody may use it.
"""

import datetime
import glob
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from actlib.files import project_root, read_mapping, read_text, write_json
from actlib.run_progress import ENDED, ProgressTable, Row, Told, clock

NAME = "batch_progress.json"
REPORT = "batch_report.html"
EVERY_S = 5.0  # how often the runner says that it is there
SILENT_S = 60.0  # after which a runner on another machine is believed to be gone
_ORDER = ("running", "queued", "failed", "stopped", "damaged", "blocked", "waiting", "done", "skipped")


@dataclass
class BatchProgress:
    """A batch as its runner tells of it. Times are seconds since 1970."""

    folder: Path
    runs: dict[str, Told] = field(default_factory=dict)
    file: str = ""
    command: str = ""
    host: str = ""
    pid: int = 0
    begun: float | None = None
    heard: float | None = None  # when the runner wrote it
    ended: float | None = None
    left: float | None = None  # seconds when it was written, None if unknown
    left_is_all: bool = True  # else it takes longer: of some runs nothing is known
    dashboard: str = ""  # an address, of Dask's
    state: str = "running"  # done (all runs have ended), or stopped (the runner is gone, or was interrupted)

    @classmethod
    def begin(cls, folder: Path, file: str, names: Iterable[str]) -> "BatchProgress":
        """Of a batch that this process begins to run."""
        command = " ".join(" ".join(["python", *sys.orig_argv[1:]]).split())
        runs = {name: Told("waiting") for name in names}
        return cls(folder, runs, file, command, socket.gethostname(), os.getpid(), time.time())

    def write(self) -> None:
        self.heard = time.time()
        told = {name: value for name, value in vars(self).items() if name not in ("folder", "runs")}
        runs = {name: {key: each for key, each in vars(run).items() if each} for name, run in self.runs.items()}
        write_json(self.folder / NAME, told | {"runs": runs})

    def end(self) -> None:
        """Say that the runner has ended; what is still at work has stopped."""
        self.ended, self.left = time.time(), 0.0
        self._settle()
        self.write()

    def _settle(self) -> None:
        at_work = {name: each for name, each in self.runs.items() if each.state in ("queued", "running")}
        self.runs |= {name: Told("stopped", each.where) for name, each in at_work.items()}
        whole = all(each.state in ENDED and each.state != "stopped" for each in self.runs.values())
        self.state = "done" if whole else "stopped"

    def _runner_is_there(self) -> bool:
        if self.host == socket.gethostname():
            import psutil

            return psutil.pid_exists(self.pid)
        return self.heard is not None and time.time() - self.heard < SILENT_S


def read(folder: str | Path) -> BatchProgress | None:
    """What the runner of the batch in `folder` tells; None where it tells nothing. Of one whose runner is gone, what
    was at work has stopped."""
    folder = Path(folder)
    try:
        told = read_mapping(folder / NAME)
        runs = {str(name): Told(**each) for name, each in told.pop("runs").items()}
        found = BatchProgress(folder, runs, **told)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    if found.state == "running" and not found._runner_is_there():
        found._settle()
    return found


def folder_of(source: str | Path) -> Path:
    """The folder of a batch: `source` itself, or the one that a batch file names, below the project's folder.

    Raises FileNotFoundError for a source that is not there, ValueError for a file that is no batch's.
    """
    source = Path(source)
    if not source.suffix or source.is_dir():
        return source
    told = read_yaml(source)
    if "steps" not in told:
        raise ValueError(f"{source}: is no batch file: it has no steps. Name a file of params/batch/, or a folder")
    return project_root(source.absolute().parent) / named_folder(source, told.get("run_dir"))


def read_yaml(path: Path) -> dict:
    try:
        told = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not valid YAML: {error}") from None
    return told if isinstance(told, dict) else {}


def named_folder(path: Path, run_dir: str | None) -> str:
    """Where the run folders of a batch file lie: in its `run_dir`, else in one of its own name."""
    return run_dir or f"outputs/{path.stem}"


def under_way(patterns: Iterable[str]) -> list[Path]:
    """The folders of batches at work among those that shell patterns name, and those above these."""
    named = {Path(name) for pattern in patterns for name in glob.glob(pattern, recursive=True)}
    folders = sorted(each for each in named | {each.parent for each in named} if (each / NAME).is_file())
    return [folder for folder in folders if (found := read(folder)) is not None and found.state == "running"]


class Follower:
    """Reads the batch in a folder again and again: `look` gives what its runner tells, and a row a run."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._table = ProgressTable(folder)

    def look(self) -> tuple[BatchProgress | None, list[Row]]:
        """(batch, rows). Without a runner that tells of itself, the rows are those of the run folders that are there,
        with the states that they have themselves."""
        batch = read(self.folder)
        if batch is None:
            names = sorted(os.path.basename(os.path.dirname(each)) for each in self._statuses())
            return None, self._table.rows(dict.fromkeys(names, Told()))
        return batch, self._table.rows(batch.runs)

    def _statuses(self) -> list[str]:
        return glob.glob(os.path.join(glob.escape(str(self.folder)), "*", "status.json"))


def ordered(rows: list[Row]) -> list[Row]:
    """Those at work first, then the failed ones."""
    return sorted(rows, key=lambda row: _ORDER.index(row.state) if row.state in _ORDER else len(_ORDER))


def count_states(rows: list[Row]) -> str:
    """`2 running · 1 failed · 14 waiting`"""
    counts = Counter(row.state or "unknown" for row in ordered(rows))
    return " · ".join(f"{count:,} {state}" for state, count in counts.items())


def time_told(batch: BatchProgress) -> str:
    """`2:10 gone, about 1:40 left`, or when it ended and how long it took."""
    if batch.state != "running" or batch.begun is None:
        end = batch.ended or batch.heard
        return f"{batch.state} {when(end)}, after {clock(end - batch.begun)}" if end and batch.begun else batch.state
    words = f"{clock(time.time() - batch.begun)} gone"
    if batch.left is not None and (batch.left_is_all or batch.left >= 1):
        left = max(0.0, batch.left - (time.time() - (batch.heard or time.time())))
        words += f", {'about' if batch.left_is_all else 'more than'} {clock(left)} left"
    return words


def when(seconds: float) -> str:
    """A time as `2026-01-02 03:04`, of this machine's clock."""
    return datetime.datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
