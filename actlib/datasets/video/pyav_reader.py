"""Reading frames of a video file by number, with PyAV: the right ones, upright, or an error that names the reason.

Frame numbers are 0-based and count the pictures in presentation order. Which time each has, and where decoding can
start, comes from the file's packets, which are looked through once a file (`_Index`) and remembered; a read then opens
the file, jumps to the key frame before the first frame and decodes from there. In H.264, pictures that no other one is
built on are passed over undecoded unless they are asked for, which saves about a sixth of the work. Rotated files (a
display matrix that turns by 90, 180 or 270 degrees, as phones write) come out upright.
"""

import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from actlib.datasets.errors import VideoError
from actlib.datasets.video import time_limit
from actlib.datasets.video.info import (  # fmt: skip
    MAX_PIXELS,
    VideoInfo,
    check_file,
    check_range,
    check_size,
    distinct_frames,
    stacked,
)

_LIMITS = {"max_pixels": str(MAX_PIXELS)}


def probe(path: str | Path) -> VideoInfo:
    """Count a file's frames and decode the first. Raises VideoError.

    The count comes from the packets in the file, or, where these bear no times, from decoding them all.
    An mp4 whose index lists more frames than the file holds is an error: the download was cut off.
    """
    with _opened(path) as (container, stream):
        index = _look_through(container, stream)
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
        num_frames = len(index.times) or 1 + sum(1 for _ in frames)
    return VideoInfo(num_frames=num_frames, fps=fps, width=width, height=height)


def read_frames(path: str | Path, indices: Sequence[int]) -> np.ndarray:
    """Decode the frames numbered `indices` (any order, repeats allowed): uint8 (T, H, W, 3) RGB, 0..255, each once.

    Raises VideoError for whatever is wrong with the file and for a frame that it does not have; ValueError for unusable
    indices.
    """
    distinct, places = distinct_frames(indices)
    return stacked(iter_frames(path, distinct), len(distinct))[places]


def iter_frames(path: str | Path, distinct: np.ndarray) -> Iterator[np.ndarray]:
    """Decode the frames numbered `distinct`, which ascend without a repeat: each uint8 (H, W, 3), as soon as it is
    there. Raises VideoError, where need be after the first frames."""
    path, done = os.fspath(path), 0
    status = check_file(path)
    stamp = status.st_size, status.st_mtime_ns
    index = _indices.get(path, stamp)
    with _opened(path) as (container, stream):
        fresh = index is None
        if fresh:
            index = _look_through(container, stream)
            _indices.put(path, stamp, index)
        if len(index.times):
            check_range(path, distinct, len(index.times))
            for frame in _decode_at(container, stream, distinct, index, rewind=fresh):
                yield frame
                done += 1
            if done == len(distinct):
                return
    # A seek that lands too late leaves a frame unfound: then read on from the start, which needs no seek.
    with _opened(path) as (container, stream):
        if not len(index.times):
            yield from _decode_counting(path, container, stream, distinct)
            return
        index = replace(index, keyframes=index.keyframes[:0])
        for frame in _decode_at(container, stream, distinct[done:], index):
            yield frame
            done += 1
    if done < len(distinct):
        place = f"frame {distinct[done]} of {len(index.times)}"
        raise VideoError(path, f"{place} cannot be decoded: the file is damaged or cut off")


# ---- what the packets tell


@dataclass(frozen=True, slots=True)
class _Index:
    """What the packets of a stream say about its frames, without decoding any.

    `times`: the presentation times of the frames that are shown, in order; `keyframes`: the numbers of those where
    decoding can start, and `seeks` the times that lead there; all times in units of the stream's time base. All three
    are empty unless every frame has a presentation time of its own. `sorted`: whether `times` ascend. `num_listed`: the
    frames that an mp4's index promises, 0 if unknown.
    """

    times: range | np.ndarray
    keyframes: np.ndarray
    seeks: np.ndarray
    sorted: bool
    num_packets: int
    num_listed: int


