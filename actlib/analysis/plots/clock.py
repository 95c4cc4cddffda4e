"""Plots of work beside time: of whole networks, and of the parts of each."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from actlib.analysis.plots.drawing import bar_axes, write_beside

SMALL = 0.5  # percent: parts with a smaller share of work and time are no row of their own
COLOURS = {"gmacs": "C0", "ms": "C1"}  # of work and of time


def work_and_time(totals: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """The MACs and the measured time of each network, in percent of the first one's, with the numbers beside the bars.
    `totals` has the columns network, gmacs, ms, clips_per_s and gmacs_per_s."""
    ax, longest = bar_axes(totals["network"], ax, row=0.5, width=9.5), 0
    words = {
        "gmacs": [f"{row.gmacs:.2f} GMACs" for row in totals.itertuples()],
        "ms": [f"{row.ms:.0f} ms, {row.clips_per_s:.3g} clips/s" for row in totals.itertuples()],
    }
    for number, (column, label) in enumerate((("gmacs", "MACs"), ("ms", "time, measured"))):
        share = 100 * totals[column] / totals[column].iloc[0]
        places = np.arange(len(totals)) + (number - 0.5) * 0.38
        ax.barh(places, share, 0.36, color=COLOURS[column], label=label)
        write_beside(ax, share, places, words[column], fontsize=8)
        longest = max(longest, share.max())
    ax.set_xlim(0, 1.3 * longest)
    ax.set_xlabel(f"% of {totals['network'].iloc[0]}'s, for one clip", parse_math=False)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncol=2, frameon=False)
    return ax


def shares_by_layer(parts: pd.DataFrame, *, most: int = 12) -> Axes:
    """The share of each part of a network in its MACs, to the left, and in its time, to the right; a panel a network.
    `parts` has the columns network, layer, share and time_share, both in percent; the parts
    below SMALL, and beyond `most` the smallest ones, are added up in a last row. Returns the first panel's axes."""
    groups = [(name, _merged(rows, most)) for name, rows in parts.groupby("network", sort=False)]
    size = (4.6 * len(groups), 0.27 * max(len(rows) for _, rows in groups) + 1.4)
    figure, panels = plt.subplots(1, len(groups), figsize=size, squeeze=False, layout="constrained")
    widest = max(rows[["share", "time_share"]].to_numpy().max() for _, rows in groups) * 1.25
    for ax, (name, rows) in zip(panels[0], groups):
        bar_axes(rows["layer"], ax)
        places = np.arange(len(rows))
        ax.barh(places, -rows["share"], 0.75, color=COLOURS["gmacs"], label="share of the MACs")
        ax.barh(places, rows["time_share"], 0.75, color=COLOURS["ms"], label="share of the time, measured")
        for side, column in ((-1, "share"), (1, "time_share")):
            for place, value in zip(places, rows[column]):
                where = "right" if side < 0 else "left"
                ax.text(side * value, place, f" {value:.0f} ", ha=where, va="center", fontsize=7.5)
        ax.axvline(0, color="0.3", linewidth=0.8)
        ax.set_xlim(-widest, widest)
        ax.xaxis.set_major_formatter(lambda value, _: f"{abs(value):.0f}")
        ax.tick_params(axis="y", labelsize=8)
        ax.set_xlabel("MACs, %  ←   → time, %")
        ax.set_title(name, fontsize=9, parse_math=False)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncol=2, frameon=False)
    return panels[0, 0]


def _merged(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    larger = rows[["share", "time_share"]].max(axis=1)
    kept = (larger >= SMALL) & (larger.rank(ascending=False, method="first") < most)
    rest = rows.loc[~kept, ["share", "time_share"]].sum()
    last = pd.DataFrame([{"layer": f"{(~kept).sum()} smaller parts", **rest}])
    return pd.concat([rows[kept], last], ignore_index=True) if rest.max() >= SMALL else rows[kept]
