"""Which data sets are here: the tables that notebook 01 wrote, and which of them a file of weights was measured on."""

import glob
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from actlib.datasets.catalog import find_dataset, list_datasets
from actlib.datasets.dataset_info import NAME, DatasetInfo, read_dataset_info
from actlib.datasets.errors import DataError
from actlib.datasets.same_class import plain_name
from actlib.datasets.table import read_table
from actlib.models import Published

SUBSET = "validation"  # which all published figures are of
TABLES = ("outputs/*/table.csv", "outputs/*/*/table.csv")


@dataclass(frozen=True)
class Table:
    """A prepared data set: its table's path as it was named, what dataset.json tells, and how many rows SUBSET has."""

    path: str
    info: DatasetInfo
    videos: int


def find_tables(patterns: Iterable[str], root: str | Path) -> tuple[list[Table], list[str]]:
    """(tables, problems): the annotation tables that shell patterns below `root` name, with a dataset.json beside them
    and videos to validate with; the problems are of those that cannot be read. A folder stands for its table."""
    found, problems = [], []
    for pattern in patterns:
        named = [Path(each) for each in sorted(glob.glob(pattern, root_dir=root, recursive=True))]
        for path in (each / "table.csv" if (root / each).is_dir() else each for each in named):
            if not (root / path).with_name(NAME).is_file() or any(str(path) == each.path for each in found):
                continue
            try:
                table = read_table(root / path)
                count = int((table["subset"] == SUBSET).sum())
                found += [Table(str(path), read_dataset_info(root / path, table), count)] if count else []
            except (DataError, OSError) as error:
                problems.append(str(error))
    return found, problems


def table_of(row: Published, tables: Iterable[Table]) -> Table | None:
    """The table of the data set that a file was trained and measured on: dataset.json has its name, as many classes,
    and, where the file's are known, the same ones. Of several the one with the most videos."""
    fits = [each for each in tables if _is_of(row, each.info)]
    return max(fits, key=lambda each: each.videos, default=None)


def _is_of(row: Published, info: DatasetInfo) -> bool:
    named = _plain(row.dataset) in (_plain(info.title), _plain(info.name))
    known = {plain_name(each) for each in row.classes}
    same = not known or known == {plain_name(each) for each in info.classes}
    return named and same and len(info.classes) == row.num_classes and info.storage != "flow"


def _plain(name: str) -> str:
    """A name without what people write differently: case, blanks, hyphens, underscores, commas."""
    return re.sub(r"[\W_]+", "", name).casefold()


def published_videos(dataset: str) -> int | None:
    """How many videos the SUBSET of a data set was published with ("Jester", "UCF-101 split 1"); None if unknown."""
    for known in map(find_dataset, list_datasets()):
        for split in range(1, known.splits + 1):
            title = f"{known.title} split {split}" if known.splits > 1 else known.title
            if _plain(title) == _plain(dataset):
                return known.published_in(split).get(SUBSET)
    return None
