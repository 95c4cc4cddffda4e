"""Any set of run folders as one table: a row a run, its headline numbers, and what they were measured on."""

import glob
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import yaml

from actlib.files import read_mapping, read_text
from actlib.messages import cut, misfit
from actlib.run_progress import ACCURACIES, is_at_work

COLUMNS = (
    "run", "kind", "state", "model", "dataset", *ACCURACIES, "protocol", "videos", "expected",
    "gmacs", "params_m", "clips_per_s", "views", "folder",
)  # fmt: skip
SURVEYED = (
    "run", "state", "kind", "model", "dataset", "accuracy", "measure", "protocol", "videos", "gmacs", "params_m",
    "when", "why", "folder",
)  # fmt: skip
_KINDS = {"pretrained": "finetune", "epochs": "train", "order_check": "video_accuracy"}  # told by a parameter alone
_AsWritten = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # every value a text: as one reads it in the file


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


def survey_runs(patterns: list[str]) -> tuple[pd.DataFrame, list[str]]:
    """(runs, problems): one row a run folder with SURVEYED, to look at, whatever state it is in; nothing is raised.

    `accuracy` (percent) is the run's first accuracy, of the kind `measure`, by `protocol` on so many `videos`. What a
    run has not stated yet is taken from its parameters. A folder whose files cannot be read has the state damaged, one
    whose process ended before the run did stopped, each with its `why`. `problems`: of patterns that name nothing.
    """
    folders, problems = set(), []
    for pattern in patterns:
        try:
            folders.update(run_folders([pattern]))
        except ValueError as error:
            problems.append(str(error))
    rows = [_surveyed(folder) for folder in sorted(folders)]
    return pd.DataFrame(rows).reindex(columns=list(SURVEYED)), problems


def _surveyed(folder: Path) -> dict:
    try:
        status, row = _read_json(folder / "status.json"), _row(folder)
        if row["state"] in ("running", "queued") and not is_at_work(folder, status):
            row["state"], status["why"] = (
                "stopped",
                "its process ended before the run did; start it again, and it goes on",
            )
        told = read_parameters(folder)
    except (ValueError, OSError) as error:
        return {"run": folder.name, "state": "damaged", "why": str(error), "folder": str(folder)}
    measure = next((name for name in ACCURACIES if name in row), "")
    of = f"{row['videos']:,} of {row['expected']:,}" if measure and row["videos"] and row["expected"] else ""
    guessed = {
        "kind": guess_kind(told),
        "model": told.get("model", ""),
        "dataset": Path(told["table"]).parent.name if told.get("table") else "",
    }
    return row | {
        "measure": measure.replace("_top", " top-"),
        "accuracy": row.get(measure),
        "videos": of,
        "when": str(status.get("time", ""))[:16].replace("T", " "),
        "why": str(status.get("why", "")),
        **{name: row.get(name) or value for name, value in guessed.items()},
    }


def guess_kind(parameters: Iterable[str]) -> str:
    """The kind of a run that has not told it yet, by the names of its parameters; empty where they do not tell."""
    return next((kind for name, kind in _KINDS.items() if name in parameters), "")


def read_parameters(folder: str | Path) -> dict[str, str]:
    """The parameters of a run as they are written in its params.yaml, each value as one line; none where there is no
    such file. Raises ValueError naming one that is damaged."""
    path = Path(folder) / "params.yaml"
    if not path.is_file():
        return {}
    try:
        told = yaml.load(read_text(path), _AsWritten)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not valid YAML: {cut(str(error))}") from None
    if not isinstance(told, dict):
        raise ValueError(f"{path}: {misfit('parameters', 'lines of the form name: value', told)}")
    return {str(name): value if isinstance(value, str) else _in_line(value) for name, value in told.items()}


def _in_line(value) -> str:
    return f"[{', '.join(map(_in_line, value))}]" if isinstance(value, list) else str(value)


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
    level, kind = accuracy.split("_", 1)
    protocols = runs["protocol"].dropna().unique()
    if level != "video":  # the table's protocol is that of the headline accuracy
        note = "centre clip × centre crop"
    else:
        note = protocols[0] if len(protocols) == 1 else "several protocols: see runs.csv"
    words = {"top1": "top-1 accuracy", "top5": "top-5 accuracy", "macro_f1": "macro-F1"}[kind]
    return f"{level} {words}, %", note
