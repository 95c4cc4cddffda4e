"""Converting one video, in a worker process: to H.264 with a short distance of key frames, to JPEGs, to optical flow.

Frames are taken as `sources.read_frames` returns them (upright, all of them, in order), so a converted video shows
under a number the same picture as its source, reduced in size.
"""

import io
import math
import os
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from actlib.datasets.errors import VideoError
from actlib.datasets.prepare.layout import BLOCK, Job, StorageOptions
from actlib.datasets.video import reader as sources
from actlib.datasets.video.frame_folders import resized
from actlib.files import write_text

_CHUNK_BYTES = 64 << 20  # decoded frames that are held at a time
_DEFAULT_FPS = 25  # of an mp4 whose source, a folder of frames, does not tell; the table's fps stays unknown
# Quick to decode: one reference picture, no B-frames, no scene cuts, which would add key frames at random places.
_X264 = {"preset": "medium", "tune": "fastdecode", "sc_threshold": "0", "refs": "1"}


def convert_video(request: dict) -> dict:
    """Convert the video of `request` (job, options, pack, replace). Returns its num_frames, width, height, `bytes` (of
    content) and `disk` (bytes in whole blocks); for lmdb also `lengths`, of the JPEGs one after another in `pack`.

    A target that is there already and whole is kept, unless `replace`. Raises VideoError.
    """
    job, options = Job(**request["job"]), StorageOptions(**request["options"])
    target = Path(job.target)
    if options.storage == "lmdb":
        return _write_pack(job, options, Path(request["pack"]))
    modality = "flow" if options.storage == "flow" else "rgb"
    if target.exists() and (request["replace"] or not _is_whole(job, modality)):
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    if not target.exists():
        write = {"short_gop": _write_short_gop, "frames": _write_frames, "flow": _write_flow}[options.storage]
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(job, options, target)
        except BaseException:
            remove_partial(target)
            raise
    info = sources.probe(target, modality)
    sizes = [each.stat().st_size for each in target.iterdir()] if target.is_dir() else [target.stat().st_size]
    done = {"num_frames": info.num_frames, "width": info.width, "height": info.height}
    return done | {"bytes": sum(sizes), "disk": sum(map(_blocks, sizes))}


def remove_partial(target: Path) -> None:
    """Remove what a conversion to `target` that was killed left beside it."""
    partial = _partial(target)
    if partial.is_dir():
        shutil.rmtree(partial)
    else:
        partial.unlink(missing_ok=True)


def _partial(target: Path) -> Path:
    """Where `target` is written before it gets its name: always the same, so that the next try replaces it."""
    return target.with_name(f".{target.name}.partial")


def _is_whole(job: Job, modality: str) -> bool:
    """Whether the target holds all frames: it is renamed when complete, so only an older table's can differ."""
    try:
        return sources.probe(job.target, modality).num_frames == job.num_frames - (modality == "flow")
    except VideoError:
        return False


def _resized_frames(job: Job, options: StorageOptions) -> Iterator[np.ndarray]:
    """All frames in order at their stored size, uint8 (H, W, 3), a part of the video decoded at a time."""
    begin, step = 0, 8
    while begin < job.num_frames:
        frames = sources.read_frames(job.source, np.arange(begin, min(begin + step, job.num_frames)))
        begin += len(frames)
        height, width = frames.shape[1:3]
        step = max(8, _CHUNK_BYTES // (3 * height * width))
        size = options.size(width, height)
        if size != (height, width):
            only_made_even = abs(size[0] - height) < 2 and abs(size[1] - width) < 2
            frames = frames[:, : size[0], : size[1]] if only_made_even else resized(frames, size)
        yield from frames


def _write_short_gop(job: Job, options: StorageOptions, target: Path) -> None:
    """H.264 in mp4 at a constant rate: every group of pictures stands alone, its index lies at the file's beginning."""
    rate = Fraction(job.fps).limit_denominator(1001) if job.fps > 0 else Fraction(_DEFAULT_FPS)
    partial = _partial(target)
    with av.open(str(partial), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        distance = options.keyframe_distance
        x264 = _X264 | {"crf": str(options.crf), "keyint_min": str(distance)}
        stream = container.add_stream("libx264", rate=rate, options=x264)
        stream.gop_size, stream.max_b_frames, stream.pix_fmt = distance, 0, "yuv420p"
        stream.codec_context.thread_count = 1  # videos are converted in parallel, each in a process
        for number, image in enumerate(_resized_frames(job, options)):
            if number == 0:
                stream.height, stream.width = image.shape[:2]
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    written = sources.probe(partial).num_frames
    if written != job.num_frames:
        raise VideoError(
            job.source, f"{written} frames were written of {job.num_frames}; this is a fault in the encoder"
        )
    os.replace(partial, target)


def _jpeg(image: np.ndarray, quality: int) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, "JPEG", quality=quality)
    return encoded.getvalue()


def _write_frames(job: Job, options: StorageOptions, target: Path) -> None:
    remove_partial(target)
    partial = _partial(target)
    partial.mkdir()
    prefix = options.frame_names.removesuffix("00001.jpg")
    for number, image in enumerate(_resized_frames(job, options), 1):
        (partial / f"{prefix}{number:05d}.jpg").write_bytes(_jpeg(image, options.jpeg_quality))
    write_text(partial / "n_frames", f"{job.num_frames}\n")
    partial.rename(target)


def _write_flow(job: Job, options: StorageOptions, target: Path) -> None:
    from actlib.datasets.video.flow_folders import write_flow

    names = {"jpeg_quality": options.jpeg_quality, "template": options.frame_names}
    write_flow(job.source, target, short_side=options.short_side, **names)


def _write_pack(job: Job, options: StorageOptions, pack: Path) -> dict:
    """The video's JPEGs in one passing file, for the one process that writes to the LMDB file."""
    lengths = []
    with pack.open("wb") as file:
        for image in _resized_frames(job, options):
            data = _jpeg(image, options.jpeg_quality)
            file.write(data)
            lengths.append(len(data))
    height, width = image.shape[:2]
    done = {"num_frames": job.num_frames, "width": width, "height": height, "lengths": lengths}
    return done | {"bytes": sum(lengths), "disk": sum(map(_lmdb_blocks, lengths))}


def _blocks(size: int) -> int:
    return math.ceil(size / BLOCK) * BLOCK


def _lmdb_blocks(size: int) -> int:
    """LMDB puts a value below half a block with others into one, and a larger one into blocks of its own."""
    with_key = size + 48
    return _blocks(size + 16) if with_key > BLOCK // 2 - 10 else BLOCK // ((BLOCK - 16) // with_key)
