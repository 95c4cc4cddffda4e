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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import pandas as pd

from actlib.datasets.catalog import Dataset
from actlib.datasets.errors import DataError, reading
from actlib.datasets.same_class import ClassNames, in_words, spelled_twice
from actlib.datasets.table import SUBSET_NAMES, VIDEO_SUFFIXES
from actlib.datasets.vocabulary import SUBSETS
from actlib.files import parse_json, read_text
from actlib.messages import Problem, did_you_mean, listed, misfit, shown

_SUBSET_IN_NAME = re.compile(r"(?<![a-z])(?:mini_?)?(train|val|test)")
_NO_LIST = ("fail", "answer", "label", "classind", "categor")  # in the names of files that list no videos
_LISTS = (".csv", ".txt", ".json")
_MANY_FOLDERS = 1000
_LONGEST = 10_000  # characters of a line
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
    first_frame: int | str = "auto"
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _files: list[Path] | None = field(default=None, init=False, repr=False)

    def problem(self, file: str | Path, line: int | Callable[[], int | None] | None, what: Problem) -> None:
        """Note what is wrong in a line, where one is known. `line` and `what` may be functions, which are asked only if
        it is shown."""
        self.problems.append(partial(self._said, file, line, what))

    def _said(self, file, line, what) -> str:
        line = line() if callable(line) else line
        return f"{self.name(file)}{f' line {line}' if line else ''}: {what() if callable(what) else what}"

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
            with reading(self.path):
                top = sorted(os.scandir(self.path), key=lambda entry: entry.name)
                folders = [entry for entry in top if os.path.isdir(entry)]  # False for a link that goes round
                if len(folders) > _MANY_FOLDERS:  # these are videos, not lists
                    folders = []
                inside = [
                    entry for folder in folders for entry in sorted(os.scandir(folder), key=lambda entry: entry.name)
                ]
            lists = [entry for entry in (*top, *inside) if entry.name.lower().endswith(_LISTS)]
            self._files = [Path(entry.path) for entry in lists if os.path.isfile(entry)]
        return [path for path in self._files if re.fullmatch(pattern, path.name.lower())]

    def only(self, pattern: str, what: str) -> Path:
        """The one file that matches `pattern`; of several the one that is called `what`, as it is published. Raises
        DataError, naming `what` was expected, for none or several."""
        found = self.files(pattern)
        if not found:
            raise DataError(f"{self.path}: no file {what}; {self.there()}")
        nearest = [path for path in found if path.parent == found[0].parent]
        found = [path for path in nearest if path.name.lower() == what.lower()] or nearest
        if len(found) > 1:
            names = self.names(found)
            raise DataError(f"{self.path}: several files could be {what} ({names}); leave one of them there")
        return found[0]  # the one nearest to the top: folders are searched from there

    def lists(
        self, suffixes: tuple[str, ...], prefer: str = "", *, expected: Dataset | None = None
    ) -> dict[str, Path]:
        """The list file of each subset, by train, val or test in its name; of several that which is called as the lists
        of `expected` are published, else `prefer` decides. Raises DataError where that is not enough, and, with
        `expected`, where there is none."""
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
            exact = [path for path in nearest if expected is not None and path.name.lower() in expected.file_names]
            named = exact or [path for path in nearest if prefer and prefer in path.stem.lower()] or nearest
            if len(named) > 1:
                names = self.names(named)
                raise DataError(f"{self.path}: several lists for {subset} ({names}); name one file, or move the others")
            chosen[subset] = named[0]
        return chosen

    def there(self) -> str:
        """What lies at the source, for the end of an error message."""
        if not self.path.is_dir():
            return f"{self.path.name} is none of these"
        names = sorted(path.name for path in self.path.iterdir() if not path.name.startswith("."))
        return f"there: {listed(names)}" if names else "the folder is empty"

    def read_text(self, path: Path) -> str:
        """The text of a list, by `files.read_text`. Raises DataError for what is no text."""
        with reading(path):
            return read_text(path)

    def read_lines(self, path: Path) -> list[tuple[int, str]]:
        """(line number, stripped line) of every line that is not blank; one too long for a list is a problem."""
        lines, found = enumerate(re.split(r"\r\n|\r|\n", self.read_text(path)), start=1), []
        for number, line in lines:
            if len(line) > _LONGEST:
                self.problem(path, number, f"{len(line):,} characters: is this file a list? {shown(line)}")
            elif line := line.strip():
                found.append((number, line))
        return found

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


_KINDS = {dict: "a mapping", list: "a list", str: "a text"}


