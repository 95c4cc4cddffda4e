"""Plots of frames."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from actlib.analysis.plots.drawing import new_axes

GAP = 3  # white pixels between frames
RIGHT, WRONG = "#2a9d4a", "#d1495b"  # of answers


def film_strip(clips: list[np.ndarray], titles: list[str], *, frames: int = 8, ax: Axes | None = None) -> Axes:
    """Clips one below the other, each as `frames` evenly spread frames; a clip is uint8 (T, H, W, 3). Clips of other
    sizes are cut or padded to the first one's."""
    clips = [_thinned(clip) for clip in clips]
    height, width = clips[0].shape[1:3]
    strip = np.full((len(clips), height + 2 * GAP, frames, width + GAP, 3), 255, dtype=np.uint8)
    for row, clip in enumerate(clips):
        for column, number in enumerate(np.linspace(0, len(clip) - 1, frames).round().astype(int)):
            frame = clip[number, :height, :width]
            strip[row, : frame.shape[0], column, : frame.shape[1]] = frame
    strip = strip.reshape(len(clips) * (height + 2 * GAP), -1, 3)[: -2 * GAP, :-GAP]
    ax = ax or new_axes(11, 11 * strip.shape[0] / strip.shape[1] + 0.4)
    ax.imshow(strip)
    middles = [row * (height + 2 * GAP) + height / 2 for row in range(len(clips))]
    ax.set_yticks(middles, titles, parse_math=False)  # a name may have dollar signs
    ax.set_xticks([])
    ax.set_xlabel("time →")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def answers(clips: list[np.ndarray], found: pd.DataFrame, *, frames: int = 8, ax: Axes | None = None) -> Axes:
    """Clips as in `film_strip`, each with what a network says of it, in a green frame where that is right, else in a
    red one. `found`: a row a clip with label, prediction and score (0 to 1, the prediction's)."""
    said = [f"{row.label}\n→ {row.prediction} ({row.score:.2f})" for row in found.itertuples()]
    ax = film_strip(clips, said, frames=frames, ax=ax)
    height = _thinned(clips[0]).shape[1]
    width = ax.get_images()[0].get_size()[1]
    for row, right in enumerate(found["label"] == found["prediction"]):
        corner = (-2, row * (height + 2 * GAP) - 2)
        color = RIGHT if right else WRONG
        ax.add_patch(Rectangle(corner, width + 3, height + 3, fill=False, linewidth=2.5, color=color, clip_on=False))
    return ax


def _thinned(clip: np.ndarray) -> np.ndarray:
    """At most about 200 pixels high: whole rows and columns are left out, which is good enough for a strip."""
    step = max(1, clip.shape[1] // 160)
    return clip[:, ::step, ::step]
