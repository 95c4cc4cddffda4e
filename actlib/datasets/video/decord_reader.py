"""Reading frames with decord 0.6.0, long the usual choice, for comparing: `video.read_frames` is faster and right.

What decord gets wrong, found by reading every frame of small files with it:
- It numbers key frames in decoding order, so after a seek in an open-GOP stream it returns a frame some numbers late.
- Without presentation times (AVI with B-frames) its seeks miss in the same way; in MPEG-TS even frame 0 may be wrong.
- It counts packets, also those an edit list hides, and replaces pictures that it cannot decode by copies of others.
- It spins forever, uninterruptible, when more than 128 of the pictures that it skips do not decode.
- It cannot decode AV1, and converts odd 4:2:0 sizes and samples of more than 8 bits in its own way.
"""

import os
import re

import numpy as np
import torch  # noqa: F401 -- decord loaded before torch hangs or crashes the process (decord issues 251, 263, 293)

from actlib.datasets.errors import VideoError
from actlib.datasets.video.pyav_reader import check_file, check_range

# Read by decord once, when it is loaded. 0 makes an undecodable frame an error; by default decord steps back and
# returns an earlier one. DECORD_EOF_RETRY_MAX stays at its 10240: below a file's number of packets, sound files fail
# at random.
os.environ.setdefault("DECORD_REWIND_RETRY_MAX", "0")

try:
    import decord
except (ImportError, OSError):  # no wheel for this platform, or a broken library
    decord = None
else:
    decord.logging.set_level(decord.logging.QUIET)  # its errors reach us as exceptions

# Any share so small that a single duplicated frame exceeds it; decord takes 0 for "no limit".
_NO_DUPLICATES = "0.0000001"


def read(path: str, distinct: np.ndarray) -> np.ndarray:
    """The frames with the ascending numbers `distinct`: uint8 (T, H, W, 3). Raises VideoError; ValueError where decord
    is not installed."""
    if decord is None:
        raise ValueError('backend="decord": decord is not installed here; use "pyav"')
    check_file(path)
    try:
        # The reader lives for this call only: idle ones hoard decoded frames.
        reader = decord.VideoReader(path, num_threads=1, fault_tol=_NO_DUPLICATES)
        check_range(path, distinct, len(reader))
        frames = reader.get_batch(distinct)
    except VideoError:
        raise
    except Exception as error:  # decord raises DECORDError, RuntimeError, AssertionError
        message = re.sub(r"^\[[\d:]+\] \S+: ", "", str(error)) or type(error).__name__  # without time and C++ file
        raise VideoError(path, f"decord cannot read it: {message.splitlines()[0]}") from None
    # A notebook may have set decord's torch bridge; then these are tensors.
    return frames.asnumpy() if hasattr(frames, "asnumpy") else np.asarray(frames)
