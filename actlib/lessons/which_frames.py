"""Lesson 4: the frames that each sampling rule takes, and the accuracy by number of frames and stride."""

from collections.abc import Callable, Iterable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from actlib.analysis.plots import film_strip
from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.clips.sampling import training_window
from actlib.datasets.clips.show import frames_of
from actlib.datasets.clips.views import EvaluationViews
from actlib.datasets.table import read_table, rows_of
from actlib.datasets.vocabulary import SAMPLINGS
from actlib.loops import prepare
from actlib.loops.evaluate import score_views
from actlib.params import VideoAccuracyParams

DRAWN = ("random", "dense", "segments", "segments_regular")


def draws(num_frames: int, frame_stride: int, times: int, length: int = 32) -> pd.DataFrame:
    """The frames of clips of a video of `length` frames, `times` of each rule that draws, one of the others: a row a
    frame, with the columns rule, draw and frame."""
    rng, rows = np.random.default_rng(0), []
    for rule in SAMPLINGS:
        for draw in range(times if rule in DRAWN else 1):
            frames = training_window(rule, length, num_frames, frame_stride, rng)
            rows += [(rule, draw, int(frame)) for frame in frames]
    return pd.DataFrame(rows, columns=["rule", "draw", "frame"])


def timeline(drawn: pd.DataFrame, table: str, length: int = 32) -> Axes:
    """The first video of `table` as a strip of frames, and below it on the same axis of time the frames of `draws`, a
    row a clip."""
    clips = list(drawn.groupby(["rule", "draw"], sort=False))
    strip = frames_of(rows_of(read_table(table), "training").head(1), 8)[0]
    size, heights = (10, 2.3 + 0.22 * len(clips)), [1.3, 0.22 * len(clips)]
    figure, (top, ax) = plt.subplots(2, 1, figsize=size, height_ratios=heights, layout="constrained")
    film_strip([strip], [""], ax=top)
    top.set_aspect("auto")
    top.set_xlabel("")
    rules = list(drawn["rule"].unique())
    for place, ((rule, _), clip) in enumerate(clips):
        ax.hlines(place, 0, length, color="0.9", linewidth=7, zorder=0)
        color = f"C{rules.index(rule)}"
        ax.vlines(clip["frame"] + 0.5, place - 0.34, place + 0.34, color=color, linewidth=3)
    places = pd.Series(range(len(clips))).groupby([rule for (rule, _), _ in clips], sort=False).mean()
    ax.set_yticks(places, places.index)
    ax.set_ylim(len(clips) - 0.3, -0.7)
    ax.set_xlim(0, length)
    ax.set_xlabel("frame of the video")
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    return ax


def accuracies(
    checkpoints: list[str], table: str, frames: list[int], strides: list[int], run_dir: str,
    progress: Callable[..., Iterable],
) -> pd.DataFrame:  # fmt: skip
    """Clip accuracy of each network on the centre clip of every validation video, by number of frames and stride: a row
    each, with the columns model, num_frames, frame_stride, top1 (percent), videos, and trained: whether the network
    learnt from such clips. Clips that are longer than the videos are left out."""
    values, rows = {"table": table, "run_dir": run_dir, "protocol": "clip", "num_workers": 0}, []
    asked = [VideoAccuracyParams.build(values | {"checkpoint": each}, "this lesson") for each in checkpoints]
    jobs = [prepare(p) for p in asked]
    for job, count in progress([(job, count) for job in jobs for count in frames], desc="networks, numbers of frames"):
        size, length = (job.p.short_side, job.p.crop_size), job.val_data.table["num_frames"].min()
        protocols = {each: Protocol("clip", count, each, *size) for each in strides if count * each <= length}
        if not protocols:
            continue
        data = EvaluationViews(job.val_data.table, job.classes, protocols)
        how = job.normalisation | {"device": job.device, "execution": job.execution}
        for stride, scores in score_views(job.model, data, **how).items():
            trained = (count, stride) == (job.p.num_frames, job.p.frame_stride)
            rows.append((job.model.spec, count, stride, scores.top(1), scores.num_scored, trained))
    return pd.DataFrame(rows, columns=["model", "num_frames", "frame_stride", "top1", "videos", "trained"])


def grids(found: pd.DataFrame) -> Axes:
    """A table of colours a network: `accuracies` by number of frames (upwards) and stride, what it learnt from
    framed."""
    models = list(found["model"].unique())
    _, panels = plt.subplots(1, len(models), figsize=(4.6 * len(models) + 1, 4.6), squeeze=False, layout="constrained")
    for ax, model in zip(panels[0], models):
        rows = found[found["model"] == model]
        grid = rows.pivot(index="num_frames", columns="frame_stride", values="top1")
        image = ax.imshow(grid, origin="lower", cmap="viridis", vmin=0, vmax=100, aspect="auto")
        for (row, column), value in np.ndenumerate(grid.to_numpy()):
            known = not np.isnan(value)
            text = f"{value:.0f}" if known else "longer than\nthe videos"
            color = "0.5" if not known else "white" if value < 65 else "black"
            ax.text(column, row, text, ha="center", va="center", color=color, fontsize=12 if known else 8)
        for row in rows[rows["trained"]].itertuples():
            place = grid.columns.get_loc(row.frame_stride) - 0.5, grid.index.get_loc(row.num_frames) - 0.5
            ax.add_patch(Rectangle(place, 1, 1, fill=False, edgecolor="red", linewidth=3, clip_on=False, zorder=3))
        ax.set_xticks(range(len(grid.columns)), grid.columns)
        ax.set_yticks(range(len(grid)), grid.index)
        ax.set_title(model.split()[0] + " (red: what it learnt from)", parse_math=False, fontsize=10)
        ax.set_xlabel("stride: frames from one to the next")
        ax.set_ylabel("frames of the clip")
    ax.figure.colorbar(image, ax=panels[0], label="clip accuracy, %")
    return panels[0][0]


def accuracy_of(found: pd.DataFrame, num_frames: int, frame_stride: int) -> float:
    """The first network's accuracy with such clips, percent."""
    rows = found[(found["num_frames"] == num_frames) & (found["frame_stride"] == frame_stride)]
    return float(rows["top1"].iloc[0])
