"""Converting one video, in a worker process: to H.264 with a short distance of key frames, to JPEGs, to optical flow.

Frames are taken as `video.reader.read_frames` returns them (upright, all of them, in order), so a converted video shows
under a number the same picture as its source, reduced in size.
"""

import io
import math
import pickle
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from actlib.datasets.errors import VideoError
from actlib.datasets.prepare.compute_flow import write_flow
from actlib.datasets.prepare.decode import stored_frames
from actlib.datasets.prepare.layout import Job, StorageOptions, file_sizes, remove, written_whole
from actlib.datasets.video.reader import probe
from actlib.files import naming_full_disk, write_text

_BLOCK = 4096  # bytes; files and LMDB's values take whole ones
_DEFAULT_FPS = 25  # of an mp4 whose source, a folder of frames, does not tell; the table's fps stays unknown
# Quick to decode: one reference picture, no B-frames, no scene cuts, which would add key frames at random places.
_X264 = {"preset": "medium", "tune": "fastdecode", "sc_threshold": "0", "refs": "1"}


def convert_video(request: dict) -> dict:
    """Convert the video of `request` (job, options, pack, replace). Returns its num_frames, width, height and `disk`
    (bytes in whole blocks). For lmdb the JPEGs are in the file `pack`, for the one process that writes to LMDB's file.

    A target that is there already and whole is kept, unless `replace`. Raises VideoError.
    """
    job, options = Job(**request["job"]), StorageOptions(**request["options"])
    if options.storage == "lmdb":
        return _write_pack(job, options, Path(request["pack"]))
    target = Path(job.target)
    if target.exists() and (request["replace"] or not _is_whole(job, options)):
        remove(target)
    if not target.exists():
        {"short_gop": _write_short_gop, "frames": _write_frames, "flow": write_flow}[options.storage](job, options)
    done = asdict(probe(target, options.modality))
    del done["fps"]
    return done | {"disk": sum(map(_blocks, file_sizes(target)))}


def _is_whole(job: Job, options: StorageOptions) -> bool:
    """Whether the target holds all frames: it is renamed when complete, so only an older table's can differ."""
    try:
        found = probe(job.target, options.modality).num_frames
    except VideoError:
        return False
    return found == job.num_frames - (options.storage == "flow")


def _write_short_gop(job: Job, options: StorageOptions) -> None:
    """H.264 in mp4 at a constant rate: every group of pictures stands alone, its index lies at the file's beginning."""
    rate = Fraction(job.fps).limit_denominator(1001) if job.fps > 0 else Fraction(_DEFAULT_FPS)
    distance = options.keyframe_distance
    x264 = _X264 | {"crf": str(options.crf), "keyint_min": str(distance)}
    with written_whole(job.target) as partial:
        with av.open(str(partial), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            stream = container.add_stream("libx264", rate=rate, options=x264)
            stream.gop_size, stream.max_b_frames, stream.pix_fmt = distance, 0, "yuv420p"
            stream.codec_context.thread_count = 1  # videos are converted in parallel, each in a process
            for number, image in enumerate(stored_frames(job, options)):
                if number == 0:
                    stream.height, stream.width = image.shape[:2]
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = number, 1 / rate
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        written = probe(partial).num_frames
        if written != job.num_frames:
            counts = f"{written} frames were written of {job.num_frames}"
            raise VideoError(job.source, f"{counts}; this is a fault in the encoder")


def _write_frames(job: Job, options: StorageOptions) -> None:
    with written_whole(job.target, folder=True) as partial:
        for number, image in enumerate(stored_frames(job, options), 1):
            (partial / options.frame_name(number)).write_bytes(_jpeg(image, options.jpeg_quality))
        write_text(partial / "n_frames", f"{job.num_frames}\n")


def _write_pack(job: Job, options: StorageOptions, pack: Path) -> dict:
    """The video's JPEGs, pickled one after another."""
    disk = 0
    with naming_full_disk(pack), pack.open("wb") as file:
        for image in stored_frames(job, options):
            data = _jpeg(image, options.jpeg_quality)
            pickle.dump(data, file)
            disk += _lmdb_blocks(len(data))
    height, width = image.shape[:2]
    return {"num_frames": job.num_frames, "width": width, "height": height, "disk": disk}


def read_pack(pack: Path, num_frames: int) -> list[bytes]:
    """The JPEGs that `_write_pack` wrote."""
    with pack.open("rb") as file:
        return [pickle.load(file) for _ in range(num_frames)]


def _jpeg(image: np.ndarray, quality: int) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, "JPEG", quality=quality)
    return encoded.getvalue()


def _blocks(size: int) -> int:
    return math.ceil(size / _BLOCK) * _BLOCK


def _lmdb_blocks(size: int) -> int:
    """LMDB puts a value below half a block with others into one, and a larger one into blocks of its own."""
    with_key = size + 48
    return _blocks(size + 16) if with_key > _BLOCK // 2 - 10 else _BLOCK // ((_BLOCK - 16) // with_key)
