"""The published lists of every data set in the catalogue -> one listing, a table, and what of it is there.

    listed = read_annotations("kinetics400", "lists/")          # labels, subsets, ids; all problems in one DataError
    found, missing = find_videos(listed, "videos/")              # one walk through the folder
    readable, quarantine = prepare.probe_table(found, …)
    videos, short = seconds_to_frames(readable)                  # ActivityNet's times; clamps the segments of others
    make_card(listed, found, videos)                             # classes; published, listed, found, readable

The lists' layouts are told apart by their content: a data set's own files, the JSON or the `path start end label` lists
of the reference codebases. The readers are in the modules annotation_lists, annotation_json and annotation_index.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from actlib.datasets.catalog import Dataset, find_dataset, plain_name
from actlib.datasets.errors import DataError, raise_problems
from actlib.datasets.lists import by_author as lists
from actlib.datasets.lists.coverage import availability, coverage, make_card
from actlib.datasets.lists.find_videos import find_videos
from actlib.datasets.lists.json_lists import (  # fmt: skip
    exchange_json,
    layout,
    read_activitynet,
    read_exchange,
    read_something_v2,
    write_exchange,
)
from actlib.datasets.lists.numbered import read_class_names, read_index_lists
from actlib.datasets.lists.source import Source, check_ids, label_problem

__all__ = [
    "RULES", "Annotations", "availability", "coverage", "exchange_json", "find_videos", "make_card",
    "read_annotations", "seconds_to_frames", "segment_frames", "write_exchange",
]  # fmt: skip

_READERS = {
    "kinetics": lists.read_kinetics,
    "ucf101": lists.read_ucf101,
    "hmdb51": lists.read_hmdb51,
    "jester": lists.read_jester,
    "something_v1": lists.read_semicolons,
    "something_v2": read_something_v2,
    "moments": lists.read_moments,
    "activitynet": read_activitynet,
}
# A file that every folder of the format has; and nothing else does.
_MARKS = {
    "ucf101": r"trainlist\d\d\.txt",
    "hmdb51": r".+_test_split\d+\.txt",
    "jester": r"(trainlist\d*\.txt|jester.*labels\.csv)",
    "something_v1": r".*labels\.csv",
    "something_v2": r".*labels\.json",
    "moments": r"trainingset.*\.csv|validationset.*\.csv",
}


@dataclass
class Annotations:
    """What the lists say. `classes` in index order; `videos`: a row for each listed video or segment, with the columns
    video_id, label ("" if it is withheld), subset, hint, start, end, time_start, time_end, file, line; `notes`: what is
    odd but no error. `unlisted`: files below data_root that are in no list, counted by `find_videos`."""

    name: str
    title: str
    classes: list[str]
    videos: pd.DataFrame
    source: str
    published: dict[str, int | None] = field(default_factory=dict)
    unit: str = "videos"
    mirrored_pairs: tuple[tuple[str, str], ...] = ()
    layouts: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    unlisted: int = 0


def read_annotations(
    dataset: str, path: str | Path, *, split: int = 1, class_list: str | Path = "", data_root: str | Path = ""
) -> Annotations:
    """Read the lists of `dataset` (a name of the catalogue; "" for one of your own) from `path`, a folder or one file.

    `split` is the number of the train/test split of UCF-101 and HMDB-51, and of JSON files named by it. `class_list`
    is a file of classes, one a line: only their videos are kept, and its order is that of the class indices; with lists
    of class numbers it names them. The mini sets need it. `data_root`, if given, is what absolute paths must lie in.
    Raises DataError, all problems at once, each with file and line: bad lines, unknown classes, doubled ids, paths that
    leave the data root. Raises ValueError for an unknown `dataset`.
    """
    known = find_dataset(dataset) if dataset else None
    source = Source(Path(path), split, str(class_list), str(data_root))
    if not source.path.exists():
        raise DataError(f"{path}: no such file or folder of lists")
    if class_list and not Path(class_list).is_file():
        raise DataError(f"{class_list}: no such class list")
    if known is not None and not 1 <= split <= known.splits and known.splits > 1:
        raise DataError(f"split {split}: {known.title} has the splits 1 to {known.splits}")
    classes, videos, by_number = _read(source, known)
    if known is not None and known.needs_class_list and not class_list and len(classes) != known.num_classes:
        raise DataError(
            f"{known.title} needs class_list, the file of its {known.num_classes} classes, one a line: "
            f"{path} lists {len(classes)} classes"
        )
    if class_list and not by_number:
        classes, videos = _keep(source, classes, videos)
    check_ids(source, videos)
    raise_problems(path, source.problems)
    if videos.empty:
        raise DataError(f"{path}: the lists name no video")
    return _annotations(source, known, classes, videos.reset_index(drop=True))


def _annotations(source: Source, known: Dataset | None, classes: list[str], videos: pd.DataFrame) -> Annotations:
    notes = list(dict.fromkeys(source.notes))
    if known is None:
        name = source.path.resolve().stem
        return Annotations(name, name, classes, videos, str(source.path), notes=notes)
    if len(classes) != known.num_classes:
        notes.append(f"{known.title} was published with {known.num_classes} classes, these lists have {len(classes)}")
    name = known.name if known.splits == 1 else f"{known.name}_{source.split:02d}"
    title = known.title if known.splits == 1 else f"{known.title}, split {source.split}"
    published = known.published_in(source.split) if len(classes) == known.num_classes else {}
    facts = (published, known.unit, known.mirrored_pairs, known.layouts)
    return Annotations(name, title, classes, videos, str(source.path), *facts, notes)


def _read(source: Source, known: Dataset | None) -> tuple[list[str], pd.DataFrame, bool]:
    """(classes, videos, whether the labels were numbers of the class list) by the layout that is found there."""
    own = known is not None and _has_own(source, known)
    jsons = []
    if not own or source.path.is_file():  # another one may lie beside the data set's own lists: these come first
        jsons = [path for path in source.files(r".*\.json") if layout(source, path) == "exchange"]
    if own and not jsons:
        return *_READERS[known.format](source, known), False
    jsons = [path for path in jsons if path.stem.endswith((f"_{source.split:02d}", f"_{source.split}"))] or jsons
    if jsons:
        if len(jsons) > 1:
            names = ", ".join(source.name(path) for path in jsons[:5])
            raise DataError(f"{source.path}: several annotation files ({names}); name the one to read")
        return *read_exchange(source, jsons[0]), False
    mini = known is not None and known.parent
    found = source.lists((".txt", ".csv"), prefer="mini" if mini else f"split_{source.split}")
    if known is None and found and "youtube_id" in _first_line(source, next(iter(found.values()))):
        return *lists.read_kinetics(source, find_dataset("kinetics400")), False
    if known is None and any(layout(source, path) == "activitynet" for path in source.files(r".*\.json")):
        return *read_activitynet(source, find_dataset("activitynet")), False
    if found:
        return *read_index_lists(source, found), True
    expected = "; ".join(known.files) if known is not None else "a JSON with labels and database"
    raise DataError(
        f"{source.path}: no lists that can be read; expected {expected}; or train.txt and val.txt with "
        f"path start end label a line; {source.there()}"
    )


def _has_own(source: Source, known: Dataset) -> bool:
    """Whether the data set's own files are there."""
    if known.format == "kinetics":
        csvs = source.files(r".*\.csv")
        return any("youtube_id" in _first_line(source, path) for path in csvs[:20])
    if known.format == "activitynet":
        return any(layout(source, path) == "activitynet" for path in source.files(r".*\.json"))
    return bool(source.files(_MARKS[known.format]))


