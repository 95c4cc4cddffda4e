"""All frames of a video in order, reduced to the size that they are stored in."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from actlib.datasets.prepare.layout import Job, StorageOptions
from actlib.datasets.video.reader import read_frames

_CHUNK_BYTES = 64 << 20  # decoded frames that are held at a time


def stored_frames(job: Job, options: StorageOptions) -> Iterator[np.ndarray]:
    """The source's frames as `read_frames` returns them, upright, at `options.size`: uint8 (H, W, 3). Raises
    VideoError."""
    begin, step = 0, 8
    while begin < job.num_frames:
        numbers = range(begin, min(begin + step, job.num_frames))
        frames = read_frames(job.source, numbers, backend=options.backend)
        begin += len(frames)
        height, width = frames.shape[1:3]
        step = max(8, _CHUNK_BYTES // (3 * height * width))
        new_height, new_width = options.size(width, height)
        if options.is_reduced(width, height):
            # Bilinear with antialiasing. Pillow is slower than torch, but importing that takes every process seconds.
            how = (new_width, new_height), Image.Resampling.BILINEAR
            yield from (np.asarray(Image.fromarray(frame).resize(*how)) for frame in frames)
        else:  # as it is, or without the row or column that makes its size odd
            yield from frames[:, :new_height, :new_width]
