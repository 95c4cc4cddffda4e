"""Annotations in JSON: ActivityNet's and Something-Something v2's own files, and the one layout that the reference
codebases exchange, which is read and written here:

    {"labels": ["class", …], "database": {"id": {"subset": "training", "annotations": {"label": "class"}}, …}}

with `"segment": [1, n + 1]` in the annotations where the number n of a video's frames is known: frame numbers from 1,
the last one exclusive.
"""

import bisect
import json
import re
from pathlib import Path

import pandas as pd

from actlib.datasets.catalog import Dataset
from actlib.datasets.errors import DataError
from actlib.datasets.lists.source import (  # fmt: skip
    SUBSET_WORDS,
    Source,
    drop_suffix,
    frame,
    label_problem,
    read_text,
    with_unique_ids,
)
from actlib.datasets.table import SUBSETS
from actlib.files import write_json

Listing = tuple[list[str], pd.DataFrame]


class _Document:
    """A parsed JSON file that can say in which line a key or a string stands."""

    def __init__(self, source: Source, path: Path):
        self.path, self.text, self._places = path, read_text(source, path), None
        doubled: list[str] = []

        def pairs(items: list[tuple]) -> dict:
            made = dict(items)
            if len(made) < len(items):
                seen = set()
                doubled.extend(key for key, _ in items if key in seen or seen.add(key))
            return made

        try:
            self.data = json.loads(self.text, object_pairs_hook=pairs)
        except json.JSONDecodeError as error:
            raise DataError(f"{path} line {error.lineno}: not JSON ({error.msg})") from None
        for key in doubled:
            source.problem(path, self.line(key), f"video id {key!r} stands twice")

    def line(self, key: str) -> int | None:
        """The line in which the string `key` stands first, from 1; None for a file without it."""
        if self._places is None:
            newlines = [match.start() for match in re.finditer("\n", self.text)]
            self._places = newlines, {}
            for match in re.finditer(r'"(?:[^"\\\n]|\\.)*"', self.text):
                self._places[1].setdefault(match.group(), match.start())
        newlines, places = self._places
        place = places.get(json.dumps(key, ensure_ascii=False), places.get(json.dumps(key)))
        return None if place is None else bisect.bisect_left(newlines, place) + 1


def layout(source: Source, path: Path) -> str:
    """Which JSON this is, by its keys: activitynet, exchange, or "" for another one."""
    head = read_text(source, path)
    if '"database"' not in head:
        return ""
    return "activitynet" if '"taxonomy"' in head else "exchange" if '"labels"' in head else ""


def read_activitynet(source: Source, dataset: Dataset) -> Listing:
    """ActivityNet's own file, release 1.2 or 1.3: a row for each annotated segment, its times in seconds.

    Classes: the leaves of the taxonomy in the order of the file. Videos without annotations (the test set) are
    unlabelled.
    """
    files = [path for path in source.files(r".*\.json") if layout(source, path) == "activitynet"]
    if len(files) != 1:
        names = ", ".join(source.name(path) for path in files) or source.there()
        raise DataError(f"{source.path}: expected one {dataset.files[0]} with taxonomy and database ({names})")
    document = _Document(source, files[0])
    parents = {node.get("parentName") for node in document.data["taxonomy"]}
    leaves = [node["nodeName"] for node in document.data["taxonomy"] if node["nodeName"] not in parents]
    classes, known, rows = list(dict.fromkeys(leaves)), set(leaves), []

    def problem(key, what):
        source.problem(files[0], document.line(key), f"video {key}: {what}")

    for key, entry in document.data["database"].items():
        subset = SUBSET_WORDS.get(str(entry.get("subset", "")).lower())
        if subset is None:
            problem(key, f"subset {entry.get('subset')!r}: expected one of {', '.join(SUBSETS)}")
            continue
        if not entry.get("annotations"):
            if subset == "testing":
                rows.append((key, "", subset, key, None, None, files[0], 0))
            else:
                source.notes.append(f"video {key} of {subset} has no annotated segment")
        for annotation in entry.get("annotations") or ():
            label, times = annotation.get("label"), annotation.get("segment")
            if label not in known:
                problem(key, label_problem(str(label), classes, "the taxonomy's leaves"))
            elif not (isinstance(times, list) and len(times) == 2 and all(_is_number(time) for time in times)):
                problem(key, f"segment {times!r}: expected [start, end] in seconds")
            else:
                rows.append((key, label, subset, key, *times, files[0], 0))
    columns = ("video_id", "label", "subset", "hint", "time_start", "time_end", "file", "line")
    return classes, with_unique_ids(frame(rows, columns), doubled_segments=True)


