"""Lesson 2: five networks, trained alike on the same clips, and the frames of every video in several orders."""

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from actlib.analysis.results import metrics
from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.clips.views import EvaluationViews
from actlib.datasets.table import read_table, rows_of, write_table
from actlib.datasets.vocabulary import ORDERS
from actlib.lessons.networks import at_width
from actlib.loops import prepare, train
from actlib.loops.evaluate import score_views
from actlib.loops.job import Job
from actlib.params import TrainParams
from actlib.progress import progress
from actlib.runs.folder import RunFolder

CLIPS = {"num_frames": 8, "frame_stride": 2, "short_side": 32, "crop_size": 32}


def choose(run: RunFolder, table: str, classes: list[str]) -> pd.DataFrame:
    """The rows of these classes, left in the run folder as table.csv too, for `train_alike`."""
    rows = read_table(table)
    rows = rows[rows["label"].isin(classes)].reset_index(drop=True)
    write_table(rows, run.path("table.csv"))
    return rows


def views(videos: pd.DataFrame, classes: list[str]) -> EvaluationViews:
    """One clip of each of these validation videos, its frames in each of ORDERS: the names of the protocols."""
    return EvaluationViews(videos, classes, {order: Protocol("clip", **CLIPS, order=order) for order in ORDERS})


def pictures(rows: pd.DataFrame, label: str) -> tuple[list[np.ndarray], list[str]]:
    """The first validation video of a class in each of ORDERS, uint8 (T, H, W, 3) each, and their names."""
    video = rows_of(rows[rows["label"] == label], "validation").head(1)
    return [clip.permute(0, 2, 3, 1).numpy() for clip in views(video, [label])[0].clips], list(ORDERS)


def train_alike(
    run: RunFolder, networks: dict[str, str], *, width: float, epochs: int, lr: float
) -> Iterator[tuple[str, Job]]:
    """Train each network, a spec by its name, on the same clips, decoded once, in the same order; yields the names and
    the finished jobs."""
    clips = None
    for number, (name, spec) in enumerate(networks.items()):
        values = {
            "table": str(run.path("table.csv")), "run_dir": str(run.path(f"network_{number}")), "resume": "never",
            "model": at_width(spec, width), "epochs": epochs, "lr": lr, "batch_size": 32, "num_workers": 0,
            "warmup_epochs": min(1.0, epochs / 4), "devices": 1, **CLIPS,
        }  # fmt: skip
        p = TrainParams.build(values, "this lesson")
        if clips is None:
            data = prepare(p).train_data
            clips = [data[index] for index in progress(range(len(data)), desc="decoding")]
        job = prepare(p, train_data=clips)
        *_, row = progress(train(job), total=epochs, desc=name)
        print(f"{name}: {row['top1']:.0f} % of the training clips, {row['val_top1']:.0f} % of the validation videos")
        yield name, job


def in_all_orders(jobs: Iterable[tuple[str, Job]]) -> pd.DataFrame:
    """`metrics.by_order` of every trained network, by column `network`, on its validation videos, as their frames come
    in each of ORDERS."""
    tables = []
    for name, job in jobs:
        data = views(job.val_data.table, job.classes)
        scores = score_views(job.model, data, **job.normalisation, device=job.device, execution=job.execution)
        found = metrics.by_order({order: scores[order].table for order in ORDERS}, job.classes)
        tables.append(found.assign(network=name))
    return pd.concat(tables, ignore_index=True)
