"""Reading frames of a video file by number: decord where it reads exactly, PyAV everywhere else.

Frame numbers are 0-based and count the pictures in presentation order. Both decoders answer with the same frame for
the same number and, for 8-bit video of even size (and 4:4:4 of any size), the same pixels: both let swscale take its
default, fast path. decord's older swscale converts odd 4:2:0 sizes and deeper samples differently; PyAV alone reads
those. Rotated files (a display matrix that turns by 90, 180 or 270 degrees, as phones write) come out upright: decord
turns them by itself, PyAV's frames are turned here.

What decord 0.6.0 gets wrong, found by reading every frame of small files with it:
- It numbers key frames in decoding order, so after a seek in an open-GOP stream it returns a frame some numbers late.
- Without presentation times (AVI with B-frames) its seeks miss in the same way; in MPEG-TS even frame 0 may be wrong.
- It counts packets, also those an edit list hides, and replaces pictures that it cannot decode by copies of others.
- It spins forever, uninterruptible, when more than 128 of the pictures that it skips do not decode; see `prepare.py`.
The first three are found here, from the packets' times; against the last only another process helps.
"""

import os
import re
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG

import torch  # noqa: F401 -- decord loaded before torch hangs or crashes the process (decord issues 251, 263, 293)

# Read by decord once, when it is loaded. 0 makes an undecodable frame an error; by default decord steps back and
# returns an earlier one. DECORD_EOF_RETRY_MAX stays at its 10240: below a file's number of packets, sound files fail
# at random.
os.environ.setdefault("DECORD_REWIND_RETRY_MAX", "0")

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

try:
    import decord
except (ImportError, OSError):  # no wheel for this platform, or a broken library: PyAV decodes alone
    decord = None
else:
    decord.logging.set_level(decord.logging.QUIET)  # its errors reach us as exceptions

# Any share so small that a single duplicated frame exceeds it; decord takes 0 for "no limit".
_NO_DUPLICATES = "0.0000001"
# The containers whose index decord seeks by exactly.
_INDEXED_FORMATS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi"}


class VideoError(RuntimeError):
    """A video that cannot be opened or read: `.path` says which, `.reason` why."""

    def __init__(self, path: str | Path, reason: str):
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason

    def __reduce__(self):
        return type(self), (self.path, self.reason)


@dataclass(frozen=True)
class VideoInfo:
    """Number of frames, average frames per second (0 if unknown), size in pixels of the frames as they are returned."""

    num_frames: int
    fps: float
    width: int
    height: int


def probe(path: str | Path) -> VideoInfo:
    """Count a file's frames and decode the first. Raises VideoError.

    The count comes from the packets in the file, or, where these bear no times, from decoding them all.
    An mp4 whose index lists more frames than the file holds is an error: the download was cut off.
    """
    with _opened(path) as (container, stream):
        index = _index(container, stream)
        if index.num_listed > index.num_packets:
            counts = f"its index lists {index.num_listed} frames, the file holds {index.num_packets}"
            raise VideoError(path, f"is cut off: {counts}; fetch it anew")
        fps = float(stream.average_rate or stream.guessed_rate or 0)
    with _opened(path) as (container, stream):
        to_rgb, frames = _ToRGB(stream), _decoded(container, stream)
        first = next(frames, None)
        if first is None:
            raise VideoError(path, "holds no frame that can be decoded")
        height, width = to_rgb(first).shape[:2]
        num_frames = len(index.pts) if index.timed else 1 + sum(1 for _ in frames)
    return VideoInfo(num_frames=num_frames, fps=fps, width=width, height=height)


def read_frames(path: str | Path, indices: Sequence[int], *, backend: str = "auto") -> np.ndarray:
    """Decode the frames numbered `indices` (any order, repeats allowed): uint8 (T, H, W, 3) RGB, 0..255.

    `backend`: "decord", "pyav", or "auto": decord for a file that it reads exactly, PyAV for any other, where decord
    fails, and where it is not installed. Each distinct frame is decoded once. Raises VideoError for whatever is wrong
    with the file and for a frame that it does not have; ValueError for unusable arguments.
    """
    indices = np.asarray(indices)
    if indices.ndim != 1 or indices.size == 0 or not np.issubdtype(indices.dtype, np.integer):
        raise ValueError(f"indices must be a non-empty list of whole numbers, got {indices.tolist()!r}")
    distinct, places = np.unique(indices, return_inverse=True)
    if backend == "pyav":
        frames = _read_pyav(path, distinct)
    elif backend == "decord":
        if decord is None:
            raise ValueError('backend="decord": decord is not installed here; use "auto" or "pyav"')
        _check_file(path)
        frames = _read_decord(path, distinct)
    elif backend == "auto":
        frames = _read_auto(path, distinct)
    else:
        raise ValueError(f'backend must be "auto", "decord" or "pyav", got {backend!r}')
    return frames if np.array_equal(distinct, indices) else frames[places]


