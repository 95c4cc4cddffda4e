"""Reading and writing videos as JPEGs in an LMDB file: one file instead of some hundred thousand.

Under the key `<video_id>` stands a JSON record (num_frames, fps, width, height), under `<video_id>/000000`,
`<video_id>/000001` and so on the frames' JPEGs. A video is written in one transaction, record and frames together: it
is there whole or not at all. A table's path is `<file>.lmdb/<video_id>`.
"""

import json
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict
from operator import itemgetter
from pathlib import Path

import numpy as np

from actlib.datasets.errors import DataError, VideoError
from actlib.datasets.video.info import VideoInfo, check_range, distinct_frames, stacked
from actlib.datasets.video.numbered_pictures import decode_pictures
from actlib.files import naming_full_disk, parse_json
from actlib.messages import shown

MAX_ID = 511 - 10  # bytes of a video's id: LMDB's own limit of a key, less a frame's number
_MAP_SIZE = 1 << 30  # bytes to begin with; doubled when full. No disk is taken before it is written to
_OPEN_FILES = 8  # by a process at a time
_REMEDY = "convert the video anew"


def split_lmdb(path: str) -> tuple[str, str] | None:
    """(LMDB file, video's id) of a path `<file>.lmdb/<video_id>`; None for any other path."""
    at = path.find(".lmdb" + os.sep)
    return (path[: at + 5], path[at + 6 :]) if at > 0 and path[at + 6 :] else None


def read_frames(path: str | Path, indices: Sequence[int]) -> np.ndarray:
    """The frames numbered `indices` (any order, repeats allowed): uint8 (T, H, W, 3) RGB, each decoded once.

    Raises VideoError for whatever is wrong with the file or the video, DataError without the extra `lmdb`.
    """
    distinct, places = distinct_frames(indices)
    return stacked(iter_frames(path, distinct), len(distinct))[places]


def iter_frames(path: str | Path, distinct: np.ndarray) -> Iterator[np.ndarray]:
    """The frames numbered `distinct`, which ascend: each uint8 (H, W, 3). Raises as `read_frames`."""
    with _reading(path) as (transaction, video_id):
        info = _record(path, transaction, video_id)
    check_range(path, distinct, info.num_frames)
    for frame in decode_pictures(_pictures(path, distinct, info), remedy=_REMEDY):
        height, width = frame.shape[:2]
        if (height, width) != (info.height, info.width):
            sizes = f"{width}×{height} pixels, its record says {info.width}×{info.height}"
            raise VideoError(path, f"frame {distinct[0]} has {sizes}; {_REMEDY}")
        yield frame


def _pictures(path, distinct: np.ndarray, info: VideoInfo) -> Iterator[tuple[str, bytes]]:
    """The names and JPEGs of frames, each found in a transaction of its own: none stays open while nobody reads on, and
    the file may be closed meanwhile for other ones."""
    for index in distinct.tolist():
        with _reading(path) as (transaction, video_id):
            data = transaction.get(_key(video_id, index))
            data = None if data is None else bytes(data)
        if data is None:
            raise VideoError(path, f"frame {index} of {info.num_frames} is missing from the file; {_REMEDY}")
        yield f"{path}/{index:06d}", data


def probe(path: str | Path) -> VideoInfo:
    """What the video's record says; its first frame is decoded. Raises as `read_frames`."""
    read_frames(path, [0])
    with _reading(path) as (transaction, video_id):
        return _record(path, transaction, video_id)


def contained(file: str | Path, video_ids: Iterable[str]) -> list[str]:
    """Those of `video_ids` that are in an LMDB file, in their order. Raises VideoError; DataError without `lmdb`."""
    with _reading(os.path.join(file, "*")) as (transaction, _):
        return [name for name in video_ids if _get(transaction, name) is not None]


def stored_bytes(path: str | Path) -> int:
    """The bytes of the video's JPEGs. LMDB keeps them in whole blocks of 4096 bytes, some a fifth more."""
    with _reading(path) as (transaction, video_id):
        info = _record(path, transaction, video_id)
        return sum(len(transaction.get(_key(video_id, index), b"")) for index in range(info.num_frames))


