"""The annotation table: one row a video, a pandas table in memory and a CSV on disk.

Columns, in this order:

- `video_id`: unique name of the row (a file cut into several segments has several rows)
- `path`: the video file; absolute in memory, relative to the CSV's folder on disk where it lies below it
- `label`: class name · `subset`: training, validation or testing
- `start`, `end`: the annotated segment as frame numbers from 0, `end` exclusive; empty on disk = the whole video
- `num_frames`, `fps`, `width`, `height`: of the file, filled in by `prepare.probe.probe_table`; empty = not probed yet
"""

import os
from collections.abc import Callable, Sequence
from functools import cache, partial
from operator import itemgetter
from pathlib import Path

import numpy as np
import pandas as pd

from actlib.datasets.csv_files import CsvFile
from actlib.datasets.errors import DataError, raise_problems
from actlib.datasets.vocabulary import SUBSETS
from actlib.files import write_csv
from actlib.messages import Problem, shown

COLUMNS = ("video_id", "path", "label", "subset", "start", "end", "num_frames", "fps", "width", "height")
NUMBERS = COLUMNS[4:]
VIDEO_SUFFIXES = frozenset(
    [".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ts"]
)
# What people call the subsets in folder names and lists -> ours (those of the ActivityNet JSON). The lists of
# Kinetics-700 have `validate`.
SUBSET_NAMES = {name: name for name in SUBSETS}
SUBSET_NAMES |= {"train": "training", "test": "testing"} | dict.fromkeys(("val", "valid", "validate"), "validation")
_PIECE = 50_000  # rows
_MOST = 1 << 24  # frames or pixels: up to here float32 is exact


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table written by `write_table`, check every row, and return it with absolute paths.

    Raises DataError, with all problems at once, for a missing file or column, empty or doubled ids, empty
    labels, unknown subsets, and segments that are empty or reach past the video.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such annotation table. Notebook 01_data_prep writes one (and `make demo` some)")
    hint = "A plain path,label,subset list goes through notebook 01_data_prep first (source: csv)."
    file = CsvFile(path, COLUMNS, hint=hint)
    table = _read(file)
    raise_problems(path, problems_of(table, file.lines))
    return table


def _read(file: CsvFile) -> pd.DataFrame:
    """All rows, paths absolute. In pieces: of the strings that are made on the way, only a piece's exist at a time."""
    dtypes = {name: str for name in COLUMNS if name not in NUMBERS}
    names: dict[str, str] = {}  # one object for each label and subset
    root = str(file.path.resolve().parent)
    pieces = []
    with pd.read_csv(
        file.path,
        encoding=file.coding.removesuffix("-sig"),  # pandas passes over the mark itself, and reads plain UTF-8 faster
        usecols=list(COLUMNS),
        dtype=dtypes,
        keep_default_na=False,
        na_values={name: [""] for name in NUMBERS},
        chunksize=_PIECE,
    ) as reader:
        for piece in reader:
            for name in ("label", "subset"):
                shared = [names.setdefault(each, each) for each in piece[name].to_list()]
                piece[name] = pd.Series(shared, piece.index, dtype=str)
            paths = [_absolute(each, root) for each in piece["path"].to_list()]
            piece["path"] = pd.Series(paths, piece.index, dtype=str)
            for name in NUMBERS:
                if piece[name].dtype.kind in "if":  # exact for all whole numbers below 16 million, in half the memory
                    piece[name] = piece[name].astype("float32")
            pieces.append(piece[list(COLUMNS)])
    return pd.concat(pieces, ignore_index=True)


def _absolute(name: str, root: str) -> str:
    """`name`, relative to `root`, as an absolute path; an empty one stays empty, to be reported."""
    if not name.strip():
        return name
    # The usual path needs no pathlib, which would take longer than all the rest of reading a table.
    if not _is_usual(name):
        return str(Path(root, name))
    return name if name[0] == "/" else f"{root.rstrip('/')}/{name}"


def _is_usual(name: str) -> bool:
    """Whether pathlib would leave the path as it is."""
    return os.sep == "/" and "//" not in name and "./" not in name


