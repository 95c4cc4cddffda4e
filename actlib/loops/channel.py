"""What the ranks of a run say to the notebook that conducts it, in a folder that all of them see.

`said.jsonl` is the first rank's: a line of JSON an event, among them how far it is, the rows and what it prints. The
scores of a validation lie beside it as .npz. A rank that fails leaves `failed_RANK.json`, torchrun's agent a line in
`lost.jsonl` for each rank that ended badly.
"""

import io
import json
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from actlib.analysis.results.scores import Scores
from actlib.files import write_json, write_with

FOLDER = ".ranks"  # in the run folder, for as long as ranks are at work
EVERY_S = 0.25  # how often it is told how far the batches of an epoch are
SAID, LOST, FAILED = "said.jsonl", "lost.jsonl", "failed_{}.json"


class Teller:
    """The first rank's end: `say` writes an event, `progress` tells how far it is, `stdout` what is printed."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._file = open(folder / SAID, "a", buffering=1, encoding="utf-8")  # noqa: SIM115
        self._file.write("\n")  # after half a line of one that was killed
        self.stdout = _Stdout(self)

    def say(self, **event: Any) -> None:
        self._file.write(json.dumps(event) + "\n")

    def progress(self, items: Iterable, *, total: int, desc: str = "") -> Iterator:
        """Iterate over `items`, and tell how many are done, a few times a second."""
        self.say(total=total, desc=desc)
        count, told = 0, time.monotonic()
        for item in items:
            yield item
            count += 1
            if time.monotonic() - told >= EVERY_S:
                self.say(done=count)
                told = time.monotonic()
        self.say(done=count, over=True)

    def scores(self, name: str, scores: dict[str, Scores]) -> str:
        """Write scores by protocol beside the events, and return the file's name."""
        arrays = {
            f"{kind}/{each.name}": np.asarray(value)
            for kind, found in scores.items()
            for each in fields(Scores)
            if (value := getattr(found, each.name)) is not None
        }
        write_with(self.folder / name, lambda temporary: np.savez(temporary, **arrays))
        return name


def read_scores(path: Path) -> dict[str, Scores]:
    """What `Teller.scores` wrote, whose file goes."""
    found: dict[str, dict] = {}
    with np.load(path, allow_pickle=False) as file:
        for key in file.files:
            kind, name = key.rsplit("/", 1)
            value = file[key]
            found.setdefault(kind, {})[name] = value if value.dtype.kind != "U" and value.ndim else value.tolist()
    path.unlink()
    return {kind: Scores(**values) for kind, values in found.items()}


class _Stdout(io.TextIOBase):
    """Takes what is printed, and says it line by line."""

    def __init__(self, teller: Teller):
        self._teller, self._rest = teller, ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._teller.say(printed=line)
        return len(text)


class Lines:
    """Reads on in a file of JSON lines: `new()` are those that were written since."""

    def __init__(self, path: Path):
        self._path, self._read = path, 0

    def new(self) -> list[dict]:
        try:
            with open(self._path, "rb") as file:
                file.seek(self._read)
                said = file.read()
        except FileNotFoundError:
            return []
        whole = said[: said.rfind(b"\n") + 1]
        self._read += len(whole)
        return [event for line in whole.splitlines() if line and (event := _parsed(line)) is not None]


def _parsed(line: bytes) -> dict | None:
    try:
        return json.loads(line)
    except ValueError:  # cut off by a kill
        return None


def note_failure(folder: Path, rank: int, error: BaseException, *, ends: bool) -> None:
    """Leave word of a rank's error; `ends`: another try would meet it again."""
    told = {"rank": rank, "host": socket.gethostname(), "error": in_words(error), "ends": ends, "time": time.time()}
    write_json(folder / FAILED.format(rank), told)


def failures(folder: Path) -> list[dict]:
    """What ranks left word of, the first one first."""
    found = [_parsed(path.read_bytes()) for path in folder.glob(FAILED.format("*"))]
    return sorted(filter(None, found), key=lambda each: (not each["ends"], each["time"]))


def in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
