"""All views of each video, for evaluation, in memory that does not grow with the length or the size of a video.

Frames are resized and cut to what the views show of them while the next ones are decoded, and kept as long as a clip
that is still to come needs them. Clips leave in the order of their last frames, a few views at a time (`Chunk`).
"""

import ctypes
import heapq
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from actlib.datasets.clips import crops
from actlib.datasets.clips.handover import HandedOver, in_shared_memory
from actlib.datasets.clips.loaders import Videos, worker_options
from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.clips.rows import VideoRows
from actlib.datasets.clips.show import frames_of
from actlib.datasets.clips.transforms import as_clip, cut, mirror, resize_short_side
from actlib.datasets.errors import VideoError
from actlib.datasets.video.reader import iter_frames

IN_FLIGHT = 32 << 20  # bytes of chunks that all workers together make and have ready; at least a view each
READY = 2  # chunks that a worker has ready (torch's prefetch_factor), beside the one that it is making


@dataclass
class Views:
    """All views of one video: uint8 (V, T, C, H, W), those of the first protocol first.

    `counts`: views per protocol. A video that cannot be decoded has no views and an `error`.
    """

    index: int
    clips: torch.Tensor | None
    counts: tuple[int, ...]
    error: str = ""


@dataclass
class Chunk(HandedOver):
    """Some of a video's views, the same ones once: uint8 (V, T, C, H, W), in memory ordered as (V, T, H, W, C).

    `places`: where each of them stands among all views of the video (see `Views`), several times where protocols share
    it or a short video shows it again. `last`: with this one the video ends; only then is it known that all of it can
    be decoded. Where it cannot, the last chunk has no views and an `error`.
    """

    index: int
    clips: torch.Tensor | None
    places: list[list[int]]
    counts: tuple[int, ...]
    error: str = ""
    last: bool = False

    def owners(self) -> list[list[int]]:
        """Of each view the protocols that it belongs to, by number."""
        ends = np.cumsum(self.counts)
        return [np.searchsorted(ends, places, side="right").tolist() for places in self.places]


