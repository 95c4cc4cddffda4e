"""Which folders are ours to write into and to move: those of runs, and never one that holds what a run reads."""

import csv
import os
from functools import lru_cache
from pathlib import Path

from actlib.files import TEMPORARY, put_aside, text_coding
from actlib.locks import NAME
from actlib.params import Params, ParamsError

MARKS = ("status.json", "batch.json")  # of which every run folder has one


def require_free(p: Params, root: str | Path = ".") -> None:
    """Raise ParamsError where `p.run_dir` cannot be a run folder: it holds the project, `data_root`, or videos of the
    table, which starting again could move aside. Relative paths are below `root`."""
    if problem := occupied(p, os.path.realpath(os.path.join(root, p.run_dir)), reserved(p, root)):
        raise ParamsError(problem)


def occupied(p: Params, folder: str, held: dict[str, str]) -> str:
    """Why `folder`, a real path, cannot be the run folder of `p`; empty if it can. `held`: what is `reserved`."""
    return f"run_dir: {p.run_dir!r} holds {held[folder]}; choose a folder of its own" if folder in held else ""


def reserved(p: Params, root: str | Path) -> dict[str, str]:
    """The folders, as real paths, that cannot be run folders of `p` or of runs with the same inputs, with what each
    holds."""
    held = {}
    if table := getattr(p, "table", ""):
        path = Path(os.path.realpath(os.path.join(root, table)))
        held |= dict.fromkeys(_folders_of_videos(path), f"videos of {table}")
    if data_root := getattr(p, "data_root", ""):
        path = Path(os.path.realpath(os.path.join(root, data_root)))
        held |= dict.fromkeys(map(str, (path, *path.parents)), f"data_root {data_root!r}")
    path = Path(os.path.realpath(root))
    return held | dict.fromkeys(map(str, (path, *path.parents)), "the project itself")


def _folders_of_videos(table: Path) -> frozenset[str]:
    """All folders that hold videos of a table, at any depth; nothing of a table that cannot be read, which is found
    elsewhere."""
    try:
        return _folders_in(table, os.stat(table).st_mtime_ns)
    except (OSError, ValueError, csv.Error):
        return frozenset()


@lru_cache(maxsize=64)
def _folders_in(table: Path, mtime: int) -> frozenset[str]:
    with table.open(encoding=text_coding(table), newline="") as file:
        rows = csv.reader(file)
        at = next(rows, []).index("path")
        own = {os.path.dirname(row[at]) for row in rows if len(row) > at}
    folders = {Path(os.path.realpath(table.parent / folder)) for folder in own}
    return frozenset(str(each) for folder in folders for each in (folder, *folder.parents))


def require_ours(folder: Path) -> None:
    """Raise RuntimeError for a folder with something in it that is no run folder."""
    if _holds_something(folder) and not any((folder / name).is_file() for name in MARKS):
        raise RuntimeError(
            f"{folder}: holds files, and is no run folder (neither {' nor '.join(MARKS)} is in it): nothing was moved. "
            "Give the step another name, or the batch another run_dir"
        )
    if folder.exists() and not folder.is_dir():
        raise RuntimeError(f"{folder}: a file stands where the run folder belongs; give the step another name")


def clear(folder: Path) -> Path | None:
    """Put a run folder aside where anything is in it. Returns where it is now. Raises RuntimeError, as above."""
    require_ours(folder)
    if not _holds_something(folder):
        return None
    aside = put_aside(folder)
    (aside / NAME).unlink(missing_ok=True)  # nobody works there
    return aside


def _holds_something(folder: Path) -> bool:
    """Whether anything but a lock and what killed writes left is in a folder."""
    return folder.is_dir() and not all(each.name.startswith((NAME, TEMPORARY)) for each in folder.iterdir())
