"""Readers of the lists as each data set's authors publish them, and of the reference codebases' `path start end label`.

Every reader takes a `Source` and answers (classes in index order, listed videos); what is wrong goes to the source.
An unlabelled video (most test sets) has the label "". The order of the classes is the one that published weights
follow: of the class list file, or sorted, or of first appearance; each reader says which.
"""

import re
from pathlib import Path, PurePosixPath

import pandas as pd

from actlib.datasets.catalog import Dataset
from actlib.datasets.errors import DataError
from actlib.datasets.lists.source import (  # fmt: skip
    SUBSET_WORDS,
    Source,
    check_labels,
    check_path,
    complete,
    drop_suffix,
    frame,
    label_problem,
    read_csv,
    read_lines,
    whole,
    with_unique_ids,
)
from actlib.datasets.table import SUBSETS

Listing = tuple[list[str], pd.DataFrame]
_BY_LABEL = ("video_id", "label", "subset", "file", "line")
_BY_PATH = ("video_id", "label", "subset", "hint", "file", "line")


def read_kinetics(source: Source, dataset: Dataset) -> Listing:
    """CSVs with the columns youtube_id, time_start, time_end and, but for a test set, label; others are ignored.

    A video is called `<youtube_id>_<start>_<end>`, six digits each, as the crawlers call it. Classes in the order of
    their first appearance in the training list, as kenshohara/3D-ResNets-PyTorch numbers them.
    """
    lists = _lists(source, dataset, (".csv",), prefer=re.sub(r"\D", "", dataset.parent or dataset.name))
    parts = []
    for subset, path in lists.items():
        part = _kinetics_at_once(path, subset)
        parts.append(frame(list(_kinetics_rows(source, path, subset)), _BY_LABEL) if part is None else part)
    table = pd.concat(parts, ignore_index=True)
    first = next((subset for subset in SUBSETS if (table["subset"] == subset).any()), "")
    classes = [label for label in table.loc[table["subset"] == first, "label"].unique() if label]
    check_labels(source, table, classes, f"the {first} list")
    return classes, table


def _kinetics_at_once(path: Path, subset: str) -> pd.DataFrame | None:
    """The videos of a list in which all is as it should be, some ten times faster than line by line; else None."""
    try:
        data = pd.read_csv(
            path, dtype=str, keep_default_na=False, encoding="utf-8", index_col=False, on_bad_lines="error"
        )
    except (ValueError, pd.errors.ParserError):  # UnicodeDecodeError is a ValueError
        return None
    needed = ["youtube_id", "time_start", "time_end", *(["label"] if subset != "testing" else [])]
    with path.open("rb") as stream:
        lines = sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))
    if not subset or not set(needed) <= set(data.columns) or lines - len(data) not in (0, 1):
        return None
    times = [data[name].str.fullmatch(r"\d{1,6}").all() for name in ("time_start", "time_end")]
    clean = [(data[name] == data[name].str.strip()).all() and (data[name] != "").all() for name in needed]
    if data.isna().any(axis=None) or not all(times + clean):
        return None
    seconds = data["time_start"].str.zfill(6) + "_" + data["time_end"].str.zfill(6)
    table = pd.DataFrame({"video_id": data["youtube_id"] + "_" + seconds, "subset": subset, "file": path})
    table["label"] = data["label"].str.strip() if "label" in data.columns else ""
    return complete(table.assign(line=range(2, len(data) + 2)))


def _kinetics_rows(source: Source, path: Path, subset: str):
    lines = read_csv(source, path)
    header = [name.lower() for name in lines[0][1]] if lines else []
    missing = [name for name in ("youtube_id", "time_start", "time_end") if name not in header]
    if missing:
        source.problem(path, 1, f"no column {', '.join(missing)}; expected label,youtube_id,time_start,time_end,split")
        return
    youtube, start, end = (header.index(name) for name in ("youtube_id", "time_start", "time_end"))
    label = header.index("label") if "label" in header else None
    split = header.index("split") if "split" in header else None
    if label is None and subset != "testing":
        source.problem(path, 1, f"no column label; only a test list may lack it (columns: {', '.join(header)})")
    for line, fields in lines[1:]:
        if len(fields) != len(header):
            what = f"{len(fields)} fields, expected {len(header)} ({','.join(header)})"
            source.problem(path, line, f"{what}; a label with a comma needs quotation marks")
            continue
        try:
            seconds = f"{int(float(fields[start])):06d}_{int(float(fields[end])):06d}"
        except (ValueError, OverflowError):
            source.problem(path, line, f"time {fields[start]!r} to {fields[end]!r}: expected whole seconds")
            continue
        name = "" if label is None else fields[label]
        if not name and label is not None and subset != "testing":
            source.problem(path, line, "label is empty")
            continue
        own = subset or (SUBSET_WORDS.get(fields[split].lower(), "") if split is not None else "")
        if not own:
            source.problem(path, line, "of which subset? Neither the file's name nor a column split says it")
            continue
        yield (f"{fields[youtube]}_{seconds}" if fields[youtube] else "", name, own, path, line)


