"""How much of a data set is there: published, listed, found and readable videos, in a table, in words, in its info."""

import pandas as pd

from actlib.datasets.catalog import mirrored_names
from actlib.datasets.dataset_info import DatasetInfo
from actlib.datasets.table import class_names
from actlib.datasets.vocabulary import SUBSETS

_STEPS = ("published", "listed", "found", "readable")


def availability(source, found: pd.DataFrame, readable: pd.DataFrame, *, by_class: bool = False) -> pd.DataFrame:
    """Videos `published`, `listed`, `found` and `readable`, a row for each subset, or each class in each.

    `source` is what `read_annotations` returned, or, for videos without lists (class folders, a CSV, synthetic ones),
    their table as it was before probing; `found` and `readable` are tables with label and subset. Only videos with a
    label are counted as listed; `unlabelled` counts the others, where there are any. `published` is <NA> where nobody
    says it, and it is nowhere said by class.
    """
    listed = getattr(source, "videos", source)
    unlabelled = listed[listed["label"] == ""]
    listed = listed[listed["label"] != ""]
    keys = ["subset", "label"] if by_class else ["subset"]
    steps = {"listed": listed, "found": found, "readable": readable}
    table = pd.DataFrame({name: rows.groupby(keys).size() for name, rows in steps.items()})
    if by_class:
        order = {name: place for place, name in enumerate([*SUBSETS, *_classes(source)])}
        return table.fillna(0).astype(int).sort_index(key=lambda names: names.map(order))
    if len(unlabelled):
        table = table.reindex(table.index.union(unlabelled["subset"].unique()))
        table["unlabelled"] = unlabelled.groupby("subset").size()
    table = table.reindex([name for name in SUBSETS if name in table.index]).fillna(0).astype(int)
    published = getattr(source, "published", {})
    table.insert(0, "published", pd.array([published.get(name) for name in table.index], dtype="Int64"))
    return table


def coverage(table: pd.DataFrame, unit: str = "videos") -> list[str]:
    """A sentence for each subset of an `availability` table: `validation: 18,434 of 19,796 videos readable, …`."""
    sentences = []
    for subset, row in table.iterrows():
        words = [f"{subset}: {row['readable']:,} of {row['listed']:,} {unit} readable"]
        lacking = (row["listed"] - row["found"], row["found"] - row["readable"], row.get("unlabelled", 0))
        for count, what in zip(lacking, ("missing", "unreadable", "more without a label")):
            words += [f"{count:,} {what}"] if count > 0 else []
        published = "" if pd.isna(row["published"]) else f" ({row['published']:,} published)"
        sentences.append(", ".join(words) + published)
    return sentences


def make_dataset_info(
    source, found: pd.DataFrame, readable: pd.DataFrame, *, name: str = "", title: str = "", storage: str = "original"
) -> DatasetInfo:
    """What `dataset.json` says of a data set, to be written beside its table.

    `source`, `found` and `readable` as for `availability`; `name` and `title` by default as in the catalogue, needed
    for videos without lists. Classes keep the order of the lists, also those without a video. The classes that
    a mirror exchanges are those of the catalogue, and pairs with left and right (or clockwise and counterclockwise) in
    their names. Licence and citation are those of `source`.
    """
    classes = _classes(source)
    counts = availability(source, found, readable)
    videos = {
        subset: {step: None if pd.isna(row[step]) else int(row[step]) for step in _STEPS}
        for subset, row in counts.iterrows()
    }
    mirrored = mirrored_names(classes, getattr(source, "mirrored_pairs", ()))
    name = name or getattr(source, "name", "")
    title = title or getattr(source, "title", "") or name
    terms = getattr(source, "license", ""), getattr(source, "citation", "")
    return DatasetInfo(name, title, classes, videos, mirrored, storage, *terms)


def _classes(source) -> list[str]:
    return list(source.classes) if hasattr(source, "classes") else class_names(source)
