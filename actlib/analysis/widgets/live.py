"""Curves that grow while a network trains; without a screen a line an epoch."""

import io
from collections.abc import Iterable, Iterator

import IPython.display
import ipywidgets
import matplotlib.pyplot as plt
import pandas as pd

from actlib.analysis.plots.training import training_curves
from actlib.progress import is_interactive, progress


class LiveCurves:
    """Shows one row after another of a training history.

    With a person watching it displays a bar, the newest numbers and the curves, redrawn at each `update`; headless
    it prints a line an epoch. The `widget` can be tested without a browser: its children hold all that is shown.
    """

    def __init__(self, epochs: int, interactive: bool | None = None):
        self.epochs = epochs
        self.rows: list[dict] = []
        self.interactive = is_interactive() if interactive is None else interactive
        self.bar = ipywidgets.IntProgress(0, 0, epochs, description="epochs", layout={"width": "500px"})
        self.batches = ipywidgets.IntProgress(0, 0, 1, description="batches", layout={"width": "500px"})
        self.text = ipywidgets.HTML("waiting for the first epoch …")
        self.image = ipywidgets.Image(format="png", layout={"width": "800px"})
        self.image.layout.visibility = "hidden"
        self.widget = ipywidgets.VBox([self.bar, self.batches, self.text, self.image])
        if self.interactive:
            IPython.display.display(self.widget)

    @property
    def table(self) -> pd.DataFrame:
        """The history so far, a row an epoch."""
        return pd.DataFrame(self.rows)

    def progress(self, items: Iterable, *, total: int, desc: str = "") -> Iterator:
        """Iterate over the batches of an epoch, or the videos of its validation, and show how far it is; for
        `loops.train`'s `progress`."""
        if not self.interactive:
            yield from progress(items, total=total, desc=desc)
            return
        self.batches.max, self.batches.value = total, 0
        self.batches.description = "batches" if desc.startswith("epoch") else "validation"
        for item in items:
            yield item
            self.batches.value += 1

    def update(self, row: dict) -> None:
        """Take in one row of `loops.train`, the newest epoch."""
        self.rows.append(row)
        line = describe_row(row, self.epochs)
        if not self.interactive:
            print(line, flush=True)
            return
        self.bar.value = row["epoch"]
        self.bar.description = f"{row['epoch']} of {self.epochs}"
        self.text.value = line
        self.image.value = png_of(training_curves(self.table, epochs=self.epochs))
        self.image.layout.visibility = "visible"


def describe_row(row: dict, epochs: int) -> str:
    """One readable line an epoch."""
    replaced = f", {row['replaced']} clips replaced" if row["replaced"] else ""
    return (
        f"epoch {row['epoch']:>3} of {epochs}: loss {row['loss']:.3f}, top-1 {row['top1']:5.1f} %, "
        f"val loss {row['val_loss']:.3f}, val top-1 {row['val_top1']:5.1f} %, lr {row['lr']:.2g}, "
        f"{row['clips_per_s']:.3g} clips/s, {100 * row['data_wait']:.0f} % waiting for data{replaced}"
    )


def png_of(axes) -> bytes:
    """The whole figure of these axes as a PNG; the figure is closed."""
    buffer = io.BytesIO()
    axes.figure.savefig(buffer, dpi=110)
    plt.close(axes.figure)
    return buffer.getvalue()
