"""Clips as a person looks at them: pictures, and samples of a dataset."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from actlib.datasets.clips.transforms import as_clip
from actlib.datasets.video.reader import read_frames


def pictures(clip: torch.Tensor) -> np.ndarray:
    """A clip to look at: uint8 (T, C, H, W) to (T, H, W, 3). Of optical flow the first pair of each stack is shown in
    grey, x above y under a white line: (T, 2·H + 2, W, 3). Grey is no motion, white a third of the largest to the right
    or down, black to the left or up: most motions are small."""
    if clip.shape[1] != 3:
        shown = (128 + 3 * (clip[:, :2].int() - 128)).clamp(0, 255).to(torch.uint8)
        line = torch.full_like(shown[:, :1, :2], 255)
        clip = torch.cat([shown[:, :1], line, shown[:, 1:]], dim=2).expand(-1, 3, -1, -1)
    return clip.permute(0, 2, 3, 1).contiguous().numpy()


def samples(data, classes: Sequence[str], count: int = 6) -> tuple[list[np.ndarray], list[str]]:
    """At most `count` clips of a dataset of (clip, label), evenly spread over it, as pictures uint8 (T, H, W, 3), and
    the names of their classes. Float clips are taken to be on the 0-1 scale."""
    shown, names = [], []
    for index in np.linspace(0, len(data) - 1, min(count, len(data))).astype(int):
        clip, label = data[int(index)]
        shown.append(pictures((clip * 255).clamp(0, 255).byte() if clip.is_floating_point() else clip))
        names.append(classes[int(label)])
    return shown, names


def frames_of(
    videos: pd.DataFrame, count: int, *, modality: str = "rgb", timeout: float | None = 60.0, backend: str = "auto"
) -> list[np.ndarray]:
    """`count` frames of each video of a table, evenly spread over its segment: uint8 (count, H, W, 3); of optical flow
    x above y (see `pictures`). Raises VideoError."""
    found = []
    for row in videos.itertuples():
        begin = 0 if pd.isna(row.start) else int(row.start)
        end = int(row.num_frames if pd.isna(row.end) else row.end)
        numbers = begin + np.arange(count) * (end - begin) // count
        frames = read_frames(row.path, numbers, modality=modality, timeout=timeout, backend=backend)
        found.append(pictures(as_clip(frames)))
    return found
