"""The videos of a run: read by one process of each machine, for all of its processes."""

from collections.abc import Sequence

import pandas as pd

from actlib.compute.processes import ALONE, Ranks
from actlib.compute.shared import shared_on_node
from actlib.datasets.clips.rows import VideoRows
from actlib.datasets.dataset_info import DatasetInfo, read_dataset_info
from actlib.datasets.table import read_table, rows_of


def read_videos(
    path: str, subsets: Sequence[str], ranks: Ranks = ALONE
) -> tuple[DatasetInfo, list[VideoRows], pd.DataFrame | None]:
    """What is known of the data set of a table, the videos of each of `subsets`, and for the first process, which
    writes of them by name, the table of the first subset; None for the others. See `shared_on_node`.

    Raises DataError.
    """
    tables: list[pd.DataFrame] = []

    def read() -> tuple[DatasetInfo, list[VideoRows]]:
        table = read_table(path)
        info = read_dataset_info(path, table)
        found = [rows_of(table, subset, path) for subset in subsets]
        if ranks.first:
            tables.append(found[0])
        return info, [VideoRows(each, info.classes) for each in found]

    return *shared_on_node(read, ranks), (tables[0] if ranks.first else None)
