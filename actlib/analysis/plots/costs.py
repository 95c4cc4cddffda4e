"""Plots of what networks cost, beside their accuracy and beside published figures."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from actlib.analysis.plots.drawing import bar_axes, label_points, log_axis, new_axes, write_beside

ROW = 0.26  # inches a bar takes
ELSEWHERE = "not in this project"
COSTS = {
    "gmacs": "GMACs for one view",
    "params_m": "parameters (million)",
    "activations_mb": "peak activations (MB a clip)",
}


def cost_panels(table: pd.DataFrame) -> Axes:
    """Bars of COSTS side by side, a row a network of `describe_model`'s columns. Returns the first panel's axes."""
    size = (11, ROW * len(table) + 1.1)
    _, panels = plt.subplots(1, len(COSTS), figsize=size, sharey=True, layout="constrained")
    for number, (ax, (column, label)) in enumerate(zip(panels, COSTS.items())):
        model_bars(table, column, label, colour=f"C{number}", ax=ax)
    return panels[0]


def model_bars(table: pd.DataFrame, column: str, label: str, *, colour: str = "C0", ax: Axes | None = None) -> Axes:
    """One bar a network for `column`, with its value; `label` names the axis and the unit."""
    ax = bar_axes(table["model"], ax)
    _bars(ax, np.arange(len(table)), table[column], colour, 0.75)
    ax.set_xlim(0, 1.25 * max(table[column].max(), 1e-9))
    ax.set_xlabel(label)
    return ax


def speed_bars(best: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Clips/s of each network, a bar a batch size, on a logarithmic axis; `best` has the columns of `best_speeds`, of
    one step. Beside a bar stand its value and the precision and memory format that gave it."""
    models, batches = best["model"].unique(), sorted(best["batch_size"].unique())
    thickness = 0.82 / len(batches)
    ax = bar_axes(models, ax, width=9, row=ROW * max(1, 0.8 * len(batches)), more=1.3)
    places, legend = {model: place for place, model in enumerate(models)}, []
    for number, batch in enumerate(batches):
        rows = best[best["batch_size"] == batch]
        offset = (number - (len(batches) - 1) / 2) * thickness
        how = [f"  {p}, {m.replace('_', ' ')}" for p, m in zip(rows["precision"], rows["memory_format"])]
        colour = plt.get_cmap("Blues")(0.45 + 0.4 * number / max(1, len(batches) - 1))
        _bars(ax, rows["model"].map(places) + offset, rows["clips_per_s"], colour, 0.92 * thickness, how)
        legend.append(Patch(color=colour, label=f"batch {batch}"))
    span = best["clips_per_s"].max() / best["clips_per_s"].min()
    log_axis(ax, best["clips_per_s"], right=1.2 * (1.6 * span) ** 0.4)  # room for the words beside the longest bar
    ax.set_xlabel(title or "clips/s")
    ax.legend(handles=legend, loc="lower left", bbox_to_anchor=(0, 1), ncol=len(batches), frameon=False)
    return ax


def _bars(ax: Axes, places, values: pd.Series, colour, thickness: float, notes: list[str] | None = None) -> None:
    """Horizontal bars with their values, and `notes`, written beside them."""
    ax.barh(places, values, height=thickness, color=colour)
    numbers = [f"{value:,.3g}" if value < 1000 else f"{value:,.0f}" for value in values]
    write_beside(ax, values, places, map("".join, zip(numbers, notes or [""] * len(numbers))))