class _Indices:
    """The indices of the files read last, until they fill `limit` bytes; a file that was replaced is read anew."""

    def __init__(self, limit: int):
        self._limit, self._size = limit, 0
        self._found: OrderedDict[str, tuple[tuple, _Index]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: str, stamp: tuple) -> _Index | None:
        with self._lock:
            found = self._found.get(path)
            if found is None or found[0] != stamp:
                return None
            self._found.move_to_end(path)
            return found[1]

    def put(self, path: str, stamp: tuple, index: _Index):
        with self._lock:
            self._drop(path)
            self._found[path] = stamp, index
            self._size += self._bytes_of(path, index)
            while self._size > self._limit:
                self._drop(next(iter(self._found)))

    def _drop(self, path: str):
        _, index = self._found.pop(path, (None, None))
        if index is not None:
            self._size -= self._bytes_of(path, index)

    @staticmethod
    def _bytes_of(path: str, index: _Index) -> int:
        times = index.times.nbytes if isinstance(index.times, np.ndarray) else 0
        return 900 + len(path) + times + index.keyframes.nbytes + index.seeks.nbytes  # 900: the Python objects around


_indices = _Indices(limit=16 << 20)
if hasattr(os, "register_at_fork"):  # another thread may hold the lock while this one forks
    os.register_at_fork(after_in_child=lambda: setattr(_indices, "_lock", threading.Lock()))


def _look_through(container, stream) -> _Index:
    """Read all packets of the stream; the container must be opened anew, or sought, before decoding."""
    shown, keys, num_packets = [], [], 0
    for packet in container.demux(stream):
        if packet.size:
            num_packets += 1
            if packet.is_keyframe:
                keys.append(packet.pts)
            if not packet.is_discard:
                shown.append(packet.pts)
            if not num_packets % 256:
                time_limit.check()
    timed = None not in shown and None not in keys and len(set(shown)) == len(shown)
    # AVI has no presentation times; MPEG-4 may have been copied out of one, B-frames packed as they were.
    guessed = container.format.name == "avi" or stream.codec_context.name == "mpeg4"
    guessed = timed and guessed and (stream.codec_context.has_b_frames or shown != sorted(shown))
    if guessed:
        times, keyframes, seeks = _times_by_decoding(container, stream)
    else:
        times = np.array(sorted(shown) if timed else [], dtype=np.int64)
        seeks = np.array(sorted(keys) if timed else [], dtype=np.int64)
        keyframes = np.searchsorted(times, seeks)
        steps = np.diff(times)
        if len(steps) and (steps == steps[0]).all():  # the usual case needs no list
            times = range(int(times[0]), int(times[-1]) + 1, int(steps[0]))
    return _Index(
        times=times,
        keyframes=keyframes.astype(np.int32),
        seeks=seeks,
        sorted=not guessed,
        num_packets=num_packets,
        num_listed=stream.frames if container.format.name.startswith("mov") else 0,
    )


