"""Annotations in JSON: ActivityNet's and Something-Something v2's own files, and the one layout that the reference
codebases exchange, which is read and written here:

    {"labels": ["class", …], "database": {"id": {"subset": "training", "annotations": {"label": "class"}}, …}}

with `"segment": [1, n + 1]` in the annotations where the number n of a video's frames is known: frame numbers from 1,
the last one exclusive.
"""

import re
from pathlib import Path

import pandas as pd

from actlib.datasets.catalog import Dataset
from actlib.datasets.errors import DataError
from actlib.datasets.lists.class_lists import class_names, json_classes
from actlib.datasets.lists.source import (  # fmt: skip
    JsonList,
    ListedVideo,
    Listing,
    Source,
    drop_suffix,
    frame,
    label_problem,
    with_unique_ids,
)
from actlib.datasets.same_class import ClassNames, in_words, spelled_twice
from actlib.datasets.table import SUBSET_NAMES
from actlib.datasets.vocabulary import SUBSETS
from actlib.files import write_json
from actlib.messages import Problem, cut, listed, misfit, shown


def layout(path: Path) -> str:
    """Which JSON this is, by its keys: activitynet, exchange, or "" for another one."""
    data = path.read_bytes().replace(b"\0", b"")  # in UTF-16 every other byte
    if b'"database"' not in data:
        return ""
    return "activitynet" if b'"taxonomy"' in data else "exchange" if b'"labels"' in data else ""


def read_activitynet(source: Source, dataset: Dataset) -> Listing:
    """ActivityNet's own file, release 1.2 or 1.3: a row for each annotated segment, its times in seconds.

    Classes: the leaves of the taxonomy in the order of the file. Videos without annotations (the test set) are
    unlabelled.
    """
    files = [path for path in source.files(r".*\.json") if layout(path) == "activitynet"]
    files = [path for path in files if path.name.lower() in dataset.file_names] or files
    if len(files) != 1:
        names = source.names(files) or source.there()
        raise DataError(f"{source.path}: expected one {dataset.files[0]} with taxonomy and database ({names})")
    document = JsonList(source, files[0])
    taxonomy, database = document.field("taxonomy", list), document.field("database", dict)
    nodes = [node if isinstance(node, dict) else {} for node in taxonomy]
    for number, node in enumerate(nodes):
        if not isinstance(node.get("nodeName"), str) or not isinstance(node.get("parentName"), str | None):
            expected = "a node with nodeName and parentName"
            raise DataError(misfit(f"{files[0]}: taxonomy[{number}]", expected, taxonomy[number]))
    parents = {node.get("parentName") for node in nodes}
    alone = [node["nodeName"] for node in nodes if node.get("parentName") is None and node["nodeName"] not in parents]
    if alone and len(alone) < len(nodes):  # in a flat list of classes none has a parent
        raise DataError(f"{files[0]}: taxonomy: no parentName, and no node below it: {listed(alone, quote=True)}")
    classes = list(dict.fromkeys(node["nodeName"] for node in nodes if node["nodeName"] not in parents))
    for pair in spelled_twice(classes):
        document.problem(pair[1], in_words(*pair, "the taxonomy's leaves"))
    known, rows, empty = ClassNames(classes), [], []
    for key, entry in database.items():
        subset, problem = _subset_of(entry)
        problems, segments = [problem] if problem else [], [] if problem else entry.get("annotations", [])
        if not isinstance(segments, list):
            problems.append(misfit("annotations", "a list of labels with segments", segments))
            segments = []
        elif subset == "testing" and not segments:
            rows.append(ListedVideo(key, "", subset, files[0], 0, key))
        elif subset and not segments:
            empty.append(key)
        for number, segment in enumerate(segments):
            label, times = (segment.get("label"), segment.get("segment")) if isinstance(segment, dict) else (None, None)
            if not isinstance(segment, dict) or not isinstance(label, str):
                problems.append(misfit(f"annotations[{number}]", "a label and a segment", segment))
            elif (name := known.find(label)) is None:
                problems.append(label_problem(label, classes, "the taxonomy's leaves"))
            elif not (isinstance(times, list) and len(times) == 2 and all(map(_is_time, times))):
                problems.append(f"segment {shown(times)}: expected [start, end] in seconds")
            else:
                rows.append(ListedVideo(key, name, subset, files[0], 0, key, None, None, *times))
        for problem in problems:
            _video_problem(document, key, problem)
    if empty:
        source.notes.append(f"{len(empty):,} videos have no annotated segment: {listed(empty)}")
    return classes, with_unique_ids(frame(rows), doubled_segments=True)


def _video_problem(document: JsonList, key: str, problem: Problem) -> None:
    document.problem(key, lambda: f"video {cut(key, 60)}: {problem() if callable(problem) else problem}")


