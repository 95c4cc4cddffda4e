"""Videos that a person names, without a table and without labels: files, folders, patterns, web addresses."""

import glob
import os
import re
import urllib.parse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd

from actlib.datasets.errors import DataError, raise_problems
from actlib.datasets.own_videos import table_of, videos_below
from actlib.datasets.prepare.probe import probe_table
from actlib.datasets.table import VIDEO_SUFFIXES
from actlib.datasets.video.frame_folders import holds_frames
from actlib.downloads import DownloadError, download
from actlib.messages import cut


def find_named(names: Sequence[str], downloads: str | Path) -> list[Path]:
    """The files of `names`, each once, in their order: a file or folder of frames itself; of another folder all videos
    below it; of a pattern with * or ? what fits; of an address (http, https) the file that is fetched into the folder
    `downloads`, or lies there already.

    Raises DataError, with all problems at once, for what is not there, a folder without a video and an address that
    gives none; no address is asked before all the rest was found.
    """
    found: dict[str, list[Path]] = {}
    problems = []
    for name in names:
        if not _is_address(name):
            found[name], problem = _on_disk(name)
            problems += problem
    raise_problems("videos", problems)
    for name in names:
        if _is_address(name):
            found[name] = [_fetched(name, Path(downloads))]
    return list(dict.fromkeys(path for name in names for path in found[name]))


def probe_named(
    paths: Sequence[Path],
    *,
    timeout: float = 60.0,
    backend: str = "auto",
    progress: Callable[..., Iterable] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(table, unreadable) of these videos: a table as `datasets.table` describes it with no labels, and a row with the
    reason for each that cannot be read. `fps` is 0 where nobody knows it. Raises DataError where none can."""
    unlabelled = [""] * len(paths)
    table = table_of([Path(os.path.abspath(path)) for path in paths], unlabelled, unlabelled, Path.cwd())
    how = {"workers": min(2, len(paths)), "timeout": timeout, "backend": backend, "progress": progress}
    readable, unreadable = probe_table(table, **how)
    if readable.empty:
        rows = zip(unreadable["path"], unreadable["reason"])
        raise_problems("videos", [f"{path}: {reason}" for path, reason in rows])
    readable["fps"] = readable["fps"].astype(float).fillna(0.0)
    return readable, unreadable[["video_id", "path", "reason"]]


def _is_address(name: str) -> bool:
    return name.startswith(("https://", "http://"))


def _on_disk(name: str) -> tuple[list[Path], list[str]]:
    """(paths, what is wrong with `name`)."""
    path = Path(name).expanduser()
    if path.is_file():
        return [path], []
    if path.is_dir():
        found = videos_below(path) or ([path] if holds_frames(path) else [])
        return found, [] if found else [f"{name}: no video below this folder ({' '.join(sorted(VIDEO_SUFFIXES))})"]
    fitting = sorted(glob.glob(str(path), recursive=True)) if glob.has_magic(name) else []
    if fitting:
        return [each for one in fitting for each in _on_disk(one)[0]], []
    return [], [f"{name}: nothing fits this pattern" if glob.has_magic(name) else f"{name}: no such file or folder"]


def _fetched(address: str, folder: Path) -> Path:
    name = _file_name(address)
    target = folder / name
    if target.is_file():
        return target
    try:
        return download(address, target, _why_no_video)
    except (DownloadError, OSError) as error:
        raise DataError(str(error)) from error


def _file_name(address: str) -> str:
    """What the file of an address is called, with a video's suffix."""
    try:
        parts = urllib.parse.urlsplit(address)
        name = urllib.parse.unquote(parts.path.rpartition("/")[2])
    except ValueError as error:
        raise DataError(f"{cut(address)}: no address ({error})") from None
    name = re.sub(r"[^\w.-]+", "_", name).lstrip(".")
    if not name:
        raise DataError(f"{cut(address)}: the address of a server or folder, not of a file")
    return name if Path(name).suffix.lower() in VIDEO_SUFFIXES else f"{name}.mp4"


def _why_no_video(path: Path) -> str:
    head = path.open("rb").read(512).lstrip().lower()
    if not head:
        return "it is empty"
    return "it is a page of HTML or XML, not a video" if head.startswith((b"<!doctype", b"<html", b"<?xml")) else ""
