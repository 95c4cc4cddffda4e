"""The published lists of every data set in the catalogue -> one listing, a table, and what of it is there.

    listed = read_annotations("kinetics400", "lists/")          # labels, subsets, ids; all problems in one DataError
    found, missing = find_videos(listed, "videos/")              # one walk through the folder
    readable, quarantine = probe_table(found, …)
    videos, short = seconds_to_frames(readable)                  # ActivityNet's times; clamps the segments of others
    make_dataset_info(listed, found, videos)                     # classes; published, listed, found, readable

The lists' layouts are told apart by their content: a data set's own files (read by `by_author` and `json_lists`), the
JSON (`json_lists`) or the `path start end label` lists (`numbered`) of the reference codebases.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from actlib.datasets.addresses import terms_of
from actlib.datasets.catalog import Dataset, find_dataset
from actlib.datasets.errors import DataError, raise_problems
from actlib.datasets.lists import by_author, json_lists
from actlib.datasets.lists.class_lists import read_class_names
from actlib.datasets.lists.coverage import availability, coverage, make_dataset_info
from actlib.datasets.lists.find_videos import find_videos
from actlib.datasets.lists.numbered import read_index_lists
from actlib.datasets.lists.segments import seconds_to_frames
from actlib.datasets.lists.source import Listing, Source, check_ids, label_problem
from actlib.datasets.same_class import ClassNames
from actlib.messages import shown

# This module is the one to import: it has every step from lists to a table.
__all__ = ["availability", "coverage", "find_videos", "make_dataset_info", "read_annotations", "seconds_to_frames"]

# By format: the reader, and the name of a file that every folder of the format has, and nothing else does. The files of
# the first two have any name and are told by their content.
_READERS = {
    "kinetics": (by_author.read_kinetics, r".*\.csv"),
    "activitynet": (json_lists.read_activitynet, r".*\.json"),
    "ucf101": (by_author.read_ucf101, r"trainlist\d\d\.txt"),
    "hmdb51": (by_author.read_hmdb51, r".+_test_split\d+\.txt"),
    "jester": (by_author.read_jester, r"trainlist\d*\.txt|jester.*labels\.csv"),
    "something_v1": (by_author.read_semicolons, r".*labels\.csv"),
    "something_v2": (json_lists.read_something_v2, r".*labels\.json"),
    "moments": (by_author.read_moments, r"trainingset.*\.csv|validationset.*\.csv"),
}


@dataclass
class Annotations:
    """What the lists say. `classes` in index order; `videos`: a row for each listed video or segment, with the columns
    of `source.ListedVideo`; `notes`: what is odd but no error. `unlisted`: files below data_root that are in no list,
    counted by `find_videos`. The other fields are facts of the catalogue, and of `addresses.yaml`."""

    name: str
    title: str
    classes: list[str]
    videos: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    published: dict[str, int | None] = field(default_factory=dict)
    unit: str = "videos"
    mirrored_pairs: tuple[tuple[str, str], ...] = ()
    layouts: tuple[str, ...] = ()
    license: str = ""
    citation: str = ""
    unlisted: int = 0


def read_annotations(
    dataset: str,
    path: str | Path,
    *,
    split: int = 1,
    class_list: str | Path = "",
    data_root: str | Path = "",
    first_frame: int | str = "auto",
) -> Annotations:
    """Read the lists of `dataset` (a name of the catalogue; "" for one of your own) from `path`, a folder or one file.

    `split` is the number of the train/test split of UCF-101 and HMDB-51, and of JSON files named by it. `class_list`
    is a file of classes, one a line: only their videos are kept, and its order is that of the class indices; with lists
    of class numbers it names them. The mini sets need it. `data_root`, if given, is what absolute paths must lie in.
    `first_frame`: from which number, 0 or 1, lists of `path start end label` count frames; "auto": 0 where a line
    begins there, else 1, which `notes` tell.
    Raises DataError, all problems at once, each with file and line: bad lines, unknown classes, doubled ids, paths that
    leave the data root. Raises ValueError for an unknown `dataset`.
    """
    known = find_dataset(dataset) if dataset else None
    source = Source(Path(path), split, str(class_list), str(data_root), first_frame)
    if not os.path.exists(path):
        raise DataError(f"{path}: no such file or folder of lists")
    if class_list and not os.path.isfile(class_list):
        raise DataError(f"{class_list}: no such class list")
    if known is not None and not 1 <= split <= known.splits and known.splits > 1:
        raise DataError(f"split {split}: {known.title} has the splits 1 to {known.splits}")
    (classes, videos), by_number = _read(source, known)
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
        return Annotations(name, name, classes, videos, notes)
    published = known.published_in(source.split)
    if len(classes) != known.num_classes:
        notes.append(f"{known.title} was published with {known.num_classes} classes, these lists have {len(classes)}")
        published = {}
    several = known.splits > 1
    name = f"{known.name}_{source.split:02d}" if several else known.name
    title = f"{known.title}, split {source.split}" if several else known.title
    facts = (published, known.unit, known.mirrored_pairs, known.layouts, *terms_of(known.name))
    return Annotations(name, title, classes, videos, notes, *facts)


def _read(source: Source, known: Dataset | None) -> tuple[Listing, bool]:
    """(what the lists say, whether the labels were numbers of the class list) by the layout that is found there."""
    own = known is not None and _has_own(source, known.format)
    jsons = []
    if not own or source.path.is_file():  # another one may lie beside the data set's own lists: these come first
        jsons = [path for path in source.files(r".*\.json") if json_lists.layout(path) == "exchange"]
    jsons = [path for path in jsons if path.stem.endswith((f"_{source.split:02d}", f"_{source.split}"))] or jsons
    if len(jsons) > 1:
        raise DataError(f"{source.path}: several annotation files ({source.names(jsons)}); name the one to read")
    if jsons:
        return json_lists.read_exchange(source, jsons[0]), False
    if own:
        return _READERS[known.format][0](source, known), False
    for like in () if known is not None else ("kinetics400", "activitynet"):
        dataset = find_dataset(like)
        if _has_own(source, dataset.format):
            return _READERS[dataset.format][0](source, dataset), False
    prefer = "mini" if known is not None and known.parent else f"split_{source.split}"
    if found := source.lists((".txt", ".csv"), prefer):
        return read_index_lists(source, found), True
    expected = "; ".join(known.files) if known is not None else "a JSON with labels and database"
    raise DataError(
        f"{source.path}: no lists that can be read; expected {expected}; or train.txt and val.txt with "
        f"path start end label a line; {source.there()}"
    )


def _has_own(source: Source, form: str) -> bool:
    """Whether files in the format of the data set's authors are there."""
    files = source.files(_READERS[form][1])
    if form == "kinetics":
        return any("youtube_id" in _first_line(path) for path in files[:20])
    if form == "activitynet":
        return any(json_lists.layout(path) == "activitynet" for path in files)
    return bool(files)


def _first_line(path: Path) -> str:
    with path.open("rb") as stream:
        return stream.readline(10_000).replace(b"\0", b"").decode("utf-8", "replace").lower()  # UTF-16 too


def _keep(source: Source, classes: list[str], videos: pd.DataFrame) -> Listing:
    """Only the classes of the user's list, in its order, as the lists spell them."""
    file = Path(source.class_list)
    known, kept = ClassNames(classes, f"the lists in {source.path.name}"), {}
    for line, name in read_class_names(source, file):
        if (found := known.find_loosely(name)) is None:
            source.problem(file, line, label_problem(name, classes, known.where))
        elif found in kept:
            source.problem(file, line, f"class {shown(found)} stands already in line {kept[found]}")
        else:
            kept[found] = line
    unlabelled = int((videos["label"] == "").sum())
    if unlabelled:
        source.notes.append(
            f"{unlabelled:,} unlabelled videos are left out: nobody knows which are of the kept classes"
        )
    return list(kept), videos[videos["label"].isin(list(kept))]
