"""Long work on many videos that can be interrupted: what is done is written down as it is done."""

import json
import os
from collections.abc import Iterator
from pathlib import Path


class Journal:
    """What is done already, in the file `path`: a line of JSON a video, added when it is done, so that a run that was
    killed goes on where it was. `entries` holds them by their value of `key`; of several the last one counts. A last
    line that was cut off is left out. Without a path nothing is kept."""

    def __init__(self, path: str | Path | None, key: str):
        self._path, self._key = Path(path) if path else None, key
        self._file = None
        self.entries = {entry[key]: entry for entry in self._read()}

    def _read(self) -> Iterator[dict]:
        if self._path and self._path.is_file():
            for line in self._path.read_text(encoding="utf-8").splitlines():
                try:
                    yield json.loads(line)
                except ValueError:
                    continue

    def add(self, entry: dict) -> None:
        self.entries[entry[self._key]] = entry
        if self._path is None:
            return
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a", encoding="utf-8")
            if self._file.tell():
                self._file.write("\n")  # after a line that was cut off; empty lines are left out
        self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def fingerprint(path: str) -> list[int]:
    """Size and time of change of a source, to see that it was replaced; [0, 0] where it is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return [0, 0]
    return [status.st_size, status.st_mtime_ns]
