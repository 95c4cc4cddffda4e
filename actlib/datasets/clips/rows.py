"""The videos of a table as datasets hold them: in tensors, whose pages all processes of a machine can share.

Python objects would be copied into every worker process, page by page, as their reference counts change; tensors are
not: a forked worker shares their pages, and so do processes that map one file of them (`compute.shared`).
"""

import copy
import os
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from actlib.datasets.errors import DataError
from actlib.messages import listed


class Paths:
    """The paths of many videos in two tensors: what all begin with once, then the rest of each, end to end."""

    def __init__(self, paths: Sequence[str]):
        # min and max: what these two have in common, all between them have too.
        self._common = os.path.commonprefix([min(paths), max(paths)]) if len(paths) else ""
        rests = [os.fsencode(path[len(self._common) :]) for path in paths]
        self._bytes = torch.frombuffer(bytearray(b"".join(rests) or b"\0"), dtype=torch.uint8)
        self._ends = torch.tensor([0, *map(len, rests)]).cumsum(0)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        begin, end = self._ends[index].item(), self._ends[index + 1].item()
        return self._common + os.fsdecode(self._bytes[begin:end].numpy().tobytes())


class VideoRows:
    """The videos of a table: `paths`; `labels`, places in `classes`, `begins` and `ends`, the frames [begin, end) of
    the file that belong to each, int32 (videos,).

    Raises DataError for labels that are not among `classes`, and for videos that were not probed.
    """

    def __init__(self, table: pd.DataFrame, classes: Sequence[str]):
        labels = pd.Index(classes).get_indexer(table["label"])
        _require_known(table["label"][labels < 0], classes)
        unprobed = table.loc[table["num_frames"].isna(), "path"]
        if len(unprobed):
            raise DataError(
                f"{len(unprobed):,} videos have no num_frames, {unprobed.iloc[0]} first; "
                "notebook 01_data_prep probes them and fills it in"
            )
        self.classes = list(classes)
        self.paths = Paths(table["path"].to_list())
        self.labels = torch.from_numpy(labels.astype(np.int32))
        self.begins = torch.from_numpy(table["start"].fillna(0).to_numpy(dtype=np.int32))
        self.ends = torch.from_numpy(table["end"].fillna(table["num_frames"]).to_numpy(dtype=np.int32))

    def __len__(self) -> int:
        return len(self.paths)

    def of_classes(self, classes: Sequence[str]) -> "VideoRows":
        """The same videos, their labels places in these classes. Raises DataError for labels that are not."""
        if list(classes) == self.classes:
            return self
        places = pd.Index(classes).get_indexer(self.classes).astype(np.int32)
        labels = places[self.labels.numpy()]
        _require_known(pd.Series(self.classes)[self.labels.numpy()[labels < 0]], classes)
        other = copy.copy(self)
        other.classes, other.labels = list(classes), torch.from_numpy(labels)
        return other


def _require_known(unknown: pd.Series, classes: Sequence[str]) -> None:
    if len(unknown):
        names = listed(sorted(unknown.unique()), 5, quote=True)
        raise DataError(f"label {names} is not among the {len(classes)} classes {listed(list(classes))}")
