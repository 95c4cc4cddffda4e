"""What the readers of annotation lists share: finding the files, reading their lines, keeping all that is wrong.

A reader takes a `Source` and answers (classes in index order, a table of the columns of `ListedVideo`); each problem
that it meets goes to `Source.problem` with its file and line, so that the user sees all of them at once.
"""

import csv
import io
import json
import os
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import pandas as pd

from actlib.datasets.catalog import Dataset
from actlib.datasets.errors import DataError
from actlib.datasets.table import SUBSET_NAMES, VIDEO_SUFFIXES
from actlib.datasets.vocabulary import SUBSETS
from actlib.files import parse_json
from actlib.messages import did_you_mean, kind_of, listed

_SUBSET_IN_NAME = re.compile(r"(?<![a-z])(?:mini_?)?(train|val|test)")
_NO_LIST = ("fail", "answer", "label", "classind", "categor")  # in the names of files that list no videos
_LISTS = (".csv", ".txt", ".json")
_MANY_FOLDERS = 1000
_PLAIN_PATH = re.compile(r"[^/\\:.][^/\\:]*(?:/[^/\\:.][^/\\:]*)*")


class ListedVideo(NamedTuple):
    """A row of the listed videos. `label`: "" if it is withheld. `file`, `line`: where the row stands. `hint`: the path
    as the list has it, "" if it has none. `start`, `end`: frames from 0, `end` exclusive; `time_start`, `time_end`:
    seconds; None = the whole video."""

    video_id: str
    label: str
    subset: str
    file: Path
    line: int
    hint: str = ""
    start: float | None = None
    end: float | None = None
    time_start: float | None = None
    time_end: float | None = None


Listing = tuple[list[str], pd.DataFrame]
_TYPES = dict.fromkeys(("video_id", "label", "subset", "hint"), "str")
_TYPES |= dict.fromkeys(("start", "end", "time_start", "time_end"), "float64")


def frame(rows: list[ListedVideo] | pd.DataFrame) -> pd.DataFrame:
    """The table of the listed videos `rows`; of a table, with the columns of `ListedVideo` that it lacks."""
    if isinstance(rows, pd.DataFrame) and "hint" not in rows:
        rows = rows.assign(hint="")
    return pd.DataFrame(rows, columns=ListedVideo._fields).astype(_TYPES)


