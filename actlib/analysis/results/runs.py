"""Any set of run folders as one table: a row a run, its headline numbers, and what they were measured on."""

import glob
from pathlib import Path

import pandas as pd

from actlib.files import read_mapping
from actlib.messages import misfit

ACCURACIES = ("video_top1", "video_top5", "clip_top1", "clip_top5", "val_top1")
COLUMNS = (
    "run", "kind", "state", "model", "dataset", *ACCURACIES, "protocol", "videos", "expected",
    "gmacs", "params_m", "clips_per_s", "views", "folder",
)  # fmt: skip


def run_folders(patterns: list[str]) -> list[Path]:
    """The run folders (those that hold a status.json) that shell patterns name, each once, sorted.

    A pattern that names a folder which is none itself, but holds some, stands for those. Raises ValueError for a
    pattern that gives nothing.
    """
    found: set[Path] = set()
    for pattern in patterns:
        named = [Path(name) for name in glob.glob(pattern, recursive=True)]
        runs = {folder for folder in named if (folder / "status.json").is_file()}
        runs |= {status.parent for folder in named for status in folder.glob("*/status.json")}
        if not runs:
            raise ValueError(f"runs: {pattern!r} names no run folder (a folder with a status.json)")
        found |= runs
    return sorted(found)


def read_runs(patterns: list[str]) -> pd.DataFrame:
    """One row a run folder with COLUMNS; what a run does not tell is empty. Accuracies in percent.

    `protocol`, `videos` and `expected` are those of the video accuracy, or of the run's first accuracy.
    """
    return pd.DataFrame([_row(folder) for folder in run_folders(patterns)]).reindex(columns=list(COLUMNS))


def _row(folder: Path) -> dict:
    path = folder / "result.json"
    result, status = _read_json(path), _read_json(folder / "status.json")
    numbers = _mapping(path, "numbers", result.get("numbers"))
    numbers = {name: _mapping(path, f"numbers: {name}", numbers.get(name)) for name in ACCURACIES}
    for name, number in numbers.items():
        if number and type(number.get("value")) not in (int, float):
            raise ValueError(f"{path}: {misfit(f'numbers: {name}: value', 'a number', number.get('value'))}")
    first = next(filter(None, numbers.values()), {})
    row = {"kind": ""} | {name: value for name, value in result.items() if name in COLUMNS}
    row |= {name: number["value"] for name, number in numbers.items() if number}
    row |= {name: first.get(name) for name in ("protocol", "videos", "expected")}
    for name, value in row.items():
        if isinstance(value, dict | list):
            raise ValueError(f"{path}: {misfit(name, 'a text or a number', value)}")
    return row | {"run": folder.name, "state": str(status.get("state", "unknown")), "folder": str(folder)}


def _mapping(path: Path, where: str, value) -> dict:
    if not isinstance(value, dict | None):
        raise ValueError(f"{path}: {misfit(where, 'a mapping', value)}")
    return value or {}


def _read_json(path: Path) -> dict:
    """The content of a JSON file; empty where there is none yet. Raises ValueError naming a broken one."""
    try:
        return read_mapping(path)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{path}: {error}; run it again, or leave it out") from error


def labels_of(runs: pd.DataFrame) -> list[str]:
    """A short label a run: the network over its options, with the run's name where two of a dataset are alike."""
    models = runs["model"].fillna("").astype(str)
    alike = pd.DataFrame({"model": models, "dataset": runs["dataset"]}).duplicated(keep=False)
    return [
        (model.replace(" ", "\n", 1) + (f"\n({run})" if doubled else "")) or run
        for run, model, doubled in zip(runs["run"], models, alike)
    ]


def describe_accuracy(runs: pd.DataFrame, accuracy: str) -> tuple[str, str]:
    """The words for an accuracy's axis, and a note on how it was measured: the protocol where all runs share one."""
    level, rank = accuracy.split("_top")
    protocols = runs["protocol"].dropna().unique()
    if level != "video":  # the table's protocol is that of the headline accuracy
        note = "centre clip × centre crop"
    else:
        note = protocols[0] if len(protocols) == 1 else "several protocols: see runs.csv"
    return f"{level} top-{rank} accuracy, %", note
