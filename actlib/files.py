"""Writing files so that a reader never sees half of one.

Whatever writes here writes to a temporary name in the target's own folder and renames it into place, which
is atomic on a local file system: after a crash the old content is still there, or the new one, whole.
This module knows nobody else in the package; everybody may use it.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path


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
