"""`dataset.json` beside `table.csv`: what the table alone does not tell of a data set.

Its classes in index order (a class list file has its own order, and published weights follow it), how many videos
were published, listed, found and readable, and what a mirrored video is called. Notebook 01 writes it, all others
read it: every accuracy says of how many videos it is.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd

from actlib.datasets.catalog import mirrored_names
from actlib.datasets.errors import DataError
from actlib.datasets.table import class_names
from actlib.files import read_mapping, write_json
from actlib.messages import listed

NAME = "dataset.json"


@dataclass
class DatasetInfo:
    """`classes`: names, a name's place is its index. `videos`: by subset, the numbers of videos `published` (by the
    data set's authors; None if unknown), `listed` (in the annotation files), `found` and `readable`. `mirrored`: the
    class that a mirrored video of a class shows, where that is another one; that need not be one of `classes`, and then
    such a video has no label. `storage`: how the videos are stored."""

    name: str
    title: str
    classes: list[str]
    videos: dict[str, dict[str, int | None]] = field(default_factory=dict)
    mirrored: dict[str, str] = field(default_factory=dict)
    storage: str = "original"

    def expected(self, subset: str) -> int | None:
        """How many videos of `subset` there should be: as many as were listed; None if that is not known."""
        return (self.videos.get(subset) or {}).get("listed")


def write_dataset_info(info: DatasetInfo, folder: str | Path) -> Path:
    """Write `info` into the folder of its table."""
    return write_json(Path(folder) / NAME, asdict(info))


def read_dataset_info(table_path: str | Path, table: pd.DataFrame) -> DatasetInfo:
    """What `dataset.json` beside `table_path` says. Without one (a table of another origin): the classes by name, all
    videos of the table listed, mirrored classes guessed from left and right in their names.

    Raises DataError for a damaged file, and for labels of the table that are not among its classes.
    """
    path = Path(table_path).resolve().parent / NAME
    if not path.is_file():
        videos = {subset: {"listed": int(count)} for subset, count in table["subset"].value_counts().items()}
        classes = class_names(table)
        return DatasetInfo(path.parent.name, path.parent.name, classes, videos, mirrored_names(classes))
    try:
        info = DatasetInfo(**read_mapping(path))
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: does not describe a data set ({error}); run notebook 01_data_prep again") from error
    unknown = sorted(set(table["label"]) - set(info.classes))
    if unknown:
        raise DataError(
            f"{table_path}: label {listed(unknown, 5, quote=True)} is not among the {len(info.classes)} classes "
            f"of {path}; run notebook 01_data_prep again, or delete {path.name}"
        )
    return info