@dataclass
class Source:
    """Where the lists come from, what the user chose, and what was found wrong (`problems`) or odd (`notes`)."""

    path: Path
    split: int = 1
    class_list: str = ""
    data_root: str = ""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _files: list[Path] | None = field(default=None, init=False, repr=False)

    def problem(self, file: str | Path, line: int | None, what: str) -> None:
        name = self.name(file)
        self.problems.append(f"{name}{'' if line is None else f' line {line}'}: {what}")

    def name(self, file: str | Path) -> str:
        """A file's name as the user will recognise it: relative to the folder of the lists."""
        folder = self.path if self.path.is_dir() else self.path.parent
        return str(Path(file).relative_to(folder)) if Path(file).is_relative_to(folder) else str(file)

    def names(self, files: list[Path]) -> str:
        return listed([self.name(file) for file in files], 5)

    def files(self, pattern: str) -> list[Path]:
        """The files in the source's folder and the folders in it whose lower-case name matches `pattern` as a whole,
        those at the top first."""
        if self._files is None and self.path.is_file():
            self._files = [self.path]
        elif self._files is None:
            top = sorted(os.scandir(self.path), key=lambda entry: entry.name)
            folders = [entry for entry in top if entry.is_dir()]
            if len(folders) > _MANY_FOLDERS:  # these are videos, not lists
                folders = []
            inside = [entry for folder in folders for entry in sorted(os.scandir(folder), key=lambda entry: entry.name)]
            self._files = [
                Path(entry.path) for entry in (*top, *inside) if entry.name.lower().endswith(_LISTS) and entry.is_file()
            ]
        return [path for path in self._files if re.fullmatch(pattern, path.name.lower())]

    def only(self, pattern: str, what: str) -> Path:
        """The one file that matches `pattern`. Raises DataError, naming `what` was expected, for none or several."""
        found = self.files(pattern)
        if not found:
            raise DataError(f"{self.path}: no file {what}; {self.there()}")
        if len(found) > 1 and found[0].parent == found[1].parent:
            names = self.names(found)
            raise DataError(f"{self.path}: several files could be {what} ({names}); leave one of them there")
        return found[0]  # the one nearest to the top: folders are searched from there

    def lists(
        self, suffixes: tuple[str, ...], prefer: str = "", *, expected: Dataset | None = None
    ) -> dict[str, Path]:
        """The list file of each subset, by train, val or test in its name; `prefer` decides between several. Raises
        DataError where that is not enough, and, with `expected`, where there is none."""
        found: dict[str, list[Path]] = {}
        for path in self.files(rf".*({'|'.join(map(re.escape, suffixes))})"):
            name = path.stem.lower()
            match = _SUBSET_IN_NAME.search(name)
            if match and not any(word in name for word in _NO_LIST):
                found.setdefault(SUBSET_NAMES[match.group(1)], []).append(path)
        if expected is not None and not found:
            files = "; ".join(expected.files)
            raise DataError(f"{self.path}: none of {expected.title}'s lists; expected {files}; {self.there()}")
        chosen = {}
        for subset in (name for name in SUBSETS if name in found):
            nearest = [path for path in found[subset] if path.parent == found[subset][0].parent]
            if prefer != "mini":  # the reference codebases keep mini_train.txt beside train.txt
                nearest = [path for path in nearest if "mini" not in path.stem.lower()] or nearest
            named = [path for path in nearest if prefer and prefer in path.stem.lower()] or nearest
            if len(named) > 1:
                names = self.names(named)
                raise DataError(f"{self.path}: several lists for {subset} ({names}); name one file, or move the others")
            chosen[subset] = named[0]
        return chosen

    def there(self) -> str:
        """What lies at the source, for the end of an error message."""
        if not self.path.is_dir():
            return f"{self.path.name} is no such file"
        names = sorted(path.name for path in self.path.iterdir() if not path.name.startswith("."))
        return f"there: {listed(names)}" if names else "the folder is empty"

    def read_text(self, path: Path) -> str:
        """The text of a list: UTF-8 with or without a byte order mark, or UTF-16 with one. Other bytes are a problem;
        they stand as � in the text."""
        data = path.read_bytes()
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return data.decode("utf-16")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            self.problem(path, line, f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8")
            return data.decode("utf-8-sig", errors="replace")

    def read_lines(self, path: Path) -> list[tuple[int, str]]:
        """(line number, stripped line) of every line that is not blank."""
        lines = enumerate(re.split(r"\r\n|\r|\n", self.read_text(path)), start=1)
        return [(number, line.strip()) for number, line in lines if line.strip()]

    def read_csv(self, path: Path, *, delimiter: str = ",", quoted: bool = True) -> Iterator[tuple[int, list[str]]]:
        """(line number, stripped fields) of every line that is not blank."""
        text = io.StringIO(self.read_text(path), newline="")
        reader = csv.reader(text, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
        line = 0
        try:
            for fields in reader:
                first, line = line + 1, reader.line_num
                if line > first:
                    self.problem(path, first, "a quotation mark that is not closed in its line")
                elif any(fields := [each.strip() for each in fields]):
                    yield line, fields
        except csv.Error as error:
            self.problem(path, line + 1, f"not a line of a CSV ({error})")


class JsonList:
    """A list in JSON: its `data`, and the line in which a key or a string of it stands. A doubled key is a problem of
    `source`; `key` is what it is called there. Raises DataError for what is not JSON."""

    def __init__(self, source: Source, path: Path, key: str = "video id"):
        self.path, self._text, self._lines = path, source.read_text(path), {}
        try:
            self.data, doubled = parse_json(self._text)
        except json.JSONDecodeError as error:
            raise DataError(f"{path} line {error.lineno}: not JSON ({error.msg})") from None
        for name in doubled:
            source.problem(path, self.line(name), f"{key} {name!r} stands twice")

    def field(self, name: str, kind: type):
        """The value of the field `name` of the file's mapping. Raises DataError for another kind than `kind`."""
        value = self.data.get(name) if isinstance(self.data, dict) else None
        if not isinstance(value, kind):
            raise DataError(f"{self.path}: {name}: expected a {kind.__name__}, found {kind_of(value)}")
        return value

    def line(self, text: str) -> int | None:
        """The line in which the string `text` stands first, from 1; None for a file without it."""
        if not self._lines:
            for number, line in enumerate(self._text.split("\n"), start=1):
                for match in re.finditer(r'"(?:[^"\\]|\\.)*"', line):
                    self._lines.setdefault(match.group(), number)
        return self._lines.get(json.dumps(text, ensure_ascii=False), self._lines.get(json.dumps(text)))


# --- checking what was read -----------------------------------------------------------------------------------


def label_problem(label: str, classes: list[str], where: str = "the class list") -> str:
    """A sentence about a label that is not among `classes`, with the nearest one."""
    near = did_you_mean(label, classes, 1, quote=True)
    return f"unknown class {label!r}: it is not among the {len(classes)} of {where}{near}"


def check_labels(source: Source, table: pd.DataFrame, classes: list[str], where: str = "the class list") -> None:
    """Report every row whose label is neither empty (unlabelled) nor one of `classes`."""
    for row in table[~table["label"].isin([*classes, ""])].itertuples(index=False):
        source.problem(row.file, row.line, label_problem(row.label, classes, where))


def drop_suffix(name: str) -> str:
    """A file name without the suffix of a video; any other dot belongs to the name."""
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in VIDEO_SUFFIXES else name


def check_path(source: Source, file: Path, line: int, name: str) -> str:
    """A listed path, relative to the data root: "" and a problem when it leaves it."""
    if _PLAIN_PATH.fullmatch(name):  # nearly all of some hundred thousand
        return name
    path = PurePosixPath(name.replace("\\", "/"))
    what = ""
    if path.is_absolute() or re.match(r"[A-Za-z]:", name):
        root = Path(source.data_root).resolve() if source.data_root else None
        if root is not None and Path(path).is_relative_to(root):
            path = PurePosixPath(Path(path).relative_to(root).as_posix())
        else:
            what = f"is outside the data root {root}" if root else "is absolute, so it may leave the data root"
    plain = posixpath.normpath(path)
    if not what and plain.split("/")[0] == "..":
        what = "leaves the data root"
    if what:
        source.problem(file, line, f"path {name!r} {what}; write it relative to the data root")
    elif plain == ".":
        source.problem(file, line, f"path {name!r} names no video")
    return "" if what or plain == "." else plain


def check_ids(source: Source, table: pd.DataFrame) -> None:
    """Report ids that are empty, that would leave the data root, or that stand twice."""
    ids = table["video_id"]
    bad = np.array([not _PLAIN_PATH.fullmatch(name) for name in ids.tolist()], dtype=bool)
    bad[bad] = [not name or check_path(Source(Path()), Path(), 0, name) == "" for name in ids[bad]]
    for row in table[bad].itertuples(index=False):
        what = f"video id {row.video_id!r} leaves the data root" if row.video_id else "the video's id is empty"
        source.problem(row.file, row.line, what)
    again = table[ids.duplicated() & ~bad]
    if len(again):
        first = table[ids.isin(set(again["video_id"]))].drop_duplicates("video_id").set_index("video_id")
        for row in again.itertuples(index=False):
            other = first.loc[row.video_id]
            where = f"{source.name(other.file)} line {other.line}"
            source.problem(row.file, row.line, f"video id {row.video_id!r} stands already in {where}")


def with_unique_ids(table: pd.DataFrame, *, doubled_segments: bool = False) -> pd.DataFrame:
    """Ids that stand for several files become paths without suffix; those of a file cut into segments get `#0`, `#1`, …

    A segment that is listed twice keeps its doubled id, which is a problem; with `doubled_segments` it is numbered too.
    """
    doubled = table[table["video_id"].duplicated(keep=False)]
    paths = doubled.groupby("video_id")["hint"].transform("nunique")
    several = paths[paths > 1].index
    table.loc[several, "video_id"] = [drop_suffix(hint) for hint in table.loc[several, "hint"]]
    timed = table["start"].notna() | table["time_start"].notna()
    segments = table[timed & table["video_id"].duplicated(keep=False)]
    same = segments.duplicated(["video_id", "start", "end", "time_start", "time_end", "label"], keep=False)
    segments = segments if doubled_segments else segments[~same]
    number = segments.groupby("video_id").cumcount().astype(str)
    table.loc[segments.index, "video_id"] = segments["video_id"] + "#" + number
    return table


def whole(text: str) -> int | None:
    """A whole number, or None."""
    return int(text) if re.fullmatch(r"\d{1,9}", text.strip()) else None
