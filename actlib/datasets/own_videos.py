"""Annotation tables of people's own videos: a folder of class folders, or a CSV of path, label and subset."""

from pathlib import Path

import numpy as np
import pandas as pd

from actlib.datasets.errors import DataError, raise_problems
from actlib.datasets.table import COLUMNS, SUBSET_NAMES, VIDEO_SUFFIXES


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
    if tops and all(top.name.lower() in SUBSET_NAMES for top in tops):
        found = [
            (video, folder.name, SUBSET_NAMES[top.name.lower()])
            for top in tops
            for folder in _subfolders(top)
            for video in _videos(folder)
        ]
        empty = [folder for top in tops for folder in _subfolders(top) if not _videos(folder)]
    else:
        rng = np.random.default_rng(seed)
        found = [
            (video, folder.name, subset)
            for folder in tops
            for video, subset in _split(_videos(folder), validation, testing, rng)
        ]
        empty = [folder for folder in tops if not _videos(folder)]
    suffixes = " ".join(sorted(VIDEO_SUFFIXES))
    raise_problems(
        root, [f"{folder.relative_to(root)}: no video in this class folder ({suffixes})" for folder in empty]
    )
    if not found:
        raise DataError(f"{root}: no class folders with videos; expected {root.name}/<class>/<video> ({suffixes})")
    return _table(found, root)


def from_csv(csv: str | Path, root: str | Path | None = None) -> pd.DataFrame:
    """A table from a CSV with the columns path, label, subset (and, if there, video_id, start, end).

    Paths are relative to `root`, by default the CSV's folder. Subsets may be called train, val, test.
    Raises DataError, all problems at once with their lines, for missing columns, empty fields, unknown
    subsets, missing files and doubled ids.
    """
    csv = Path(csv)
    if not csv.is_file():
        raise DataError(f"{csv}: no such file")
    root = csv.resolve().parent if root is None else _existing_folder(root)
    rows = pd.read_csv(csv, dtype=str, keep_default_na=False, skipinitialspace=True)
    missing = [name for name in ("path", "label", "subset") if name not in rows.columns]
    if missing:
        raise DataError(
            f"{csv}: no column {', '.join(missing)} in its first line ({', '.join(rows.columns)}); "
            "expected path,label,subset"
        )
    problems = []
    for line, row in enumerate(rows.itertuples(index=False), start=2):
        problems += [f"line {line}: {name} is empty" for name in ("path", "label") if not getattr(row, name).strip()]
        if row.subset.strip().lower() not in SUBSET_NAMES:
            problems.append(f"line {line}: subset {row.subset!r}: expected one of {', '.join(SUBSET_NAMES)}")
        if row.path.strip() and not (root / row.path).is_file():
            problems.append(f"line {line}: no file {root / row.path}")
    if "video_id" in rows.columns:
        doubled = rows.index[rows["video_id"].duplicated()]
        problems += [f"line {row + 2}: video_id {rows['video_id'][row]!r} stands twice" for row in doubled]
    raise_problems(csv, problems)
    found = [
        (root / row.path, row.label.strip(), SUBSET_NAMES[row.subset.strip().lower()])
        for row in rows.itertuples(index=False)
    ]
    table = _table(found, root)
    for name in ("video_id", "start", "end"):
        if name in rows.columns:
            table[name] = rows[name] if name == "video_id" else pd.to_numeric(rows[name])
    return table


def _existing_folder(root: str | Path) -> Path:
    root = Path(root).resolve()
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    return root


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _videos(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() and not path.name.startswith(".")
    )


def _split(videos: list[Path], validation: float, testing: float, rng) -> list[tuple[Path, str]]:
    """Give each video of one class its subset; training keeps at least one."""
    order = rng.permutation(len(videos))
    subsets = ["training"] * len(videos)
    free = iter(order[: max(0, len(videos) - 1)])
    for name, fraction in (("validation", validation), ("testing", testing)):
        wanted = max(1, round(fraction * len(videos))) if fraction > 0 else 0
        for _, index in zip(range(wanted), free):
            subsets[index] = name
    return list(zip(videos, subsets))


def _table(found: list[tuple[Path, str, str]], root: Path) -> pd.DataFrame:
    """Rows with absolute paths; ids are the file names without suffix, or the paths below root if those collide."""
    table = pd.DataFrame(
        {
            "video_id": [path.stem for path, _, _ in found],
            "path": [str(path) for path, _, _ in found],
            "label": [label for _, label, _ in found],
            "subset": [subset for _, _, subset in found],
        }
    ).reindex(columns=list(COLUMNS))
    if table["video_id"].duplicated().any():
        relative = [path.relative_to(root) if path.is_relative_to(root) else path for path, _, _ in found]
        table["video_id"] = [str(path.with_suffix("")) for path in relative]
    if table["video_id"].duplicated().any():  # a.mp4 beside a.avi, or one file listed twice
        table["video_id"] += "#" + table.groupby("video_id").cumcount().astype(str)
    return table
