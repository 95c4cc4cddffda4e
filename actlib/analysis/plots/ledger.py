"""The plot of the ledger: what was published of networks, and what it came to here, against their MACs."""

import re

import pandas as pd
from matplotlib.axes import Axes

from actlib.analysis.plots.costs import COSTS
from actlib.analysis.plots.drawing import label_points, log_axis, new_axes

SHAPES = {True: ("o", "several views of a video"), False: ("^", "one view of a video")}
PUBLISHED, OURS = "0.45", "C0"
MOST_SHIFT = 22  # 1/72 inch that a name may lie off its point: two lines


def published_and_reproduced(rows: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Top-1 accuracy against GMACs for one view, of the rows of a ledger on one data set (`ledger.table`).

    A hollow point is a published figure; a filled one, joined to it by a thin line, is what was measured here on at
    least 90 % of the videos. What was measured on fewer has no point, and is counted below the axis. Each network has
    its name at its highest published figure, those without room for it there have none. Raises ValueError where no row
    has both a published figure and MACs.
    """
    known = rows[rows["top1"].notna() & rows["gmacs"].notna()].reset_index(drop=True)
    if known.empty:
        raise ValueError("no row of the ledger has a published figure and MACs to plot")
    ax = ax or new_axes(9, 5.6 if len(known) < 30 else 7)
    ours = known[known["state"] == "measured"]
    for row in ours.itertuples():
        ax.plot([row.gmacs, row.gmacs], [row.top1, row.ours_top1], color=OURS, linewidth=0.8, zorder=1)
    shapes = SHAPES if known["views"].nunique() > 1 else {known["views"].iloc[0]: SHAPES[True]}
    for views, (shape, _) in shapes.items():
        for points, column, colour in ((known, "top1", "white"), (ours, "ours_top1", OURS)):
            of = points[points["views"] == views]
            edge = PUBLISHED if colour == "white" else OURS
            ax.scatter(of["gmacs"], of[column], s=36, marker=shape, facecolors=colour, edgecolors=edge, zorder=3)
    _legend(ax, len(known), len(ours), shapes)
    heights = pd.concat([known["top1"], ours["ours_top1"]])
    span = max(heights.max() - heights.min(), 5)
    log_axis(ax, known["gmacs"], right=2.6)  # labels stand to the right of their points
    ax.set_ylim(heights.min() - 0.1 * span, heights.max() + 0.12 * span)
    partial = int((rows["state"] == "partial").sum())
    left_out = f"\n{partial} measured on part of the videos, and not drawn: see the table" if partial else ""
    ax.set_xlabel(COSTS["gmacs"] + left_out)
    ax.set_ylabel(f"top-1 on {known['dataset'].iloc[0]}, %")
    ax.grid(alpha=0.3)
    named = _named(known)
    avoid = zip(pd.concat([known["gmacs"], ours["gmacs"]]), heights)
    where = named["gmacs"], named["top1"], named["label"]
    label_points(ax, *where, avoid, most_shift=MOST_SHIFT)  # last: it measures the finished layout
    return ax


def _legend(ax: Axes, published: int, measured: int, shapes: dict) -> None:
    words = f"reproduced here: {measured}" if measured else "reproduced here (filled): none yet"
    ax.scatter([], [], s=36, facecolors="white", edgecolors=PUBLISHED, label=f"published: {published}")
    ax.scatter([], [], s=36, color=OURS, label=words)
    for shape, label in shapes.values() if len(shapes) > 1 else ():
        ax.scatter([], [], s=36, marker=shape, facecolors="none", edgecolors="black", label=label)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=4, frameon=False, fontsize=9)


def _named(known: pd.DataFrame) -> pd.DataFrame:
    """One row a network, of its highest published figure, with a `label`."""
    label = known["network"].map(_short)
    frames = known["clip"].str.split("×").str[0]
    several = frames.groupby(label).transform("nunique") > 1
    known = known.assign(label=label.where(~several, label + ", " + frames + " frames"))
    return known.sort_values("top1", ascending=False).drop_duplicates(["label", "gmacs"])


def _short(network: str) -> str:
    """The network's name and width."""
    name, *options = network.split()
    width = re.search(r"width_mult=(\S+)", " ".join(options))
    return name + (f" {width[1]}×" if width else "")