def _first_line(source: Source, path: Path) -> str:
    with path.open("rb") as stream:
        return stream.readline(10_000).replace(b"\0", b"").decode("utf-8", "replace").lower()  # UTF-16 too


def _keep(source: Source, classes: list[str], videos: pd.DataFrame) -> tuple[list[str], pd.DataFrame]:
    """Only the classes of the user's list, in its order; spelling may differ as `plain_name` allows."""
    file = Path(source.class_list)
    plain = {plain_name(name): name for name in classes}
    kept = {}
    for line, name in read_class_names(source, file):
        found = name if name in classes else plain.get(plain_name(name))
        if found is None:
            source.problem(file, line, label_problem(name, classes, f"the lists in {source.path.name}"))
        elif found in kept:
            source.problem(file, line, f"class {found!r} stands already in line {kept[found]}")
        else:
            kept[found] = line
    unlabelled = int((videos["label"] == "").sum())
    if unlabelled:
        source.notes.append(
            f"{unlabelled:,} unlabelled videos are left out: nobody knows which are of the kept classes"
        )
    return list(kept), videos[videos["label"].isin(list(kept))]


# ActivityNet's times to frames, as the two branches of kenshohara/3D-ResNets-PyTorch do it.
RULES = ("master", "CVPR2018")


def segment_frames(
    time_start: float, time_end: float, fps: float, num_frames: int, rule: str = "master", *, lose_last: bool = False
) -> tuple[int, int]:
    """[first, last + 1] of a segment in seconds, frames numbered from 1, by one of RULES.

    `master`: floor(start · fps) + 1 to floor(end · fps) + 1; `CVPR2018`: ceil(start · fps), at least 1, to
    ceil(end · fps). Neither reaches past the video. As published, `master` could never reach a video's last frame
    either: `lose_last` does that too, for comparison.
    """
    if rule not in RULES:
        raise ValueError(f"rule {rule!r}: expected one of {', '.join(RULES)}")
    if rule == "CVPR2018":
        return max(1, math.ceil(time_start * fps)), min(math.ceil(time_end * fps), num_frames + 1)
    return math.floor(time_start * fps) + 1, min(math.floor(time_end * fps) + 1, num_frames + (not lose_last))


