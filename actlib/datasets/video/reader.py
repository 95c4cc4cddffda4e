"""Reading frames by number from whatever a table's `path` names: a video file, a folder of frames, a video in an LMDB
file. Everything that reads frames reads through here."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from actlib.datasets.errors import VideoError
from actlib.datasets.video import pyav_reader as video
from actlib.datasets.video.pyav_reader import VideoInfo

MODALITIES = ("rgb", "flow")


def read_frames(
    path: str | Path, indices: Sequence[int], *, modality: str = "rgb", timeout: float | None = None
) -> np.ndarray:
    """The frames numbered `indices` from 0 (any order, repeats allowed): uint8 (T, H, W, 3) RGB; for modality "flow"
    uint8 (T, H, W, 10), five consecutive pairs x, y from each number on.

    `timeout`: seconds that a decoder, or the disk, may take; None: as long as they like. Raises VideoError for
    whatever is wrong with the video and for a frame that it does not have; ValueError for unusable arguments.
    """
    _check_modality(modality)
    path = os.fspath(path)
    if modality == "flow":
        from actlib.datasets.video import flow_folders as flow

        read, path = flow.read_flow, _flow_folder(path)
    elif split_lmdb(path):
        from actlib.datasets.video import lmdb_store

        read = lmdb_store.read_frames
    elif os.path.isdir(path):
        from actlib.datasets.video import frame_folders

        read = frame_folders.read_frames
    else:
        read = video.read_frames
    return read(path, indices) if timeout is None else video.answer_within(timeout, path, read, path, indices)


def probe(path: str | Path, modality: str = "rgb") -> VideoInfo:
    """Count the frames (for modality "flow" the pairs) and decode the first. Raises VideoError."""
    _check_modality(modality)
    path = os.fspath(path)
    if modality == "flow":
        from actlib.datasets.video import flow_folders as flow

        return flow.probe_flow(_flow_folder(path))
    if split_lmdb(path):
        from actlib.datasets.video import lmdb_store

        return lmdb_store.probe(path)
    if os.path.isdir(path):
        from actlib.datasets.video import frame_folders

        return frame_folders.probe(path)
    return video.probe(path)


def split_lmdb(path: str) -> tuple[str, str] | None:
    """(LMDB file, video's id) of a path `<file>.lmdb/<video_id>`; None for any other path."""
    at = path.find(".lmdb" + os.sep)
    return (path[: at + 5], path[at + 6 :]) if at > 0 and path[at + 6 :] else None


def _flow_folder(path: str) -> str:
    if not os.path.isdir(path):
        raise VideoError(path, "is no folder of flow pairs; notebook 01_data_prep makes them (storage: flow)")
    return path


def _check_modality(modality: str):
    if modality not in MODALITIES:
        raise ValueError(f'modality must be "rgb" or "flow", got {modality!r}')
