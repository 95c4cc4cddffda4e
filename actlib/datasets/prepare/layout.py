"""How converted videos lie in their folder: options, names and sizes."""

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from actlib.files import write_json

if TYPE_CHECKING:
    import pandas as pd  # the workers run without it: they start a second sooner

STORAGES = ("original", "short_gop", "frames", "lmdb", "flow")
FRAME_NAMES = ("image_00001.jpg", "00001.jpg")
OPTIONS = "storage.json"
JOURNAL = "converted.jsonl"
BLOCK = 4096  # bytes; files and LMDB's values take whole ones
# What each storage is made by: another value makes other files.
_RELEVANT = {
    "original": (),
    "short_gop": ("short_side", "keyframe_distance", "crf"),
    "frames": ("short_side", "jpeg_quality", "frame_names"),
    "lmdb": ("short_side", "jpeg_quality"),
    "flow": ("short_side", "jpeg_quality", "frame_names"),
}


@dataclass(frozen=True)
class StorageOptions:
    """How videos are stored, and in which folder (`root`).

    - `original`: as they are; nothing is written.
    - `short_gop`: `<root>/<label>/<video_id>.mp4`, H.264 with a key frame every `keyframe_distance` frames, of quality
      `crf` (0 best, 51 worst): what random clips are decoded from fastest.
    - `frames`: `<root>/<label>/<video_id>/image_00001.jpg` … and `n_frames`, as the references have them.
    - `lmdb`: the same JPEGs in `<root>/<subset>.lmdb`, one file a subset.
    - `flow`: optical flow, `<root>/<label>/<video_id>/image_00001_x.jpg`, `image_00001_y.jpg` ….

    `short_side`: pixels that the short side is reduced to; 0, or a video that is smaller: as it is. `jpeg_quality`: 1
    to 100. `frame_names`: the first frame's name. Raises ValueError for values that cannot be.
    """

    storage: str
    root: str | Path
    short_side: int = 128
    keyframe_distance: int = 16
    crf: int = 18
    jpeg_quality: int = 90
    frame_names: str = FRAME_NAMES[0]

    def __post_init__(self):
        for name, value, known in (("storage", self.storage, STORAGES), ("frame_names", self.frame_names, FRAME_NAMES)):
            if value not in known:
                raise ValueError(f"{name} {value!r}: expected one of {', '.join(known)}")
        for name, low, high in (("short_side", 0, None), ("keyframe_distance", 1, None), ("crf", 0, 51)) + (
            ("jpeg_quality", 1, 100),
        ):
            value = getattr(self, name)
            if value < low or (high is not None and value > high):
                raise ValueError(f"{name} is {value}: expected {low} to {high if high is not None else '…'}")

    def relevant(self) -> dict:
        """The storage with those options that its files depend on."""
        return {"storage": self.storage} | {name: getattr(self, name) for name in _RELEVANT[self.storage]}

    def task(self) -> dict:
        """All options as JSON has them, for a worker process."""
        return asdict(self) | {"root": str(self.root)}

    def size(self, width: float, height: float) -> tuple[int, int]:
        """(height, width) of the stored frames of a video of this size. H.264 stores even sizes only: short_gop rounds
        to the nearest, or leaves out the last row or column of a video that is stored as it is."""
        if not self.short_side or min(width, height) <= self.short_side:
            even = 2 if self.storage == "short_gop" else 1
            return max(even, int(height) // even * even), max(even, int(width) // even * even)
        factor = self.short_side / min(width, height)
        if self.storage == "short_gop":
            return max(2, 2 * round(height * factor / 2)), max(2, 2 * round(width * factor / 2))
        return max(1, round(height * factor)), max(1, round(width * factor))


@dataclass(frozen=True, slots=True)
class Job:
    """One video to convert: what it is read from and converted to (for lmdb `<file>.lmdb/<video_id>`)."""

    video_id: str
    source: str
    target: str
    num_frames: int
    fps: float
    pixels: int  # of all stored frames together


def jobs(table: "pd.DataFrame", options: StorageOptions) -> tuple[list[Job], list[int]]:
    """The videos of `table` to convert, and for each row the number of its job.

    Rows that share a file (segments of one video) share a job, for lmdb those of a subset. Raises DataError when a
    column that probing fills in is empty.
    """
    from actlib.datasets.errors import DataError

    for name in ("num_frames", "width", "height"):
        unknown = table.loc[table[name].isna(), "path"]
        if len(unknown):
            raise DataError(f"{len(unknown):,} videos have no {name}, {unknown.iloc[0]} first; probe_table fills it in")
    found: dict[tuple, int] = {}
    made: list[Job] = []
    numbers = []
    for row in table.itertuples():
        key = (str(row.path), row.subset if options.storage == "lmdb" else "")
        if key not in found:
            found[key] = len(made)
            height, width = options.size(row.width, row.height)
            fps = float(row.fps) if row.fps and row.fps == row.fps else 0.0
            pixels = height * width * int(row.num_frames)
            source, target = os.path.abspath(row.path), _target(row, options)
            made.append(Job(row.video_id, source, target, int(row.num_frames), fps, pixels))
        numbers.append(found[key])
    return made, numbers


def _target(row, options: StorageOptions) -> str:
    root = Path(os.path.abspath(options.root))
    if options.storage == "lmdb":
        return f"{root / row.subset}.lmdb/{row.video_id}"
    suffix = ".mp4" if options.storage == "short_gop" else ""
    return str(root / file_name(row.label) / (file_name(row.video_id) + suffix))


def file_name(text: str) -> str:
    """`text` as a file's name: itself where it can be one, else a part of it and a checksum that keeps it apart."""
    safe = re.sub(r'[/\\\0:*?"<>|]', "_", text).strip()
    if safe and safe == text and not safe.startswith(".") and len(safe.encode()) <= 200:
        return safe
    short = safe.lstrip(".").encode()[:150].decode(errors="ignore")
    return f"{short}~{hashlib.sha1(text.encode()).hexdigest()[:8]}"


def claim_root(options: StorageOptions) -> None:
    """Note in the folder what it is made by. Raises DataError when it was made otherwise or holds something else."""
    from actlib.datasets.errors import DataError

    root = Path(options.root)
    path = root / OPTIONS
    if path.is_file():
        made_by, asked = json.loads(path.read_text(encoding="utf-8")), options.relevant()
        other = [f"{name} {made_by.get(name)}, not {asked[name]}" for name in asked if made_by.get(name) != asked[name]]
        if other:
            raise DataError(
                f"{root}: holds videos converted with {'; '.join(other)}. Choose another storage_root, "
                "or delete this folder"
            )
    elif root.is_dir() and any(root.iterdir()):
        raise DataError(f"{root}: holds other files; converted videos need a folder of their own as storage_root")
    else:
        write_json(path, options.relevant())


def stored_bytes(path: str | Path) -> int:
    """The bytes of a file, or of the files in a folder: their content, without what is lost to whole blocks."""
    path = Path(path)
    return sum(each.stat().st_size for each in path.iterdir()) if path.is_dir() else path.stat().st_size
