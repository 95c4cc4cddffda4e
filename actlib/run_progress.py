"""How far runs are, as their folders tell: state, epoch, accuracy, rate, the time that is left.

A folder is read from any process or machine that sees it, and a file of it again only when it has changed. This module
knows of the package `files`, `locks` and `messages` alone; everybody may use it.
"""

import contextlib
import csv
import os
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from actlib import locks
from actlib.files import read_mapping, read_text
from actlib.messages import cut

# The first that a run has is its own.
ACCURACIES = (
    "video_top1", "video_top5", "clip_top1", "clip_top5", "val_top1", "video_macro_f1", "clip_macro_f1", "val_macro_f1",
)  # fmt: skip
ENDED = ("done", "skipped", "failed", "blocked", "stopped")
COLUMNS = ("run", "state", "where", "epoch", "accuracy, %", "clips/s", "left", "why")
BLOCKED = "needs a run that failed"
_RECENT = 5  # epochs whose mean says how long the next ones take
_EPOCHS = re.compile(r"^epochs: *(\d+)", re.M)  # in params.yaml


@dataclass(frozen=True)
class Told:
    """What is known of a run besides its folder: by who runs the batch."""

    state: str = ""  # waiting, queued, running, done, skipped, failed, blocked, stopped; empty: ask the folder
    where: str = ""  # the worker that it runs on
    since: float | None = None  # when it began to run, seconds since 1970
    takes: float | None = None  # seconds that it took the last time, or that its like took


@dataclass(frozen=True)
class Row:
    """A run as a table shows it. `accuracy` in percent is of the kind `measure`, by `protocol`; `left` in seconds."""

    run: str
    state: str = "waiting"
    where: str = ""
    epoch: int | None = None
    epochs: int | None = None
    accuracy: float | None = None
    measure: str = ""
    protocol: str = ""
    rate: float | None = None  # clips/s
    left: float | None = None
    why: str = ""

    def cells(self) -> dict[str, str]:
        """The texts of COLUMNS."""
        accuracy = "" if self.accuracy is None else f"{self.accuracy:.1f} {self.measure.replace('_top', ' top-')}"
        epoch = "" if self.epoch is None else f"{self.epoch} of {self.epochs or '?'}"
        rate, left = ("" if each is None else form(each) for each, form in ((self.rate, _rate), (self.left, clock)))
        texts = (self.run, self.state, self.where, epoch, accuracy, rate, left, cut(self.why, 300))
        return dict(zip(COLUMNS, texts))