def _read_auto(path, distinct: np.ndarray) -> np.ndarray:
    if decord is not None:
        status = _check_file(path)
        if _decord_is_exact(str(path), status.st_size, status.st_mtime_ns):
            try:
                return _read_decord(path, distinct)
            except VideoError:
                pass  # PyAV decides, and names the reason
    return _read_pyav(path, distinct)


def _check_file(path) -> os.stat_result:
    try:
        status = os.stat(path)
    except OSError as error:
        raise VideoError(path, f"cannot be opened: {error.strerror}") from None
    if not S_ISREG(status.st_mode):
        raise VideoError(path, "is not a regular file")
    if status.st_size == 0:
        raise VideoError(path, "is empty (0 bytes); fetch it anew")
    return status


# ---- decord


def _read_decord(path, distinct: np.ndarray) -> np.ndarray:
    """`distinct`: ascending frame numbers. The reader lives for this call only: idle ones hoard decoded frames."""
    try:
        reader = decord.VideoReader(str(path), num_threads=1, fault_tol=_NO_DUPLICATES)
        _check_range(path, distinct, len(reader))
        frames = reader.get_batch(distinct)
    except VideoError:
        raise
    except Exception as error:  # decord raises DECORDError, RuntimeError, AssertionError
        message = re.sub(r"^\[[\d:]+\] \S+: ", "", str(error)) or type(error).__name__  # without time and C++ file
        reason = message.splitlines()[0]
        raise VideoError(path, f"decord cannot read it: {reason}") from None
    # A notebook may have set decord's torch bridge; then these are tensors.
    return frames.asnumpy() if hasattr(frames, "asnumpy") else np.asarray(frames)


@lru_cache(maxsize=1 << 15)
def _decord_is_exact(path: str, size: int, modified: int) -> bool:
    """Whether decord numbers this file's frames rightly and converts them as PyAV does.

    `size` and `modified` are there for the cache alone: a file that was replaced is looked at again.
    """
    with _opened(path) as (container, stream):
        pixels = stream.codec_context.format
        even = stream.codec_context.width % 2 == 0 and stream.codec_context.height % 2 == 0
        return (
            container.format.name in _INDEXED_FORMATS
            and pixels is not None
            and all(component.bits == 8 for component in pixels.components)
            and (even or pixels.name in ("yuv444p", "yuvj444p"))
            and _index(container, stream).decord_exact
        )


# ---- PyAV


@dataclass(frozen=True)
class _Index:
    """What the packets of a stream say about its frames, without decoding any.

    `pts`: the presentation times, ascending, of the frames that are shown; `keyframes`: those where decoding can start.
    `timed`: every frame has a time of its own. `decord_exact`: decord's numbering is right. `num_listed`: the number of
    packets by an mp4's own index (0 in other containers), to compare with `num_packets`.
    """

    pts: list[int]
    keyframes: list[int]
    timed: bool
    decord_exact: bool
    num_packets: int
    num_listed: int


def _index(container, stream) -> _Index:
    """Read all packets of the stream; the container must be opened anew, or sought, before decoding."""
    packets = [packet for packet in container.demux(stream) if packet.size]
    shown = [packet for packet in packets if not packet.is_discard]
    pts = [packet.pts for packet in shown]
    timed = None not in pts and len(set(pts)) == len(pts)
    if timed:
        pts.sort()
    # decord takes a key frame's place among the packets for its place among the frames.
    decord_exact = (
        timed
        and len(shown) == len(packets) > 0
        and shown[0].is_keyframe
        and all(pts[place] == packet.pts for place, packet in enumerate(shown) if packet.is_keyframe)
    )
    return _Index(
        pts=pts,
        keyframes=sorted(packet.pts for packet in packets if packet.is_keyframe) if timed else [],
        timed=timed,
        decord_exact=decord_exact,
        num_packets=len(packets),
        num_listed=stream.frames if container.format.name.startswith("mov") else 0,
    )


