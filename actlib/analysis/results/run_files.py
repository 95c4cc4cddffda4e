"""What a run folder holds for people who look at it: curves, numbers with their protocols, parameters, pictures."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from actlib.analysis.results.runs import read_parameters
from actlib.files import read_mapping
from actlib.messages import cut

CURVES = ("loss", "top1", "val_loss", "val_top1")


def names_of(folders: Iterable[str | Path]) -> dict[str, str]:
    """The folders by a short name each: its own, or the whole path where two have the same."""
    paths = [Path(folder) for folder in folders]
    own = [path.name for path in paths]
    return {path.name if own.count(path.name) == 1 else str(path): str(path) for path in paths}


def has_history(folder: str | Path) -> bool:
    """Whether the run has trained a network for an epoch, or more."""
    return (Path(folder) / "metrics.csv").is_file()


def read_histories(folders: dict[str, str]) -> tuple[pd.DataFrame, list[str]]:
    """(histories, problems): metrics.csv of the runs that have one, a row an epoch, with the columns run, epoch and
    CURVES (percent for accuracies); and what is wrong with those that cannot be read. `folders` by the runs' names."""
    found, problems = [], []
    for name, folder in folders.items():
        path = Path(folder) / "metrics.csv"
        if not has_history(folder):
            continue
        try:
            table = pd.read_csv(path).reindex(columns=["epoch", *CURVES]).apply(pd.to_numeric)
            if table["epoch"].isna().any():
                raise ValueError("it has rows without an epoch")
            found.append(table.assign(run=name))
        except (OSError, ValueError, TypeError) as error:  # pandas' own are ValueErrors
            problems.append(f"{path}: no history of a training ({cut(str(error), 200)})")
    columns = ["run", "epoch", *CURVES]
    return (pd.concat(found)[columns] if found else pd.DataFrame(columns=columns)).reset_index(drop=True), problems


def read_numbers(folders: dict[str, str]) -> tuple[pd.DataFrame, list[str]]:
    """(numbers, problems): every headline number of the runs with run, number, value, protocol and videos."""
    rows, problems = [], []
    for name, folder in folders.items():
        path = Path(folder) / "result.json"
        try:
            numbers = read_mapping(path).get("numbers") or {}
            for number, entry in numbers.items():
                of = f"{entry['videos']:,} of {entry['expected']:,}" if "expected" in entry else ""
                rows.append((name, number, float(entry["value"]), str(entry.get("protocol", "")), of))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            problems.append(f"{path}: {cut(str(error), 200)}")
    return pd.DataFrame(rows, columns=["run", "number", "value", "protocol", "videos"]), problems


def compare_parameters(folders: dict[str, str]) -> tuple[pd.DataFrame, int, list[str]]:
    """(differing, others, problems): the parameters that several runs have, and not all of them alike, a row a
    parameter, a column a run, empty where it has no such parameter; and how many others there are. Of one run all are
    in the table. That each has a folder of its own is left out."""
    told, problems = {}, []
    for name, folder in folders.items():
        try:
            told[name] = read_parameters(folder)
        except (OSError, ValueError) as error:
            problems.append(str(error))
    table = pd.DataFrame(told, dtype=object).rename_axis("parameter")
    table = table.reindex(dict.fromkeys(name for each in told.values() for name in each if name != "run_dir"))
    differing = table[table.nunique(axis=1) > 1] if len(told) > 1 else table
    return differing.fillna(""), len(table) - len(differing), problems


def pictures_of(folder: str | Path) -> dict[str, Path]:
    """The pictures of a run by name."""
    return {path.stem: path for path in sorted(Path(folder).glob("*.png")) if not path.name.startswith(".")}