def read_something_v2(source: Source, dataset: Dataset) -> Listing:
    """`…-labels.json` (class: index) and lists of `{"id", "template"}`; the class is the template without brackets.

    Classes in the order of their index.
    """
    file = source.only(r".*labels\.json", dataset.files[0])
    classes = json_classes(source, file)
    known, rows = ClassNames(classes), []
    for subset, path in source.lists((".json",), expected=dataset).items():
        document = JsonList(source, path)
        for number, entry in enumerate(document.checked(document.data, list, f"{path}: the whole file"), start=1):
            key, template = (entry.get("id"), entry.get("template", "")) if isinstance(entry, dict) else (None, None)
            if type(key) not in (int, str) or not isinstance(template, str):
                expected = '{"id": …, "template": …}'
                source.problem(path, None, misfit(f"entry {number}", expected, entry))
                continue
            label = re.sub(r"[\[\]]", "", template).strip()
            name = known.find(label)
            if name or (subset == "testing" and not label):
                rows.append(ListedVideo(str(key), name or "", subset, path, number))
            else:
                document.problem(template if label else str(key), label_problem(label, classes, file.name))
    return classes, frame(rows)


def read_exchange(source: Source, path: Path) -> Listing:
    """The JSON that the reference codebases exchange, plain or with segments; classes in the order of its `labels`.

    Also as okankop/Efficient-3DCNNs writes it for Kinetics: one level deeper, by subset, and with suffixes in the ids.
    """
    document = JsonList(source, path)
    database, names = document.field("database", dict), document.field("labels", list)
    classes = class_names(document, names, "labels")
    parts = database.values()
    if database and set(database) <= set(SUBSETS) and all(isinstance(e, dict) and "subset" not in e for e in parts):
        database = {key: entry for part in parts for key, entry in part.items()}
    known, rows, empty = ClassNames(classes), [], 0
    for key, entry in database.items():
        subset, problem = _subset_of(entry)
        label, segment, notes = "", None, {} if problem else entry.get("annotations", {})
        if not isinstance(notes, dict):
            problem = misfit("annotations", '{"label": …} (lists of segments in seconds come with a taxonomy)', notes)
        elif not problem:
            label, segment = notes.get("label", ""), notes.get("segment")
            label = str(label) if type(label) is int else label
            if not isinstance(label, str):
                problem = misfit("annotations.label", "the name of a class", label)
            elif (name := known.find(label)) is None and (label or subset != "testing"):
                problem = label_problem(label, classes, "labels")
            elif "segment" in notes and not _is_segment(segment):
                problem = f"segment {shown(segment)}: expected [first, last + 1], frame numbers from 1"
        if problem:
            _video_problem(document, key, problem)
            continue
        if segment is not None and segment[0] == segment[1]:  # a video without frames on the writer's disk
            segment, empty = None, empty + 1
        start, end = (None, None) if segment is None else (segment[0] - 1, segment[1] - 1)
        rows.append(ListedVideo(drop_suffix(key), name or "", subset, path, 0, start=start, end=end))
    if empty:
        source.notes.append(f"{empty:,} videos had no frames when {path.name} was written")
    return classes, frame(rows)


def _subset_of(entry) -> tuple[str, str]:
    """(subset, problem) of an entry of a database; one of them is empty."""
    if not isinstance(entry, dict):
        return "", misfit("its entry", "subset and annotations", entry)
    said = entry.get("subset")
    subset = SUBSET_NAMES.get(str(said).lower(), "")
    return subset, "" if subset else f"subset {shown(said)}: expected one of {', '.join(SUBSETS)}"


def exchange_json(videos: pd.DataFrame, classes: list[str], *, segments: bool = False) -> dict:
    """The exchanged layout of `videos` (video_id, label, subset; "" as the label of an unlabelled one).

    With `segments` also which frames: the columns start and end (from 0, end exclusive) where they are filled in, or
    all of num_frames; a video that has neither gets no segment.
    """
    database = {}
    for row in videos.itertuples(index=False):
        notes = {"label": row.label} if row.label else {}
        span = _span(row) if segments else None
        if span is not None:
            notes["segment"] = [span[0] + 1, span[1] + 1]
        database[row.video_id] = {"subset": row.subset, "annotations": notes}
    return {"labels": list(classes), "database": database}


def write_exchange(videos: pd.DataFrame, classes: list[str], path: str | Path, *, segments: bool = False) -> Path:
    """Write `exchange_json` to `path`, for the tools of the reference codebases."""
    return write_json(path, exchange_json(videos, classes, segments=segments))


def _span(row) -> tuple[int, int] | None:
    start, end, num_frames = (getattr(row, name, None) for name in ("start", "end", "num_frames"))
    end = num_frames if pd.isna(end) else end
    return None if pd.isna(end) else (0 if pd.isna(start) else int(start), int(end))


def _is_time(value) -> bool:
    return type(value) in (int, float) and abs(value) < 1e9  # not NaN


def _is_segment(value) -> bool:
    numbers = isinstance(value, list) and len(value) == 2 and all(type(number) is int for number in value)
    return numbers and 1 <= value[0] <= value[1] < 1e9
