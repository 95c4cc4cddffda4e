"""Writing files so that a reader never sees half of one; reading JSON strictly.

Whatever writes here writes to a temporary name in the target's own folder and renames it into place, which
is atomic on a local file system: after a crash the old content is still there, or the new one, whole.
This module knows `messages` alone in the package; everybody may use it.
"""

import csv
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from actlib.messages import kind_of, listed

TEMPORARY = ".part-"  # what the temporary names begin with; hidden, so that nobody takes one for a video or a list
FULL = 4096  # bytes: with less, a disk takes no file more
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_KEPT = "What stood there before is whole"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_NUL = "line {}: holds a NUL character: no text, or UTF-16 without its mark; save it as UTF-8"
# Escapes in a JSON text: of a backslash and of whole surrogate pairs, and the bad ones.
_ESCAPES = re.compile(
    r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(?P<bad>\\u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2}))"
)


class DiskFull(OSError):
    """A file that does not fit on its disk. The message names it, what it takes (None: nobody knows) and what is free;
    what stood in its place before is whole."""

    def __init__(self, path: str | Path, takes: int | None, free: int, kept: str = _KEPT):
        what = "it does not fit" if takes is None else f"its {in_bytes(takes)} do not fit"
        super().__init__(
            f"{path}: the disk is full: {what} into the {in_bytes(free)} that are free. {kept}; make room, and the "
            "same command goes on from there"
        )
        self.path, self.takes, self.free, self.kept = path, takes, free, kept

    def __reduce__(self):  # so that it can come from another process
        return type(self), (self.path, self.takes, self.free, self.kept)


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
    return shutil.disk_usage(next(each for each in (path, *path.parents) if os.path.exists(each))).free


@contextmanager
def atomic_path(path: str | Path, needed: int | None = None):
    """Yield a temporary path beside `path` to write to; on success it replaces `path`, on an error it goes.

    The temporary name keeps the suffix, so that libraries which choose a format by it (matplotlib, PyAV) work. Raises
    DiskFull where the disk is, or `needed` bytes do not fit on it; no error of a library's own stands for that.
    """
    path = Path(path)
    if needed is not None and needed > (free := free_bytes(path)):
        raise DiskFull(path, needed, free)
    with naming_full_disk(path, needed):
        path.parent.mkdir(parents=True, exist_ok=True)
        stem = os.fsencode(path.stem)[:100].decode(errors="ignore")  # a name may have 255 bytes
        handle, name = tempfile.mkstemp(prefix=f"{TEMPORARY}{stem}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        try:
            # mkstemp makes private files; give them the permissions a plain open() would have given.
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(name, 0o666 & ~umask)
            with naming_full_disk(path, needed):  # asked while what was written still fills the disk
                yield Path(name)
            os.replace(name, path)
        finally:
            Path(name).unlink(missing_ok=True)


@contextmanager
def naming_full_disk(path: str | Path, needed: int | None = None, kinds: tuple = (RuntimeError,), kept: str = _KEPT):
    """What a full disk makes of writing to `path` leaves as DiskFull, also where a library says so by an error of
    `kinds`, as torch does. `needed`: the bytes that it takes, if that is known. `kept`: as for DiskFull."""
    try:
        yield
    except DiskFull:
        raise
    except (OSError, *kinds) as error:
        full = error.errno in _NO_SPACE if isinstance(error, OSError) else free_bytes(path) < FULL
        if not full:
            raise
        raise DiskFull(path, needed, free_bytes(path), kept) from error


def remove_temporaries(folder: str | Path) -> None:
    """Remove what killed writes left directly in `folder`. Only for who holds the folder's lock."""
    for path in Path(folder).glob(f"{TEMPORARY}*"):
        if path.is_file():
            path.unlink(missing_ok=True)


def digest(path: str | Path) -> str:
    """What tells one file's content from another's: the first 16 hexadecimal digits of its SHA-256."""
    with Path(path).open("rb") as file:  # in pieces: each process of a run asks it of a table that may be large
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


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


def write_csv(path: str | Path, table) -> Path:
    """Write a pandas table, or several with the same columns one below the other, as a CSV that reads back as it is:
    pandas leaves a carriage return without quotation marks, where the line would end. What UTF-8 cannot have is
    written as `\\udce9`."""
    tables = table if isinstance(table, list) else [table]
    columns = [column for part in tables for _, column in part.items() if column.dtype.kind not in "iufb"]
    returns = any(isinstance(each, str) and "\r" in each for column in columns for each in column.to_list())
    how = {"index": False, "quoting": csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL}
    with atomic_path(path) as temporary:
        for number, part in enumerate(tables):
            part.to_csv(temporary, mode="a", header=number == 0, errors="backslashreplace", **how)
    return Path(path)


def read_text(path: str | Path) -> str:
    """The text of a file: UTF-8 with or without a byte order mark, or UTF-16 with one.

    Every text that a user gives is read by this. Raises OSError, and ValueError for other bytes, with their line and
    the fix; the caller names the file and raises an error of its own kind. Line ends are left as they are.
    """
    with Path(path).open("rb") as file:
        head = file.read(1 << 16)
        utf16 = head[:2] in _UTF16
        if not utf16 and (place := head.find(b"\0")) >= 0:  # a video by mistake is not read whole
            raise ValueError(_NUL.format(head.count(b"\n", 0, place) + 1))
        file.seek(0)
        data = file.read()
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        if utf16:
            raise ValueError(f"not whole UTF-16, which it begins as ({error.reason}); save it as UTF-8") from None
        line = data.count(b"\n", 0, error.start) + 1
        found = f"line {line}: byte 0x{data[error.start]:02x} is not UTF-8"
        raise ValueError(f"{found} (Latin-1, or no text at all?); save it as UTF-8") from None
    if (place := text.find("\0")) >= 0:
        raise ValueError(_NUL.format(text.count("\n", 0, place) + 1))
    return text


def text_coding(path: str | Path) -> str:
    """The coding that `read_text` reads a file by."""
    with Path(path).open("rb") as file:
        return "utf-16" if file.read(2) in _UTF16 else "utf-8-sig"


def parse_json(text: str) -> tuple[object, list[str]]:
    """(value, doubled): what a JSON text says, and the keys that stand more than once in one of its mappings, of which
    `value` has the last. Raises ValueError: of a text that is no JSON it is a json.JSONDecodeError, whose `lineno` and
    `msg` say what is wrong where; others are nested too deep, have too long a number, or a character that no text has.
    """
    doubled: list[str] = []

    def mapping(items: list[tuple]) -> dict:
        made = dict(items)
        if len(made) < len(items):
            doubled.extend(key for key, count in Counter(key for key, _ in items).items() if count > 1)
        return made

    try:
        value = json.loads(text, object_pairs_hook=mapping)
    except RecursionError:
        raise ValueError("nested too deep for a file of data") from None
    # No path can hold a NUL, and no file half a surrogate pair.
    for found in _ESCAPES.finditer(text) if "\\u" in text else ():
        if found["bad"]:
            line = text.count("\n", 0, found.start()) + 1
            raise ValueError(f"line {line}: {found['bad']} stands for no character of a text")
    return value, doubled


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