class Writer(AbstractContextManager):
    """Adds videos to an LMDB file, made if need be. One at a time may write to a file, in a `with`."""

    def __init__(self, path: str | Path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        _forget(os.path.abspath(path))  # lmdb refuses to open a file twice
        if os.path.exists(path) and os.path.getsize(path) and (reason := _cut_off(path)):
            raise DataError(f"{path}: {reason}; delete it, and its videos are converted anew")
        lmdb = _lmdb()
        try:
            self._env = lmdb.open(str(path), subdir=False, map_size=_MAP_SIZE, map_async=False)
        except lmdb.Error as error:
            raise DataError(f"{path}: cannot be written to ({error}); if it is damaged, delete it") from None

    def add(self, video_id: str, info: VideoInfo, frames: Iterable[bytes]) -> None:
        """Write a video, its frames as JPEGs in order; one that is there under the same id is replaced.

        Raises DataError for an id that is too long for a key, DiskFull, ValueError when there are not `info.num_frames`
        frames.
        """
        if len(video_id.encode()) > MAX_ID:
            raise DataError(f"video_id {shown(video_id)} is too long for an LMDB file ({MAX_ID} bytes at most)")
        frames, lmdb = list(frames), _lmdb()
        if len(frames) != info.num_frames:
            raise ValueError(f"{video_id}: {len(frames)} frames, but num_frames is {info.num_frames}")
        while True:
            try:
                with naming_full_disk(self._env.path(), kinds=(lmdb.Error,)):
                    self._put(video_id, info, frames)
                return
            except lmdb.MapFullError:
                self._env.set_mapsize(2 * self._env.info()["map_size"])
            except lmdb.Error as error:
                raise DataError(f"{self._env.path()}: {video_id} cannot be written: {error}") from None

    def _put(self, video_id: str, info: VideoInfo, frames: list[bytes]) -> None:
        with self._env.begin(write=True) as transaction:
            for index, data in enumerate(frames):
                transaction.put(_key(video_id, index), data)
            transaction.put(video_id.encode(), json.dumps(asdict(info)).encode())

    def info(self, video_id: str) -> VideoInfo | None:
        """The record of a video; None if it is not there, or damaged."""
        with self._env.begin() as transaction:
            data = _get(transaction, video_id)
        return _info(data) if data else None

    def __exit__(self, *exception):
        self._env.close()


def _get(transaction, video_id: str) -> bytes | None:
    """The record of a video; None if it is not there."""
    key = video_id.encode(errors="replace")  # "?": what is not UTF-8 is no key here
    return transaction.get(key) if 0 < len(key) <= MAX_ID else None


def _key(video_id: str, index: int) -> bytes:
    return f"{video_id}/{index:06d}".encode()


def _lmdb():
    try:
        import lmdb
    except ImportError as error:
        raise DataError(f"reading and writing LMDB files needs lmdb ({error}): pip install -e '.[lmdb]'") from error
    return lmdb


@contextmanager
def _reading(path):
    """Yield (transaction, video's id); LMDB's errors leave as VideoError."""
    file, video_id = split_lmdb(os.fspath(path))
    file, lmdb = os.path.abspath(file), _lmdb()
    try:
        status = os.stat(file)
        reason = _cut_off(file) if file not in _opened or _opened[file][0] != _state(status) else ""
    except OSError as error:
        raise VideoError(path, f"its file cannot be opened: {error.strerror}") from None
    if reason:
        raise VideoError(path, f"its file {reason}; copy it again, or convert the videos anew")
    try:
        env = _open(file, _state(status))
        with env.begin(buffers=True) as transaction:
            yield transaction, video_id
    except lmdb.Error as error:
        raise VideoError(path, f"its file is damaged or not LMDB ({error}); convert the videos anew") from None


def _state(status: os.stat_result) -> tuple[int, ...]:
    return os.getpid(), status.st_ino, status.st_size, status.st_mtime_ns


# The head of each of LMDB's two pages about the file, as 64-bit machines write it, from the first byte of the page on:
# 0xBEEFC0DE (after 16 bytes), the size of a page (40), the number of the last page in use (136) and of the transaction.
_HEAD = struct.Struct("<16xI20xI92xQQ")
_MAGIC, _PAGES = 0xBEEFC0DE, {1 << power for power in range(9, 17)}


def _cut_off(file: str | Path) -> str:
    """Why an LMDB file must not be opened, if so: reading a page that it promises but does not hold ends the process.
    A file that is none, or of another kind of machine, is left to lmdb to refuse."""
    size = os.path.getsize(file)
    with open(file, "rb") as stream:
        first = stream.read(_HEAD.size)
        if len(first) < _HEAD.size:
            return f"is cut off: it has {size:,} bytes"
        magic, page, *of_first = _HEAD.unpack(first)
        stream.seek(page)
        second = stream.read(_HEAD.size)
    if magic != _MAGIC or page not in _PAGES:
        return ""
    if len(second) < _HEAD.size:
        return f"is cut off: it has {size:,} bytes"
    magic, _, *of_second = _HEAD.unpack(second)
    if magic != _MAGIC:
        return "is damaged: its second page is not LMDB's"
    last, _ = max(of_first, of_second, key=itemgetter(1))
    if (last + 1) * page > size:
        return f"is cut off: it promises {(last + 1) * page:,} bytes and has {size:,}"
    return ""


# File -> (process, inode, size, time of change) when it was opened, and the open file.
_opened: dict[str, tuple[tuple[int, ...], object]] = {}


def _open(file: str, state: tuple[int, ...]):
    """Opened once a file and process; what a forked process finds open is its parent's, and it opens its own.

    Nobody writes while this reads: no lock is taken, and the file may lie where nothing may be written.
    """
    if file not in _opened or _opened[file][0] != state:
        _forget(file)
        while len(_opened) >= _OPEN_FILES:
            _forget(next(iter(_opened)))
        _opened[file] = state, _lmdb().open(file, subdir=False, readonly=True, lock=False, readahead=False)
    return _opened[file][1]


def _forget(file: str):
    """Close `file`, if it is open. What was inherited through a fork is closed in this process alone: opened without a
    lock, it is but this process's copy of a mapping, and lmdb refuses to open a file twice."""
    _, env = _opened.pop(file, (None, None))
    if env is not None:
        env.close()


def _record(path, transaction, video_id: str) -> VideoInfo:
    data = _get(transaction, video_id)
    if data is None:
        raise VideoError(path, "is not in its LMDB file; notebook 01_data_prep converts it again")
    if (info := _info(data)) is None:
        raise VideoError(path, f"its record in the LMDB file is damaged; {_REMEDY}")
    return info


def _info(data: bytes) -> VideoInfo | None:
    """What a record says; None for a damaged one."""
    with suppress(ValueError, TypeError):
        info = VideoInfo(**parse_json(bytes(data).decode())[0])
        sizes = (info.num_frames, info.width, info.height)
        if all(type(each) is int and each > 0 for each in sizes) and type(info.fps) in (int, float):
            return info
    return None
