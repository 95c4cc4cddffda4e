"""Clips as a person looks at them: pictures, and samples of a dataset. Without torch, whose import takes seconds."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from actlib.datasets.video.reader import read_frames


def pictures(frames: np.ndarray) -> np.ndarray:
    """Frames to look at: uint8 (T, H, W, C) to (T, H, W, 3). Of optical flow the first pair of each stack is shown in
    grey, x above y under a white line: (T, 2·H + 2, W, 3). Grey is no motion, white a third of the largest to the right
    or down, black to the left or up: most motions are small."""
    if frames.shape[3] != 3:
        shown = np.clip(128 + 3 * (frames[..., :2].astype(int) - 128), 0, 255).astype(np.uint8)
        line = np.full_like(shown[:, :2, :, :1], 255)
        frames = np.concatenate([shown[..., :1], line, shown[..., 1:]], axis=1).repeat(3, axis=3)
    return np.ascontiguousarray(frames)


def samples(data, classes: Sequence[str], count: int = 6) -> tuple[list[np.ndarray], list[str]]:
    """At most `count` clips of a dataset of (clip, label), evenly spread over it, as pictures uint8 (T, H, W, 3), and
    the names of their classes. Float clips are taken to be on the 0-1 scale."""
    shown, names = [], []
    for index in np.linspace(0, len(data) - 1, min(count, len(data))).astype(int):
        clip, label = data[int(index)]
        clip = (clip * 255).clamp(0, 255).byte() if clip.is_floating_point() else clip
        shown.append(pictures(clip.permute(0, 2, 3, 1).numpy()))
        names.append(classes[int(label)])
    return shown, names


def span_of(row) -> tuple[int, int]:
    """The frames [begin, end) of its file that belong to a video; `row` of the table, a Series or of `itertuples`."""
    begin = 0 if pd.isna(row.start) else int(row.start)
    return begin, int(row.num_frames if pd.isna(row.end) else row.end)


def frames_of(
    videos: pd.DataFrame, count: int, *, modality: str = "rgb", timeout: float | None = 60.0, backend: str = "auto"
) -> list[np.ndarray]:
    """`count` frames of each video of a table, evenly spread over its segment: uint8 (count, H, W, 3); of optical flow
    x above y (see `pictures`). Raises VideoError."""
    found = []
    for row in videos.itertuples():
        begin, end = span_of(row)
        numbers = begin + np.arange(count) * (end - begin) // count
        frames = read_frames(row.path, numbers, modality=modality, timeout=timeout, backend=backend)
        found.append(pictures(frames))
    return found
