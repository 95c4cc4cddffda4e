"""Tables of some of a data set's videos, for lessons that train on few of them, or on unevenly many."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from actlib.datasets.dataset_info import read_dataset_info, write_dataset_info
from actlib.datasets.errors import DataError
from actlib.datasets.table import counts, read_table, write_table

# What the lessons on them train: the demo's narrow 3-D network, at its size.
SMALL = {"model": "resnet10 widen_factor=0.25 conv1_t_size=3", "short_side": 32, "crop_size": 32, "num_workers": 0}
SMALL |= {"devices": 1, "resume": "never", "warmup_epochs": 1.0, "lr": 0.008}


def choose(table: str | Path, folder: str | Path, training: Mapping[str, int], validation: Mapping[str, int]) -> Path:
    """Write `folder`/table.csv, with its dataset.json, of so many videos of each class as the two mappings say, and
    return its path. Videos are validated on that nothing learns from: a table's validation videos first, then training
    videos that are left. Raises DataError for a class that is not there, or that has too few videos."""
    rows = read_table(table)
    info = read_dataset_info(table, rows)
    unknown = sorted({*training, *validation} - {*info.classes})
    if unknown:
        raise DataError(f"{table}: no class {unknown[0]!r}; there are {', '.join(info.classes)}")
    chosen = []
    for label, learnt in training.items():
        ours = rows[rows["label"] == label]
        first = ours[ours["subset"] == "training"].head(learnt)
        others = ours.drop(first.index).sort_values("subset", ascending=False, kind="stable")
        held_out = others.head(validation[label]).assign(subset="validation")
        for found, asked, what in ((first, learnt, "to learn from"), (held_out, validation[label], "to validate on")):
            if len(found) < asked:
                raise DataError(f"{table}: class {label!r} has {len(found):,} videos {what}, {asked:,} are asked for")
        chosen += [first, held_out]
    path = write_table(pd.concat(chosen, ignore_index=True), Path(folder) / "table.csv")
    listed = {name: {"listed": int(count)} for name, count in counts(pd.concat(chosen)).sum().items()}
    classes = [name for name in info.classes if name in training]
    mirrored = {one: other for one, other in info.mirrored.items() if one in classes}
    write_dataset_info(replace(info, classes=classes, videos=listed, mirrored=mirrored), Path(folder))
    return path
