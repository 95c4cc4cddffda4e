"""Lesson 8: one network trained from several starting points, on more and more videos a class."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from actlib.analysis.plots.drawing import new_axes
from actlib.lessons import small_runs
from actlib.models import WeightsError
from actlib.models.weights.fetch import fetch_weights


def image_weights(name: str) -> str:
    """The path of published weights of an image network, fetched once into the weights folder; empty, and a sentence
    that says why, where they cannot be had, or without a name."""
    if not name:
        return ""
    try:
        return str(fetch_weights(name))
    except WeightsError as error:
        print(f"{error}\nWithout these weights the lesson leaves out the curves of ImageNet.")
        return ""


def accuracies(
    starts: dict[str, dict], table: str, sizes: Sequence[int], folder: Path,
    *, clips: int, epochs: int, validation: int, progress: Callable,
) -> pd.DataFrame:  # fmt: skip
    """Train each start on each number of videos a class: start, videos, top1 (percent of the validation videos, one
    clip each, after the last epoch), training_top1.

    starts: by name, the parameters that tell them apart (see `small_runs.prepare_small`). Every training sees about
    `clips` clips an epoch, few videos more often than many, so that all take the same number of steps.
    """
    count = {"validation": validation, "clips": clips}
    tables = {size: small_runs.few_videos(table, folder / f"{size}", training=size, **count) for size in sizes}
    rows = []
    for start, values in starts.items():
        for size in progress(list(sizes), desc=start):
            given = {"table": str(tables[size]), "epochs": epochs, **values}
            last = small_runs.train_small("few", given)[1].iloc[-1]
            rows.append((start, size, float(last["val_top1"]), float(last["top1"])))
    return pd.DataFrame(rows, columns=["start", "videos", "top1", "training_top1"])


def joined(*tables: pd.DataFrame) -> pd.DataFrame:
    """The tables of several `accuracies`, one below the other."""
    return pd.concat(tables, ignore_index=True)


def videos_needed(table: pd.DataFrame, start: str, other: str) -> str:
    """With how many videos a class `start` first does as well as `other` with the fewest; "more" where it never does,
    "not measured" without the other."""
    runs = dict(iter(table.groupby("start")))
    if other not in runs:
        return "not measured: no network to start from"
    goal = runs[other].sort_values("videos")["top1"].iloc[0]
    reached = runs[start].loc[runs[start]["top1"] >= goal, "videos"]
    return "more" if reached.empty else str(reached.min())


def few_videos_curves(table: pd.DataFrame, chance: float, *, ax: Axes | None = None) -> Axes:
    """Accuracy against the videos a class (logarithmic), a curve a start; `table` is that of
    `accuracies`, chance in percent."""
    ax = ax or new_axes(8.5, 4.2)
    for number, (start, rows) in enumerate(table.groupby("start", sort=False)):
        style = "--" if "scratch" in start else "-"
        ax.plot(rows["videos"], rows["top1"], style, marker="o", color=f"C{number}", label=start)
    ax.axhline(chance, color="0.45", linewidth=0.9, linestyle=":", label=f"chance: {chance:.3g} %")
    sizes = sorted(table["videos"].unique())
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(sizes))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_ylim(0, 104)
    ax.set_xlabel("training videos a class")
    ax.set_ylabel("top-1 accuracy of videos never seen, %")
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return ax
