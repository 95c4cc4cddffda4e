"""Reading a video that lies as a folder of pictures, one a frame, in the layouts of the references, without conversion.

Read are `image_00001.jpg` with a file `n_frames` beside (3D-ResNets-PyTorch, Efficient-3DCNNs), `00001.jpg` (Jester,
Something-Something, action-recognition-pytorch), `img_00001.jpg` (temporal-shift-module), and any other one prefix,
width of numbers, JPEG or PNG, counted from 0, 1 or elsewhere without a gap. Our frame numbers count from 0 always.
Pairs of optical flow in the same folder are left alone.
"""

import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from actlib.datasets.errors import VideoError
from actlib.datasets.video.pyav_reader import VideoInfo, check_range

# What is looked for first where a file n_frames tells how many there are: then the folder need not be listed.
_USUAL = (("image_", 5), ("", 5), ("img_", 5))
_NAME = re.compile(r"(.*?)(\d+)(\.(?:jpe?g|png))", re.IGNORECASE)
_FLOW = re.compile(r"(?:.*_)?[xy]_")  # flow_x_00001.jpg; 00001_x.jpg does not end in its number


@dataclass(frozen=True)
class _Frames:
    """The names of a folder's frames: `prefix`, the number with at least `digits` digits, `suffix`."""

    prefix: str
    digits: int
    suffix: str
    first: int
    count: int

    def name(self, index: int) -> str:
        return f"{self.prefix}{self.first + index:0{self.digits}d}{self.suffix}"


def probe(folder: str | Path) -> VideoInfo:
    """Count the frames and decode the first; fps is 0, since a folder does not tell it. Raises VideoError."""
    frames = _find_frames(folder)
    height, width = read_frames(folder, [0]).shape[1:3]
    return VideoInfo(num_frames=frames.count, fps=0.0, width=width, height=height)


def read_frames(folder: str | Path, indices: Sequence[int]) -> np.ndarray:
    """The frames numbered `indices` from 0 (any order, repeats allowed): uint8 (T, H, W, 3) RGB, each decoded once.

    Raises VideoError naming the file for a picture that is missing, damaged or of another size than the first one
    asked for, and for a frame that the folder does not have; ValueError for unusable indices.
    """
    distinct, places = distinct_frames(indices)
    frames = _find_frames(folder)
    check_range(folder, distinct, frames.count)
    found: np.ndarray | None = None
    for place, index in enumerate(distinct):
        path = os.path.join(folder, frames.name(int(index)))
        image = decode_picture(path, _bytes_of(path))
        if found is None:
            found = np.empty((len(distinct), *image.shape), dtype=np.uint8)
        elif image.shape != found.shape[1:]:
            sizes = f"{image.shape[1]}×{image.shape[0]} pixels, others of its folder {found.shape[2]}×{found.shape[1]}"
            raise VideoError(path, f"has {sizes}; extract the folder's frames anew")
        found[place] = image
    return found if places is None else found[places]


def distinct_frames(indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray | None]:
    """The different ones of `indices`, ascending, and where each is among them; None if they are just these already."""
    indices = np.asarray(indices)
    if indices.ndim != 1 or indices.size == 0 or not np.issubdtype(indices.dtype, np.integer):
        raise ValueError(f"indices must be a non-empty list of whole numbers, got {indices.tolist()!r}")
    distinct, places = np.unique(indices, return_inverse=True)
    return distinct, None if np.array_equal(distinct, indices) else places


def decode_picture(name: str | Path, data: bytes) -> np.ndarray:
    """The bytes of one JPEG or PNG -> uint8 (H, W, 3) RGB. Raises VideoError, with `name` as its path.

    By Pillow: torchvision's decoder takes two thirds of the time for the same pixels, but is deprecated, and its import
    takes every worker process seconds.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            if image.mode.startswith(("I", "F")):
                raise VideoError(name, "has more than 8 bits a sample; extract the frames as JPEG")
            return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for a file that is none, or cut off
        reason = "it is no JPEG or PNG" if isinstance(error, UnidentifiedImageError) else str(error).splitlines()[0]
        raise VideoError(name, f"cannot be decoded: {reason}; extract the folder's frames anew") from None


def resized(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Frames uint8 (T, H, W, 3) at `size` (H, W), bilinear with antialiasing, by Pillow: slower than `resize`, but who
    only writes pictures need not import torch, which takes seconds."""
    height, width = size
    return np.stack([Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR) for frame in frames])


def _bytes_of(path: str) -> bytes:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise VideoError(path, f"cannot be opened: {error.strerror}; extract the folder's frames anew") from None
    if not data:
        raise VideoError(path, "is empty (0 bytes); extract the folder's frames anew")
    return data


def last_change(folder: str | Path) -> int:
    """When something was added to a folder last, for caches of what it holds. Raises VideoError where it is not."""
    try:
        return os.stat(folder).st_mtime_ns
    except OSError as error:
        raise VideoError(folder, f"cannot be opened: {error.strerror}") from None


def _find_frames(folder) -> _Frames:
    return _look_into(str(folder), last_change(folder))


@lru_cache(maxsize=1 << 14)
def _look_into(folder: str, changed: int) -> _Frames:
    """`changed` is there for the cache alone: a folder that something was added to is looked into again."""
    told = _told_count(folder)
    frames = _usual(folder, told) if told else None
    if frames is None:
        frames = _listed(folder)
    if told is not None and told != frames.count:
        raise VideoError(
            folder, f"its n_frames says {told}, it holds {frames.count} frames; extract it anew or delete it"
        )
    return frames


def _told_count(folder: str) -> int | None:
    """What the file n_frames says; None without one."""
    try:
        text = (Path(folder) / "n_frames").read_text(errors="replace").strip()
    except OSError:
        return None
    if not text.isdigit() or int(text) < 1:
        raise VideoError(folder, f"its n_frames says {text!r}: a number of frames was expected; extract it anew")
    return int(text)


def _usual(folder: str, count: int) -> _Frames | None:
    """Frames under one of the usual names, `count` of them by their first and last, at the price of four look-ups."""
    for prefix, digits in _USUAL:
        for first in (1, 0):
            frames = _Frames(prefix, digits, ".jpg", first, count)
            there = [os.path.exists(os.path.join(folder, frames.name(index))) for index in (0, count - 1, count, -1)]
            if there == [True, True, False, False]:
                return frames
    return None


def _listed(folder: str) -> _Frames:
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise VideoError(folder, f"cannot be opened: {error.strerror}") from None
    numbers: dict[tuple[str, str], list[str]] = {}
    for name in names:
        found = _NAME.fullmatch(name)
        if found and not name.startswith(".") and not _FLOW.fullmatch(found[1]):
            numbers.setdefault((found[1], found[3]), []).append(found[2])
    if not numbers:
        raise VideoError(folder, "holds no frames such as image_00001.jpg or 00001.jpg")
    if len(numbers) > 1:
        kinds = ", ".join(f"{prefix}…{suffix}" for prefix, suffix in sorted(numbers))
        raise VideoError(folder, f"holds frames under several names: {kinds}; keep one kind")
    (((prefix, suffix), texts),) = numbers.items()
    ordered = sorted(map(int, texts))
    frames = _Frames(prefix, min(map(len, texts)), suffix, ordered[0], ordered[-1] - ordered[0] + 1)
    if frames.count != len(texts):
        held = set(names)
        gap = next((name for i in range(frames.count) if (name := frames.name(i)) not in held), "a number twice")
        raise VideoError(os.path.join(folder, gap), "is missing between other frames; extract the folder's frames anew")
    return frames
