"""What can be wrong with data: a table or list that cannot be used, a video that cannot be read."""

from collections.abc import Sequence
from pathlib import Path

from actlib.messages import problems_in_words


class DataError(ValueError):
    """A table, list or folder that cannot be used as it is. The message names file, line, value and likely fix."""


class VideoError(RuntimeError):
    """A video that cannot be opened or read: `.path` says which, `.reason` why."""

    def __init__(self, path: str | Path, reason: str):
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason

    def __reduce__(self):
        return type(self), (self.path, self.reason)


def raise_problems(source: str | Path, problems: Sequence[str]) -> None:
    """Raise one DataError that lists all `problems`; do nothing when there are none."""
    if problems:
        raise DataError(problems_in_words(source, problems))
