"""What all readers share: what is known of a video, and the checks of the arguments and of the file."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from stat import S_ISREG

import numpy as np

from actlib.datasets.errors import VideoError
from actlib.messages import cut, shown


@dataclass(frozen=True)
class VideoInfo:
    """Number of frames, average frames per second (0 if unknown), size in pixels of the frames as they are returned."""

    num_frames: int
    fps: float
    width: int
    height: int


MAX_PIXELS = 1 << 26  # of a frame: four times those of 4096 × 4096. More is a damaged head, or meant to fill the memory


def check_size(path: str | Path, width: int, height: int) -> None:
    """Raise VideoError for a frame of a size that no video has, before anything of that size is made."""
    if width * height > MAX_PIXELS:
        raise VideoError(path, f"says that its frames have {width}×{height} pixels, and {MAX_PIXELS:,} are the most")


def distinct_frames(indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray | slice]:
    """The different ones of `indices`, ascending, and where each index is among them: `distinct[places]` is `indices`.
    Where they are just these already, `places` is a slice, which copies nothing. Raises ValueError."""
    indices = np.asarray(indices)
    if indices.ndim != 1 or indices.size == 0 or not np.issubdtype(indices.dtype, np.integer):
        raise ValueError(f"indices must be a non-empty list of whole numbers, got {shown(indices.tolist())}")
    distinct, places = np.unique(indices, return_inverse=True)
    return distinct, slice(None) if np.array_equal(distinct, indices) else places


def stacked(frames: Iterable[np.ndarray], count: int) -> np.ndarray:
    """The next `count` of some frames of one shape, or as many as there are: (N, *shape), of none (0,)."""
    found, number = np.empty(0, dtype=np.uint8), 0
    for number, frame in enumerate(islice(frames, count), 1):
        if number == 1:
            if count == 1 and frame.flags.writeable:  # Pillow's arrays are not, and torch takes no such
                return frame[None]
            found = np.empty((count, *frame.shape), dtype=frame.dtype)
        found[number - 1] = frame
    return found[:number]


def check_range(path: str | Path, distinct: np.ndarray, num_frames: int) -> None:
    """Raise VideoError when the ascending numbers `distinct` reach beyond the video's frames."""
    for number in (distinct[0], distinct[-1]):
        if not 0 <= number < num_frames:
            raise VideoError(path, f"frame {number} does not exist: the video has {num_frames} frames")


def check_file(path: str | Path) -> os.stat_result:
    """The file's status. Raises VideoError for what is no regular file, or an empty one."""
    status = status_of(path)
    if not S_ISREG(status.st_mode):
        raise VideoError(path, "is not a regular file")
    if status.st_size == 0:
        raise VideoError(path, "is empty (0 bytes); fetch it anew")
    return status


def status_of(path: str | Path) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        raise VideoError(path, f"cannot be opened: {error.strerror}") from None


def first_line(error: Exception) -> str:
    """An error in one line; its kind where it says nothing."""
    return cut(next(iter(str(error).splitlines()), "") or type(error).__name__)
