"""The numbers of each epoch for TensorBoard: of one run in its folder, of a batch's runs below the batch's."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from actlib.params import TrainingParams

# How the columns of a row of `train` are called: what belongs in one plot has one word before the stroke.
TAGS = {
    "loss": "loss/training", "val_loss": "loss/validation",
    "top1": "top-1/training", "val_top1": "top-1/validation", "val_macro_f1": "macro-F1/validation",
    "lr": "learning rate", "clips_per_s": "clips per second",
}  # fmt: skip


@contextmanager
def writer(p: TrainingParams) -> Iterator[Callable[[list[dict]], None]]:
    """A function that brings `run_dir`/tensorboard up to date with a history: the rows it has not written yet.

    A run that goes on writes its earlier epochs again into a new file, in the place of the old ones, so that no step is
    there twice or missing, whenever it was killed. Without `tensorboard` nothing is written.
    """
    if not p.tensorboard:
        yield lambda history: None
        return
    from torch.utils.tensorboard import SummaryWriter  # an extra: pip install -e '.[tensorboard]'

    folder = Path(p.run_dir) / "tensorboard"
    for earlier in folder.glob("events.out.tfevents.*"):
        earlier.unlink()
    written = 0
    with SummaryWriter(str(folder)) as file:

        def write(history: list[dict]) -> None:
            nonlocal written
            later = sum(row["seconds"] for row in history[written:])
            for row in history[written:]:
                later -= row["seconds"]
                for column in TAGS.keys() & row.keys():  # an epoch of an earlier version has no macro-F1
                    file.add_scalar(TAGS[column], row[column], row["epoch"], walltime=time.time() - later)
            written = len(history)
            file.flush()

        yield write
