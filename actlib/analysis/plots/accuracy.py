"""Plots of accuracy: by class, of several runs, and of their fusion."""

import math
import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from actlib.analysis.plots.drawing import bar_axes, new_axes, write_beside
from actlib.messages import shorter

LONGEST = 30  # characters of a class
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


def class_bars(
    per_class: pd.DataFrame, *, numbers: dict[str, float] | None = None, most: int = 40, ax: Axes | None = None
) -> Axes:
    """The recall of each class in the order of `per_class` (see `metrics.per_class`), its precision as a mark, and
    beside them of how many videos and what the wrong ones are mostly taken for. Of more than `most` classes the first
    ones, and beside them, in a figure of its own, all from the lowest recall to the highest.

    `numbers`: in percent, drawn as lines by name. A column `learnt`, the training videos, is written below the names,
    and colours the classes that have fewer than others.
    """
    shown, of_many = per_class.head(most), len(per_class) > most
    names, rare = shown["label"].map(lambda label: shorter(label, LONGEST)), [False] * len(shown)
    if "learnt" in shown:
        names += [f"\n{count:,} learnt" for count in shown["learnt"]]
        rare = shown["learnt"] < per_class["learnt"].max()
    row = 0.62 if "learnt" in shown else 0.34 if len(shown) <= 12 else 0.28
    if of_many and ax is None:
        how = {"figsize": (13, row * most + 1.6), "width_ratios": (3.2, 1), "layout": "constrained"}
        ax, beside = plt.subplots(1, 2, **how)[1]
        _all_recalls(beside, per_class["recall"])
    ax, places = bar_axes(names, ax, width=9, row=row, more=1.6), range(len(shown))
    ax.barh(places, shown["recall"], 0.66, color=["C1" if each else "C0" for each in rare])
    ax.plot(shown["precision"], places, "D", color="black", markersize=3.5, label="precision", zorder=4)
    ends = [f"{row.recall:.0f} % of {row.videos:,}" + (f" → {shorter(row.mostly_taken_for, LONGEST)}" if
            row.mostly_taken_for else "") for row in shown.itertuples()]  # fmt: skip
    write_beside(ax, [104] * len(ends), places, ends, fontsize=8)
    for (name, value), style in zip((numbers or {}).items(), ("-", "--", ":", "-.")):
        ax.axvline(value, color="0.2", linestyle=style, linewidth=1.4, label=f"{name}: {value:.1f} %", zorder=3)
    ax.set_xlim(0, 150)
    ax.set_xticks(range(0, 101, 20))
    kept = f" ({most} of {len(per_class)} classes)" if of_many else ""
    ax.set_xlabel(f"recall: right, % of the class's videos (→ what the wrong ones are mostly taken for){kept}")
    columns = 2 if numbers and len(numbers) > 2 else 3
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncol=columns, frameon=False, fontsize=9)
    return ax


def _all_recalls(ax: Axes, recall: pd.Series) -> None:
    """The recalls of all classes below each other, the lowest first."""
    ax.stairs(np.sort(recall), np.arange(len(recall) + 1), orientation="horizontal", fill=True, color="C0", alpha=0.6)
    ax.set_xlim(0, 100)
    ax.set_ylim(len(recall), 0)
    ax.set_xlabel("recall, %")
    ax.set_ylabel(f"all {len(recall):,} classes, the lowest recall first")
    ax.spines[["top", "right"]].set_visible(False)


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
