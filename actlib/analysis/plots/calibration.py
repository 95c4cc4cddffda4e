"""Plots of how sure a network is, and of how sure it may be."""

import pandas as pd
from matplotlib.axes import Axes

from actlib.analysis.plots.drawing import new_axes


def reliability_diagram(bins: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Accuracy of the answers by their score, a bar a bin of `calibration.reliability` with its number of videos. Red
    is what is missing to the diagonal, where a score says how often it is right; green what is beyond it."""
    ax = ax or new_axes(4.6, 4.4)
    widths, right, sure = 0.94 * (bins["high"] - bins["low"]), 100 * bins["accuracy"], 100 * bins["confidence"]
    middles = (bins["low"] + bins["high"]) / 2
    ax.bar(100 * middles, right, 100 * widths, color="C0", label="right")
    missing = (sure - right).clip(lower=0)
    ax.bar(100 * middles, missing, 100 * widths, bottom=right, color="C3", alpha=0.35, label="surer than right")
    beyond = (right - sure).clip(lower=0)
    ax.bar(100 * middles, beyond, 100 * widths, bottom=right - beyond, color="C2", label="right beyond its score")
    for middle, height, videos in zip(middles, pd.concat([right, sure], axis=1).max(axis=1), bins["videos"]):
        ax.text(100 * middle, height + 1.5, f"{videos:,}", ha="center", fontsize=8, color="0.3")
    ax.plot([0, 100], [0, 100], "--", color="0.4", linewidth=1)
    ax.set_xlim(0, 100)
    ax.set_ylim(0, 108)
    ax.set_xlabel("score of the answer, %   (above the bars: videos)")
    ax.set_ylabel("share of them that is right, %")
    ax.spines[["top", "right"]].set_visible(False)
    return ax