def problems_of(table: pd.DataFrame, lines: Callable[[], Sequence[int]]) -> list[Problem]:
    """A sentence for each thing that is wrong with a table, with the line of its row in the CSV, which `lines` gives.
    Columns of NUMBERS that were read as texts become numbers in `table`."""
    found: list[tuple[int, Callable]] = []
    line_of = cache(lines)

    def report(mask, describe):
        found.extend((row, describe) for row in np.flatnonzero(np.asarray(mask, dtype=bool)).tolist())

    def said(row: int, describe: Callable) -> str:
        return f"line {line_of()[row]}: {describe(table.iloc[row])}"

    for name in ("video_id", "path", "label"):
        empty = [not each or each.isspace() for each in table[name].to_list()]
        report(empty, lambda row, name=name: f"{name} is empty")
    report(table["video_id"].duplicated(), lambda row: f"video_id {shown(row.video_id)} stands twice")
    subsets = ", ".join(SUBSETS)
    report(~table["subset"].isin(SUBSETS), lambda row: f"subset {shown(row.subset)}: expected one of {subsets}")
    for name in NUMBERS:
        texts = table[name]
        numbers = pd.to_numeric(texts, errors="coerce").astype(float if texts.dtype.kind not in "if" else texts.dtype)
        bad = ~np.isfinite(numbers) & texts.notna() | (texts.dtype.kind == "b")
        report(bad, lambda row, texts=texts, name=name: f"{name} {shown(texts.iloc[row.name])} is not a number")
        least = 0 if name in ("start", "end", "fps") else 1
        odd = (numbers < least) | (numbers > _MOST) | ((numbers % 1 != 0) & (name != "fps"))
        kind = "a number" if name == "fps" else "a whole number"
        what = "{} is {:g}: expected " + f"{kind} from {least} to {_MOST:,}"
        report(odd & numbers.notna() & ~bad, lambda row, name=name, what=what: what.format(name, row[name]))
        if numbers.dtype != texts.dtype:
            table[name] = numbers
    report(
        (table["end"] <= table["start"].fillna(0)) | (table["end"] > table["num_frames"])
        | (table["start"] >= table["num_frames"]),
        lambda row: f"segment {row.start:g} to {row.end:g}"
        + (f" of a video of {row.num_frames:g} frames" if row.num_frames > 0 else ""),
    )  # fmt: skip
    return [partial(said, row, describe) for row, describe in sorted(found, key=itemgetter(0))]


def write_table(table: pd.DataFrame, path: str | Path) -> Path:
    """Write `table` as CSV (atomically); paths below the CSV's folder become relative, so the folder can move."""
    root = str(Path(path).resolve().parent)
    out = table.reindex(columns=list(COLUMNS))
    out["path"] = [_relative(os.fspath(each), root) for each in out["path"].to_list()]
    for name in ("start", "end", "num_frames", "width", "height"):
        out[name] = out[name].astype("Int64")
    return write_csv(path, out)


def _relative(name: str, root: str) -> str:
    """`name` as seen from `root`, where it lies below it."""
    if _is_usual(name) and name.startswith(root + "/"):
        return name[len(root) + 1 :]
    absolute = Path(name) if os.path.isabs(name) else Path(name).resolve()
    return str(absolute.relative_to(root)) if absolute.is_relative_to(root) else str(absolute)


def class_names(table: pd.DataFrame) -> list[str]:
    """The classes of the table, sorted by name; a label's place in this list is its class index."""
    return sorted(table["label"].unique())


def rows_of(table: pd.DataFrame, subset: str, source: str | Path = "table") -> pd.DataFrame:
    """The rows of one subset. Raises DataError when there are none."""
    rows = table[table["subset"] == subset].reset_index(drop=True)
    if rows.empty:
        has = ", ".join(f"{name} ({count:,})" for name, count in table["subset"].value_counts().items()) or "no rows"
        raise DataError(f"{source}: no video of subset {subset!r}; it has {has}")
    return rows


def counts(table: pd.DataFrame) -> pd.DataFrame:
    """Videos per class (rows) and subset (columns, in the order training, validation, testing)."""
    found = pd.crosstab(table["label"], table["subset"])
    return found.reindex(columns=[name for name in SUBSETS if name in found.columns])


def dataset_name(path: str | Path) -> str:
    """What to call the data of a table in plots: the name of its folder, which is the run folder of notebook 01."""
    return Path(path).resolve().parent.name