def seconds_to_frames(
    table: pd.DataFrame, *, rule: str = "master", min_frames: int | None = None, lose_last: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fill in `start` and `end` (frames from 0, `end` exclusive) from the columns time_start and time_end, which are
    dropped, and clamp all segments to the videos. To be called when num_frames and fps are known.

    Returns (table, dropped): segments in seconds of fewer than `min_frames` frames (8, or 16 by the rule CVPR2018, as
    in the references), and any that begin behind the end of their video, are dropped: video_id, path, label, subset,
    reason. A table without times or segments comes back as it is.
    """
    table = table.reset_index(drop=True)
    times = table.reindex(columns=["time_start", "time_end"]).to_numpy(float)
    timed = ~np.isnan(times[:, 0])
    least = min_frames if min_frames is not None else 16 if rule == "CVPR2018" else 8
    start, end, frames, fps = (table[name].to_numpy(float) for name in ("start", "end", "num_frames", "fps"))
    start, end = start.copy(), end.copy()
    for row in np.flatnonzero(timed & (fps > 0)):
        first, behind = segment_frames(*times[row], fps[row], int(frames[row]), rule, lose_last=lose_last)
        start[row], end[row] = first - 1, behind - 1
    end = np.where(np.isnan(end), end, np.minimum(end, frames))
    unknown = timed & np.isnan(end)
    length = np.where(np.isnan(end), frames, end) - np.nan_to_num(start)
    bad = unknown | (length < np.where(timed, least, 1))
    reasons = [
        "frames per second unknown: the segment in seconds has no frame numbers"
        if unknown[row]
        else f"segment of {max(0, int(length[row]))} frames, fewer than {least if timed[row] else 1}"
        for row in np.flatnonzero(bad)
    ]
    dropped = table.loc[bad, ["video_id", "path", "label", "subset"]].assign(reason=reasons)
    table = table.assign(start=start, end=end).drop(columns=["time_start", "time_end"], errors="ignore")
    return table[~bad].reset_index(drop=True), dropped.reset_index(drop=True)
