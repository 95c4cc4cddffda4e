"""Reading and writing videos as JPEGs in an LMDB file: one file instead of some hundred thousand.

Under the key `<video_id>` stands a JSON record (num_frames, fps, width, height), under `<video_id>/000000`,
`<video_id>/000001` and so on the frames' JPEGs. A video is written in one transaction, record and frames together: it
is there whole or not at all. A table's path is `<file>.lmdb/<video_id>`.
"""

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from actlib.datasets.errors import DataError, VideoError
from actlib.datasets.video.frame_folders import decode_picture, distinct_frames
from actlib.datasets.video.pyav_reader import VideoInfo, check_range
from actlib.datasets.video.reader import split_lmdb

MAX_KEY = 511  # bytes, LMDB's own limit
_FRAME = "{}/{:06d}"
_MAP_SIZE = 1 << 30  # bytes to begin with; doubled when full. No disk is taken before it is written to
_OPEN_FILES = 8  # by a process at a time


def read_frames(path: str | Path, indices: Sequence[int]) -> np.ndarray:
    """The frames numbered `indices` (any order, repeats allowed): uint8 (T, H, W, 3) RGB, each decoded once.

    Raises VideoError for whatever is wrong with the file or the video, DataError without the extra `lmdb`.
    """
    distinct, places = distinct_frames(indices)
    with _reading(path) as (transaction, video_id):
        info = _record(path, transaction, video_id)
        check_range(path, distinct, info.num_frames)
        found = np.empty((len(distinct), info.height, info.width, 3), dtype=np.uint8)
        for place, index in enumerate(distinct):
            key = _FRAME.format(video_id, index)
            data = transaction.get(key.encode())
            if data is None:
                raise VideoError(path, f"frame {index} of {info.num_frames} is missing from the file; convert it anew")
            image = decode_picture(f"{path}/{index:06d}", data)
            if image.shape != found.shape[1:]:
                sizes = f"{image.shape[1]}×{image.shape[0]} pixels, its record says {info.width}×{info.height}"
                raise VideoError(path, f"frame {index} has {sizes}; convert it anew")
            found[place] = image
    return found if places is None else found[places]


def probe(path: str | Path) -> VideoInfo:
    """What the video's record says; its first frame is decoded. Raises as `read_frames`."""
    read_frames(path, [0])
    with _reading(path) as (transaction, video_id):
        return _record(path, transaction, video_id)


def contained(file: str | Path, video_ids: Iterable[str]) -> list[str]:
    """Those of `video_ids` that are in an LMDB file, in their order. Raises VideoError; DataError without `lmdb`."""
    with _reading(os.path.join(file, "*")) as (transaction, _):
        return [name for name in video_ids if transaction.get(name.encode()) is not None]


def stored_bytes(path: str | Path) -> int:
    """The bytes of the video's JPEGs. LMDB keeps them in whole blocks of 4096 bytes, some a fifth more."""
    with _reading(path) as (transaction, video_id):
        info = _record(path, transaction, video_id)
        keys = (_FRAME.format(video_id, index).encode() for index in range(info.num_frames))
        return sum(len(transaction.get(key, b"")) for key in keys)


class Writer:
    """Adds videos to an LMDB file, made if need be. One at a time may write to a file; close it at the end."""

    def __init__(self, path: str | Path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        _forget(os.path.abspath(path))  # lmdb refuses to open a file twice
        self._env = _lmdb().open(str(path), subdir=False, map_size=_MAP_SIZE, map_async=False)

    def add(self, video_id: str, info: VideoInfo, frames: Iterable[bytes]) -> None:
        """Write a video, its frames as JPEGs in order; one that is there under the same id is replaced.

        Raises DataError for an id that is too long for a key, ValueError when there are not `info.num_frames` frames.
        """
        if len(video_id.encode()) > MAX_KEY - 10:
            raise DataError(f"video_id {video_id[:40]!r}… is too long for an LMDB file ({MAX_KEY - 10} bytes at most)")
        frames = list(frames)
        if len(frames) != info.num_frames:
            raise ValueError(f"{video_id}: {len(frames)} frames, but num_frames is {info.num_frames}")
        while True:
            try:
                with self._env.begin(write=True) as transaction:
                    for index, data in enumerate(frames):
                        transaction.put(_FRAME.format(video_id, index).encode(), data)
                    transaction.put(video_id.encode(), json.dumps(asdict(info)).encode())
                return
            except _lmdb().MapFullError:
                self._env.set_mapsize(2 * self._env.info()["map_size"])

    def info(self, video_id: str) -> VideoInfo | None:
        """The record of a video; None if it is not there."""
        with self._env.begin() as transaction:
            data = transaction.get(video_id.encode())
        return VideoInfo(**json.loads(data)) if data else None

    def close(self):
        self._env.close()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *exception):
        self.close()


def _lmdb():
    try:
        import lmdb
    except ImportError as error:
        raise DataError(f"reading and writing LMDB files needs lmdb ({error}): pip install -e '.[lmdb]'") from error
    return lmdb


@contextmanager
def _reading(path):
    """Yield (transaction, video's id); LMDB's errors leave as VideoError."""
    file, video_id = split_lmdb(os.path.abspath(path))
    lmdb = _lmdb()
    try:
        status = os.stat(file)
    except OSError as error:
        raise VideoError(path, f"its file cannot be opened: {error.strerror}") from None
    try:
        env = _open(file, (os.getpid(), status.st_ino, status.st_size, status.st_mtime_ns))
        with env.begin(buffers=True) as transaction:
            yield transaction, video_id
    except lmdb.Error as error:
        raise VideoError(path, f"its file is damaged or not LMDB ({error}); convert the videos anew") from None


# File -> (process, inode, size, time of change) when it was opened, and the open file.
_opened: dict[str, tuple[tuple[int, ...], object]] = {}


def _open(file: str, state: tuple[int, ...]):
    """Opened once a file and process; what a forked process finds open is its parent's, and it opens its own.

    Nobody writes while this reads: no lock is taken, and the file may lie where nothing may be written.
    """
    before, env = _opened.get(file, (None, None))
    if before == state:
        return env
    _forget(file)
    while len(_opened) >= _OPEN_FILES:
        _forget(next(iter(_opened)))
    env = _lmdb().open(file, subdir=False, readonly=True, lock=False, readahead=False)
    _opened[file] = (state, env)
    return env


def _forget(file: str):
    """Close `file`, if it is open. What was inherited through a fork is closed in this process alone: opened without a
    lock, it is but this process's copy of a mapping, and lmdb refuses to open a file twice."""
    _, env = _opened.pop(file, (None, None))
    if env is not None:
        env.close()


def _record(path, transaction, video_id: str) -> VideoInfo:
    data = transaction.get(video_id.encode())
    if data is None:
        raise VideoError(path, "is not in its LMDB file; notebook 01_data_prep converts it again")
    try:
        return VideoInfo(**json.loads(bytes(data)))
    except (ValueError, TypeError):
        raise VideoError(path, "its record in the LMDB file is damaged; convert it anew") from None