def read_ucf101(source: Source, dataset: Dataset) -> Listing:
    """`classInd.txt` and the lists of one split: `Class/v_Class_g01_c01.avi`, with the class's number when training.

    Classes in the order of `classInd.txt`. The folder in the path is the class: files of HandstandPushups are called
    v_HandStandPushups_….
    """
    numbers = _class_numbers(source, source.only(r"classind\.txt", "classInd.txt"))
    classes = list(numbers.values())
    spelled = {name.lower(): name for name in classes}
    rows = []
    for subset, part in (("training", "train"), ("validation", "test")):
        file = f"{part}list{source.split:02d}.txt"
        path = source.only(re.escape(file), file)
        for line, text in read_lines(source, path):
            name, _, number = text.partition(" ")
            hint = check_path(source, path, line, name)
            label = spelled.get(PurePosixPath(hint).parent.name.lower(), PurePosixPath(hint).parent.name)
            if number and numbers.get(whole(number)) != label:
                said = numbers.get(whole(number), "no class")
                source.problem(path, line, f"class {number!r} is {said} in classInd.txt, but the folder says {label!r}")
            elif hint and label not in classes:
                source.problem(path, line, label_problem(label, classes, "classInd.txt"))
            elif hint:
                rows.append((drop_suffix(hint.rpartition("/")[2]), label, subset, hint, path, line))
    return classes, frame(rows, _BY_PATH)


def read_hmdb51(source: Source, dataset: Dataset) -> Listing:
    """`<class>_test_split<N>.txt`, one a class: `name.avi 1` trains, 2 tests, 0 is not used. Classes sorted by name."""
    files = source.files(rf".+_test_split{source.split}\.txt")
    if not files:
        raise DataError(f"{source.path}: no file <class>_test_split{source.split}.txt; {source.there()}")
    subsets, rows, classes = {"1": "training", "2": "validation", "0": ""}, [], []
    for path in files:
        label = re.sub(r"(?i)_test_split\d+$", "", path.stem)
        classes.append(label)
        for line, text in read_lines(source, path):
            name, _, flag = text.rpartition(" ")
            if flag not in subsets or not name.strip():
                source.problem(path, line, f"{text!r}: expected a file name and 0, 1 or 2")
            elif subsets[flag] and (hint := check_path(source, path, line, name.strip())):
                rows.append((drop_suffix(hint), label, subsets[flag], f"{label}/{hint}", path, line))
    return sorted(set(classes)), with_unique_ids(frame(rows, _BY_PATH))


def read_jester(source: Source, dataset: Dataset) -> Listing:
    """Either `classInd.txt` (or `categories.txt`) and lists of `id number`, or the published semicolon CSVs.

    The first are okankop/Efficient-3DCNNs's, whose numbers count from 1; but its test list, which its own tools never
    read, has `id frames number` from 0.
    """
    if not source.files(r"(classind|categories)\.txt"):
        return read_semicolons(source, dataset)
    numbers = _class_numbers(source, source.only(r"(classind|categories)\.txt", "classInd.txt"))
    classes, rows = list(numbers.values()), []
    for subset, path in _lists(source, dataset, (".txt",), prefer=f"list{source.split:02d}").items():
        for line, text in read_lines(source, path):
            name, *fields = text.split()
            label = "" if not fields and subset == "testing" else None
            if len(fields) == 1:
                label = numbers.get(whole(fields[0]))
            elif len(fields) == 2 and subset == "testing" and (number := whole(fields[1])) is not None:
                label = classes[number] if number < len(classes) else None
            if label is None:
                what = f"expected a video's number and its class's, 1 to {len(classes)} as in classInd.txt"
                source.problem(path, line, f"{text!r}: {what}")
            else:
                rows.append((name, label, subset, path, line))
    table = frame(rows, _BY_LABEL)
    again = (table["subset"] == "testing") & table["video_id"].isin(table["video_id"][table["subset"] != "testing"])
    if again.any():
        source.notes.append(f"{again.sum():,} test videos stand in the other lists too and count there")
    return classes, table[~again]