def tradeoff(
    points: pd.DataFrame,
    cost: str,
    accuracy: str,
    front: pd.Series,
    *,
    groups: str,
    ylabel: str,
    note: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Accuracy against a cost (gmacs, params_m or clips_per_s), a labelled point a run, and each group's Pareto front.

    `points` has the columns label, `cost`, `accuracy` and `groups`, whose values get a colour each; `front` says
    which rows are on their group's front; `note` stands below the cost axis, which is logarithmic. An empty label is
    none.
    Rows without a number are left out; raises ValueError if none is left.
    """
    known = points[cost].notna() & points[accuracy].notna()
    points, front = points[known], front[known]
    if points.empty:
        raise ValueError(f"no run has both {cost} and {accuracy}; those of notebook 04 have")
    ax = ax or new_axes(8, 5)
    drawn = False
    for number, (name, rows) in enumerate(points.groupby(points[groups].fillna("").astype(str))):
        best = rows[front[rows.index].to_numpy()].sort_values(cost)
        ax.plot(best[cost], best[accuracy], color=f"C{number}", alpha=0.4, zorder=1)
        drawn |= len(best) > 1
        ax.scatter(rows[cost], rows[accuracy], s=45, color=f"C{number}", zorder=3, label=name or None)
    if drawn:  # a front of one point is no line
        ax.plot([], [], color="0.5", label="Pareto front")
    log_axis(ax, points[cost], right=2.6)  # labels stand to the right of their points
    span = max(points[accuracy].max() - points[accuracy].min(), 5)
    ax.set_ylim(points[accuracy].min() - 0.12 * span, points[accuracy].max() + 0.12 * span)
    words = COSTS | {"clips_per_s": "inference speed (clips/s)"}
    ax.set_xlabel(words.get(cost, cost) + (f"\n{note}" if note else ""))
    ax.set_ylabel(ylabel)
    ax.grid(alpha=0.3)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=4, frameon=False)
    named, others = points[points["label"] != ""], points[points["label"] == ""]
    avoid = zip(others[cost], others[accuracy])
    label_points(ax, named[cost], named[accuracy], named["label"], avoid)  # last: it measures the finished layout
    return ax


def macs_against_published(compared: pd.DataFrame, *, most: int = 60, ax: Axes | None = None) -> Axes:
    """By how many percent the published GMACs of each network differ from ours, and by how many from ours counted by
    the source's rule. `compared` is of `compare_published`; of more than `most` networks the most different ones."""
    from actlib.analysis.costs.counting_rules import COUNTING_RULES  # with torch, which no other plot needs

    rows = compared[compared["ratio"].notna()].drop_duplicates(["spec", "num_frames", "crop_size", "gmacs_published"])
    if rows.empty:
        raise ValueError("no published MACs of these networks; compare_with: all shows those of others")
    if len(rows) > most:
        rows = rows.loc[(rows["ratio_same_rule"] - 1).abs().sort_values().index[-most:]].sort_index()
    inputs = [f"{_no_frames(row.spec)}, {row.num_frames:.0f} × {row.crop_size:.0f}²" for row in rows.itertuples()]
    ax = bar_axes(inputs, ax, width=9, row=ROW, more=1.6)
    places, more = np.arange(len(rows)), 100 * (1 / rows["ratio"] - 1)
    for number, rule in enumerate(rows["counts"].unique()):
        chosen = (rows["counts"] == rule).to_numpy()
        words = "the source " + COUNTING_RULES.get(rule, "does not say what it counts")
        ax.barh(places[chosen], more[chosen], height=0.7, color=f"C{number}", alpha=0.75, label=words)
    by_rule, label = 100 * (1 / rows["ratio_same_rule"] - 1), "against our count by the source's rule"
    ax.plot(by_rule, places, "D", color="black", markersize=4, label=label)
    span = max(more.max(), 1)
    words = [f"{published:.4g} / {ours:.4g}" for published, ours in rows[["gmacs_published", "gmacs"]].values]
    write_beside(ax, more.clip(lower=0) + 0.015 * span, places, words)
    ax.axvline(0, color="0.6", linewidth=0.8)
    ax.set_xlim(min(more.min(), 0) - 0.05 * span, 1.3 * span)
    ax.set_xlabel("published GMACs more than ours, %   (beside the bar: published / ours)")
    ax.figure.legend(loc="outside upper left", frameon=False, fontsize=8)
    return ax


def _no_frames(spec: str) -> str:
    """The spec without num_frames, which stands beside it."""
    return re.sub(r" num_frames=\d+", "", spec)


def published_accuracy(compared: pd.DataFrame, dataset: str, *, most_labels: int = 30, ax: Axes | None = None) -> Axes:
    """Published top-1 on one data set against GMACs for one view: filled where we count the network, hollow at the
    published GMACs. A line joins the sizes of one network. Up to `most_labels` points are named where they stand,
    more of them by colour alone; dashed lines then stand for networks with temporal pooling."""
    rows = compared[(compared["dataset"] == dataset) & compared["top1"].notna()]
    rows = rows[rows["gmacs"].notna() | rows["gmacs_published"].notna()]
    if rows.empty:
        known = ", ".join(sorted(set(compared["dataset"]) - {""}))
        raise ValueError(f"dataset {dataset!r}: no published accuracy among these figures; there are {known}")
    named = len(rows) <= most_labels
    ax = ax or new_axes(10, 5.6)
    x = rows["gmacs"].fillna(rows["gmacs_published"])
    families = rows["spec"].map(lambda spec: _family(spec, keep_depth=not named))
    shades = plt.get_cmap("tab20" if families.nunique() > 10 else "tab10")
    colours = {family: shades(number) for number, family in enumerate(families.unique())}
    for (family, strided), group in rows.groupby([families, _pooled(rows)], sort=False):
        colour, ours = colours[family], group["gmacs"].notna()
        line = group.assign(x=x[group.index]).sort_values("x")
        if family != ELSEWHERE and line["x"].nunique() > 1:
            ax.plot(line["x"], line["top1"], "--" if strided and not named else "-", color=colour, alpha=0.45, zorder=1)
        ax.scatter(x[group.index][ours], group["top1"][ours], s=34, color=colour, zorder=3)
        ax.scatter(group["gmacs_published"], group["top1"], s=34, facecolors="none", edgecolors=[colour], zorder=2)
    for family, colour in colours.items():
        ax.plot([], [], "o-", color=colour, label=family, markersize=5)
    ax.scatter([], [], s=34, color="0.4", label="as counted here")
    ax.scatter([], [], s=34, facecolors="none", edgecolors="0.4", label="as published")
    log_axis(ax, x, right=3.2 if named else 1.6)
    span = max(rows["top1"].max() - rows["top1"].min(), 4)
    ax.set_ylim(rows["top1"].min() - 0.08 * span, rows["top1"].max() + 0.12 * span)
    ax.set_xlabel(COSTS["gmacs"] + ("" if named else "   (dashed: with temporal pooling)"))
    ax.set_ylabel(f"published top-1 on {dataset}, %")
    ax.grid(alpha=0.3)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=8)
    if named:
        right = rows[["gmacs", "gmacs_published"]].max(axis=1)  # labels stand beside the outer of the two points
        label_points(ax, right, rows["top1"], _labels(rows), zip(x, rows["top1"]))  # last: it measures the layout
    return ax


def _family(spec: str, keep_depth: bool) -> str:
    """The network's name, with its depth or without; ELSEWHERE for one without a spec."""
    name = spec.split()[0] if spec else ELSEWHERE
    return name if keep_depth else re.sub(r"(net|next)\d+$", r"\1", name)


def _labels(rows: pd.DataFrame) -> pd.Series:
    """The networks' names, with the protocol where one of them stands there by several."""
    twice = rows["network"].duplicated(keep=False)
    return rows["network"].where(~twice, rows["network"] + "\n" + rows["protocol"].str.split(",").str[0])


def _pooled(rows: pd.DataFrame) -> pd.Series:
    return ~rows["spec"].str.contains("temporal_stride=false")
