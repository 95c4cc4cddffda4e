"""What the plots share: new axes, rows of horizontal bars, words beside points, a logarithmic axis."""

import math
from collections.abc import Iterable, Iterator, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter


def new_axes(width: float, height: float) -> Axes:
    """The axes of a figure of its own, in inches."""
    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def bar_axes(
    names: Sequence[str], ax: Axes | None = None, *, width: float = 8, row: float = 0.28, more: float = 1.2
) -> Axes:
    """Axes for horizontal bars, a row a name from top to bottom; new ones have `row` inches a name and `more`
    besides."""
    ax = ax or new_axes(width, max(2.2, row * len(names) + more))
    ax.set_yticks(range(len(names)), names, parse_math=False)  # a name may have dollar signs
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def write_beside(ax: Axes, ends: Iterable[float], places: Iterable[float], texts: Iterable[str], **style) -> None:
    """Write each text to the right of where its bar ends, in the row at its place."""
    for end, place, text in zip(ends, places, texts):
        ax.text(end, place, f" {text}", va="center", parse_math=False, **{"fontsize": 7.5} | style)


def log_axis(ax: Axes, values: pd.Series, right: float = 1.6) -> None:
    """Make x logarithmic from a bit below the lowest value to `right` times the highest, with numbers written out."""
    low, high = values.min() / 1.6, values.max() * right
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    ax.xaxis.set_major_locator(LogLocator(subs=(1,) if math.log10(high / low) > 2.5 else (1, 2, 5)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def label_points(
    ax: Axes,
    xs: pd.Series,
    ys: pd.Series,
    labels: pd.Series,
    avoid: Iterable[tuple[float, float]] = (),
    most_shift: int | None = None,
) -> None:
    """Write each label beside its point, right or left, moved up or down as little as keeps it clear of all points,
    of those in `avoid`, of the labels before it and of the axes' edges; a thin line joins it to its point. One that
    would have to move by more than `most_shift` points is left out.

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
        for shift, left in _positions(x, width, 200 if most_shift is None else most_shift):
            box = (left, left + width, y + shift - height / 2, y + shift + height / 2)
            if _is_clear(box, taken, edges):
                break
        else:
            if most_shift is not None:
                continue
            shift, left = 0, x + 6
            box = (left, left + width, y - height / 2, y + height / 2)
        taken.append(box)
        ax.annotate(
            "\n".join(lines), (xs.iloc[index], ys.iloc[index]), (6 if left > x else -6, shift), fontsize=8,
            textcoords="offset points", ha="left" if left > x else "right", va="center", zorder=2,  # below the points
            parse_math=False,  # a name may have dollar signs
            arrowprops={"arrowstyle": "-", "color": "0.7", "linewidth": 0.6},
        )  # fmt: skip


def _positions(x: float, width: float, most: int) -> Iterator[tuple[float, float]]:
    """Shifts up or down, of less than `most`, and left edges for a label of a point at x, the nearest first."""
    for step in range(0, most, 2):
        for shift in (step, -step) if step else (0,):
            yield shift, x + 6
            yield shift, x - 6 - width


def _is_clear(box: tuple, taken: list[tuple], edges: np.ndarray) -> bool:
    left, right, bottom, top = box
    (first, lowest), (last, highest) = edges
    if left < first or right > last or bottom < lowest or top > highest:
        return False
    return not any(left < end and right > start and bottom < roof and top > base for start, end, base, roof in taken)
