"""Plots of several runs over the same videos. As in `plots`: a table in, the axes out, nothing shown."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

ROW = 0.55  # inches a run or pair takes
PARTS = {"both_right": "both right", "only_first": "the first alone", "only_second": "the second alone"}
PARTS |= {"none_right": "none right"}
COLOURS = ("C2", "C0", "C1", "0.8")


def accuracy_bars(summary: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Top-1 and top-5 accuracy of each run and of their fusion, which is the last row (see `fusion.summary`). The
    protocol stands above where all runs share one, else beside each."""
    if ax is None:
        _, ax = plt.subplots(figsize=(8, ROW * len(summary) + 1.2), layout="constrained")
    places, protocols = np.arange(len(summary)), summary["protocol"][:-1].unique()
    for number, (column, label) in enumerate((("top1", "top-1"), ("top5", "top-5"))):
        y = places + (number - 0.5) * 0.38
        edges = ["black" if run == len(summary) - 1 else "none" for run in places]
        ax.barh(y, summary[column], 0.36, color=f"C{number}", edgecolor=edges, label=label)
        for value, place in zip(summary[column], y):
            ax.text(value + 0.8, place, f"{value:.1f}", va="center", fontsize=8)
    names = summary["run"] + [f"\n{row.videos:,} of {row.expected:,} videos" for row in summary.itertuples()]
    if len(protocols) > 1:
        names[:-1] += ["\n" + textwrap.fill(each, 44) for each in summary["protocol"][:-1]]
    ax.set_yticks(places, names, fontsize=8)
    ax.invert_yaxis()
    ax.set_xlim(0, 108)
    ax.set_xlabel("video accuracy, %")
    ax.set_title(protocols[0] if len(protocols) == 1 else "", fontsize=9)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def agreement_bars(agreement: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Of each pair of runs the share of videos that both, one or none of them are right about (`fusion.agreement`), and
    beside it how many videos those are."""
    if ax is None:
        _, ax = plt.subplots(figsize=(8, ROW * len(agreement) + 1.4), layout="constrained")
    places, left = np.arange(len(agreement)), np.zeros(len(agreement))
    for (column, label), colour in zip(PARTS.items(), COLOURS):
        share = 100 * agreement[column].to_numpy() / agreement["videos"].to_numpy()
        ax.barh(places, share, 0.6, left=left, color=colour, label=label)
        left += share
    for place, counts in zip(places, agreement[list(PARTS)].to_numpy()):
        ax.text(101, place, " · ".join(f"{count:,}" for count in counts) + " videos", va="center", fontsize=8)
    ax.set_yticks(places, [f"first: {row.first}\nsecond: {row.second}" for row in agreement.itertuples()], fontsize=8)
    ax.set_ylim(len(agreement) - 0.5, -0.5)
    ax.set_xlim(0, 100)
    ax.set_xlabel("% of the videos")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncol=4, frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
