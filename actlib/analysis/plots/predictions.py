"""Plots of what networks say of videos: their best classes, a curve a class over time, and where they look."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from actlib.analysis.drawn_video import heat
from actlib.analysis.plots.drawing import bar_axes, write_beside
from actlib.messages import shorter

LONGEST = 34  # characters of a class or video in a plot


def best_bars(best: pd.DataFrame, *, most: int = 8) -> Axes:
    """The best classes of each video, a row of panels a video and a column a network. `best`: video_id, network, rank,
    class, score (0 to 1), as `loops.predict.Windows.best`; the first `most` videos."""
    networks, videos = (list(dict.fromkeys(best[name])) for name in ("network", "video_id"))
    videos = videos[:most]
    rows = int(best["rank"].max())
    size = (4.2 * len(networks) + 0.4, len(videos) * (0.24 * rows + 0.35) + 0.5)
    figure, grid = plt.subplots(len(videos), len(networks), figsize=size, layout="constrained", squeeze=False)
    for line, video in zip(grid, videos):
        for ax, network in zip(line, networks):
            shown = best[(best["video_id"] == video) & (best["network"] == network)]
            bar_axes([shorter(name, LONGEST) for name in shown["class"]], ax)
            ax.barh(range(len(shown)), shown["score"], color=["C0" if rank == 1 else "0.75" for rank in shown["rank"]])
            write_beside(ax, shown["score"], range(len(shown)), [f"{100 * each:.0f} %" for each in shown["score"]])
            ax.set_xlim(0, 1.15)
            ax.set_xticks([0, 0.5, 1] if video == videos[-1] else [])
            ax.tick_params(labelsize=8)
            ax.set_title(shorter(video, LONGEST), fontsize=9, loc="left", parse_math=False)
            if shown.empty:
                ax.text(0.5, 0.5, "no score", ha="center", va="center", transform=ax.transAxes)
            if video == videos[-1]:
                ax.set_xlabel(f"mean score by {network}", parse_math=False)
    return grid[0, 0]


def score_curves(over_time: pd.DataFrame) -> Axes:
    """The score of each class over the time of one video, a panel a network. `over_time`: network, start, end, start_s,
    end_s, class, score (0 to 1), as `loops.predict.Windows.over_time`; a point stands in the middle of its window.
    The time is in seconds, or in frames where nobody knows their rate."""
    networks = list(dict.fromkeys(over_time["network"]))
    in_seconds = over_time["start_s"].notna().all()
    begin, end = ("start_s", "end_s") if in_seconds else ("start", "end")
    size = (9, 2.1 * len(networks) + 0.6)
    figure, grid = plt.subplots(len(networks), 1, figsize=size, layout="constrained", squeeze=False, sharex=True)
    names = list(dict.fromkeys(over_time["class"]))
    colours = {name: f"C{number % 10}" for number, name in enumerate(names)}
    for ax, network in zip(grid[:, 0], networks):
        shown = over_time[over_time["network"] == network]
        for name, rows in shown.groupby("class", sort=False):
            middles = (rows[begin] + rows[end]) / 2
            marker = "o" if len(rows) < 40 else None
            how = {"color": colours[name], "marker": marker, "markersize": 3, "label": shorter(name, LONGEST)}
            ax.plot(middles, rows["score"], **how)
        ax.set_ylim(-0.03, 1.03)
        ax.set_ylabel("score")
        ax.set_title(network, fontsize=9, loc="left", parse_math=False)
        ax.spines[["top", "right"]].set_visible(False)
        legend = ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
        for text in legend.get_texts():
            text.set_parse_math(False)
    grid[-1, 0].set_xlabel("time in the video, seconds" if in_seconds else "frame of the video")
    return grid[0, 0]


def marked_strip(clip: np.ndarray, maps: np.ndarray, title: str = "", *, frames: int = 8) -> Axes:
    """Evenly spread frames of a clip, uint8 (T, H, W, 3), above the same under its map (T, H, W), 0 to 1."""
    numbers = np.linspace(0, len(clip) - 1, min(frames, len(clip))).round().astype(int)
    rows = [clip[numbers], heat(clip[numbers], maps[numbers])]
    height = 11 / len(numbers) * clip.shape[1] / clip.shape[2]
    how = {"figsize": (11, 2 * height + 0.7), "layout": "constrained", "squeeze": False}
    figure, grid = plt.subplots(2, len(numbers), **how)
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.01, hspace=0.01)
    for line, pictures in zip(grid, rows):
        for ax, picture in zip(line, pictures):
            ax.imshow(picture)
            ax.set_xticks([])
            ax.set_yticks([])
    for ax, number in zip(grid[1], numbers):
        ax.set_xlabel(f"{number}", fontsize=8)
    grid[1, 0].set_xlabel(f"frame {numbers[0]} of the clip", fontsize=8)
    grid[0, 0].set_ylabel("clip", fontsize=9)
    grid[1, 0].set_ylabel("marked", fontsize=9)
    figure.suptitle(title, fontsize=10, parse_math=False)
    return grid[0, 0]


def fall_bars(explained: pd.DataFrame) -> Axes:
    """By how much the score falls where the marked part of a clip is hidden, and where a part of the same shape is
    hidden elsewhere. `explained`: video_id, network, class, fall_marked, fall_random, fall_random_sd (0 to 1)."""
    names = [f"{shorter(row.video_id, LONGEST)}, {row.network}" for row in explained.itertuples()]
    ax = bar_axes(names, row=0.5, more=1.3)
    places = np.arange(len(names))
    ax.barh(places - 0.18, explained["fall_marked"], 0.34, color="C3", label="what it marks is hidden")
    how = {"xerr": explained["fall_random_sd"], "error_kw": {"elinewidth": 1, "ecolor": "0.4"}}
    how["label"] = "the same shape is hidden elsewhere (mean, standard deviation)"
    ax.barh(places + 0.18, explained["fall_random"], 0.34, color="0.7", **how)
    ax.axvline(0, color="0.3", linewidth=0.8)
    ax.set_xlabel("the score falls by")
    ax.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.4, 1.0), frameon=False)
    return ax


