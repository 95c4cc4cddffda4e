"""Long work on many videos that can be interrupted: what is done is written down as it is done."""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from actlib.files import naming_full_disk, parse_json


class Journal:
    """What is done already, in the file `path`: a line of JSON a video, added when it is done, so that a run that was
    killed goes on where it was. `entries` holds them by their value of `key`; of several the last one counts. A line
    that was cut off, or has no number where `numbers` says so, is left out: its video is done again. Without a path
    nothing is kept."""

    def __init__(self, path: str | Path | None, key: str, numbers: Iterable[str] = ()):
        self._path, self._key = Path(path) if path else None, key
        self.entries: dict[str, dict] = {}
        text = self._path.read_bytes().decode(errors="replace") if self._path and self._path.is_file() else ""
        for line in text.split("\n"):
            with suppress(ValueError):  # empty, or cut off
                entry, _ = parse_json(line)
                whole = isinstance(entry, dict) and isinstance(entry.get(key), str)
                if whole and all(type(entry.get(name)) in (int, float) for name in numbers):
                    self.entries[entry[key]] = entry

    def add(self, entry: dict) -> None:
        self.entries[entry[self._key]] = entry
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with naming_full_disk(self._path), self._path.open("a", encoding="utf-8") as file:
                # The line break comes first: the line before may have been cut off.
                file.write("\n" + json.dumps(entry))


def fingerprint(path: str) -> list[int]:
    """Size and time of change of a source, to see that it was replaced; [0, 0] where it is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return [0, 0]
    return [status.st_size, status.st_mtime_ns]
