"""Writing files so that a reader never sees half of one; reading JSON strictly.

Whatever writes here writes to a temporary name in the target's own folder and renames it into place, which
is atomic on a local file system: after a crash the old content is still there, or the new one, whole.
This module knows `messages` alone in the package; everybody may use it.
"""

import csv
import hashlib
import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from actlib.messages import kind_of, listed

_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_NUL = "line {}: holds a NUL character: no text, or UTF-16 without its mark; save it as UTF-8"
# Escapes in a JSON text: of a backslash and of whole surrogate pairs, and the bad ones.
_ESCAPES = re.compile(
    r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(?P<bad>\\u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2}))"
)


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
