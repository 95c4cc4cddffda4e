"""What has run, as a list of links: the newest runs of a project with their state and their headline number."""

import os
from pathlib import Path

import pandas as pd

from actlib.analysis.results.runs import read_runs, run_folders
from actlib.batch_progress import REPORT
from actlib.files import read_mapping
from actlib.run_progress import ACCURACIES

PAGES = ("notebook.ipynb", "params.yaml")  # what a click on a run opens: a batch leaves its notebook, a person none


def links(patterns: list[str], beside: str | Path, most: int = 40) -> str:
    """The newest `most` of the run folders that shell patterns name, as a Markdown table whose links hold for a
    notebook in the folder `beside`. A folder that cannot be read says why in its row; none at all gives a sentence."""
    try:
        folders = sorted(run_folders(patterns), key=_time, reverse=True)
    except ValueError:
        return "Nothing has run yet: `make demo` fills `outputs/demo` in some minutes."
    lines = ["| run | state | what | network | result |", "| --- | --- | --- | --- | --- |"]
    lines += ["| " + " | ".join(_cells(folder, Path(beside))) + " |" for folder in folders[:most]]
    if len(folders) > most:
        lines += ["", f"The newest {most} of {len(folders):,} runs; notebook 07 browses all of them."]
    reports = sorted({folder.parent / REPORT for folder in folders if (folder.parent / REPORT).is_file()})
    if reports:
        lines += ["", f"Reports of batches: {', '.join(_link(each, each.parent, Path(beside)) for each in reports)}"]
    return "\n".join(lines)


def _link(page: Path, named: Path, beside: Path) -> str:
    """A link to `page` with the words for the folder `named`."""
    address = Path(os.path.relpath(page, beside)).as_posix()
    return f"[{_plain(os.path.relpath(named, beside.parent))}](<{address}>)"


def _time(folder: Path) -> str:
    try:
        return str(read_mapping(folder / "status.json").get("time", ""))
    except (OSError, ValueError):
        return ""


def _cells(folder: Path, beside: Path) -> list[str]:
    page = next((name for name in PAGES if (folder / name).is_file()), "status.json")
    cells = [_link(folder / page, folder, beside)]
    try:
        row = read_runs([str(folder)]).iloc[0]
    except ValueError as error:
        return [*cells, "damaged", "", "", _plain(error)]
    return [*cells, *(_plain(row[name]) for name in ("state", "kind", "model")), _plain(_headline(row))]


def _headline(row: pd.Series) -> str:
    name = next((name for name in ACCURACIES if pd.notna(row[name])), None)
    if name is None:
        return ""
    on = [str(row["protocol"])] if pd.notna(row["protocol"]) else []
    on += [f"{row['videos']:,.0f} of {row['expected']:,.0f} videos"] if pd.notna(row["expected"]) else []
    return f"{name} {row[name]:.4g} ({', '.join(on)})"


def _plain(value) -> str:
    """A text in a cell of a Markdown table."""
    text = "" if value is None or value != value else str(value)
    return "".join(f"\\{each}" if each in r"\`*_{}[]<>|$" else each for each in " ".join(text.split()))