class EvaluationViews(Videos):
    """Every view that the protocols ask of a video, each needed frame decoded once: `data[i]` is its `Views`, all in
    memory, for people to look at. Evaluation takes them in `chunks`.

    `table`: its rows, in the same order; worker processes do without it. `rows`: the same where they are held in
    tensors already; who makes no scores or pictures of them then does without a table. `timeout`: seconds that a
    decoder may take over the next few frames (see `video.reader.iter_frames`).
    """

    def __init__(
        self,
        table: pd.DataFrame | None,
        classes: Sequence[str],
        protocols: dict[str, Protocol],
        *,
        rows: VideoRows | None = None,
        modality: str = "rgb",
        timeout: float | None = 60.0,
        backend: str = "auto",
    ):
        super().__init__(
            table if rows is None else rows, classes, modality=modality, timeout=timeout, backend=backend
        )
        if len({(each.num_frames, each.crop_size) for each in protocols.values()}) != 1:
            raise ValueError("protocols that are evaluated together share num_frames and crop_size, to share batches")
        self.table, self.classes, self.protocols = table, list(classes), protocols

    def __getstate__(self) -> dict:
        return vars(self) | {"table": None}  # what a worker started anew is sent

    def __getitem__(self, index: int) -> Views:
        clips = None
        for chunk in self.chunks(index):
            if chunk.error:
                return Views(index, None, (0,) * len(chunk.counts), chunk.error)
            if clips is None:
                clips = chunk.clips.new_empty((sum(chunk.counts), *chunk.clips.shape[1:]))
            for clip, places in zip(chunk.clips, chunk.places):
                clips[places] = clip
        return Views(index, clips, chunk.counts)

    def chunks(self, index: int, max_bytes: int = 8 << 20) -> Iterator[Chunk]:
        """The views of a video in chunks of at most `max_bytes`, or one view."""
        plan = _Plan(list(self.protocols.values()), *self.segment(index), index)
        clips, places, left = torch.empty(0), [], sum(plan.counts)
        try:
            for frames, (box, mirrored), where in self._views(index, plan):
                if len(places) == len(clips):
                    if places:
                        yield Chunk(index, clips, places, plan.counts)
                    shape = len(frames), *box[2:], frames[0].shape[2]
                    clips = torch.empty((min(left, max(1, max_bytes // prod(shape))), *shape), dtype=torch.uint8)
                    clips, places = clips.permute(0, 1, 4, 2, 3), []
                _write(frames, box, mirrored, clips[len(places)])
                places.append(where)
                left -= len(where)
        except VideoError as error:
            yield Chunk(index, None, [], plan.counts, error.reason, last=True)
            return
        if len(places) < len(clips):
            clips = clips[: len(places)].clone()  # whole memory goes to the other process, not the part in use
        yield Chunk(index, clips, places, plan.counts, last=True)

    def _views(self, index: int, plan: "_Plan") -> Iterator[tuple[list[np.ndarray], tuple[crops.Box, bool], list[int]]]:
        """Of each different view its frames (h, w, C), the box that it shows of them and whether mirrored, and its
        places. Raises VideoError."""
        held: dict[int, list[np.ndarray]] = {}
        number, read, pictures = 0, 0, None
        frames = iter_frames(
            self.paths[index], plan.needed, modality=self.modality, timeout=self.timeout, backend=self.backend
        )
        for piece in frames:
            if pictures is None:
                pictures = _Pictures(plan.protocols, *piece.shape[1:3])
            for frame in pictures.of(piece):
                held[read] = frame
                read += 1
                while number < len(plan.clips) and plan.lasts[number] < read:
                    clip = plan.clips[number].tolist()
                    for (side, *shown), where in pictures.views(plan, number).items():
                        yield [held[place][side] for place in clip], shown, where
                    for place in set(clip):
                        if plan.last_uses[place] == number:
                            del held[place]
                    number += 1

    def share(self, number: int, count: int, videos: np.ndarray | None = None) -> np.ndarray:
        """Which videos, or which of `videos`, the process `number` of `count` reads, counted from 0: each goes to the
        next one that has the fewest views, or frames where their number grows with those. int64 (some,)."""
        videos = np.arange(len(self)) if videos is None else videos
        grows = any(protocol.kind == "video" for protocol in self.protocols.values())
        costs = (self._ends - self._begins).numpy()[videos].tolist() if grows else [1] * len(videos)
        loads, found = [(0, each) for each in range(count)], np.zeros(len(videos), dtype=np.int64)
        for place, cost in enumerate(costs):
            load, found[place] = loads[0]
            heapq.heapreplace(loads, (load + cost, int(found[place])))
        return videos[found == number]

    def pictures(self, video_ids: Sequence[str], count: int) -> list[np.ndarray]:
        """`count` frames of each of these videos to look at: see `show.frames_of`."""
        rows = self.table.set_index("video_id").loc[list(video_ids)]
        return frames_of(rows, count, modality=self.modality, timeout=self.timeout, backend=self.backend)


class _Plan:
    """Which frames the clips of a video need, [begin, end) of its file, and when each is needed for the last time.

    `counts`: views per protocol; `needed`: the frames, ascending; `clips`: the different clips, as places in `needed`,
    int64 (K, T), in the order in which they can be made; `lasts`: of each the last place; `last_uses`: of each needed
    frame the last clip that shows it.
    """

    def __init__(self, protocols: list[Protocol], begin: int, end: int, video: int):
        self.protocols = protocols
        windows = [begin + protocol.windows(end - begin, video) for protocol in protocols]
        self.counts = tuple(len(each) * protocol.num_crops for each, protocol in zip(windows, protocols))
        different, which = np.unique(np.concatenate(windows), axis=0, return_inverse=True)
        order = np.lexsort((different[:, 0], different.max(axis=1)))
        self.needed, places = np.unique(different[order], return_inverse=True)
        self.clips = places.reshape(different.shape)
        self.lasts = self.clips.max(axis=1).tolist()
        self.last_uses = np.zeros(len(self.needed), dtype=np.int64)
        np.maximum.at(self.last_uses, self.clips, np.arange(len(self.clips))[:, None])
        # Of each different clip where it stands among all, protocol after protocol.
        ranks = np.empty_like(order)
        ranks[order] = np.arange(len(order))
        which = ranks[which.ravel()]
        self._sorted, self._ends = np.argsort(which, kind="stable"), np.cumsum(np.bincount(which))
        self._firsts = np.cumsum([0, *map(len, windows)])  # the first clip of each protocol
        self._first_views = np.cumsum([0, *self.counts])  # and its first view

    def users(self, clip: int) -> Iterator[tuple[int, int]]:
        """Of each use of this clip the number of its protocol, and the place of the first of its views among all."""
        for number in self._sorted[self._ends[clip - 1] if clip else 0 : self._ends[clip]]:
            owner = int(np.searchsorted(self._firsts, number, side="right")) - 1
            nth = int(number - self._firsts[owner])
            yield owner, int(self._first_views[owner]) + nth * self.protocols[owner].num_crops


class _Pictures:
    """What the views show of frames of `height` × `width` pixels: of each short side the box around all its crops."""

    def __init__(self, protocols: list[Protocol], height: int, width: int):
        self._sides = sorted({protocol.short_side for protocol in protocols})
        boxes = [protocol.boxes(height, width) for protocol in protocols]
        self._around, self._boxes = {}, [[] for _ in protocols]
        for number, side in enumerate(self._sides):
            ours = [box for each, p in zip(boxes, protocols) if p.short_side == side for box, _ in each]
            tops, lefts, heights, widths = np.array(ours).T
            top, left = int(tops.min()), int(lefts.min())
            self._around[side] = (top, left, int((tops + heights).max()) - top, int((lefts + widths).max()) - left)
            for each, p, views in zip(boxes, protocols, self._boxes):
                if p.short_side == side:
                    moved = [((y - top, x - left, *size), mirrored) for (y, x, *size), mirrored in each]
                    views.extend((number, *view) for view in moved)

    def of(self, piece: np.ndarray) -> Iterator[list[np.ndarray]]:
        """Frames uint8 (N, H, W, C) as decoded -> of each, by short side, uint8 (h, w, C) in memory of its own."""
        clip = as_clip(piece)  # resized together, which is a third faster
        shown = [cut(resize_short_side(clip, side), self._around[side]) for side in self._sides]
        for frames in zip(*(each.permute(0, 2, 3, 1).numpy() for each in shown)):
            yield [frame.copy() for frame in frames]

    def views(self, plan: _Plan, clip: int) -> dict[tuple[int, crops.Box, bool], list[int]]:
        """The different views of a clip, (number of the short side, box, mirrored), with their places among all."""
        found: dict[tuple[int, crops.Box, bool], list[int]] = {}
        for owner, first in plan.users(clip):
            for place, view in enumerate(self._boxes[owner], first):
                found.setdefault(view, []).append(place)
        return found


def _write(frames: Sequence[np.ndarray], box: crops.Box, mirrored: bool, out: torch.Tensor) -> None:
    """The box of each frame (h, w, C) into uint8 (T, C, size, size), in memory (T, size, size, C)."""
    top, left, height, width = box
    rows = out.permute(0, 2, 3, 1).numpy()
    for row, frame in zip(rows, frames):
        row[:] = frame[top : top + height, left : left + width]
    if mirrored:
        out.copy_(mirror(out))


class _Stream(IterableDataset):
    """The chunks of all videos of a process, or in a worker those of its share."""

    def __init__(self, videos: EvaluationViews, part: tuple[int, int]):
        self.videos, self.part = videos, part

    def __iter__(self) -> Iterator[Chunk]:
        worker, mine = get_worker_info(), self.videos.share(*self.part)
        number, count = (worker.id, worker.num_workers) if worker else (0, 1)
        if worker:
            _return_memory()
        for index in self.videos.share(number, count, mine).tolist():
            for chunk in self.videos.chunks(index, IN_FLIGHT // (count * (READY + 1))):
                if worker and chunk.clips is not None:  # here, since a failure while it is sent would be lost
                    shared = in_shared_memory(chunk.clips.nbytes, chunk.clips.share_memory_)
                    chunk.by_pipe = shared is None
                yield chunk


def _return_memory() -> None:
    """Let glibc map blocks of 1 MB and more, so that they go back to the system when they are freed. By itself it takes
    them from its heap once it has seen some freed, where frames that live longer come to lie between them: a worker had
    129 MB for itself instead of 45. A worker does nothing but decode; a network's own process is left as it is."""
    with suppress(OSError, AttributeError, TypeError):  # not glibc
        ctypes.CDLL(None).mallopt(-3, 1 << 20)  # M_MMAP_THRESHOLD


def evaluation_loader(
    dataset: EvaluationViews, *, num_workers: int, part: tuple[int, int] = (0, 1)
) -> DataLoader:  # fmt: skip
    """A loader of `Chunk`s, each video's in a row but for those of other workers' videos between them: each worker
    gives one in turn, so that their order depends on nothing but their number. `part`: (number, count) of the process
    that reads so, where several have a share of the videos each."""
    ready = {"prefetch_factor": READY} if num_workers else {}
    return DataLoader(_Stream(dataset, part), batch_size=None, **worker_options(num_workers, False), **ready)
