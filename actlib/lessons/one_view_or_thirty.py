"""Lesson 5: the scores of every view of every video, and from them the accuracy of any smaller number of views."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from actlib.analysis.costs.flops import count_macs
from actlib.analysis.plots.drawing import log_axis
from actlib.loops import prepare
from actlib.loops.explore import view_logits
from actlib.params import VideoAccuracyParams

WRONG, RIGHT = "#d9d9d9", "#2c7fb8"


@dataclass(frozen=True)
class ViewScores:
    """`scores`: softmax scores float32 (videos, clips, crops, classes). `labels`: class index int64 (videos).
    `gmacs`: 10⁹ MACs of one view. `protocol`: all views, in words."""

    scores: np.ndarray
    labels: np.ndarray
    gmacs: float
    protocol: str

    def right(self, scores: np.ndarray) -> np.ndarray:
        """Whether `scores` (videos, …, classes) are highest at the true class: bool (videos, …)."""
        return scores.argmax(-1) == self.labels.reshape(-1, *[1] * (scores.ndim - 2))


def every_view(values: dict, progress: Callable[..., Iterable]) -> ViewScores:
    """The scores of all views of each validation video; `values`: parameters of notebook 04. Raises
    VideoError for one that cannot be decoded."""
    job = prepare(VideoAccuracyParams.build({**values, "protocol": "views", "num_workers": 0}, "this lesson"))
    job.val_data.protocols = {"video": job.val_data.protocols["video"]}
    found = []
    for index in progress(range(len(job.val_data)), desc="videos"):
        scores = view_logits(job, job.val_data, index).softmax(dim=1).numpy()
        found.append(scores.reshape(job.p.num_clips, job.p.num_crops, -1))
    gmacs = count_macs(job.model, job.input_shape).total / 1e9
    protocol = str(job.val_data.protocols["video"])
    return ViewScores(np.stack(found), job.val_data.labels.numpy().astype(int), gmacs, protocol)


def by_number(views: ViewScores, clips: list[int], draws: int = 200) -> pd.DataFrame:
    """Accuracy with fewer views, drawn anew for each video: a row a number of clips and of crops (one, and all), with
    the columns clips, crops, views, gmacs (of a video), top1 (percent, the mean over `draws`), and low and high,
    between which 9 of 10 draws lie."""
    num_videos, num_clips, num_crops, _ = views.scores.shape
    rng, rows = np.random.default_rng(0), []
    for crops in sorted({1, num_crops}):
        for count in sorted({each for each in clips if each <= num_clips}):
            top1 = []
            for _ in range(draws):
                which = rng.permuted(np.tile(np.arange(num_clips), (num_videos, 1)), axis=1)[:, :count, None]
                where = rng.permuted(np.tile(np.arange(num_crops), (num_videos, 1)), axis=1)[:, None, :crops]
                mean = views.scores[np.arange(num_videos)[:, None, None], which, where].mean((1, 2))
                top1.append(100 * views.right(mean).mean())
            spread = np.percentile(top1, [5, 95])
            rows.append((count, crops, count * crops, count * crops * views.gmacs, np.mean(top1), *spread))
    return pd.DataFrame(rows, columns=["clips", "crops", "views", "gmacs", "top1", "low", "high"])


def picture(views: ViewScores, table: pd.DataFrame) -> Axes:
    """Which views of which video are right, and accuracy against cost (`by_number`). Returns the latter's axes."""
    _, (left, ax) = plt.subplots(1, 2, figsize=(12, 5), width_ratios=[1.1, 1], layout="constrained")
    _rows_of_views(views, left)
    for number, (crops, rows) in enumerate(table.groupby("crops")):
        label = f"{crops} crop{'s' if crops > 1 else ''} a clip"
        ax.plot(rows["gmacs"], rows["top1"], "o-", color=f"C{number}", label=label, zorder=3)
        ax.fill_between(rows["gmacs"], rows["low"], rows["high"], color=f"C{number}", alpha=0.18, linewidth=0)
        for row in rows.itertuples():
            place = {"va": "top", "y": row.low - 0.4} if number else {"va": "bottom", "y": row.high + 0.4}
            ax.text(row.gmacs, s=f"{row.views}", ha="center", fontsize=8, color=f"C{number}", **place)
    log_axis(ax, table["gmacs"])
    ax.margins(y=0.08)
    ax.set_xlabel("GMACs for one video (written beside: its views)")
    ax.set_ylabel("video accuracy, %   (shaded: 9 of 10 draws of the views)")
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="lower right", frameon=False)
    return ax


def _rows_of_views(views: ViewScores, ax: Axes) -> None:
    each = views.right(views.scores).reshape(len(views.labels), -1)
    together = views.right(views.scores.mean((1, 2)))
    order = np.lexsort((together, each.mean(axis=1)))[::-1]
    gap = np.full((len(order), 1), np.nan)
    rows = np.hstack([each[order], gap, np.repeat(together[order][:, None], 3, axis=1)])
    ax.imshow(rows, aspect="auto", cmap=ListedColormap([WRONG, RIGHT]), interpolation="nearest", vmin=0, vmax=1)
    count, crops = each.shape[1], views.scores.shape[2]
    middles = [*np.arange(0, count, crops) + (crops - 1) / 2, count + 2]
    ax.set_xticks(middles, [*range(1, count // crops + 1), f"all {count}\naveraged"])
    ax.set_xlabel(f"clips in order of time, {crops} crop{'s' if crops > 1 else ''} each")
    ax.set_ylabel("videos, those that most views are right about first")
    for color, word in ((RIGHT, "right"), (WRONG, "wrong")):
        ax.plot([], [], "s", color=color, label=word, markersize=9)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncol=2, frameon=False)
    ax.spines[:].set_visible(False)
