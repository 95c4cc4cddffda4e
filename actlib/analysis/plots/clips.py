"""Plots of frames."""

import numpy as np
from matplotlib.axes import Axes

from actlib.analysis.plots.drawing import new_axes

GAP = 3  # white pixels between frames


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


def _thinned(clip: np.ndarray) -> np.ndarray:
    """At most about 200 pixels high: whole rows and columns are left out, which is good enough for a strip."""
    step = max(1, clip.shape[1] // 160)
    return clip[:, ::step, ::step]
