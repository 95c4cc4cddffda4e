"""A video as a browser plays it: its file itself where that is H.264 in an mp4, else encoded on the fly."""

import io
import math
import os
from fractions import Fraction

import av
import numpy as np

from actlib.datasets.clips.show import pictures
from actlib.datasets.video.reader import iter_frames

MAX_BYTES = 16 << 20  # of a file that goes to the browser as it is
MAX_FRAMES, MAX_SIDE = 400, 320  # of what is encoded: more frames are thinned out, larger ones made smaller
_DEFAULT_FPS = 25
_X264 = {"preset": "veryfast", "crf": "20"}
_PIXELS = ("yuv420p", "yuvj420p")  # those that every browser's decoder knows


def playable(
    path: str, begin: int, end: int, num_frames: int, fps: float, *, modality: str = "rgb",
    timeout: float | None = 60.0, backend: str = "auto",
) -> tuple[bytes, str]:  # fmt: skip
    """The frames [begin, end) of a video of `num_frames` frames as the bytes of an H.264 mp4, and how it was made in a
    few words. Of optical flow x above y (see `clips.show.pictures`). Raises VideoError."""
    if modality == "rgb" and (begin, end) == (0, num_frames) and plays_as_it_is(path):
        with open(path, "rb") as file:
            return file.read(), "the file itself"
    step = math.ceil((end - begin) / MAX_FRAMES)
    numbers = np.arange(begin, end, step)
    frames = iter_frames(path, numbers, modality=modality, timeout=timeout, backend=backend)
    fps = fps if fps > 0 else _DEFAULT_FPS
    images = (image for piece in frames for image in pictures(piece))
    thinned = f", every {step} frames" if step > 1 else ""
    return encoded(images, fps / step), f"encoded for the browser{thinned}"


def plays_as_it_is(path: str) -> bool:
    """Whether a browser plays the file: H.264 of eight bits in an mp4, not larger than MAX_BYTES."""
    if not os.path.isfile(path) or os.path.getsize(path) > MAX_BYTES:
        return False
    try:
        with av.open(path, metadata_errors="ignore") as container:
            stream = container.streams.best("video")
            codec = stream and stream.codec_context
            return bool(codec and container.format.name.startswith("mov") and codec.name == "h264"
                        and codec.pix_fmt in _PIXELS)  # fmt: skip
    except av.FFmpegError:
        return False


def encoded(images, fps: float) -> bytes:
    """Pictures uint8 (H, W, 3) of one size as the bytes of an H.264 mp4."""
    rate, buffer, stream = Fraction(fps).limit_denominator(1001), io.BytesIO(), None
    with av.open(buffer, "w", format="mp4") as container:
        for number, image in enumerate(images):
            if stream is None:
                stream = container.add_stream("libx264", rate=rate, options=_X264)
                shrink = min(1, MAX_SIDE / min(image.shape[:2]))
                # H.264 of these pixels has even sides.
                stream.height, stream.width = (max(2, round(side * shrink / 2) * 2) for side in image.shape[:2])
                stream.pix_fmt, stream.gop_size = "yuv420p", 12
                stream.codec_context.thread_count = 1
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame.reformat(stream.width, stream.height, "yuv420p")))
        container.mux(stream.encode())
    return buffer.getvalue()