def read_semicolons(source: Source, dataset: Dataset) -> Listing:
    """Published lists of Jester and Something-Something v1: `…-labels.csv`, a class a line, and `id;class` a video.

    Classes sorted by name: so did mit-han-lab/temporal-shift-module, and Jester's classInd.txt has that order too.
    """
    path = source.only(r".*labels\.csv", f"{dataset.name.replace('_', '-')}-labels.csv")
    lines = read_csv(source, path, delimiter=";", quoted=False)
    classes = sorted(_unique(source, path, [(line, fields[0]) for line, fields in lines]))
    rows = []
    for subset, listed in _lists(source, dataset, (".csv",)).items():
        for line, fields in read_csv(source, listed, delimiter=";", quoted=False):
            if len(fields) == 1 and subset != "testing" or len(fields) > 2:
                source.problem(listed, line, f"{';'.join(fields)!r}: expected id;class")
            else:
                rows.append((fields[0], fields[1] if len(fields) == 2 else "", subset, listed, line))
    table = frame(rows, _BY_LABEL)
    check_labels(source, table, classes, path.name)
    return classes, table


def read_moments(source: Source, dataset: Dataset) -> Listing:
    """`moments_categories.txt` (`class,index`) and CSVs of `class/name.mp4,class,agreeing,disagreeing`.

    Classes in the order of their index. A video's id is its file name; where a name stands in two folders, the path.
    """
    path = source.only(r"moments_categories\.txt", "moments_categories.txt")
    indexed = {}
    for line, text in read_lines(source, path):
        name, _, index = text.rpartition(",")
        if not name or whole(index) is None:
            source.problem(path, line, f"{text!r}: expected class,index")
        elif whole(index) in indexed:
            source.problem(path, line, f"index {index} stands twice")
        else:
            indexed[whole(index)] = name.strip()
    classes = [indexed[index] for index in sorted(indexed)]
    rows = []
    for subset, listed in _lists(source, dataset, (".csv",)).items():
        for line, fields in read_csv(source, listed):
            if len(fields) < 2 and subset != "testing":
                source.problem(listed, line, f"{','.join(fields)!r}: expected class/name.mp4,class,…")
            elif hint := check_path(source, listed, line, fields[0]):
                label = fields[1] if len(fields) > 1 and subset != "testing" else ""
                rows.append((drop_suffix(hint.rpartition("/")[2]), label, subset, hint, listed, line))
    table = frame(rows, _BY_PATH)
    check_labels(source, table, classes, path.name)
    return classes, with_unique_ids(table)


def _lists(source: Source, dataset: Dataset, suffixes: tuple[str, ...], prefer: str = "") -> dict[str, Path]:
    lists = source.lists(suffixes, prefer)
    if not lists and source.path.is_file():
        return {"": source.path}  # one file for all: a column of it says the subset
    if not lists:
        raise DataError(
            f"{source.path}: none of {dataset.title}'s lists; expected {'; '.join(dataset.files)}; {source.there()}"
        )
    return lists


def _class_numbers(source: Source, path: Path) -> dict[int, str]:
    """`1 Name` a line -> {1: Name}, in the order of the file."""
    numbers: dict[int, str] = {}
    for line, text in read_lines(source, path):
        number, _, name = text.partition(" ")
        if whole(number) is None or not name.strip():
            source.problem(path, line, f"{text!r}: expected a number and a class")
        elif whole(number) in numbers or name.strip() in numbers.values():
            source.problem(path, line, f"{text!r}: this number or class stands twice")
        else:
            numbers[whole(number)] = name.strip()
    return numbers


def _unique(source: Source, path: Path, lines: list[tuple[int, str]]) -> list[str]:
    """The classes of a list, a class a line; a doubled one is a problem."""
    names: dict[str, int] = {}
    for line, name in lines:
        if name in names:
            source.problem(path, line, f"class {name!r} stands already in line {names[name]}")
        names.setdefault(name, line)
    return list(names)
