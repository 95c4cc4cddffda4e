"""Reading a video that lies as a folder of pictures, one a frame, in the layouts of the references, without conversion.

Read are `image_00001.jpg` with a file `n_frames` beside (3D-ResNets-PyTorch, Efficient-3DCNNs), `00001.jpg` (Jester,
Something-Something, action-recognition-pytorch), `img_00001.jpg` (temporal-shift-module), and any other one prefix,
width of numbers, JPEG or PNG, counted from 0, 1 or elsewhere without a gap. Our frame numbers count from 0 always.
Pairs of optical flow in the same folder are left alone.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from actlib.datasets.errors import VideoError
from actlib.datasets.video.info import VideoInfo, check_range, distinct_frames, stacked
from actlib.datasets.video.numbered_pictures import Numbered, list_numbered, read_pictures, remembered, told_count

# What is looked for first where a file n_frames tells how many there are: then the folder need not be listed.
_USUAL = ("image_{number:05d}.jpg", "{number:05d}.jpg", "img_{number:05d}.jpg")
# Not flow_x_00001.jpg; 00001_x.jpg does not end in its number.
_NAME = re.compile(r"(?!(?:.*_)?[xy]_[0-9]+\.\w+$).*?(?P<number>[0-9]+)\.(?i:jpe?g|png)")
_REMEDY = "extract the folder's frames anew"


def holds_frames(folder: str | Path) -> bool:
    """Whether some picture of a frame lies in it."""
    return any(_NAME.fullmatch(name) for name in os.listdir(folder))


def probe(folder: str | Path) -> VideoInfo:
    """Count the frames and decode the first; fps is 0, since a folder does not tell it. Raises VideoError."""
    height, width = read_frames(folder, [0]).shape[1:3]
    return VideoInfo(num_frames=_find_frames(folder).count, fps=0.0, width=width, height=height)


def read_frames(folder: str | Path, indices: Sequence[int]) -> np.ndarray:
    """The frames numbered `indices` from 0 (any order, repeats allowed): uint8 (T, H, W, 3) RGB, each decoded once.

    Raises VideoError naming the file for a picture that is missing, damaged or of another size than the first one
    asked for, and for a frame that the folder does not have; ValueError for unusable indices.
    """
    distinct, places = distinct_frames(indices)
    return stacked(iter_frames(folder, distinct), len(distinct))[places]


def iter_frames(folder: str | Path, distinct: np.ndarray) -> Iterator[np.ndarray]:
    """The frames numbered `distinct`, which ascend: each uint8 (H, W, 3). Raises VideoError as `read_frames`."""
    frames = _find_frames(folder)
    check_range(folder, distinct, frames.count)
    yield from read_pictures(map(frames.path, distinct.tolist()), remedy=_REMEDY)


@remembered
def _find_frames(folder: str) -> Numbered:
    told = told_count(folder, _REMEDY)
    frames = _usual(folder, told) if told else None
    if frames is None:
        example = "image_00001.jpg or 00001.jpg"
        frames = list_numbered(folder, [_NAME], what="frames", example=example, remedy=_REMEDY)
    if told not in (None, frames.count):
        raise VideoError(
            folder, f"its n_frames says {told}, it holds {frames.count} frames; extract it anew or delete it"
        )
    return frames


def _usual(folder: str, count: int) -> Numbered | None:
    """Frames under one of the usual names, `count` of them by their first and last, at the price of four look-ups."""
    for form in _USUAL:
        for first in (1, 0):
            frames = Numbered(folder, form, first, count)
            there = [os.path.exists(frames.path(index)) for index in (0, count - 1, count, -1)]
            if there == [True, True, False, False]:
                return frames
    return None
