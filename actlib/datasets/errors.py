"""What can be wrong with data: a table or list that cannot be used, a video that cannot be read."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from actlib.messages import Problem, cut, printable, problems_in_words


class DataError(ValueError):
    """A table, list or folder that cannot be used as it is. The message names file, line, value and likely fix; it can
    be printed, whatever the names in it."""

    def __init__(self, message: str):
        super().__init__(printable(message))


class VideoError(RuntimeError):
    """A video that cannot be opened or read: `.path` says which, `.reason` why; both can be printed and written."""

    def __init__(self, path: str | Path, reason: str):
        self.path, self.reason = printable(str(path)), printable(reason)
        super().__init__(f"{cut(self.path, 500)}: {self.reason}")

    def __reduce__(self):
        return type(self), (self.path, self.reason)


def raise_problems(source: str | Path, problems: Sequence[Problem]) -> None:
    """Raise one DataError that lists all `problems`; do nothing when there are none."""
    if problems:
        raise DataError(problems_in_words(source, problems))


@contextmanager
def reading(path: str | Path, fix: str = "") -> Iterator[None]:
    """What goes wrong when the file of a user is read leaves as a DataError that names it, with the `fix`."""
    try:
        yield
    except DataError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path}: {reason}{f'; {fix}' if fix else ''}") from error
