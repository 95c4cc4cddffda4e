"""Plots of which frames and pixels of a video a network is shown."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from actlib.analysis.plots.clips import film_strip
from actlib.analysis.plots.drawing import bar_axes, new_axes, write_beside
from actlib.messages import shorter

Share = tuple[float, float, float, float]


def timeline(ticks: pd.DataFrame, span: tuple[int, int], *, ax: Axes | None = None) -> Axes:
    """Which frames of a video clips consist of. `ticks`: a row a frame of each clip, with the columns clip and frame,
    and if there is one the score of the clip (0 to 1), which is written beside it and colours it. `span`: the frames
    [begin, end) of the video."""
    names = list(dict.fromkeys(ticks["clip"]))
    ax = bar_axes(names, ax, row=0.3, more=1.1)
    scores = ticks.groupby("clip")["score"].first() if "score" in ticks else {}
    colors = plt.get_cmap("RdYlGn")
    for place, (_, clip) in enumerate(ticks.groupby("clip", sort=False)):
        color = colors(0.08 + 0.84 * scores[names[place]]) if len(scores) else f"C{place % 10}"
        ax.hlines(place, *span, color="0.9", linewidth=9, zorder=0)
        ax.vlines(clip["frame"] + 0.5, place - 0.32, place + 0.32, color=color, linewidth=2)
    if len(scores):
        texts = [f"{100 * scores[name]:.0f} %" for name in names]
        write_beside(ax, [span[1]] * len(names), range(len(names)), texts)
    ax.set_xlim(*span)
    ax.set_xlabel("frame of the file")
    return ax


def crop_boxes(frame: np.ndarray, boxes: Sequence[tuple[str, Share]], *, ax: Axes | None = None) -> Axes:
    """A frame uint8 (H, W, 3) and boxes over it, (name, (top, left, height, width) as shares of the frame)."""
    ax = ax or new_axes(4, 4 * frame.shape[0] / frame.shape[1] + 0.4)
    height, width = frame.shape[:2]
    ax.imshow(frame, extent=(0, width, height, 0))
    for number, (_, (top, left, down, right)) in enumerate(boxes):
        place, size = (left * width, top * height), (right * width, down * height)
        ax.add_patch(Rectangle(place, *size, fill=False, edgecolor=f"C{number % 10}", linewidth=2, clip_on=False))
    ax.set_xlabel(f"{width} × {height} pixels, {len(boxes)} crop{'s' if len(boxes) > 1 else ''}")
    ax.set_xticks([])
    ax.set_yticks([])
    return ax


def clip_panels(
    ticks: pd.DataFrame, span: tuple[int, int], frame: np.ndarray, boxes: Sequence[tuple[str, Share]],
    strips: Sequence[tuple[np.ndarray, str]], *, title: str, along: str = "time →",
    best: pd.DataFrame | None = None,
) -> Axes:  # fmt: skip
    """`timeline` and `crop_boxes`, and below them each of `strips`, (clip uint8 (T, H, W, 3), its name); `along` is
    what they run along. `best`: the classes of the highest scores (columns class, score, right), as bars beside
    them."""
    clips = ticks["clip"].nunique()
    aspects = [clip.shape[1] / clip.shape[2] for clip, _ in strips]
    top = max(2.3, 0.3 * clips + 1.1)
    rows = [11 * aspect / 8 + 0.15 for aspect in aspects]
    mosaic = [["timeline", "timeline", "frame", *(["best"] if best is not None else [])]]
    mosaic += [[f"strip {number}"] * len(mosaic[0]) for number in range(len(strips))]
    figure, axes = plt.subplot_mosaic(
        mosaic, figsize=(11, top + sum(rows)), height_ratios=[top, *rows], layout="constrained"
    )
    timeline(ticks, span, ax=axes["timeline"])
    crop_boxes(frame, boxes, ax=axes["frame"])
    if best is not None:
        _best_bars(best, ax=axes["best"])
    for number, (clip, name) in enumerate(strips):
        film_strip([clip], [name], frames=min(8, len(clip)), ax=axes[f"strip {number}"])
        axes[f"strip {number}"].set_xlabel(along if number == len(strips) - 1 else "")
    figure.suptitle(title, parse_math=False)
    return axes["timeline"]


def _best_bars(best: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """The highest scores of a video: `best` has the columns class, score (0 to 1) and right (whether it is the true
    one, which is green)."""
    ax = bar_axes(best["class"].tolist(), ax, width=5)
    colors = ["#98df8a" if right else "0.8" for right in best["right"]]
    ax.barh(range(len(best)), 100 * best["score"], color=colors)
    # The names stand on the bars: beside them long ones would leave no room for the other panels.
    texts = [f"{shorter(name, 26)}  {100 * score:.1f}" for name, score in zip(best["class"], best["score"])]
    write_beside(ax, [0] * len(best), range(len(best)), texts, fontsize=8.5)
    ax.set_yticks([])
    ax.set_xlim(0, 100)
    ax.set_xlabel("score, %")
    return ax
