"""Small trainings inside a lesson: tables of a few videos, and the loop of notebooks 02 and 03, of which the rows and
the network stay, not the files."""

import contextlib
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from actlib.datasets.clips import show
from actlib.datasets.errors import DataError
from actlib.datasets.table import read_table, rows_of, write_table
from actlib.loops import prepare, train
from actlib.loops.job import Job
from actlib.params import FinetuneParams, TrainParams

# As the demo's: 8 frames of 32 × 32 pixels, 2 apart.
SMALL = {"num_frames": 8, "frame_stride": 2, "short_side": 32, "crop_size": 32, "batch_size": 16, "num_workers": 0}
SMALL |= {"devices": 1}  # several take longer to start than these runs


def few_videos(
    table: str | Path, folder: str | Path, *, training: int, validation: int, clips: int = 0, shuffled: bool = False
) -> Path:
    """The first `training` and `validation` videos a class of a table, as `folder`/table.csv, whose path is returned.

    clips: each training video stands in it so often that an epoch has about so many clips; 0: once. shuffled: the
    labels of the training videos are dealt anew among them, so that each class keeps its number, and nothing in a video
    tells its label. Raises DataError where a class has fewer videos than asked for.
    """
    rows = read_table(table)
    wanted = {"training": training, "validation": validation}
    for subset, count in wanted.items():
        if (has := int(rows.loc[rows["subset"] == subset, "label"].value_counts().min())) < count:
            raise DataError(f"{table}: a class has {has} {subset} videos, {count} are asked for")
    kept = rows[rows.groupby(["subset", "label"]).cumcount() < rows["subset"].map(wanted)]
    learnt, held_out = (kept[kept["subset"] == subset].reset_index(drop=True) for subset in wanted)
    if shuffled:
        learnt["label"] = np.random.default_rng(0).permutation(learnt["label"].to_numpy())
    times = max(1, round(clips / len(learnt)))
    copies = [learnt.assign(video_id=learnt["video_id"] + f"#{number}") for number in range(1, times)]
    return write_table(pd.concat([learnt, *copies, held_out]), Path(folder) / "table.csv")


def one_a_class(table: str | Path, modality: str = "rgb") -> tuple[list[np.ndarray], list[str]]:
    """Eight frames of the first training video of each class, as pictures, and the classes. Raises VideoError."""
    videos = rows_of(read_table(table), "training", table).groupby("label", sort=False).head(1)
    return show.frames_of(videos, 8, modality=modality), videos["label"].tolist()


def prepare_small(values: dict, name: str = "small", folder: str | Path = "outputs/lessons") -> Job:
    """The job of a small training, or with `pretrained` among `values` of a fine-tuning, as notebooks 02 and 03 prepare
    it. `values`: parameters that differ from `SMALL`, or from the notebook's own; `name`: the run's."""
    finetuning = "pretrained" in values
    kind = FinetuneParams if finetuning else TrainParams
    usual = {name: SMALL[name] for name in ("batch_size", "num_workers", "devices")} if finetuning else SMALL
    p = kind.build({"resume": "never", **usual, **values, "run_dir": str(Path(folder) / name)}, "this lesson")
    with contextlib.redirect_stdout(io.StringIO()):  # which weights fitted, once for each of many runs
        return prepare(p)


def train_small(name: str, values: dict, progress: Callable | None = None) -> tuple[Job, pd.DataFrame]:
    """Train what `prepare_small` prepares: the job with its network as the last epoch leaves it, and a table of its
    rows. `progress(iterable, total=…, desc=…)` wraps the epochs."""
    with tempfile.TemporaryDirectory() as folder:
        job = prepare_small(values, name, folder)
        rows = train(job)
        return job, pd.DataFrame(progress(rows, total=job.p.epochs, desc=name) if progress else rows)