def _times_by_decoding(container, stream) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`times`, `keyframes` and `seeks` of a stream with B-frames whose times FFmpeg had to guess.

    It may be wrong: with two pictures in a packet ("packed bitstream", as DivX and XviD wrote) the times come out as
    1, 2, 4, 3, 5, 7, 6, … So all is decoded once; the order is right, and the times are names for the frames.
    """
    container.seek(0, stream=stream)
    times, keyframes = [], []
    for frame in _decoded(container, stream):
        if frame.pts is not None:
            if frame.key_frame:
                keyframes.append(len(times))
            times.append(frame.pts)
    times, keyframes = np.array(times, dtype=np.int64), np.array(keyframes, dtype=np.int64)
    return times, keyframes, times[keyframes]


# ---- PyAV


@contextmanager
def _opened(path):
    """Yield (container, stream) of the file's best video stream; PyAV's errors leave as VideoError."""
    check_file(path)
    try:
        # The limit holds while FFmpeg looks into the file too; a picture may be larger than the head says.
        with av.open(str(path), metadata_errors="ignore", options=_LIMITS) as container:
            stream = container.streams.best("video")
            if stream is None:
                raise VideoError(path, "has no video stream")
            if stream.codec_context is None:
                raise VideoError(path, "has a codec that no decoder here knows")
            check_size(path, stream.codec_context.width, stream.codec_context.height)
            stream.codec_context.options = _LIMITS
            stream.codec_context.thread_count = 1  # PyAV's own threads deadlock beside a DataLoader's workers
            yield container, stream
    except av.FFmpegError as error:
        damaged = isinstance(error, av.InvalidDataError)
        hint = " (not a video, damaged, or cut off before its index was written)" if damaged else ""
        raise VideoError(path, f"{error.strerror}{hint}") from None


def _decode_at(container, stream, distinct: np.ndarray, index: _Index, rewind: bool = False) -> Iterator[np.ndarray]:
    """Decode the frames numbered `distinct`, ascending, seeking to any key frame that saves decoding, and to the first
    needed one in any case if `rewind`. Yields them, uint8 (H, W, 3), up to the first that is not found.
    """
    wanted = [int(index.times[number]) for number in distinct]
    to_rgb, only = _ToRGB(stream), frozenset(wanted)
    # Frames are compared by their times; where these do not ascend, by their numbers.
    numbers = {} if index.sorted else {int(time): number for number, time in enumerate(index.times)}

    def order(time: int) -> int:
        return numbers.get(time, -1) if numbers else time

    frames, frame, reached = _decoded(container, stream, only), None, -1
    for number, target in zip(distinct.tolist(), wanted):
        key = bisect_right(index.keyframes, number) - 1
        if key >= 0 and (rewind or index.keyframes[key] > max(reached, 0)):
            container.seek(int(index.seeks[key]), stream=stream)
            frames, frame, rewind = _decoded(container, stream, only), None, False
        while frame is None or frame.pts is None or order(frame.pts) < order(target):
            frame = next(frames, None)
            if frame is None:
                return
        reached = number
        if frame.pts != target or frame.is_corrupt:
            return
        yield to_rgb(frame)


def _decode_counting(path, container, stream, distinct: np.ndarray) -> Iterator[np.ndarray]:
    """Decode from the start, counting: the way for streams whose packets bear no times."""
    if distinct[0] < 0:
        check_range(path, distinct, 0)
    to_rgb, count, wanted = _ToRGB(stream), 0, iter(distinct.tolist())
    number = next(wanted)
    for frame in _decoded(container, stream):
        count += 1
        if number == count - 1:
            yield to_rgb(frame)
            number = next(wanted, None)
            if number is None:
                return
    check_range(path, distinct, count)


def _decoded(container, stream, wanted: frozenset[int] = frozenset()) -> Iterator[av.VideoFrame]:
    """The frames from here on, up to the end or the first packet that the decoder rejects.

    If the times of the `wanted` ones are given, others may be left out: in H.264 those that no frame refers to.
    """
    context = stream.codec_context
    selective = bool(wanted) and context.name == "h264"
    skipping = False
    with suppress(av.FFmpegError):
        for packet in container.demux(stream):
            time_limit.check()
            if selective and skipping != (packet.pts is not None and packet.pts not in wanted):
                skipping = not skipping
                context.skip_frame = "NONREF" if skipping else "DEFAULT"
            yield from packet.decode()


class _ToRGB:
    """Converts frames to upright uint8 (H, W, 3) RGB of the size that the stream starts with; it may change midway."""

    def __init__(self, stream):
        self._size = stream.codec_context.width, stream.codec_context.height
        self._reformatter = VideoReformatter()

    def __call__(self, frame) -> np.ndarray:
        # Plain bilinear: ACCURATE_RND and full chroma would leave swscale's fast path, which decord takes, too.
        how = {"format": "rgb24", "interpolation": Interpolation.BILINEAR, "threads": 1}
        image = self._reformatter.reformat(frame, *self._size, **how).to_ndarray()
        quarter_turns, rest = divmod(round(frame.rotation), 90)  # counter-clockwise
        return np.rot90(image, quarter_turns) if quarter_turns % 4 and not rest else image
