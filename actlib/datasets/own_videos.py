"""Annotation tables of people's own videos: a folder of class folders, or a CSV of path, label and subset.

A path of the CSV is whatever is read as a video: a file, a folder of frames or of optical flow, `<file>.lmdb/<id>`.
"""

import os
import re
from collections.abc import Iterable
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from actlib.datasets.csv_files import CsvFile
from actlib.datasets.errors import DataError, VideoError, raise_problems, reading
from actlib.datasets.same_class import in_words, spelled_twice
from actlib.datasets.table import COLUMNS, SUBSET_NAMES, VIDEO_SUFFIXES, problems_of
from actlib.messages import printable

_PICTURE = re.compile(r".*\d(?:_[xy])?\.(?:jpe?g|png)", re.IGNORECASE)


def from_folders(root: str | Path, *, validation: float = 0.2, testing: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """A table of `root/<class>/**/<video>`, split at random within every class (a stratified split).

    `validation` and `testing` are fractions, 0 to 1, of each class; a class of two or more videos gives at
    least one to every subset that was asked for, as far as it goes. Folders called train, val, test (or
    training, …) directly under `root` are taken as a split made already: `root/train/<class>/<video>`.
    Raises DataError for a missing root, a root without class folders and a class without videos.
    """
    root = _existing_folder(root)
    if min(validation, testing) < 0 or validation + testing >= 1:
        raise DataError(f"validation {validation:g} and testing {testing:g}: fractions from 0, together below 1")
    tops = _subfolders(root)
    classes = [(folder, "") for folder in tops]
    if tops and all(top.name.lower() in SUBSET_NAMES for top in tops):
        classes = [(folder, SUBSET_NAMES[top.name.lower()]) for top in tops for folder in _subfolders(top)]
    rng = np.random.default_rng(seed)
    suffixes = " ".join(sorted(VIDEO_SUFFIXES))
    paths, labels, subsets, problems = [], [], [], []
    for folder, subset in classes:
        videos = videos_below(folder)
        if not videos:
            problems.append(f"{folder.relative_to(root)}: no video in this class folder ({suffixes})")
        paths += videos
        labels += [printable(folder.name)] * len(videos)
        subsets += [subset] * len(videos) if subset else _split(len(videos), validation, testing, rng)
    problems += [f"class folders {in_words(*pair)}" for pair in spelled_twice(labels)]
    raise_problems(root, problems)
    if not paths:
        raise DataError(f"{root}: no class folders with videos; expected {root.name}/<class>/<video> ({suffixes})")
    return table_of(paths, labels, subsets, root)


def from_csv(csv: str | Path, root: str | Path | None = None) -> pd.DataFrame:
    """A table from a CSV with the columns path, label, subset (and, if there, video_id, start, end).

    Paths are relative to `root`, by default the CSV's folder. Subsets may be called train, val, test.
    Raises DataError, all problems at once with their lines, for missing columns and files, and for what
    `table.problems_of` finds: empty fields, unknown subsets, doubled ids, bad segments.
    """
    if not os.path.isfile(csv):
        raise DataError(f"{csv}: no such file")
    root = Path(csv).resolve().parent if root is None else _existing_folder(root)
    file = CsvFile(csv, ("path", "label", "subset"), skip_blanks=True, hint="Expected are path,label,subset.")
    columns = list(zip(*(fields for _, fields in islice(file.rows(), 1, None)))) or [[]] * len(file.header)
    rows = pd.DataFrame({name: list(texts) for name, texts in zip(file.header, columns)}, dtype=str)
    subsets = rows["subset"].str.strip().str.lower().map(SUBSET_NAMES).fillna(rows["subset"])
    table = table_of([root / path for path in rows["path"]], rows["label"].str.strip(), subsets, root)
    table["path"] = table["path"].where(rows["path"].str.strip() != "", "")
    for name in ("video_id", "start", "end"):
        if name in rows.columns:
            table[name] = rows[name] if name == "video_id" else rows[name].where(rows[name].str.strip() != "")
    problems, lines = problems_of(table, file.lines), file.lines()
    in_lmdb = _in_lmdb(table["path"])
    for line, path, *texts in zip(lines, table["path"], table["label"], table["video_id"]):
        if os.path.isdir(path) and not _holds_frames(path):
            problems.append(partial("line {}: folder {} holds no frames".format, line, path))
        elif path and not os.path.exists(path) and path not in in_lmdb:
            problems.append(partial("line {}: no file {}".format, line, path))
        # A line break in a name is odd, not wrong; but not where another row's video follows it.
        swallowed = [part for text in texts if "\n" in text for part in re.split(r"[,\n]", text)[1:]]
        if any(part and os.path.isfile(root / part) for part in swallowed):
            problems.append(f"line {line}: holds another row; is a quotation mark left open?")
    first = dict(zip(reversed(table["label"].tolist()), reversed(lines)))
    problems += [f"line {first[other]}: label {in_words(one, other)}" for one, other in spelled_twice(table["label"])]
    raise_problems(csv, problems)
    return table


def _holds_frames(folder: str) -> bool:
    """Whether some picture lies in it, of a frame or of its flow."""
    with reading(folder), os.scandir(folder) as entries:
        return any(_PICTURE.fullmatch(entry.name) for entry in entries)


def _in_lmdb(paths: Iterable[str]) -> set[str]:
    """Those of `paths` that are videos in LMDB files that are there. Raises DataError, also without `lmdb`."""
    by_file: dict[str, list[str]] = {}
    for path in paths:
        file, inside, name = path.partition(f".lmdb{os.sep}")
        if inside and name and os.path.exists(f"{file}.lmdb"):
            by_file.setdefault(f"{file}.lmdb", []).append(name)
    if not by_file:
        return set()
    from actlib.datasets.video.lmdb_store import contained  # with a decoder and torch: not for those who have none

    try:
        return {f"{file}{os.sep}{name}" for file, names in by_file.items() for name in contained(file, names)}
    except VideoError as error:
        raise DataError(str(error)) from None


def _existing_folder(root: str | Path) -> Path:
    if not os.path.isdir(root):
        raise DataError(f"{os.path.abspath(root)}: no such folder")
    return Path(root).resolve()


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def videos_below(folder: Path) -> list[Path]:
    """All that are called videos, broken links too: probing says what is wrong with them."""
    with reading(folder):
        return sorted(
            path
            for path in folder.rglob("*")
            if path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir() and not path.name.startswith(".")
        )


def _split(count: int, validation: float, testing: float, rng: np.random.Generator) -> list[str]:
    """The subset of each of the `count` videos of one class; training keeps at least one."""
    subsets = ["training"] * count
    free = iter(rng.permutation(count)[: max(0, count - 1)])
    for name, fraction in (("validation", validation), ("testing", testing)):
        wanted = max(1, round(fraction * count)) if fraction > 0 else 0
        for _, index in zip(range(wanted), free):
            subsets[index] = name
    return subsets


def _is_folder(path: Path) -> bool:
    return path.suffix.lower() not in VIDEO_SUFFIXES and os.path.isdir(path)


def table_of(paths: list[Path], labels: Iterable[str], subsets: Iterable[str], root: Path) -> pd.DataFrame:
    """Rows with absolute paths; ids are the names without a file's suffix, or the paths below root if those collide."""
    paths = list(paths)
    whole = [path.parent.suffix == ".lmdb" or _is_folder(path) for path in paths]  # its name has no suffix
    table = pd.DataFrame({"label": labels, "subset": subsets}).reindex(columns=list(COLUMNS))
    table["video_id"] = [path.name if name else path.stem for path, name in zip(paths, whole)]
    table["path"] = [str(path) for path in paths]
    if table["video_id"].duplicated().any():
        relative = [path.relative_to(root) if path.is_relative_to(root) else path for path in paths]
        table["video_id"] = [str(path if name else path.with_suffix("")) for path, name in zip(relative, whole)]
    if table["video_id"].duplicated().any():  # a.mp4 beside a.avi, or one file listed twice
        table["video_id"] += "#" + table.groupby("video_id").cumcount().astype(str)
    table["video_id"] = table["video_id"].map(printable)
    return table
