"""Reading frames by number from whatever a table's `path` names: a video file, a folder of frames or of optical flow, a
video in an LMDB file. Everything that reads frames reads through here."""

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from actlib.datasets.errors import DataError, VideoError
from actlib.datasets.video import flow_folders, frame_folders, lmdb_store, pyav_reader, time_limit
from actlib.datasets.video.info import VideoInfo, distinct_frames, first_line, stacked
from actlib.datasets.vocabulary import MODALITIES, VIDEO_BACKENDS
from actlib.messages import is_utf8

PIECE_BYTES = 4 << 20  # frames that are handed over together: a time limit costs some 50 µs a piece


def read_frames(
    path: str | Path,
    indices: Sequence[int],
    *,
    modality: str = "rgb",
    timeout: float | None = None,
    backend: str = "auto",
) -> np.ndarray:
    """The frames numbered `indices` from 0 (any order, repeats allowed): uint8 (T, H, W, 3) RGB; for modality "flow"
    uint8 (T, H, W, 10), five consecutive pairs x, y from each number on. Each distinct frame is decoded once.

    `timeout`: after so many seconds the decoder, or the disk, is left alone, whatever it is doing, and so is this video
    as long as it does it; None: waits as long as it takes. `backend`: what decodes video files, "pyav" ("auto" is the
    same) or "decord", where that is installed (see `decord_reader`).
    Raises VideoError for whatever is wrong with the video and for a frame that it does not have; ValueError for
    unusable arguments.
    """
    distinct_frames(indices)  # unusable ones are the caller's, not the video's
    path, reader = _reader_of(path, modality, backend)
    return _within(timeout, path, reader.read_frames, path, indices)


def iter_frames(
    path: str | Path,
    indices: Sequence[int],
    *,
    modality: str = "rgb",
    timeout: float | None = None,
    backend: str = "auto",
) -> Iterator[np.ndarray]:
    """The frames of `read_frames` while they are decoded, for videos of any length: uint8 (N, H, W, C), N from 1 on,
    together those numbered `indices`, which ascend without a repeat. An array has at most PIECE_BYTES, or one frame.

    `timeout`: seconds that each of them may take. Raises as `read_frames`, where need be after the first frames.
    """
    distinct, places = distinct_frames(indices)
    path, reader = _reader_of(path, modality, backend)
    if not isinstance(places, slice):
        raise ValueError("indices must ascend without a repeat")
    frames = reader.iter_frames(path, distinct)
    while len(piece := _within(timeout, path, _next_piece, frames)):
        yield piece


def _next_piece(frames: Iterator[np.ndarray]) -> np.ndarray:
    first = next(frames, None)
    if first is None:
        return np.empty(0, dtype=np.uint8)
    return stacked(chain([first], frames), max(1, PIECE_BYTES // first.nbytes))


def _within(timeout: float | None, path: str, read: Callable, *args):
    """`read(*args)`. Whatever goes wrong in it is about this video, and leaves as VideoError: the decoders' libraries
    raise anything for a file that is damaged in a new way. That a library is missing stays a DataError."""
    try:
        return read(*args) if timeout is None else time_limit.within(timeout, path, read, *args)
    except (VideoError, DataError):
        raise
    except TimeoutError as error:
        raise VideoError(path, f"{error}: the decoder hangs on this file, or the disk does") from None
    except Exception as error:
        raise VideoError(path, f"cannot be read: {type(error).__name__}: {first_line(error)}") from error


def probe(path: str | Path, modality: str = "rgb", backend: str = "auto") -> VideoInfo:
    """Count the frames (for modality "flow" the pairs) and decode the first. Raises as `read_frames`."""
    path, reader = _reader_of(path, modality, backend)
    return _within(None, path, reader.probe, path)


def check_backend(backend: str) -> str:
    """The one that `backend` stands for: "pyav" or "decord". Raises ValueError for an unknown one and DataError, a kind
    of it, for decord where it is not installed."""
    if backend not in VIDEO_BACKENDS:
        raise ValueError(f"video_backend {backend!r}: expected one of {', '.join(VIDEO_BACKENDS)}")
    if backend == "decord":
        _decord_reader().check_installed()
    return "pyav" if backend == "auto" else backend


def installed_backends() -> list[str]:
    """Those of pyav and decord that can be used here."""
    return ["pyav"] + (["decord"] if _decord_reader().decord else [])


def _reader_of(path: str | Path, modality: str, backend: str):
    """The path as a string, and the module that reads it."""
    if modality not in MODALITIES:
        raise ValueError(f"modality {modality!r}: expected one of {', '.join(MODALITIES)}")
    backend, path = check_backend(backend), os.fspath(path)
    if not is_utf8(path):
        raise VideoError(path, "its name is not UTF-8; rename it")
    if "\0" in path:
        raise VideoError(path, "its name holds a NUL character, which no file's name can")
    if modality == "flow":
        if not os.path.isdir(path):
            raise VideoError(path, "is no folder of flow pairs; notebook 01_data_prep makes them (storage: flow)")
        return path, flow_folders
    if lmdb_store.split_lmdb(path):
        return path, lmdb_store
    if os.path.isdir(path):
        return path, frame_folders
    return path, _decord_reader() if backend == "decord" else pyav_reader


def _decord_reader():
    from actlib.datasets.video import decord_reader  # torch comes with it: it takes seconds

    return decord_reader