def read_something_v2(source: Source, dataset: Dataset) -> Listing:
    """`…-labels.json` (class: index) and lists of `{"id", "template"}`; the class is the template without brackets.

    Classes in the order of their index.
    """
    path = source.only(r".*labels\.json", dataset.files[0])
    document = _Document(source, path)
    indexed = {}
    for name, index in document.data.items():
        if not str(index).isdigit() or int(index) in indexed:
            source.problem(path, document.line(name), f"index {index!r} of {name!r} is no number, or stands twice")
        else:
            indexed[int(index)] = name
    classes = [indexed[index] for index in sorted(indexed)]
    known, rows = set(classes), []
    lists = source.lists((".json",))
    if not lists:
        raise DataError(f"{source.path}: no list of videos; expected {', '.join(dataset.files[1:])}; {source.there()}")
    for subset, listed in lists.items():
        document = _Document(source, listed)
        for number, entry in enumerate(document.data if isinstance(document.data, list) else [None], start=1):
            if not isinstance(entry, dict) or "id" not in entry:
                source.problem(listed, None, f'entry {number}: expected a list of {{"id": …, "template": …}}')
                continue
            key, template = str(entry["id"]), entry.get("template", "")
            label = re.sub(r"[\[\]]", "", template).strip()
            if label in known or (subset == "testing" and not label):
                rows.append((key, label, subset, listed, number))
            else:
                source.problem(listed, document.line(template) or document.line(key), label_problem(label, classes))
    return classes, frame(rows, ("video_id", "label", "subset", "file", "line"))


def read_exchange(source: Source, path: Path) -> Listing:
    """The JSON that the reference codebases exchange, plain or with segments; classes in the order of its `labels`.

    Also as okankop/Efficient-3DCNNs writes it for Kinetics: one level deeper, by subset, and with suffixes in the ids.
    """
    document = _Document(source, path)
    database, classes = document.data.get("database"), document.data.get("labels")
    if not isinstance(database, dict) or not isinstance(classes, list):
        raise DataError(f'{path}: expected {{"labels": [class, …], "database": {{id: …}}}}')
    if database and set(database) <= set(SUBSETS) and not any("subset" in entry for entry in database.values()):
        database = {key: entry for entries in database.values() for key, entry in entries.items()}
    known, rows, empty = set(classes), [], 0
    for key, entry in database.items():
        label, segment = "", None
        subset = SUBSET_WORDS.get(str(entry.get("subset", "")).lower())
        notes = entry.get("annotations") or {}
        if subset is None:
            what = f"subset {entry.get('subset')!r}: expected one of {', '.join(SUBSETS)}"
        elif not isinstance(notes, dict):
            what = 'annotations: expected {"label": …}; lists of segments in seconds come with a taxonomy'
        elif (label := notes.get("label", "")) not in known and (label or subset != "testing"):
            what = label_problem(str(label), classes, "labels")
        elif (segment := notes.get("segment")) is not None and not _is_segment(segment):
            what = f"segment {segment!r}: expected [first, last + 1], frame numbers from 1"
        else:
            if segment is not None and segment[0] == segment[1]:  # a video without frames on the writer's disk
                segment, empty = None, empty + 1
            start, end = (None, None) if segment is None else (segment[0] - 1, segment[1] - 1)
            rows.append((drop_suffix(key), label, subset, start, end, path, 0))
            continue
        source.problem(path, document.line(key), f"video {key}: {what}")
    if empty:
        source.notes.append(f"{empty:,} videos had no frames when {path.name} was written")
    return classes, frame(rows, ("video_id", "label", "subset", "start", "end", "file", "line"))


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


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _is_segment(value) -> bool:
    numbers = isinstance(value, list) and len(value) == 2 and all(type(number) is int for number in value)
    return numbers and 1 <= value[0] <= value[1]
