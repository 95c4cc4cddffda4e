"""Reading optical flow that lies as pairs of grey JPEGs, one of the horizontal (x) and one of the vertical (y) motion.

Pair number i (from 0) is the motion from frame i to frame i + 1, so a video has one pair less than it has frames. A
pixel is 0 to 255 for a motion of −20 to 20 pixels a frame, 128 is none (Simonyan & Zisserman, 2014; Wang et al., 2016).
Read without conversion: `00001_x.jpg`, `00001_y.jpg` (action-recognition-pytorch), the same with a prefix
(`image_00001_x.jpg`), and `flow_x_00001.jpg`, `flow_y_00001.jpg` (temporal-segment-networks); counted from 0 or 1.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from actlib.datasets.errors import VideoError
from actlib.datasets.video.info import VideoInfo, distinct_frames, stacked
from actlib.datasets.video.numbered_pictures import Numbered, list_numbered, read_pictures, remembered, told_count
from actlib.datasets.vocabulary import FLOW_STACK

_NAMES = (
    re.compile(r".*?(?P<number>[0-9]+)_(?P<axis>[xy])\.(?:jpe?g|png)"),
    re.compile(r"(?:.*_)?(?P<axis>[xy])_(?P<number>[0-9]+)\.(?:jpe?g|png)"),
)
_REMEDY = "compute the folder's flow anew or copy it again"


def probe(folder: str | Path) -> VideoInfo:
    """The number of pairs and the size of the first; fps is 0, a folder does not tell it. Raises VideoError."""
    height, width = read_frames(folder, [0], stack=1).shape[1:3]
    return VideoInfo(num_frames=_find_pairs(folder).count, fps=0.0, width=width, height=height)


def read_frames(folder: str | Path, indices: Sequence[int], *, stack: int = FLOW_STACK) -> np.ndarray:
    """For each index (any order, repeats allowed) `stack` consecutive pairs from that one on: uint8 (T, H, W, 2·stack),
    the channels x, y of the first pair, x, y of the second, and so on. Past the end the last pair is repeated.

    The index after the last pair is allowed too: tables that count a video's frames have one more. Each distinct file
    is decoded once. Raises VideoError, naming the file, ValueError for unusable arguments.
    """
    if stack < 1:
        raise ValueError(f"stack is {stack}: at least one pair makes an input")
    distinct, places = distinct_frames(indices)
    return stacked(iter_frames(folder, distinct, stack=stack), len(distinct))[places]


def iter_frames(folder: str | Path, distinct: np.ndarray, *, stack: int = FLOW_STACK) -> Iterator[np.ndarray]:
    """The same for `distinct` numbers that ascend: each uint8 (H, W, 2·stack). Raises VideoError."""
    pairs = _find_pairs(folder)
    for index in (distinct[0], distinct[-1]):
        if not 0 <= index <= pairs.count:
            raise VideoError(folder, f"flow {index} does not exist: the folder has {pairs.count} pairs")
    wanted = np.minimum(distinct[:, None] + np.arange(stack), pairs.count - 1)
    needed = np.unique(wanted)
    pictures = read_pictures(pairs.paths(needed.tolist()), mode="L", remedy=_REMEDY)
    coming = zip(needed.tolist(), zip(pictures, pictures))  # x and y of each pair
    held: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for numbers in wanted.tolist():
        held = {number: pair for number, pair in held.items() if number >= numbers[0]}
        while numbers[-1] not in held:
            number, pair = next(coming)
            held[number] = pair
        yield np.stack([picture for number in numbers for picture in held[number]], axis=-1)


@remembered
def _find_pairs(folder: str) -> Numbered:
    names = {"what": "pairs of optical flow", "example": "00001_x.jpg and 00001_y.jpg"}
    pairs = list_numbered(folder, _NAMES, axes="xy", remedy=_REMEDY, **names)
    told = told_count(folder, _REMEDY)
    if told not in (None, pairs.count, pairs.count + 1):  # beside a video's frames it counts those
        raise VideoError(folder, f"its n_frames says {told}, it holds {pairs.count} pairs; copy it again")
    return pairs
