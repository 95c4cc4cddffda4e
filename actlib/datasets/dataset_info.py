"""`dataset.json` beside `table.csv`: what the table alone does not tell of a data set.

Its classes in index order (a class list file has its own order, and published weights follow it), how many videos
were published, listed, found and readable, and what a mirrored video is called. Notebook 01 writes it, all others
read it: every accuracy says of how many videos it is.
"""

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd

from actlib.datasets.catalog import mirrored_names
from actlib.datasets.errors import DataError, reading
from actlib.datasets.same_class import respelled
from actlib.datasets.table import class_names
from actlib.datasets.vocabulary import STORAGES
from actlib.files import read_mapping, write_json
from actlib.messages import listed, misfit, shown

NAME = "dataset.json"


@dataclass
class DatasetInfo:
    """`classes`: names, a name's place is its index. `videos`: by subset, the numbers of videos `published` (by the
    data set's authors; None if unknown), `listed` (in the annotation files), `found` and `readable`. `mirrored`: the
    class that a mirrored video of a class shows, where that is another one; that need not be one of `classes`, and then
    such a video has no label. `storage`: how the videos are stored. `license`, `citation`: of a published data set."""

    name: str
    title: str
    classes: list[str]
    videos: dict[str, dict[str, int | None]] = field(default_factory=dict)
    mirrored: dict[str, str] = field(default_factory=dict)
    storage: str = "original"
    license: str = ""
    citation: str = ""

    def expected(self, subset: str) -> int | None:
        """How many videos of `subset` there should be: as many as were listed; None if that is not known."""
        return (self.videos.get(subset) or {}).get("listed")


def write_dataset_info(info: DatasetInfo, folder: str | Path) -> Path:
    """Write `info` into the folder of its table."""
    return write_json(Path(folder) / NAME, asdict(info))


def read_dataset_info(table_path: str | Path, table: pd.DataFrame) -> DatasetInfo:
    """What `dataset.json` beside `table_path` says. Without one (a table of another origin): the classes by name, all
    videos of the table listed, mirrored classes guessed from left and right in their names. Classes are spelled as the
    table's labels are.

    Raises DataError for a damaged file, and for labels of the table that are not among its classes.
    """
    path = Path(table_path).resolve().parent / NAME
    if not path.is_file():
        videos = {subset: {"listed": int(count)} for subset, count in table["subset"].value_counts().items()}
        classes = class_names(table)
        return DatasetInfo(path.parent.name, path.parent.name, classes, videos, mirrored_names(classes))
    with reading(path, "run notebook 01_data_prep again"):
        info = _checked(read_mapping(path))
    labels = set(table["label"])
    if labels - set(info.classes):
        names = respelled(info.classes, sorted(labels), str(path), str(table_path))
        spelled = dict(zip(info.classes, names))
        info.mirrored = {spelled.get(a, a): spelled.get(b, b) for a, b in info.mirrored.items()}
        info.classes = names
    if unknown := sorted(labels - set(info.classes)):
        raise DataError(
            f"{table_path}: label {listed(unknown, 5, quote=True)} is not among the {len(info.classes)} classes "
            f"of {path}; run notebook 01_data_prep again, or delete {path.name}"
        )
    return info


_FIELDS = {
    "name": (str, "a text"),
    "title": (str, "a text"),
    "classes": (list, "a list of names"),
    "videos": (dict, "a mapping of subsets"),
    "mirrored": (dict, "a mapping of classes"),
    "storage": (str, f"one of {', '.join(STORAGES)}"),
    "license": (str, "a text"),
    "citation": (str, "a text"),
}


def _checked(found: dict) -> DatasetInfo:
    """What a file says. Raises ValueError, which names the field."""
    missing = [name for name in ("name", "title", "classes") if name not in found]
    unknown = [name for name in found if name not in _FIELDS]
    if missing or unknown:
        raise ValueError(f"does not describe a data set (missing: {listed(missing)}; unknown: {listed(unknown)})")
    for name, value in found.items():
        kind, expected = _FIELDS[name]
        if not isinstance(value, kind) or (name == "storage" and value not in STORAGES):
            raise ValueError(misfit(name, expected, value))
    texts = [("classes", each) for each in found["classes"]]
    texts += [("mirrored", each) for pair in found.get("mirrored", {}).items() for each in pair]
    for where, text in texts:
        if not isinstance(text, str) or not text:
            raise ValueError(misfit(where, "the name of a class", text))
    doubled = [name for name, count in Counter(found["classes"]).items() if count > 1]
    if doubled:
        raise ValueError(f"classes: {listed(doubled, quote=True)} stands there more than once")
    for subset, counts in found.get("videos", {}).items():
        if not isinstance(counts, dict):
            raise ValueError(misfit(f"videos: {shown(subset)}", "a mapping of numbers", counts))
        for step, count in counts.items():
            if count is not None and (type(count) is not int or count < 0):
                raise ValueError(misfit(f"videos: {shown(subset)}: {shown(step)}", "a number of videos", count))
    return DatasetInfo(**found)
