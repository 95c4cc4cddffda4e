"""Computing the optical flow of a video, stored as `video.flow_folders` reads it."""

from itertools import pairwise

import numpy as np
from PIL import Image

from actlib.datasets.errors import DataError, VideoError
from actlib.datasets.prepare.decode import stored_frames
from actlib.datasets.prepare.layout import Job, StorageOptions, written_whole
from actlib.files import write_text

BOUND = 20.0  # pixels a frame; a longer motion counts as this


def write_flow(job: Job, options: StorageOptions) -> None:
    """Compute the optical flow of the video `job.source`, any that `read_frames` reads, into the folder `job.target`.

    Dense inverse search (Kroeger et al., 2016) on grey frames of `options.size`. The folder appears whole or not at
    all, with the number of pairs in its file `n_frames`. Raises VideoError, FileExistsError, DataError without OpenCV.
    """
    cv2 = opencv()
    if job.num_frames < 2:
        raise VideoError(job.source, "has a single frame, and optical flow is the motion between two")
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # videos are computed in parallel, each in a process
    try:
        search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        with written_whole(job.target, folder=True) as partial:
            grey = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in stored_frames(job, options))
            for number, (before, after) in enumerate(pairwise(grey), 1):
                for axis, values in zip("xy", np.moveaxis(search.calc(before, after, None), -1, 0)):
                    path = partial / options.frame_name(number, f"_{axis}")
                    Image.fromarray(flow_to_image(values)).save(path, quality=options.jpeg_quality)
            write_text(partial / "n_frames", f"{job.num_frames - 1}\n")
    finally:
        cv2.setNumThreads(threads)


def flow_to_image(flow: np.ndarray) -> np.ndarray:
    """Motion in pixels, any shape, to uint8: −20 and less to 0, none to 128, 20 and more to 255."""
    return np.rint((np.clip(flow, -BOUND, BOUND) + BOUND) * (255 / (2 * BOUND))).astype(np.uint8)


def opencv():
    """The module cv2. Raises DataError, which names the extra, without it."""
    try:
        import cv2
    except ImportError as error:
        raise DataError(f"computing optical flow needs OpenCV ({error}): pip install -e '.[flow]'") from error
    return cv2
