"""Curves that grow while a network trains; without a screen a line an epoch."""

import io
from collections.abc import Iterable, Iterator

import IPython.display
import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from actlib.analysis.plots.training import training_curves
from actlib.analysis.results.history import describe_row
from actlib.progress import is_interactive, progress

INK = "0.5"  # a grey that can be read on white and on black


class LiveCurves:
    """Shows one row after another of a training history.

    With a person watching it displays bars, what is being done, the newest numbers and the curves, brought up to date
    at each `update`; headless it prints a line an epoch. The `widget` can be tested without a browser: its children
    hold all that is shown.
    """

    first_step = "the network's first step …"

    def __init__(self, epochs: int, interactive: bool | None = None):
        self.epochs = epochs
        self.rows: list[dict] = []
        self.interactive = is_interactive() if interactive is None else interactive
        self.bar = ipywidgets.IntProgress(0, 0, epochs, description="epochs", layout={"width": "500px"})
        self.batches = ipywidgets.IntProgress(0, 0, 1, description="batches", layout={"width": "500px"})
        self.now = ipywidgets.HTML("begins …")
        self.text = ipywidgets.HTML()
        self.image = ipywidgets.Image(format="png", layout={"width": "980px"})
        self.image.layout.visibility = "hidden"
        self.widget = ipywidgets.VBox([self.bar, self.batches, self.now, self.text, self.image])
        for name in ("now", "text", "image"):
            getattr(self, name).add_class(f"actlib-{name}")
        self._curves: _GrowingCurves | None = None
        if self.interactive:
            self._display()

    def _display(self) -> None:
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
        trains = desc.startswith("epoch")
        self.batches.max, self.batches.value = total, 0
        self.batches.description = "batches" if trains else "validation"
        what = desc if trains else "validation"
        self.now.value = f"{what}: loading the first clips …"
        for item in items:
            first = trains and not self.rows and not self.batches.value
            self.now.value = f"{what}: {self.first_step}" if first else f"{what} …"
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
        self.now.value = "all epochs are done" if row["epoch"] == self.epochs else ""
        self.image.value = self._drawn()
        self.image.layout.visibility = "visible"

    def _drawn(self) -> bytes:
        """The curves as a PNG."""
        table = self.table
        if self._curves is None or not self._curves.has_room_for(table):
            self._curves = _GrowingCurves(table, self.epochs)
        return self._curves.png(table)


class _GrowingCurves:
    """The figure of `training_curves`, of which the lines alone are drawn again: a hundredth of a second, where all of
    it takes a third of one. On no ground of its own, so that it suits a light and a dark page."""

    def __init__(self, table: pd.DataFrame, epochs: int):
        figure = training_curves(table, epochs=epochs).figure
        plt.close(figure)  # no cell shows it
        self.axes, self.canvas = figure.axes, FigureCanvasAgg(figure)
        self.lines = [line for ax in self.axes for line in ax.lines if line.get_gid()]
        figure.set_dpi(110)
        figure.patch.set_alpha(0)
        for ax in self.axes:
            ax.patch.set_alpha(0)
            ax.tick_params(colors=INK)
            ax.spines[:].set_color(INK)
            for label in (ax.xaxis.label, ax.yaxis.label):
                label.set_color(INK)
            ax.set_ylim(0, max(ax.get_ylim()[1], 1.1 * _top(table, ax)))
        for text in figure.legends[0].get_texts():
            text.set_color(INK)
        for line in self.lines:
            line.set_animated(True)
        self.canvas.draw()
        self.ground = self.canvas.copy_from_bbox(figure.bbox)

    def has_room_for(self, table: pd.DataFrame) -> bool:
        return all(_top(table, ax) <= ax.get_ylim()[1] for ax in self.axes)

    def png(self, table: pd.DataFrame) -> bytes:
        self.canvas.restore_region(self.ground)
        for line in self.lines:
            line.set_data(table["epoch"], table[line.get_gid()])
            line.axes.draw_artist(line)
        buffer = io.BytesIO()
        Image.fromarray(np.asarray(self.canvas.buffer_rgba())).save(buffer, "png", compress_level=1)
        return buffer.getvalue()


def _top(table: pd.DataFrame, ax: Axes) -> float:
    """The largest number that the lines of these axes have to show."""
    values = table[[line.get_gid() for line in ax.lines if line.get_gid()]].to_numpy(float)
    return float(values[np.isfinite(values)].max(initial=0))


def png_of(axes) -> bytes:
    """The whole figure of these axes as a PNG; the figure is closed."""
    buffer = io.BytesIO()
    axes.figure.savefig(buffer, dpi=110)
    plt.close(axes.figure)
    return buffer.getvalue()
