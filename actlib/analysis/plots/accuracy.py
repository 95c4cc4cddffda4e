"""Plots of accuracy: by class, of several runs, and of their fusion."""

import math
import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from actlib.analysis.plots.drawing import bar_axes, new_axes, write_beside

# The columns of `fusion.agreement` that add up to all videos, with their words and colours
PARTS = {
    "both_right": ("both right", "C2"),
    "only_first": ("the first alone", "C0"),
    "only_second": ("the second alone", "C1"),
    "none_right": ("none right", "0.8"),
}


def confusion_matrix(counts: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Share of each true class (rows) by predicted class, the counts written into the cells of up to 30 classes."""
    size = min(16, max(3.6, 0.45 * len(counts) + 1.8))
    ax = ax or new_axes(size + 1, size)
    numbers = counts.to_numpy()
    share = 100 * numbers / np.maximum(1, numbers.sum(axis=1, keepdims=True))
    image = ax.imshow(share, cmap="Blues", vmin=0, vmax=100)
    ax.figure.colorbar(image, ax=ax, label="% of the true class", shrink=0.8)
    if len(counts) <= 30:
        for row, column in np.argwhere(numbers > 0):
            colour = "white" if share[row, column] > 55 else "black"
            ax.text(column, row, f"{numbers[row, column]}", ha="center", va="center", color=colour, fontsize=8)
    step = math.ceil(len(counts) / 60)  # a label for every class up to 60
    slanted = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks(range(0, counts.shape[1], step), counts.columns[::step], parse_math=False, **slanted)
    ax.set_yticks(range(0, counts.shape[0], step), counts.index[::step], parse_math=False)
    ax.set_xlabel("predicted class")
    ax.set_ylabel("true class")
    return ax


def class_bars(per_class: pd.DataFrame, *, most: int = 40, ax: Axes | None = None) -> Axes:
    """Top-1 accuracy of each class, the worst first; of more than `most` classes the worst ones."""
    shown = per_class.head(most)
    ax, places = bar_axes(shown["label"], ax), range(len(shown))
    ax.barh(places, shown["top1"], color="C0")
    others = [f"  → {other}" if other else "" for other in shown["mostly_taken_for"]]
    words = [f"{top1:.0f}{other}" for top1, other in zip(shown["top1"], others)]
    write_beside(ax, shown["top1"], places, words, fontsize=8)
    ax.set_xlim(0, 130)
    ax.set_xticks(range(0, 101, 20))
    kept = f" (worst {most} of {len(per_class)} classes)" if len(per_class) > most else ""
    ax.set_xlabel(f"top-1 accuracy of the class, %, and what it is mostly taken for{kept}")
    return ax


def order_bars(by_order: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Top-1 accuracy with the frames of every clip in each order (see `metrics.by_order`), against the label and
    against that of the video played backwards."""
    ax = bar_axes(by_order["order"], ax, row=0.55)
    kinds = {"top1": "the label", "top1_backwards": "the class of the video played backwards"}
    for number, (column, label) in enumerate(kinds.items()):
        places = np.arange(len(by_order)) + (number - 0.5) * 0.38
        ax.barh(places, by_order[column], 0.36, color=f"C{number}", label=label)
        write_beside(ax, by_order[column], places, [f"{value:.1f}" for value in by_order[column]], fontsize=8)
    ax.set_xlim(0, 108)
    ax.set_xlabel("share of the videos, %, whose prediction is …")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncol=2, frameon=False)
    return ax


def accuracy_bars(summary: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Top-1 and top-5 accuracy of each run and of their fusion, which is the last row (see `fusion.summary`). The
    protocol stands above where all runs share one, else beside each."""
    protocols = summary["protocol"][:-1].unique()
    names = summary["run"] + [f"\n{row.videos:,} of {row.expected:,} videos" for row in summary.itertuples()]
    if len(protocols) > 1:
        names[:-1] += ["\n" + textwrap.fill(each, 44) for each in summary["protocol"][:-1]]
    ax = bar_axes(names, ax, row=0.55)
    edges = ["none"] * (len(summary) - 1) + ["black"]
    for number, (column, label) in enumerate((("top1", "top-1"), ("top5", "top-5"))):
        places = np.arange(len(summary)) + (number - 0.5) * 0.38
        ax.barh(places, summary[column], 0.36, color=f"C{number}", edgecolor=edges, label=label)
        write_beside(ax, summary[column], places, [f"{value:.1f}" for value in summary[column]], fontsize=8)
    ax.set_xlim(0, 108)
    ax.set_xlabel("video accuracy, %")
    ax.set_title(protocols[0] if len(protocols) == 1 else "", fontsize=9)
    ax.tick_params(axis="y", labelsize=8)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return ax


def agreement_bars(agreement: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Of each pair of runs the share of videos that both, one or none of them are right about (`fusion.agreement`), and
    beside it how many videos those are."""
    names = [f"first: {row.first}\nsecond: {row.second}" for row in agreement.itertuples()]
    ax, places = bar_axes(names, ax, row=0.55, more=1.4), range(len(agreement))
    left = np.zeros(len(agreement))
    for column, (label, colour) in PARTS.items():
        share = 100 * agreement[column].to_numpy() / agreement["videos"].to_numpy()
        ax.barh(places, share, 0.6, left=left, color=colour, label=label)
        left += share
    counts = [" · ".join(f"{count:,}" for count in row) + " videos" for row in agreement[list(PARTS)].to_numpy()]
    write_beside(ax, left, places, counts, fontsize=8)
    ax.set_xlim(0, 100)
    ax.set_xlabel("% of the videos")
    ax.tick_params(axis="y", labelsize=8)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncol=4, frameon=False)
    return ax