class JsonList:
    """A list in JSON: its `data`, and the line in which a key or a string of it stands. A doubled key is a problem of
    `source`; `key` is what it is called there. Raises DataError for what is not JSON."""

    def __init__(self, source: Source, path: Path, key: str = "video id"):
        self.path, self._source, self._text = path, source, source.read_text(path)
        try:
            with reading(path):
                self.data, doubled = parse_json(self._text)
        except DataError as error:
            if isinstance(error.__cause__, json.JSONDecodeError):
                raise DataError(f"{path} line {error.__cause__.lineno}: not JSON ({error.__cause__.msg})") from None
            raise
        for name in doubled:
            source.problem(path, partial(self.line, name), f"{key} {shown(name)} stands twice")

    def field(self, name: str, kind: type):
        """The value of the field `name` of the file's mapping. Raises DataError for another kind than `kind`."""
        data = self.checked(self.data, dict, f"{self.path}: the whole file")
        return self.checked(data.get(name), kind, f"{self.path}: {name}")

    @staticmethod
    def checked(value, kind: type, where: str):
        """`value`, which stands at `where` and must be a `kind`. Raises DataError."""
        if not isinstance(value, kind):
            raise DataError(misfit(where, _KINDS[kind], value))
        return value

    def problem(self, text: str, what: Problem) -> None:
        """Note what is wrong where the string `text` stands first."""
        self._source.problem(self.path, partial(self.line, text), what)

    def line(self, text: str) -> int | None:
        """The line in which the string `text` stands first, from 1; None for a file without it."""
        lines = self._lines
        return lines.get(json.dumps(text, ensure_ascii=False), lines.get(json.dumps(text)))

    @cached_property
    def _lines(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for number, line in enumerate(self._text.split("\n"), start=1):
            for match in re.finditer(r'"(?:[^"\\]|\\.)*"', line):
                found.setdefault(match.group(), number)
        return found


# --- checking what was read -----------------------------------------------------------------------------------


def label_problem(label, classes: list[str], where: str = "the class list") -> Problem:
    """A sentence about a label that is not among `classes`, with the nearest one, when it is asked for."""

    def said() -> str:
        near = did_you_mean(label, classes, 1, quote=True) if isinstance(label, str) else ""
        return f"unknown class {shown(label)}: it is not among the {len(classes)} of {where}{near}"

    return said


def check_labels(source: Source, table: pd.DataFrame, classes: list[str], where: str = "the class list") -> None:
    """Spell every label as `classes` do; report those that are neither empty (unlabelled) nor one of them, and
    classes that differ in spelling alone."""
    if doubled := spelled_twice(classes):
        for one, other in doubled:
            row = table[table["label"] == other].iloc[0]
            source.problem(row["file"], int(row["line"]), in_words(one, other, where))
        return
    known = ClassNames(classes)
    others = table[~table["label"].isin([*classes, ""])]
    renamed = {label: name for label in others["label"].unique() if (name := known.find(label)) is not None}
    table["label"] = table["label"].replace(renamed) if renamed else table["label"]
    wrong = others[~others["label"].isin(list(renamed))]
    for file, line, label in zip(*(wrong[name].tolist() for name in ("file", "line", "label"))):
        source.problem(file, line, label_problem(label, classes, where))


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
        source.problem(file, line, f"path {shown(name)} {what}; write it relative to the data root")
    elif plain == ".":
        source.problem(file, line, f"path {shown(name)} names no video")
    return "" if what or plain == "." else plain


def check_ids(source: Source, table: pd.DataFrame) -> None:
    """Report ids that are empty, that would leave the data root, or that stand twice."""
    ids = table["video_id"]
    bad = np.array([not _PLAIN_PATH.fullmatch(name) for name in ids.tolist()], dtype=bool)
    bad[bad] = [not name or check_path(Source(Path()), Path(), 0, name) == "" for name in ids[bad]]
    for row in table[bad].itertuples(index=False):
        what = f"video id {shown(row.video_id)} leaves the data root" if row.video_id else "the video's id is empty"
        source.problem(row.file, row.line, what)
    again = table[ids.duplicated() & ~bad]
    if len(again):
        first = table[ids.isin(set(again["video_id"]))].drop_duplicates("video_id").set_index("video_id")
        places = dict(zip(first.index, zip(first["file"], first["line"])))
        for row in again.itertuples(index=False):
            source.problem(row.file, row.line, partial(_stands_already, source, row.video_id, places[row.video_id]))


def _stands_already(source: Source, video_id: str, place: tuple[Path, int]) -> str:
    file, line = place
    return f"video id {shown(video_id)} stands already in {source.name(file)}{f' line {line}' if line else ''}"


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
