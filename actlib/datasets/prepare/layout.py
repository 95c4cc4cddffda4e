"""How converted videos lie in their folder: options, names and sizes."""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from actlib.datasets.video import lmdb_store
from actlib.datasets.vocabulary import FRAME_NAMES, STORAGES, VIDEO_BACKENDS
from actlib.files import naming_full_disk
from actlib.messages import is_utf8, printable

# What each storage is made by: another value makes other files.
_MADE_BY = {
    "original": (),
    "short_gop": ("short_side", "backend", "keyframe_distance", "crf"),
    "frames": ("short_side", "backend", "jpeg_quality", "frame_names"),
    "lmdb": ("short_side", "backend", "jpeg_quality"),
    "flow": ("short_side", "backend", "jpeg_quality", "frame_names"),
}
_WORDS = {"storage": STORAGES, "frame_names": FRAME_NAMES, "backend": VIDEO_BACKENDS}
_BOUNDS = {"short_side": (0, None), "keyframe_distance": (1, None), "crf": (0, 51), "jpeg_quality": (1, 100)}


@dataclass(frozen=True)
class StorageOptions:
    """How videos are stored, and in which folder (`root`, made absolute).

    - `original`: as they are; nothing is written.
    - `short_gop`: `<root>/<label>/<video_id>.mp4`, H.264 with a key frame every `keyframe_distance` frames, of quality
      `crf` (0 best, 51 worst): what random clips are decoded from fastest.
    - `frames`: `<root>/<label>/<video_id>/image_00001.jpg` … and `n_frames`, as the references have them.
    - `lmdb`: the same JPEGs in `<root>/<subset>.lmdb`, one file a subset.
    - `flow`: optical flow, `<root>/<label>/<video_id>/image_00001_x.jpg`, `image_00001_y.jpg` ….

    `short_side`: pixels that the short side is reduced to; 0, or a video that is smaller: as it is. `jpeg_quality`: 1
    to 100. `frame_names`: the first frame's name. `backend`: what decodes the source videos (see `read_frames`). Raises
    ValueError for values that cannot be.
    """

    storage: str
    root: str | Path
    short_side: int = 128
    keyframe_distance: int = 16
    crf: int = 18
    jpeg_quality: int = 90
    frame_names: str = FRAME_NAMES[0]
    backend: str = "auto"

    def __post_init__(self):
        object.__setattr__(self, "root", os.path.abspath(self.root))
        for name, known in _WORDS.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} {getattr(self, name)!r}: expected one of {', '.join(known)}")
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if value < low or (high is not None and value > high):
                raise ValueError(f"{name} is {value}: expected {low} to {high if high is not None else '…'}")

    @property
    def modality(self) -> str:
        """Of what is stored: "flow" or "rgb"."""
        return "flow" if self.storage == "flow" else "rgb"

    def made_by(self) -> dict:
        """The storage with those options that its files depend on."""
        options = {name: getattr(self, name) for name in ("storage", *_MADE_BY[self.storage])}
        return options | ({"backend": "pyav"} if options.get("backend") == "auto" else {})

    def size(self, width: float, height: float) -> tuple[int, int]:
        """(height, width) of the stored frames of a video of this size. H.264 stores even sizes only: short_gop rounds
        to the nearest, or leaves out the last row or column of a video that is stored as it is."""
        step = 2 if self.storage == "short_gop" else 1
        if not self.is_reduced(width, height):
            return max(step, int(height) // step * step), max(step, int(width) // step * step)
        factor = self.short_side / min(width, height) / step
        return max(step, step * round(height * factor)), max(step, step * round(width * factor))

    def is_reduced(self, width: float, height: float) -> bool:
        """Whether the stored frames are smaller than the video's; a smaller one is never enlarged."""
        return 0 < self.short_side < min(width, height)

    def frame_name(self, number: int, axis: str = "") -> str:
        """The file of a frame, or of a part of a pair of flow ("_x", "_y"), numbered from 1."""
        return f"{self.frame_names.removesuffix('00001.jpg')}{number:05d}{axis}.jpg"


@dataclass(frozen=True, slots=True)
class Job:
    """One video to convert: what it is read from and converted to (for lmdb `<file>.lmdb/<video_id>`)."""

    video_id: str
    source: str
    target: str
    num_frames: int
    fps: float
    pixels: int  # of all stored frames together


def target_path(options: StorageOptions, video_id: str, label: str, subset: str) -> str:
    """Where a video of a table is stored."""
    if options.storage == "lmdb":
        usual = os.path.normpath(video_id) == video_id and not video_id.startswith("/") and is_utf8(video_id)
        key = video_id if usual and len(video_id.encode()) <= lmdb_store.MAX_ID else file_name(video_id)
        return f"{os.path.join(options.root, subset)}.lmdb/{key}"
    suffix = ".mp4" if options.storage == "short_gop" else ""
    return os.path.join(options.root, file_name(label), file_name(video_id) + suffix)


def file_name(text: str) -> str:
    """`text` as a file's name: itself where it can be one, else a part of it and a checksum that keeps it apart."""
    safe = re.sub(r'[/\\\0:*?"<>|]', "_", printable(text)).strip()
    plain = safe == text and not safe.startswith(".") and not safe.endswith(".lmdb")  # which would be a file of videos
    if safe and plain and len(safe.encode()) <= 200:
        return safe
    short = safe.lstrip(".").encode()[:150].decode(errors="ignore")
    return f"{short}~{hashlib.sha1(text.encode(errors='surrogatepass')).hexdigest()[:8]}"


@contextmanager
def written_whole(target: str | Path, *, folder: bool = False) -> Iterator[Path]:
    """Yield the path of a file, or of a `folder`, that becomes `target` at the end, and goes if an error is raised. It
    has always the same name: what a killed process left there is replaced. Raises FileExistsError."""
    target = Path(target)
    if target.exists():
        raise FileExistsError(f"{target}: exists already; delete it to make it anew")
    remove_partial(target)
    partial = _partial(target)
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        with naming_full_disk(target):
            if folder:
                partial.mkdir()
            yield partial
            os.replace(partial, target)
    except BaseException:
        remove_partial(target)
        raise


def remove_partial(target: str | Path) -> None:
    """Remove what is left of a killed conversion to `target`."""
    remove(_partial(Path(target)))


def _partial(target: Path) -> Path:
    return target.with_name(f".{target.name}.partial")


def remove(path: Path) -> None:
    """A file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def file_sizes(path: str | Path) -> list[int]:
    """The bytes of a file, or of the files in a folder: their content, without what is lost to whole blocks."""
    path = Path(path)
    return [each.stat().st_size for each in (path.iterdir() if path.is_dir() else [path])]


def stored_bytes(path: str | Path) -> int:
    """The bytes of a video under any path of a table; inside an LMDB file those of its frames' JPEGs."""
    return lmdb_store.stored_bytes(path) if lmdb_store.split_lmdb(str(path)) else sum(file_sizes(path))
