"""Readers of the lists as each data set's authors publish them; those in JSON are in `json_lists`.

Every reader takes a `Source` and a `Dataset` and answers (classes in index order, listed videos); what is wrong goes to
the source. An unlabelled video (most test sets) has the label "". The order of the classes is the one that published
weights follow: of the class list file, or sorted, or of first appearance; each reader says which.
"""

import re
from operator import itemgetter
from pathlib import Path, PurePosixPath

import pandas as pd

from actlib.datasets.catalog import Dataset
from actlib.datasets.errors import DataError
from actlib.datasets.lists.class_lists import NUMBER_FIRST, NUMBER_LAST, each_once, numbered_classes
from actlib.datasets.lists.source import (  # fmt: skip
    ListedVideo,
    Listing,
    Source,
    check_labels,
    check_path,
    drop_suffix,
    frame,
    label_problem,
    whole,
    with_unique_ids,
)
from actlib.datasets.same_class import ClassNames
from actlib.datasets.table import SUBSET_NAMES
from actlib.datasets.vocabulary import SUBSETS
from actlib.messages import shown

_NUMBERED = "a number and a class"
_KINETICS = ("youtube_id", "time_start", "time_end", "label", "split")


def read_kinetics(source: Source, dataset: Dataset) -> Listing:
    """CSVs with the columns youtube_id, time_start, time_end and, but for a test set, label; others are ignored.

    A video is called `<youtube_id>_<start>_<end>`, six digits each, as the crawlers call it. Classes in the order of
    their first appearance in the training list, as kenshohara/3D-ResNets-PyTorch numbers them.
    """
    single = source.path.is_file()  # one file for all subsets: its column split tells them apart
    digits = re.sub(r"\D", "", dataset.parent or dataset.name)
    lists = source.lists((".csv",), digits, expected=None if single else dataset) or {"": source.path}
    table = pd.concat([_kinetics(source, path, subset) for subset, path in lists.items()], ignore_index=True)
    first = next((subset for subset in SUBSETS if (table["subset"] == subset).any()), "")
    classes = [label for label in table.loc[table["subset"] == first, "label"].unique() if label]
    check_labels(source, table, classes, f"the {first} list")
    return classes, table


def _kinetics(source: Source, path: Path, subset: str) -> pd.DataFrame:
    """The videos of one list, a column at a time: there are half a million. `subset`: "" if the lines say it."""
    lines = source.read_csv(path)
    header = [name.lower() for name in next(lines, (1, []))[1]]
    missing = [name for name in _KINETICS[:3] if name not in header]
    if missing:
        source.problem(path, 1, f"no column {', '.join(missing)}; expected label,youtube_id,time_start,time_end,split")
        return frame([])
    needs_label = subset != "testing"
    if needs_label and "label" not in header:
        source.problem(path, 1, f"no column label; only a test list may lack it (columns: {', '.join(header)})")
        needs_label = False  # said once
    places = {name: header.index(name) for name in _KINETICS if name in header}
    pick, rows = itemgetter(*places.values()), []
    for line, fields in lines:
        if len(fields) == len(header):
            rows.append((line, *pick(fields)))
        else:
            what = f"{len(fields)} fields, expected {len(header)} ({','.join(header)})"
            source.problem(path, line, f"{what}; a label with a comma needs quotation marks")
    table = pd.DataFrame(rows, columns=["line", *places]).assign(file=path)
    if "label" not in places:
        table["label"] = ""
    split = table["split"].str.lower().map(SUBSET_NAMES).fillna("") if "split" in places else ""
    table["subset"] = subset or split
    seconds = table[["time_start", "time_end"]].apply(pd.to_numeric, errors="coerce").astype(float)
    timed = ((seconds >= 0) & (seconds < 1e6) & (seconds % 1 == 0)).all(axis=1)
    good = timed & (table["subset"] != "") & ~(needs_label & (table["label"] == ""))
    for row in table[~good].itertuples():
        if not timed[row.Index]:
            what = f"time {shown(row.time_start)} to {shown(row.time_end)}: expected whole seconds"
        elif needs_label and not row.label:
            what = "label is empty"
        else:
            what = "of which subset? Neither the file's name nor a column split says it"
        source.problem(path, row.line, what)
    table, digits = table[good], seconds[good].astype(int).astype(str)
    names = table["youtube_id"] + "_" + digits["time_start"].str.zfill(6) + "_" + digits["time_end"].str.zfill(6)
    return frame(table.assign(video_id=names.where(table["youtube_id"] != "", "")).drop(columns=digits.columns))


def read_ucf101(source: Source, dataset: Dataset) -> Listing:
    """`classInd.txt` and the lists of one split: `Class/v_Class_g01_c01.avi`, with the class's number when training.

    Classes in the order of `classInd.txt`. The folder in the path is the class: files of HandstandPushups are called
    v_HandStandPushups_….
    """
    path = source.only(r"classind\.txt", "classInd.txt")
    numbers = numbered_classes(source, path, NUMBER_FIRST, _NUMBERED)
    classes = list(numbers.values())
    known, rows = ClassNames(classes), []
    for subset, part in (("training", "train"), ("validation", "test")):
        file = f"{part}list{source.split:02d}.txt"
        path = source.only(re.escape(file), file)
        for line, text in source.read_lines(path):
            name, _, number = text.partition(" ")
            hint = check_path(source, path, line, name)
            folder = PurePosixPath(hint).parent.name
            label = known.find(folder) or folder
            said = numbers.get(whole(number), "no class") if number else label
            if said != label:
                what = f"class {shown(number)} is {said} in classInd.txt, but the folder says {shown(label)}"
                source.problem(path, line, what)
            elif hint and label not in classes:
                source.problem(path, line, label_problem(label, classes, "classInd.txt"))
            elif hint:
                rows.append(ListedVideo(drop_suffix(hint.rpartition("/")[2]), label, subset, path, line, hint))
    return classes, frame(rows)


