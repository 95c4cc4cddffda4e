"""Writing files so that a reader never sees half of one; reading JSON strictly.

Whatever writes here writes to a temporary name in the target's own folder and renames it into place, which
is atomic on a local file system: after a crash the old content is still there, or the new one, whole.
This module knows `messages` alone in the package; everybody may use it.
"""

import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from actlib.messages import kind_of, listed


@contextmanager
def atomic_path(path: str | Path):
    """Yield a temporary path beside `path` to write to; on success it replaces `path`, on an error it goes.

    The temporary name keeps the suffix, so that libraries which choose a format by it (matplotlib, PyAV) work.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    try:
        # mkstemp makes private files; give them the permissions a plain open() would have given.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        yield Path(name)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def digest(path: str | Path) -> str:
    """What tells one file's content from another's: the first 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def write_with(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Call `write(temporary_path)` and move the result to `path`. Returns `path`."""
    with atomic_path(path) as temporary:
        write(temporary)
    return Path(path)


def write_text(path: str | Path, text: str) -> Path:
    return write_with(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: str | Path, value) -> Path:
    """Strict JSON: a NaN is an error here, not a file that other programs cannot read."""
    return write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def parse_json(text: str) -> tuple[object, list[str]]:
    """(value, doubled): what a JSON text says, and the keys that stand more than once in one of its mappings, of which
    `value` has the last. Raises json.JSONDecodeError (a ValueError), whose `lineno` and `msg` say what is wrong where.
    """
    doubled: list[str] = []

    def mapping(items: list[tuple]) -> dict:
        made = dict(items)
        if len(made) < len(items):
            doubled.extend(key for key, count in Counter(key for key, _ in items).items() if count > 1)
        return made

    return json.loads(text, object_pairs_hook=mapping), doubled


def read_mapping(path: str | Path) -> dict:
    """The mapping that a JSON file holds.

    Raises FileNotFoundError, and ValueError for anything else than a mapping without doubled keys. The message is the
    reason alone: the caller names the file, raises an error of its own kind and says what to do.
    """
    try:
        value, doubled = parse_json(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise ValueError(f"expected a mapping, found {kind_of(value)}")
    if doubled:
        raise ValueError(f"{listed(doubled)}: stands there more than once")
    return value


def put_aside(folder: str | Path) -> Path:
    """Rename `folder` to the first free of name~1, name~2, …, so that nothing in it is overwritten. Returns that."""
    folder, number = Path(folder), 1
    while (aside := folder.with_name(f"{folder.name}~{number}")).exists():
        number += 1
    return folder.rename(aside)


def project_root(start: str | Path | None = None) -> Path:
    """The folder that holds notebooks/ and params/: `start` (the working folder) or the nearest one above it."""
    start = Path(start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "notebooks").is_dir() and (folder / "params").is_dir():
            return folder
    return start
