"""Reading frames of a video file by number with decord 0.6.0, long the usual choice: `pyav_reader` is faster and right.

What decord gets wrong, found by reading every frame of small files with it:
- It numbers key frames in decoding order, so after a seek in an open-GOP stream it returns a frame some numbers late.
- Without presentation times (AVI with B-frames) its seeks miss in the same way; in MPEG-TS even frame 0 may be wrong.
- It counts packets, also those an edit list hides, and replaces pictures that it cannot decode by copies of others.
- It spins forever, uninterruptible, when more than 128 of the pictures that it skips do not decode.
- It cannot decode AV1, and converts odd 4:2:0 sizes and samples of more than 8 bits in its own way.
"""

import os
import platform
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch  # noqa: F401 -- decord loaded before torch hangs or crashes the process (decord issues 251, 263, 293)

from actlib.datasets.errors import DataError, VideoError
from actlib.datasets.video.info import VideoInfo, check_file, check_range, distinct_frames

# Read by decord once, when it is loaded. 0 makes an undecodable frame an error; by default decord steps back and
# returns an earlier one. DECORD_EOF_RETRY_MAX stays at its 10240: below a file's number of packets, sound files fail
# at random.
os.environ.setdefault("DECORD_REWIND_RETRY_MAX", "0")

try:
    import decord
except (ImportError, OSError) as error:  # no wheel for this platform, or a broken library
    decord, _why = None, str(error).splitlines()[0]
else:
    _why = ""
    decord.logging.set_level(decord.logging.QUIET)  # its errors reach us as exceptions

# Any share so small that a single duplicated frame exceeds it; decord takes 0 for "no limit".
_NO_DUPLICATES = "0.0000001"


def check_installed() -> None:
    """Raise DataError, which says why and what to do, where decord cannot be used."""
    if decord is None:
        raise DataError(
            f"video_backend: decord cannot be used here ({_why}): it is published for Linux and Windows on x86-64 "
            f"processors, and this is {platform.system()} on {platform.machine()}. Set video_backend: pyav"
        )


def probe(path: str | Path) -> VideoInfo:
    """Count the file's frames, as decord does, and decode the first. Raises as `read_frames`."""
    with _opened(path) as reader:
        height, width = reader[0].shape[:2]
        return VideoInfo(len(reader), float(reader.get_avg_fps()), width, height)


def read_frames(path: str | Path, indices: Sequence[int]) -> np.ndarray:
    """The frames numbered `indices` (any order, repeats allowed): uint8 (T, H, W, 3) RGB, each decoded once. Raises
    VideoError, DataError where decord is not installed, ValueError for unusable indices."""
    distinct, places = distinct_frames(indices)
    with _opened(path) as reader:
        check_range(path, distinct, len(reader))
        return _arrays(reader.get_batch(distinct))[places]


def iter_frames(path: str | Path, distinct: np.ndarray) -> Iterator[np.ndarray]:
    """As `pyav_reader.iter_frames`. Raises as `read_frames`."""
    with _opened(path) as reader:
        check_range(path, distinct, len(reader))
        for number in distinct.tolist():
            [frame] = _arrays(reader.get_batch([number]))
            yield frame


def _arrays(frames) -> np.ndarray:
    """A notebook may have set decord's torch bridge; then these are tensors."""
    return frames.asnumpy() if hasattr(frames, "asnumpy") else np.asarray(frames)


@contextmanager
def _opened(path) -> Iterator:
    """Yield a reader of the file; decord's errors leave as VideoError."""
    check_installed()
    check_file(path)
    try:
        # The reader lives for this call only: idle ones hoard decoded frames.
        yield decord.VideoReader(os.fspath(path), num_threads=1, fault_tol=_NO_DUPLICATES)
    except VideoError:
        raise
    except Exception as error:  # decord raises DECORDError, RuntimeError, AssertionError
        message = re.sub(r"^\[[\d:]+\] \S+: ", "", str(error)) or type(error).__name__  # without time and C++ file
        raise VideoError(path, f"decord cannot read it: {message.splitlines()[0]}") from None