@contextmanager
def _opened(path):
    """Yield (container, stream) of the file's best video stream; PyAV's errors leave as VideoError."""
    _check_file(path)
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            stream = container.streams.best("video")
            if stream is None:
                raise VideoError(path, "has no video stream")
            if stream.codec_context is None:
                raise VideoError(path, "has a codec that no decoder here knows")
            stream.codec_context.thread_count = 1  # PyAV's own threads deadlock beside a DataLoader's workers
            yield container, stream
    except av.FFmpegError as error:
        hint = ""
        if isinstance(error, av.InvalidDataError):
            hint = " (not a video, damaged, or cut off before its index was written)"
        raise VideoError(path, f"{error.strerror}{hint}") from None


def _read_pyav(path, distinct: np.ndarray) -> np.ndarray:
    with _opened(path) as (container, stream):
        index = _index(container, stream)
    if not index.timed:
        with _opened(path) as (container, stream):
            return _decode_counting(path, container, stream, distinct)
    _check_range(path, distinct, len(index.pts))
    wanted = [index.pts[number] for number in distinct]
    found: dict[int, np.ndarray] = {}
    # A seek that lands too late leaves frames unfound: then read from the start, which needs no seek.
    for keyframes in (index.keyframes, []):
        with _opened(path) as (container, stream):
            found = _decode_at(container, stream, wanted, keyframes)
        if len(found) == len(wanted):
            return np.stack([found[pts] for pts in wanted])
    missing = next(number for number, pts in zip(distinct, wanted) if pts not in found)
    raise VideoError(path, f"frame {missing} of {len(index.pts)} cannot be decoded: the file is damaged or cut off")


def _decode_at(container, stream, wanted: list[int], keyframes: list[int]) -> dict[int, np.ndarray]:
    """Decode the frames shown at the ascending times `wanted`, seeking to any of `keyframes` that saves decoding."""
    found: dict[int, np.ndarray] = {}
    to_rgb = _ToRGB(stream)
    frames, frame = _decoded(container, stream), None
    for target in wanted:
        place = bisect_right(keyframes, target) - 1
        if place > 0 and (frame is None or keyframes[place] > frame.pts):
            container.seek(keyframes[place], stream=stream)
            frames, frame = _decoded(container, stream), None
        while frame is None or frame.pts is None or frame.pts < target:
            frame = next(frames, None)
            if frame is None:
                return found
        if frame.pts == target and not frame.is_corrupt:
            found[target] = to_rgb(frame)
    return found


def _decode_counting(path, container, stream, distinct: np.ndarray) -> np.ndarray:
    """Decode from the start, counting: the way for streams whose packets bear no times."""
    wanted = set(distinct.tolist())
    found, to_rgb, count = [], _ToRGB(stream), 0
    for frame in _decoded(container, stream):
        if count in wanted:
            found.append(to_rgb(frame))
        count += 1
        if len(found) == len(wanted):
            break
    _check_range(path, distinct, count)
    return np.stack(found)


def _decoded(container, stream):
    """The frames from here on, up to the end or the first packet that the decoder rejects."""
    with suppress(av.FFmpegError):
        yield from container.decode(stream)


class _ToRGB:
    """Converts frames to upright uint8 (H, W, 3) RGB of the size that the stream starts with; it may change midway."""

    def __init__(self, stream):
        self._size = stream.codec_context.width, stream.codec_context.height
        self._reformatter = VideoReformatter()

    def __call__(self, frame) -> np.ndarray:
        # Plain bilinear: ACCURATE_RND and full chroma would leave the fast path that decord takes.
        image = self._reformatter.reformat(
            frame, *self._size, format="rgb24", interpolation=Interpolation.BILINEAR, threads=1
        ).to_ndarray()
        quarter_turns, rest = divmod(round(frame.rotation), 90)  # counter-clockwise
        return np.rot90(image, quarter_turns) if quarter_turns % 4 and not rest else image


def _check_range(path, distinct: np.ndarray, num_frames: int):
    for number in (distinct[0], distinct[-1]):
        if not 0 <= number < num_frames:
            raise VideoError(path, f"frame {number} does not exist: the video has {num_frames} frames")