def _rate(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def clock(seconds: float) -> str:
    """`2:10` or `1:02:10`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def in_words(name: str, entry: dict) -> str:
    """A headline number as it is shown: `video_top1 71.2 (10 clips × 3 crops @ 256, 18,434 of 19,796 videos)`."""
    where = measured_on(entry)
    return f"{name} {entry['value']:.4g}" + (f" ({where})" if where else "")


def measured_on(entry: dict) -> str:
    """What a headline number was measured on: `10 clips × 3 crops @ 256, 18,434 of 19,796 videos`."""
    of = f"{entry['videos']:,} of {entry['expected']:,} videos" if "expected" in entry else ""
    return ", ".join(each for each in (entry.get("protocol", ""), of) if each)


def is_at_work(folder: Path, status: dict) -> bool:
    """Whether a process works in the folder, as far as this machine knows: one elsewhere is believed to."""
    import psutil

    lock = {}
    with contextlib.suppress(OSError, ValueError):  # there is none, or who holds it is writing just now
        lock = read_mapping(folder / locks.NAME)
    pids = [told["pid"] for told in (lock, status) if type(told.get("pid")) is int]
    return lock.get("host") not in (None, socket.gethostname()) or any(map(psutil.pid_exists, pids))


class ProgressTable:
    """The rows of the runs whose folders lie in `folder`, read again and again at little cost: a run that waits is not
    read at all, one that has ended once, and of one at work those files that have changed."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._runs: dict[str, _Files] = {}
        self._ended: dict[str, tuple[Told, Row]] = {}

    def rows(self, told: dict[str, Told]) -> list[Row]:
        """A row for each run of `told`, in its order."""
        return [self._row(name, each) for name, each in told.items()]

    def _row(self, name: str, told: Told) -> Row:
        if told.state in ("waiting", "blocked"):  # what lies in its folder is of an earlier run
            return Row(name, told.state, told.where, why=BLOCKED if told.state == "blocked" else "")
        known = self._ended.get(name)
        if known is not None and known[0] == told:
            return known[1]
        files = self._runs.setdefault(name, _Files(self.folder / name))
        row = files.row(told)
        if told.state in ENDED:
            self._ended[name] = told, row
            del self._runs[name]
        return row


class _Files:
    """What the files of one run folder tell, each read when it has changed."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._found: dict[str, tuple[tuple, dict]] = {}

    def row(self, told: Told) -> Row:
        status = self._of("status.json", read_mapping)
        state = self._state(told, status)
        history = self._of("metrics.csv", _last_epochs)
        row = Row(
            self.folder.name, state, told.where, rate=history.get("rate"),
            why=str(status.get("why", "")) if state in ("failed", "stopped", "damaged") else "",
        )  # fmt: skip
        if history:
            epochs = self._of("params.yaml", _epochs).get("epochs")
            on = ", ".join(filter(None, ("centre clip × centre crop", f"epoch {history['epoch']}", history["videos"])))
            row = replace(row, epoch=history["epoch"], epochs=epochs, accuracy=history["accuracy"],
                          measure="val_top1", protocol=on)  # fmt: skip
        if state in ("done", "skipped", "stopped"):
            row = replace(row, **self._of("result.json", _headline))
        return replace(row, left=self._left(row, history, told)) if state == "running" else row

    def _state(self, told: Told, status: dict) -> str:
        found = str(status.get("state", ""))
        if told.state:
            return "queued" if told.state == "running" and found == "queued" else told.state
        return "stopped" if found in ("running", "queued") and not is_at_work(self.folder, status) else found

    def _left(self, row: Row, history: dict, told: Told) -> float | None:
        """Seconds until it ends, by its epochs, else by the last time; None if unknown, or if it takes longer."""
        if row.epochs and history.get("seconds"):
            since = max(history["changed"], told.since or 0.0)
            return max(0.0, (row.epochs - row.epoch) * history["seconds"] - max(0.0, time.time() - since))
        if told.since is None or told.takes is None:
            return None
        left = told.since + told.takes - time.time()
        return left if left > 0 else None

    def _of(self, name: str, read: Callable[[Path], dict]) -> dict:
        """What `read` makes of a file, with its time as `changed`; empty where there is none, or a broken one."""
        path = self.folder / name
        try:
            stat = os.stat(path)
        except OSError:
            self._found.pop(name, None)
            return {}
        mark = stat.st_mtime_ns, stat.st_size, stat.st_ino
        if name not in self._found or self._found[name][0] != mark:
            try:
                found = read(path)
            except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError):
                found = {}
            self._found[name] = mark, found | ({"changed": stat.st_mtime} if name == "metrics.csv" and found else {})
        return self._found[name][1]


def _epochs(path: Path) -> dict:
    found = _EPOCHS.search(read_text(path))
    return {"epochs": int(found[1])} if found else {}


def _last_epochs(path: Path) -> dict:
    """The newest epoch of metrics.csv, and how long the last ones took."""
    rows = list(csv.DictReader(read_text(path).splitlines()))
    last = rows[-1]
    seconds = [float(each["seconds"]) for each in rows[-_RECENT:] if each.get("seconds")]
    return {
        "epoch": int(last["epoch"]),
        "accuracy": float(last["val_top1"]) if last.get("val_top1") else None,
        "rate": float(last["clips_per_s"]) if last.get("clips_per_s") else None,
        "videos": f"{int(last['val_videos']):,} videos" if last.get("val_videos") else "",
        "seconds": sum(seconds) / len(seconds) if seconds else None,
    }


def _headline(path: Path) -> dict:
    """The first accuracy of result.json with its protocol, and the rate."""
    result = read_mapping(path)
    numbers = result.get("numbers") or {}
    measure = next((name for name in ACCURACIES if name in numbers), None)
    found = {"rate": float(result["clips_per_s"])} if "clips_per_s" in result else {}
    if measure is not None:
        entry = numbers[measure]
        found |= {"accuracy": float(entry["value"]), "measure": measure, "protocol": measured_on(entry)}
    return found