def read_hmdb51(source: Source, dataset: Dataset) -> Listing:
    """`<class>_test_split<N>.txt`, one a class: `name.avi 1` trains, 2 tests, 0 is not used. Classes sorted by name."""
    files = source.files(rf".+_test_split{source.split}\.txt")
    if not files:
        raise DataError(f"{source.path}: no file <class>_test_split{source.split}.txt; {source.there()}")
    subsets, rows, classes = {"1": "training", "2": "validation", "0": ""}, [], set()
    for path in files:
        label = re.sub(r"(?i)_test_split\d+$", "", path.stem)
        classes.add(label)
        for line, text in source.read_lines(path):
            name, _, flag = text.rpartition(" ")
            if flag not in subsets or not name.strip():
                source.problem(path, line, f"{shown(text)}: expected a file name and 0, 1 or 2")
            elif subsets[flag] and (hint := check_path(source, path, line, name.strip())):
                rows.append(ListedVideo(drop_suffix(hint), label, subsets[flag], path, line, f"{label}/{hint}"))
    return sorted(classes), with_unique_ids(frame(rows))


def read_jester(source: Source, dataset: Dataset) -> Listing:
    """Either `classInd.txt` (or `categories.txt`) and lists of `id number`, or the published semicolon CSVs.

    The first are okankop/Efficient-3DCNNs's, whose numbers count from 1; but its test list, which its own tools never
    read, has `id frames number` from 0.
    """
    if not source.files(r"(classind|categories)\.txt"):
        return read_semicolons(source, dataset)
    path = source.only(r"(classind|categories)\.txt", "classInd.txt")
    numbers = numbered_classes(source, path, NUMBER_FIRST, _NUMBERED)
    from_0, rows = dict(enumerate(numbers.values())), []
    for subset, path in source.lists((".txt",), f"list{source.split:02d}", expected=dataset).items():
        testing = subset == "testing"
        for line, text in source.read_lines(path):
            name, *fields = text.split()
            label = "" if testing and not fields else None
            if len(fields) == 1:
                label = numbers.get(whole(fields[0]))
            elif testing and len(fields) == 2:
                label = from_0.get(whole(fields[1]))
            if label is None:
                what = f"expected a video's number and its class's, 1 to {len(numbers)} as in classInd.txt"
                source.problem(path, line, f"{shown(text)}: {what}")
            else:
                rows.append(ListedVideo(name, label, subset, path, line))
    table = frame(rows)
    testing = table["subset"] == "testing"
    again = testing & table["video_id"].isin(table.loc[~testing, "video_id"])
    if again.any():
        source.notes.append(f"{again.sum():,} test videos stand in the other lists too and count there")
    return list(numbers.values()), table[~again]


def read_semicolons(source: Source, dataset: Dataset) -> Listing:
    """Published lists of Jester and Something-Something v1: `…-labels.csv`, a class a line, and `id;class` a video.

    Classes sorted by name: so did mit-han-lab/temporal-shift-module, and Jester's classInd.txt has that order too.
    """
    path = source.only(r".*labels\.csv", next(name for name in dataset.file_names if name.endswith("labels.csv")))
    lines = source.read_csv(path, delimiter=";", quoted=False)
    classes = sorted(name for _, name in each_once(source, path, [(line, fields[0]) for line, fields in lines]))
    rows = []
    for subset, listed in source.lists((".csv",), expected=dataset).items():
        for line, fields in source.read_csv(listed, delimiter=";", quoted=False):
            if len(fields) == 1 and subset != "testing" or len(fields) > 2:
                source.problem(listed, line, f"{shown(';'.join(fields))}: expected id;class")
            else:
                rows.append(ListedVideo(fields[0], fields[1] if len(fields) == 2 else "", subset, listed, line))
    table = frame(rows)
    check_labels(source, table, classes, path.name)
    return classes, table


def read_moments(source: Source, dataset: Dataset) -> Listing:
    """`moments_categories.txt` (`class,index`) and CSVs of `class/name.mp4,class,agreeing,disagreeing`.

    Classes in the order of their index. A video's id is its file name; where a name stands in two folders, the path.
    """
    path = source.only(r"moments_categories\.txt", "moments_categories.txt")
    numbers = numbered_classes(source, path, NUMBER_LAST, "class,index")
    classes = [numbers[number] for number in sorted(numbers)]
    rows = []
    for subset, listed in source.lists((".csv",), expected=dataset).items():
        for line, fields in source.read_csv(listed):
            if len(fields) < 2 and subset != "testing":
                source.problem(listed, line, f"{shown(','.join(fields))}: expected class/name.mp4,class,…")
            elif hint := check_path(source, listed, line, fields[0]):
                label = "" if subset == "testing" else fields[1]
                rows.append(ListedVideo(drop_suffix(hint.rpartition("/")[2]), label, subset, listed, line, hint))
    table = frame(rows)
    check_labels(source, table, classes, path.name)
    return classes, with_unique_ids(table)
