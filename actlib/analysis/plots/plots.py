"""Plots: each takes a table (or frames) and an optional `ax`, draws, labels every axis, and returns the axes.

Nothing here shows or saves; `runs.RunFolder.save_figure` does.
"""

import math
from collections.abc import Iterable, Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

COST_LABELS = {
    "gmacs": "GMACs for one view (conv + linear)",
    "params_m": "parameters (million)",
    "clips_per_s": "inference speed (clips/s)",
}

MANY_CLASSES = 60  # more names than this cannot be read in one picture


def _axes(ax: Axes | None, width: float = 7.0, height: float = 4.0) -> Axes:
    if ax is None:
        _, ax = plt.subplots(figsize=(width, height), layout="constrained")
    return ax


def film_strip(clips: list[np.ndarray], titles: list[str], *, frames: int = 8, ax: Axes | None = None) -> Axes:
    """Clips one below the other, each as `frames` evenly spread frames; a clip is uint8 (T, H, W, 3)."""
    clips = [_thinned(clip) for clip in clips]
    gap, rows = 3, []
    height, width = clips[0].shape[1:3]
    for clip in clips:
        shown = clip[np.linspace(0, len(clip) - 1, frames).round().astype(int)]
        row = np.full((height, frames * (width + gap) - gap, 3), 255, dtype=np.uint8)
        for number, frame in enumerate(shown):
            if frame.shape[:2] != (height, width):  # clips of other sizes are cut or padded to the first one's
                fitted = np.full((height, width, 3), 255, dtype=np.uint8)
                fitted[: frame.shape[0], : frame.shape[1]] = frame[:height, :width]
                frame = fitted
            row[:, number * (width + gap) : number * (width + gap) + width] = frame
        rows += [row, np.full((2 * gap, row.shape[1], 3), 255, dtype=np.uint8)]
    strip = np.concatenate(rows[:-1])
    ax = _axes(ax, 11, 11 * strip.shape[0] / strip.shape[1] + 0.4)
    ax.imshow(strip)
    step = height + 2 * gap
    ax.set_yticks([number * step + height / 2 for number in range(len(clips))], titles)
    ax.set_xticks([])
    ax.set_xlabel("time →")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def _thinned(clip: np.ndarray) -> np.ndarray:
    """At most about 200 pixels high: whole rows and columns are left out, which is good enough for a strip."""
    step = max(1, clip.shape[1] // 160)
    return clip[:, ::step, ::step]


def class_counts(counts: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Stacked bars of videos per class; `counts` has a row a class and a column a subset. Of more than MANY_CLASSES
    only the sizes are drawn, the largest class first."""
    if len(counts) > MANY_CLASSES:
        return _class_sizes(counts, ax)
    ax = _axes(ax, 8, max(2.2, 0.28 * len(counts) + 1.2))
    left = np.zeros(len(counts))
    for subset in counts.columns:
        ax.barh(counts.index, counts[subset], left=left, label=f"{subset} ({counts[subset].sum():,})")
        left += counts[subset].to_numpy()
    ax.invert_yaxis()
    ax.set_xlabel("videos")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _class_sizes(counts: pd.DataFrame, ax: Axes | None) -> Axes:
    """A line a subset: the number of videos of its largest class, of the second, and so on."""
    ax = _axes(ax, 8, 3.6)
    for subset in counts.columns:
        sizes = np.sort(counts[subset].to_numpy())[::-1]
        ax.step(np.arange(1, len(sizes) + 1), sizes, where="mid", label=f"{subset} ({sizes.sum():,})")
    ax.set_xlabel(f"{len(counts)} classes, the largest first")
    ax.set_ylabel("videos")
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def training_curves(history: pd.DataFrame, *, epochs: int | None = None, ax: Axes | None = None) -> Axes:
    """Loss (left axis, dashed) and top-1 accuracy (right axis) of training and validation, a point an epoch."""
    ax = _axes(ax)
    accuracy = ax.twinx()
    for column, label, colour in (("loss", "training", "C0"), ("val_loss", "validation", "C1")):
        ax.plot(history["epoch"], history[column], "--", color=colour, alpha=0.7, marker=".")
        top1 = "top1" if column == "loss" else "val_top1"
        accuracy.plot(history["epoch"], history[top1], color=colour, marker="o", markersize=4, label=label)
    ax.set_xlim(0.8, (epochs or max(2, int(history["epoch"].max()))) + 0.2)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss (dashed)")
    ax.set_ylim(bottom=0)
    accuracy.set_ylabel("top-1 accuracy, % (solid)")
    accuracy.set_ylim(0, 102)
    accuracy.legend(loc="upper center", bbox_to_anchor=(0.5, 1.12), ncol=2, frameon=False)
    return ax


def confusion_matrix(counts: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Share of each true class (rows) by predicted class, written into the cells of up to 30 classes."""
    size = min(16, max(3.6, 0.45 * len(counts) + 1.8))
    ax = _axes(ax, size + 1, size)
    share = 100 * counts.to_numpy() / np.maximum(1, counts.to_numpy().sum(axis=1, keepdims=True))
    image = ax.imshow(share, cmap="Blues", vmin=0, vmax=100)
    ax.figure.colorbar(image, ax=ax, label="% of the true class", shrink=0.8)
    if len(counts) <= 30:
        for row, column in np.argwhere(counts.to_numpy() > 0):
            colour = "white" if share[row, column] > 55 else "black"
            ax.text(column, row, f"{counts.iat[row, column]}", ha="center", va="center", color=colour, fontsize=8)
    step = math.ceil(len(counts) / 60)  # a label for every class up to 60
    ax.set_xticks(
        range(0, counts.shape[1], step), counts.columns[::step], rotation=60, ha="right", rotation_mode="anchor"
    )
    ax.set_yticks(range(0, counts.shape[0], step), counts.index[::step])
    ax.set_xlabel("predicted class")
    ax.set_ylabel("true class")
    return ax


def class_bars(per_class: pd.DataFrame, *, most: int = 40, ax: Axes | None = None) -> Axes:
    """Top-1 accuracy of each class, the worst first; of more than `most` classes the worst ones."""
    shown = per_class.head(most)
    ax = _axes(ax, 8, max(2.2, 0.28 * len(shown) + 1.2))
    ax.barh(shown["label"], shown["top1"], color="C0")
    for place, (top1, other) in enumerate(zip(shown["top1"], shown["mostly_taken_for"])):
        ax.text(top1 + 1, place, f"{top1:.0f}" + (f"  → {other}" if other else ""), va="center", fontsize=8)
    ax.invert_yaxis()
    ax.set_xlim(0, 130)
    ax.set_xticks(range(0, 101, 20))
    kept = f" (worst {most} of {len(per_class)} classes)" if len(per_class) > most else ""
    ax.set_xlabel(f"top-1 accuracy of the class, %, and what it is mostly taken for{kept}")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


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
    which rows are on their group's front; `note` stands below the cost axis, which is logarithmic.
    Rows without a number are left out; raises ValueError if none is left.
    """
    known = points[cost].notna() & points[accuracy].notna()
    points, front = points[known], front[known]
    if points.empty:
        raise ValueError(f"no run has both {cost} and {accuracy}; those of notebook 04 have")
    ax = _axes(ax, 8, 5)
    names = points[groups].fillna("").astype(str)
    for number, name in enumerate(sorted(names.unique())):
        rows, colour = points[names == name], f"C{number}"
        best = rows[front[rows.index].to_numpy()].sort_values(cost)
        ax.plot(best[cost], best[accuracy], color=colour, alpha=0.4, zorder=1)
        ax.scatter(rows[cost], rows[accuracy], s=45, color=colour, zorder=3, label=name or None)
    ax.plot([], [], color="0.5", label="Pareto front")
    ax.set_xscale("log")
    ax.set_xlim(points[cost].min() / 1.6, points[cost].max() * 2.6)  # labels stand to the right of their points
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    span = max(points[accuracy].max() - points[accuracy].min(), 5)
    ax.set_ylim(points[accuracy].min() - 0.12 * span, points[accuracy].max() + 0.12 * span)
    ax.set_xlabel(COST_LABELS.get(cost, cost) + (f"\n{note}" if note else ""))
    ax.set_ylabel(ylabel)
    ax.grid(alpha=0.3)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=4, frameon=False)
    label_points(ax, points[cost], points[accuracy], points["label"])  # last: it measures the finished layout
    return ax


def label_points(
    ax: Axes, xs: pd.Series, ys: pd.Series, labels: pd.Series, avoid: Iterable[tuple[float, float]] = ()
) -> None:
    """Write each label beside its point, right or left, moved up or down as little as keeps it clear of all points,
    of those in `avoid`, of the labels before it and of the axes' edges; a thin line joins it to its point.

    Positions are computed in points (1/72 inch), since that is what a letter's height is measured in.
    """
    ax.figure.canvas.draw()
    to_points = 72 / ax.figure.dpi
    places = ax.transData.transform(np.column_stack([xs, ys])) * to_points
    edges = ax.bbox.get_points() * to_points
    others = ax.transData.transform(np.array([*avoid]).reshape(-1, 2)) * to_points
    taken = [(x - 4, x + 4, y - 4, y + 4) for x, y in [*places, *others]]  # left, right, bottom, top
    for index in np.argsort(places[:, 1], kind="stable"):
        x, y = places[index]
        lines = str(labels.iloc[index]).split("\n")
        width, height = 4.6 * max(map(len, lines)), 10.5 * len(lines)
        for shift, left in _positions(x, width):
            box = (left, left + width, y + shift - height / 2, y + shift + height / 2)
            if _is_clear(box, taken, edges):
                break
        else:
            shift, left = 0, x + 6
            box = (left, left + width, y - height / 2, y + height / 2)
        taken.append(box)
        ax.annotate(
            "\n".join(lines), (xs.iloc[index], ys.iloc[index]), (6 if left > x else -6, shift), fontsize=8,
            textcoords="offset points", ha="left" if left > x else "right", va="center",
            arrowprops={"arrowstyle": "-", "color": "0.7", "linewidth": 0.6},
        )  # fmt: skip


def _positions(x: float, width: float) -> Iterator[tuple[float, float]]:
    """Shifts up or down and left edges for a label of a point at x, the nearest first."""
    for step in range(0, 200, 2):
        for shift in (step, -step) if step else (0,):
            yield shift, x + 6
            yield shift, x - 6 - width


def _is_clear(box: tuple, taken: list[tuple], edges: np.ndarray) -> bool:
    left, right, bottom, top = box
    (first, lowest), (last, highest) = edges
    if left < first or right > last or bottom < lowest or top > highest:
        return False
    return not any(left < end and right > start and bottom < roof and top > base for start, end, base, roof in taken)


def model_bars(table: pd.DataFrame, column: str, label: str, *, ax: Axes | None = None) -> Axes:
    """One bar a network for `column`, with its value; `label` names the axis and the unit."""
    ax = _axes(ax, 8, max(2.0, 0.36 * len(table) + 1.0))
    ax.barh(table["model"], table[column], color="C0")
    for place, value in enumerate(table[column]):
        ax.text(value, place, f" {value:.3g}", va="center", fontsize=8)
    ax.invert_yaxis()
    ax.set_xlim(0, 1.15 * table[column].max())
    ax.set_xlabel(label)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
