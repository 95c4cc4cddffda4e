"""Videos as a browser plays them: H.264 in mp4, from the file itself where it is that, else encoded on the fly."""

import io
import os
from collections.abc import Iterable
from contextlib import suppress
from fractions import Fraction

import av
import numpy as np
import pandas as pd

from actlib.datasets.clips.show import pictures
from actlib.datasets.errors import VideoError
from actlib.datasets.video.info import check_file
from actlib.datasets.video.reader import iter_frames, probe

MOST_BYTES = 16 << 20  # of a file that goes to the browser as it is: it does so in one message
_USUAL_FPS = 25  # of frames whose rate nobody knows
_X264 = {"preset": "veryfast", "crf": "23"}


def playable_mp4(
    row, *, most_frames: int = 300, longest_side: int = 320, modality: str = "rgb", timeout: float | None = 60.0,
    backend: str = "auto",
) -> bytes:  # fmt: skip
    """The video of a table's row as an mp4 that browsers play.

    `row`: has a `path`, and `start`, `end`, `num_frames`, `fps` where they are known (of `itertuples`, or a Series).
    A whole H.264 mp4 of at most MOST_BYTES is given as it is. Whatever else the reader reads (other codecs, a segment,
    a folder of frames, LMDB; of flow x above y) is encoded: at most `most_frames` evenly spread frames at so much lower
    a rate that it lasts as long, at most `longest_side` pixels wide and high. `timeout` and `backend` as
    for `reader.iter_frames`. Raises VideoError.
    """
    path = os.fspath(row.path)
    if plays_as_it_is(row, modality):
        with open(path, "rb") as file:
            return file.read()
    begin, end, count, fps = _told(row)
    if (end is None and count is None) or fps is None:
        found = probe(path, modality)
        count, fps = count or found.num_frames, fps or found.fps
    numbers = np.arange(begin, int(count if end is None else end))
    step = max(1, -(-len(numbers) // most_frames))
    pieces = iter_frames(path, numbers[::step], modality=modality, timeout=timeout, backend=backend)
    frames = (frame for piece in pieces for frame in pictures(piece))
    return encoded_mp4(frames, (fps or _USUAL_FPS) / step, longest_side=longest_side)


def plays_as_it_is(row, modality: str = "rgb") -> bool:
    """Whether `playable_mp4` gives the file of this row itself."""
    begin, end, count, _ = _told(row)
    return begin == 0 and end in (None, count) and modality == "rgb" and _is_playable(os.fspath(row.path))


def _told(row) -> tuple[int, float | None, float | None, float | None]:
    """Start, end, number of frames and their rate, each None where it is not known (the start: 0)."""
    told = [getattr(row, name, None) for name in ("start", "end", "num_frames", "fps")]
    begin, *others = (None if value is None or pd.isna(value) else float(value) for value in told)
    return int(begin or 0), *others


def modality_of(path: str | os.PathLike) -> str:
    """What is read from a table's `path`: "flow" from a folder that holds pairs of optical flow and no frames, else
    "rgb"."""
    if os.path.isdir(path):
        with suppress(VideoError):
            next(iter_frames(path, [0]))
            return "rgb"
        with suppress(VideoError):
            probe(path, "flow")
            return "flow"
    return "rgb"


def encoded_mp4(frames: Iterable[np.ndarray], fps: float, *, longest_side: int | None = None) -> bytes:
    """Frames, each uint8 (H, W, 3), as an H.264 mp4 of so many frames per second, one held in memory at a time; with
    `longest_side` reduced to so many pixels."""
    buffer = io.BytesIO()
    write_mp4(buffer, frames, fps, longest_side=longest_side)
    return buffer.getvalue()


def write_mp4(
    target: str | io.BytesIO, frames: Iterable[np.ndarray], fps: float, *, longest_side: int | None = None
) -> None:
    """The same into the file `target`."""
    rate = Fraction(fps).limit_denominator(1001)
    # A player of a file finds its index first; the muxer reads a file again to put it there, which bytes cannot be.
    options = {} if isinstance(target, io.BytesIO) else {"movflags": "+faststart"}
    with av.open(target, "w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", rate=rate, options=_X264)
        stream.pix_fmt, stream.codec_context.thread_count = "yuv420p", 1
        for number, image in enumerate(frames):
            if number == 0:
                stream.height, stream.width = _even(image.shape[:2], longest_side)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _even(size: tuple[int, int], longest_side: int | None) -> tuple[int, int]:
    """Height and width that the codec takes, which has colours for every second pixel only."""
    scale = min(1, (longest_side or max(size)) / max(size))
    return tuple(max(2, 2 * round(side * scale / 2)) for side in size)


def _is_playable(path: str) -> bool:
    """Whether browsers play the file as it is. What is wrong with it is found by the reader."""
    with suppress(VideoError, av.FFmpegError):
        if check_file(path).st_size > MOST_BYTES:
            return False
        with av.open(path, metadata_errors="ignore") as container:
            stream = container.streams.best("video")
            context = stream and stream.codec_context
            known = context and context.name == "h264" and context.pix_fmt in ("yuv420p", "yuvj420p")
            return bool(known) and "mp4" in container.format.name.split(",")
    return False
