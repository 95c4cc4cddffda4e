"""Which of the listed videos lie below a folder, found in one walk through it.

A video is a file with a video's suffix, a folder of frames, or an entry of an LMDB file, and is recognised by its name
wherever it lies: `<class>/<id>.mp4`, `<subset>/<class>/<id>/`, `<id>.webm`, …. Where a name stands in several places,
the one whose folders agree best with the list, the class and the subset is taken.
"""

import os
import re
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from actlib.datasets.errors import DataError, VideoError, reading
from actlib.datasets.lists.source import drop_suffix
from actlib.datasets.same_class import loose_name
from actlib.datasets.table import COLUMNS, SUBSET_NAMES, VIDEO_SUFFIXES
from actlib.messages import is_utf8, listed

_FRAME = re.compile(r"[A-Za-z_-]*\d+(?:_[xy])?\.(?:jpe?g|png)", re.IGNORECASE)
_TIMES = re.compile(r"(.{11})_\d{6}_\d{6}")  # Kinetics: the YouTube id and the seconds that were cut
_PART = re.compile(r"#\d+$")  # a segment of a file, see source.with_unique_ids


class _Place(NamedTuple):
    """Something below data_root that may be a video: its relative path; 0 a file, 1 frames, 2 in an LMDB."""

    path: str
    kind: int


def find_videos(annotations, data_root: str | Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The labelled videos of `annotations` (as `read_annotations` returns them) that lie below `data_root`.

    Returns (table, missing). `table` has the columns of `table.COLUMNS`, with absolute paths and nothing probed yet,
    and time_start and time_end where there are segments in seconds; `missing` has video_id, label, subset. How many
    videos below `data_root` are in no list goes to `annotations.unlisted`. Raises DataError for a missing folder, one
    without any video, and one that has none of the listed.
    """
    if not os.path.isdir(data_root):
        raise DataError(f"{data_root}: no such folder of videos")
    root = Path(data_root).resolve()
    notes: list[str] = []
    videos = annotations.videos
    wanted = list(dict.fromkeys(_PART.sub("", name) for name in videos["video_id"]))
    places = list(_walk(root, wanted, notes))
    expected = ", ".join(annotations.layouts or ("<class>/<id>.mp4",))
    if not places:
        suffixes = " ".join(sorted(VIDEO_SUFFIXES))
        raise DataError(f"{root}: no video ({suffixes}), folder of frames or .lmdb below it; expected {expected}")
    found = _match(videos, places)
    paths = [None if place is None else os.path.join(root, place.path) for place in found]
    if not any(paths):
        ids, seen = videos["video_id"].to_list(), [place.path for place in places]
        raise DataError(
            f"{root}: none of the {len(videos):,} listed videos ({listed(ids, 3, quote=True)}) is among the "
            f"{len(places):,} below it ({listed(seen, 3, quote=True)}); expected {expected}"
        )
    annotations.unlisted = len(places) - len({place.path for place in found if place is not None})
    annotations.notes += notes
    table = videos.assign(path=paths)[videos["label"] != ""]
    missing = table.loc[table["path"].isna(), ["video_id", "label", "subset"]].reset_index(drop=True)
    table = table[table["path"].notna()].reset_index(drop=True)
    extra = ["time_start", "time_end"] if table["time_start"].notna().any() else []
    return table.reindex(columns=[*COLUMNS, *extra]), missing


def _walk(root: Path, wanted: list[str], notes: list[str]):
    """A _Place for each video below `root`, folder by folder, hidden names passed over; of LMDB files the `wanted`."""
    folders, seen = [""], {os.path.realpath(root)}
    while folders:
        folder = folders.pop()
        places, below, frames = [], [], False
        below_root = os.path.join(root, folder)
        with reading(below_root, "make it readable, or move it away"), os.scandir(below_root) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                path = f"{folder}/{name}" if folder else name
                if name.endswith(".lmdb"):
                    places += _in_lmdb(root, path, wanted, notes)
                elif os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES:
                    # Not a broken link, nor one that goes round.
                    there = os.path.isfile(entry) if entry.is_symlink() else entry.is_file()
                    places += [_Place(path, 0)] if there else []
                elif folder and _FRAME.fullmatch(name):
                    frames = True
                    break  # the other thousands need not be listed
                elif entry.is_symlink():  # a link upwards would be walked for ever
                    real = os.path.realpath(entry.path)
                    if os.path.isdir(entry) and real not in seen:
                        seen.add(real)
                        below.append(path)
                elif entry.is_dir():
                    below.append(path)
        if frames:
            yield _Place(folder, 1)
        else:
            yield from sorted(places)
            folders += sorted(below, reverse=True)


def _in_lmdb(root: Path, path: str, wanted: list[str], notes: list[str]) -> list[_Place]:
    """The wanted videos that are in an LMDB file; none, and a note, for a file that cannot be read here."""
    from actlib.datasets.video import lmdb_store  # with a decoder and torch: not for those who have no such file

    try:
        return [_Place(f"{path}/{name}", 2) for name in lmdb_store.contained(os.path.join(root, path), wanted)]
    except (DataError, VideoError) as error:
        notes.append(f"{path} was passed over: {error}")
        return []


def _match(videos: pd.DataFrame, places: list[_Place]) -> list[_Place | None]:
    """The place of each row of `videos`, None where there is none."""
    named: dict[str, list[_Place]] = {}
    for place in places:
        name = _as_listed(place.path).rpartition(".lmdb/" if place.kind == 2 else "/")[2]
        named.setdefault(drop_suffix(name) if place.kind == 0 else name, []).append(place)
    folded: dict[str, list[_Place]] = {}
    for name, found in named.items():
        folded.setdefault(name.casefold(), []).extend(found)

    def find(video_id: str, hint: str, label: str, subset: str) -> _Place | None:
        whole = _PART.sub("", video_id)
        name = drop_suffix(hint.rpartition("/")[2]) if hint else whole.rpartition("/")[2]
        candidates = named.get(name) or named.get(whole) or named.get(f"v_{name}")
        if not candidates and (match := _TIMES.fullmatch(name)):
            candidates = named.get(match.group(1))
        if not candidates:  # v_HandStandPushups_g01_c01 in one list, v_HandstandPushups_g01_c01 in another
            same = folded.get(name.casefold(), ())
            candidates = [place for place in same if loose_name(label) in map(loose_name, place.path.split("/")[:-1])]
        if len(candidates) > 1:
            return min(candidates, key=lambda place: _distance(place, hint, label, subset))
        return candidates[0] if candidates else None

    columns = (videos[name].tolist() for name in ("video_id", "hint", "label", "subset"))
    return [find(*row) for row in zip(*columns)]


def _as_listed(path: str) -> str:
    """A path as a list can have it. A name that is not UTF-8 is read as Latin-1, which most of them are: the video is
    found, and probing says what is wrong with its name."""
    return path if is_utf8(path) else os.fsencode(path).decode("latin-1")


def _distance(place: _Place, hint: str, label: str, subset: str) -> tuple:
    """Smaller is nearer to what the list says: first as many of the listed folders as possible, counted from below."""
    folders = place.path.split("/")[:-1]
    agree = zip(reversed(hint.split("/")[:-1]), reversed(folders))
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], agree))
    plain = [loose_name(folder) for folder in folders]
    in_subset = any(SUBSET_NAMES.get(folder.removesuffix(".lmdb")) == subset for folder in plain)
    return -common, loose_name(label) not in plain, not in_subset, place.kind, len(folders), place.path
