"""Plots of what networks cost, beside published figures. As in `plots`: a table in, the axes out, nothing shown."""

import math
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from actlib.analysis.costs.counting_rules import CONVENTIONS
from actlib.analysis.plots.plots import label_points

ROW = 0.26  # inches a bar takes
ELSEWHERE = "not in this project"
COSTS = {
    "gmacs": "GMACs a clip",
    "params_m": "parameters (million)",
    "activations_mb": "peak activations (MB a clip)",
}


def cost_panels(table: pd.DataFrame) -> Axes:
    """Bars of COSTS side by side, a row a network of `describe_model`'s columns. Returns the first panel's axes."""
    height = ROW * len(table) + 1.1
    figure, panels = plt.subplots(1, len(COSTS), figsize=(11, height), sharey=True, layout="constrained")
    for number, (ax, (column, label)) in enumerate(zip(panels, COSTS.items())):
        _bars(ax, np.arange(len(table)), table[column], f"C{number}", 0.75)
        ax.set_xlim(0, 1.25 * max(table[column].max(), 1e-9))
        ax.set_xlabel(label)
        ax.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(np.arange(len(table)), table["model"])
    panels[0].set_ylim(len(table) - 0.4, -0.6)
    return panels[0]


def speed_bars(best: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Clips/s of each network, a bar a batch size, on a logarithmic axis; `best` has the columns of `best_speeds`, of
    one step. Beside a bar stand its value and the precision and memory format that gave it."""
    models, batches = best["model"].unique(), sorted(best["batch_size"].unique())
    thickness = 0.82 / len(batches)
    if ax is None:
        height = ROW * len(models) * max(1, 0.8 * len(batches)) + 1.3
        _, ax = plt.subplots(figsize=(9, height), layout="constrained")
    places, legend = {model: place for place, model in enumerate(models)}, []
    for number, batch in enumerate(batches):
        rows = best[best["batch_size"] == batch]
        offset = (number - (len(batches) - 1) / 2) * thickness
        how = [f"  {p}, {m.replace('_', ' ')}" for p, m in zip(rows["precision"], rows["memory_format"])]
        colour = plt.get_cmap("Blues")(0.45 + 0.4 * number / max(1, len(batches) - 1))
        _bars(ax, rows["model"].map(places) + offset, rows["clips_per_s"], colour, 0.92 * thickness, how)
        legend.append(Patch(color=colour, label=f"batch {batch}"))
    ax.set_xscale("log")
    low, high = best["clips_per_s"].min(), best["clips_per_s"].max()
    ax.set_xlim(low / 2, high * (high * 2 / low) ** 0.5 * 2)  # room for the words beside the longest bar
    _plain_numbers(ax)
    ax.set_yticks(range(len(models)), models)
    ax.set_ylim(len(models) - 0.4, -0.6)
    ax.set_xlabel(title or "clips/s")
    ax.legend(handles=legend, loc="lower left", bbox_to_anchor=(0, 1), ncol=len(batches), frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _bars(ax: Axes, places, values: pd.Series, colour, thickness: float, notes: list[str] | None = None) -> None:
    """Horizontal bars with their values, and `notes`, written beside them."""
    ax.barh(places, values, height=thickness, color=colour)
    for place, value, note in zip(places, values, notes or [""] * len(values)):
        ax.text(
            value, place, f" {value:,.3g}{note}" if value < 1000 else f" {value:,.0f}{note}", va="center", fontsize=7.5
        )


def macs_against_published(compared: pd.DataFrame, *, most: int = 60, ax: Axes | None = None) -> Axes:
    """By how many percent the published GMACs of each network differ from ours, and by how many from ours counted by
    the source's rule. `compared` is of `compare_published`; of more than `most` networks the most different ones."""
    rows = compared[compared["ratio"].notna()].drop_duplicates(["spec", "num_frames", "crop_size", "gmacs_published"])
    if rows.empty:
        raise ValueError("no published MACs of these networks; compare_with: all shows those of others")
    if len(rows) > most:
        rows = rows.loc[(rows["ratio_same_rule"] - 1).abs().sort_values().index[-most:]].sort_index()
    if ax is None:
        _, ax = plt.subplots(figsize=(9, ROW * len(rows) + 1.6), layout="constrained")
    places, more = np.arange(len(rows)), 100 * (1 / rows["ratio"] - 1)
    for number, rule in enumerate(rows["counts"].unique()):
        chosen = (rows["counts"] == rule).to_numpy()
        words = "the source " + CONVENTIONS.get(rule, "does not say what it counts")
        ax.barh(places[chosen], more[chosen], height=0.7, color=f"C{number}", alpha=0.75, label=words)
    ax.plot(
        100 * (1 / rows["ratio_same_rule"] - 1),
        places,
        "D",
        color="black",
        markersize=4,
        label="against our count by the source's rule",
    )
    span = max(more.max(), 1)
    for place, percent, ours, published in zip(places, more, rows["gmacs"], rows["gmacs_published"]):
        ax.text(max(percent, 0) + 0.02 * span, place, f"{published:.4g} / {ours:.4g}", va="center", fontsize=7.5)
    ax.axvline(0, color="0.6", linewidth=0.8)
    inputs = [f"{_no_frames(row.spec)}, {row.num_frames:.0f} × {row.crop_size:.0f}²" for row in rows.itertuples()]
    ax.set_yticks(places, inputs)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlim(min(more.min(), 0) - 0.05 * span, 1.3 * span)
    ax.set_xlabel("published GMACs more than ours, %   (beside the bar: published / ours)")
    ax.figure.legend(loc="outside upper left", frameon=False, fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)
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
    if ax is None:
        _, ax = plt.subplots(figsize=(10, 5.6), layout="constrained")
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
    ax.set_xscale("log")
    ax.set_xlim(x.min() / 1.6, x.max() * (3.2 if named else 1.6))
    span = max(rows["top1"].max() - rows["top1"].min(), 4)
    ax.set_ylim(rows["top1"].min() - 0.08 * span, rows["top1"].max() + 0.12 * span)
    _plain_numbers(ax)
    ax.set_xlabel("GMACs for one view" + ("" if named else "   (dashed: with temporal pooling)"))
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


def _plain_numbers(ax: Axes) -> None:
    low, high = ax.get_xlim()
    many = math.log10(high / low) > 2.5
    ax.xaxis.set_major_locator(LogLocator(subs=(1,) if many else (1, 2, 5)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
