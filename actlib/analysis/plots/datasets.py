"""Plots of a data set: its classes, and what its storages bring."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from actlib.analysis.plots.drawing import bar_axes, new_axes, write_beside

MANY_CLASSES = 60  # more names than this cannot be read in one picture
STORAGES = {
    "original": "original",
    "short_gop": "short_gop\nH.264, key frames close together",
    "frames": "frames\na folder of JPEGs a video",
    "lmdb": "lmdb\nthe JPEGs in one file",
    "flow": "flow\npairs of grey JPEGs",
}


def class_counts(counts: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Stacked bars of videos per class; `counts` has a row a class and a column a subset. Of more than MANY_CLASSES
    only the sizes are drawn, the largest class first."""
    many = len(counts) > MANY_CLASSES
    ax = (ax or new_axes(8, 3.6)) if many else bar_axes(counts.index, ax)
    left = np.zeros(len(counts))
    for subset, sizes in counts.items():
        label = f"{subset} ({sizes.sum():,})"
        if many:
            ax.step(np.arange(1, len(sizes) + 1), np.sort(sizes)[::-1], where="mid", label=label)
        else:
            ax.barh(range(len(sizes)), sizes, left=left, label=label)
            left += sizes.to_numpy()
    if many:
        ax.set_xlabel(f"{len(counts)} classes, the largest first")
        ax.set_ylabel("videos")
        ax.set_ylim(bottom=0)
        ax.spines[["top", "right"]].set_visible(False)
    else:
        ax.set_xlabel("videos")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return ax


def storage_bars(measured: pd.DataFrame) -> Axes:
    """Clips/s and bytes of each storage side by side, the original's marked by a line, a row a storage of
    `datasets.prepare.measure.measure_storages`; one that could not be measured says why. Returns the first panel's
    axes."""
    size = (10, 0.62 * len(measured) + 1.2)
    _, (speed, disk) = plt.subplots(1, 2, figsize=size, sharey=True, layout="constrained")
    rates, amounts = measured[["clips_per_s", "times_original"]].values, measured[["mb", "share_of_original"]].values
    speeds = [f"{rate:,.0f}{_times(factor)}" for rate, factor in rates]
    sizes = [f"{mb:,.3g} MB{_times(factor)}" for mb, factor in amounts]
    _panel(speed, measured["clips_per_s"], speeds, measured, "C0", "clips/s, one process (more is better)")
    _panel(disk, measured["mb"], sizes, measured, "C1", "MB of these videos (less is better)")
    speed.set_zorder(disk.get_zorder() + 1)
    speed.patch.set_visible(False)
    for row, note in enumerate(measured["note"]):
        if note:
            # The words run into the other panel, where this row has no bar; they must not narrow the panels.
            words = "  " + textwrap.shorten(note, 110, placeholder=" …")
            text = speed.text(0, row, words, va="center", color="0.4", style="italic", fontsize="small")
            text.set_in_layout(False)
    return speed


def _label(storage: str, backend: str) -> str:
    first, *rest = STORAGES.get(storage, storage).split("\n")
    return "\n".join([f"{first}, read by {backend}" if backend else first, *rest])


def _panel(ax: Axes, values: pd.Series, words: list[str], measured: pd.DataFrame, colour: str, label: str) -> None:
    bar_axes([_label(*each) for each in zip(measured["storage"], measured["backend"])], ax)
    first, known = measured["storage"] == "original", values.notna().to_numpy()
    bars = ax.barh(range(len(values)), values.fillna(0), 0.6, color=colour)
    for bar, is_first in zip(bars, first):
        bar.set_alpha(0.45 if is_first else 1.0)
    places = np.flatnonzero(known)
    write_beside(ax, values[known], places, [f" {words[place]}" for place in places], fontsize=10)
    if first.any():
        ax.axvline(values[first].iloc[0], color="0.3", linewidth=1, linestyle=":", zorder=0)
    ax.set_xlim(0, 1.8 * max(values.max(), 1e-9))
    ax.set_xlabel(label)


def _times(factor: float) -> str:
    return "" if factor == 1 or factor != factor else f"  ({factor:.2g} times)"
