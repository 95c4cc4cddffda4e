"""Writing files so that a reader never sees half of one; reading JSON strictly.

Whatever writes here writes to a temporary name in the target's own folder and renames it into place, which
is atomic on a local file system: after a crash the old content is still there, or the new one, whole.
This module knows `messages` alone in the package; everybody may use it.
"""

import errno
import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from actlib.messages import kind_of, listed

_TEMPORARY = ".part-"  # what the temporary names begin with; hidden, so that nobody takes one for a video or a list
FULL = 4096  # bytes: with less, a disk takes no file more
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class DiskFull(OSError):
    """A file that does not fit on its disk. The message names it, what it takes (None: nobody knows) and what is free;
    what stood in its place before is whole."""

    def __init__(self, path: str | Path, takes: int | None, free: int, kept: str = "What stood there before is whole"):
        what = "it does not fit" if takes is None else f"its {in_bytes(takes)} do not fit"
        super().__init__(
            f"{path}: the disk is full: {what} into the {in_bytes(free)} that are free. {kept}; make room, and the "
            "same command goes on from there"
        )
        self.path, self.takes, self.free = path, takes, free


def in_bytes(count: int) -> str:
    """A number of bytes as people read it: `34.1 MB`."""
    value, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"


def free_bytes(path: str | Path) -> int:
    """What is free on the disk of `path`, which need not be there yet."""
    path = Path(path).absolute()
    return shutil.disk_usage(next(each for each in (path, *path.parents) if each.exists())).free


@contextmanager
def atomic_path(path: str | Path, needed: int | None = None):
    """Yield a temporary path beside `path` to write to; on success it replaces `path`, on an error it goes.

    The temporary name keeps the suffix, so that libraries which choose a format by it (matplotlib, PyAV) work. Raises
    DiskFull where the disk is, or `needed` bytes do not fit on it; no error of a library's own stands for that.
    """
    path, name = Path(path), None
    if needed is not None and needed > (free := free_bytes(path)):
        raise DiskFull(path, needed, free)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f"{_TEMPORARY}{path.stem[:100]}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        # mkstemp makes private files; give them the permissions a plain open() would have given.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        yield Path(name)
        os.replace(name, path)
    except BaseException as error:
        full = isinstance(error, Exception) and _says_full(error, path)
        free = free_bytes(path) + (os.path.getsize(name) if name else 0) if full else 0
        if name:
            os.unlink(name)
        if full:
            raise DiskFull(path, needed, free) from error
        raise


def _says_full(error: Exception, path: Path) -> bool:
    """Whether a full disk is behind what a library raised; torch says so in words of its own."""
    if isinstance(error, DiskFull):
        return False
    return getattr(error, "errno", None) in _NO_SPACE or (isinstance(error, RuntimeError) and free_bytes(path) < FULL)


def remove_temporaries(folder: str | Path) -> None:
    """Remove what killed writes left directly in `folder`. Only for who holds the folder's lock."""
    for path in Path(folder).glob(f"{_TEMPORARY}*"):
        if path.is_file():
            path.unlink(missing_ok=True)


def digest(path: str | Path) -> str:
    """What tells one file's content from another's: the first 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def zip_digest(path: str | Path) -> str:
    """What tells one zip's content from another's, such as a checkpoint's: a digest of the names, sizes and checksums
    in its directory, which takes no time however large it is. Empty for a file of another kind. Raises OSError."""
    with open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            return ""
        with zipfile.ZipFile(file) as archive:
            # torch calls the folder in it after the temporary name.
            entries = [(each.filename.partition("/")[2], each.file_size, each.CRC) for each in archive.infolist()]
    return hashlib.sha256(repr(entries).encode()).hexdigest()[:16]


def write_with(path: str | Path, write: Callable[[Path], object], needed: int | None = None) -> Path:
    """Call `write(temporary_path)` and move the result to `path`; `needed` as for `atomic_path`. Returns `path`."""
    with atomic_path(path, needed) as temporary:
        write(temporary)
    return Path(path)


def write_text(path: str | Path, text: str) -> Path:
    return write_with(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: str | Path, value) -> Path:
    """Strict JSON: a NaN is an error here, not a file that other programs cannot read."""
    return write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_text(path: str | Path) -> str:
    """The text of a file: UTF-8 with or without a byte order mark, or UTF-16 with one.

    Every text that a user gives is read by this. Raises OSError, and ValueError for other bytes, with their line and
    the fix; the caller names the file and raises an error of its own kind. Line ends are left as they are.
    """
    data = Path(path).read_bytes()
    utf16 = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        if utf16:
            raise ValueError(f"not whole UTF-16, which it begins as ({error.reason}); save it as UTF-8") from None
        line = data.count(b"\n", 0, error.start) + 1
        found = f"line {line}: byte 0x{data[error.start]:02x} is not UTF-8"
        raise ValueError(f"{found} (Latin-1, or no text at all?); save it as UTF-8") from None
    if (place := text.find("\0")) >= 0:
        line = text.count("\n", 0, place) + 1
        raise ValueError(f"line {line}: holds a NUL character: no text, or UTF-16 without its mark; save it as UTF-8")
    return text


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
        value, doubled = parse_json(read_text(path))
    except json.JSONDecodeError as error:
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
