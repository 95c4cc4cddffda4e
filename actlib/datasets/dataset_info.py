"""The data set's card, `dataset.json` beside `table.csv`: what its table alone does not tell.

Its classes in index order (a class list file has its own order, and published weights follow it), how many videos
were published, listed, found and readable, and what a mirrored video is called. Written by notebook 01, read by all
others: every accuracy says of how many videos it is.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd

from actlib.datasets.catalog import mirrored_names
from actlib.datasets.errors import DataError
from actlib.datasets.table import class_names
from actlib.files import write_json

NAME = "dataset.json"


@dataclass
class Card:
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
        """How many videos of `subset` there should be: as many as were listed; None if the card does not tell."""
        return (self.videos.get(subset) or {}).get("listed")


def write_card(card: Card, folder: str | Path) -> Path:
    """Write the card into the folder of its table."""
    return write_json(Path(folder) / NAME, asdict(card))


def read_card(table_path: str | Path, table: pd.DataFrame) -> Card:
    """The card beside `table_path`. Without one (a table of another origin): the classes by name, all videos of the
    table listed, mirrored classes guessed from left and right in their names.

    Raises DataError for a damaged card, and for labels of the table that are not among its classes.
    """
    path = Path(table_path).resolve().parent / NAME
    if not path.is_file():
        listed = {subset: {"listed": int(count)} for subset, count in table["subset"].value_counts().items()}
        classes = class_names(table)
        return Card(path.parent.name, path.parent.name, classes, listed, mirrored_names(classes))
    try:
        card = Card(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: not a data set's card ({error}); run notebook 01_data_prep again") from error
    unknown = sorted(set(table["label"]) - set(card.classes))
    if unknown:
        raise DataError(
            f"{table_path}: label {', '.join(map(repr, unknown[:5]))} is not among the {len(card.classes)} classes "
            f"of {path}; run notebook 01_data_prep again, or delete {path.name}"
        )
    return card
