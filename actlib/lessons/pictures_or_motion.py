"""Lesson 10: a table of optical flow beside the table of videos, and what each kind of input gets right."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from actlib.analysis.plots.drawing import bar_axes, write_beside
from actlib.analysis.results import fusion
from actlib.analysis.results.scores import Scores
from actlib.datasets import synthetic
from actlib.datasets.errors import DataError
from actlib.datasets.prepare import compute_flow, convert
from actlib.datasets.prepare.layout import StorageOptions
from actlib.datasets.table import read_table, write_table
from actlib.lessons import small_runs
from actlib.loops import evaluate

LABEL_SET = "colour_and_motion"


def coloured_videos(folder: Path, training: int, validation: int, progress: Callable | None = None) -> Path:
    """Synthetic videos whose class is a colour and a direction: the path of their table.csv in `folder`."""
    counts = {"training": training, "validation": validation}
    table = synthetic.generate(folder / "videos", label_set=LABEL_SET, videos_per_class=counts,
                               progress=progress and partial(progress, desc="drawing videos"))  # fmt: skip
    return write_table(table, folder / "table.csv")


def flow_of(table: Path, folder: Path, progress: Callable | None = None) -> Path | None:
    """The optical flow of the videos of a table, as notebook 01 computes it: the path of its table.csv in `folder`;
    None, and a sentence that says so, without OpenCV."""
    try:
        compute_flow.opencv()
    except DataError as error:
        print(f"{error}. Without it this lesson leaves out optical flow.")
        return None
    options = StorageOptions("flow", folder / "flow", short_side=0)
    flow, _ = convert.convert(read_table(table), options, progress=progress and partial(progress, desc="optical flow"))
    return write_table(flow, folder / "table.csv")


def trained_scores(name: str, values: dict, progress: Callable | None = None) -> Scores:
    """The scores of the validation videos, one clip each, by a network trained as `small_runs.train_small` says."""
    job, _ = small_runs.train_small(name, values, progress)
    return evaluate(job)["clip"]


def both(frame: Scores, flow: Scores, name: str, weights: list[float] | None = None) -> Scores:
    """The mean of two runs' scores of the same videos, weighted if asked for, under a name of its own."""
    aligned, _ = fusion.align([frame, flow])
    return replace(fusion.fuse(aligned, weights), name=name)


def parts_right(runs: list[Scores]) -> pd.DataFrame:
    """A row a run: run, and the percent of all videos whose colour, motion, and both (`class`) are answered."""
    rows = []
    for run in runs:
        words = run.table[["label", "prediction"]].map(lambda name: name.rpartition(" ")[::2])
        right = [[a == b for a, b in zip(*pair)] for pair in zip(words["label"], words["prediction"])]
        parts = pd.DataFrame(right, columns=["colour", "motion"])
        rows.append((run.name, *(100 * parts.mean()), 100 * float(parts.all(axis=1).mean())))
    return pd.DataFrame(rows, columns=["run", "colour", "motion", "class"])


def parts_bars(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """The table of `parts_right` as bars, a group a run; half of the videos have a given colour or motion, a quarter a
    given class."""
    ax, kinds = bar_axes(table["run"], ax, row=0.8, more=1.4), ("colour", "motion", "class")
    for number, (kind, colour) in enumerate(zip(kinds, ("C1", "C0", "0.25"))):
        places = [place + (number - 1) * 0.26 for place in range(len(table))]
        label = "both: the class" if kind == "class" else f"the {kind}"
        ax.barh(places, table[kind], 0.24, color=colour, label=label)
        write_beside(ax, table[kind], places, [f"{value:.0f}" for value in table[kind]], fontsize=8)
    ax.axvline(50, color="0.45", linewidth=0.9, linestyle=":", zorder=0)
    ax.axvline(25, color="0.45", linewidth=0.9, linestyle=":", zorder=0)
    ax.set_xlim(0, 108)
    ax.set_xlabel("share of the videos, %, of which it gets right …  (dotted: chance, 50 for a part, 25 for the class)")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncol=3, frameon=False)
    return ax
