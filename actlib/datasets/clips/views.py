"""All views of each video, for evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader

from actlib.datasets.clips.loaders import Videos, worker_options
from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.clips.show import frames_of
from actlib.datasets.errors import VideoError


@dataclass
class Views:
    """All views of one video: uint8 (V, T, C, H, W), those of the first protocol first.

    `counts`: views per protocol. A video that cannot be decoded has no views and an `error`.
    """

    index: int
    clips: torch.Tensor | None
    counts: tuple[int, ...]
    error: str = ""


class EvaluationViews(Videos):
    """Every view that the protocols ask of a video, each needed frame decoded once: `data[i]` is its `Views`.

    `table`: its rows, in the same order; worker processes do without it.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        classes: Sequence[str],
        protocols: dict[str, Protocol],
        *,
        modality: str = "rgb",
        timeout: float | None = 60.0,
        backend: str = "auto",
    ):
        super().__init__(table, classes, modality=modality, timeout=timeout, backend=backend)
        if len({(each.num_frames, each.crop_size) for each in protocols.values()}) != 1:
            raise ValueError("protocols that are evaluated together share num_frames and crop_size, to share batches")
        self.table, self.classes, self.protocols = table, list(classes), protocols

    def __getstate__(self) -> dict:
        return vars(self) | {"table": None}  # what a worker started anew is sent

    def __getitem__(self, index: int) -> Views:
        begin, end = self.segment(index)
        windows = [begin + protocol.windows(end - begin) for protocol in self.protocols.values()]
        needed = np.unique(np.concatenate([each.ravel() for each in windows]))
        try:
            frames = self.read(index, needed)
        except VideoError as error:
            return Views(index, None, (0,) * len(windows), error.reason)
        views = [
            self._cut(frames, np.searchsorted(needed, each), protocol)
            for each, protocol in zip(windows, self.protocols.values())
        ]
        return Views(index, torch.cat(views), tuple(len(each) for each in views))

    def pictures(self, video_ids: Sequence[str], count: int) -> list[np.ndarray]:
        """`count` frames of each of these videos to look at: see `show.frames_of`."""
        rows = self.table.set_index("video_id").loc[list(video_ids)]
        return frames_of(rows, count, modality=self.modality, timeout=self.timeout, backend=self.backend)

    @staticmethod
    def _cut(frames: torch.Tensor, windows: np.ndarray, protocol: Protocol) -> torch.Tensor:
        """Frames (N, C, H, W) and clips as places in them (K, T) -> views (K · num_crops, T, C, size, size).

        The crops are made of each frame once, before clips that share frames are put together.
        """
        used, places = np.unique(windows, return_inverse=True)
        if len(used) < len(frames):
            frames = frames[torch.from_numpy(used)]
        crops = protocol.crops(frames)
        views = crops[:, torch.from_numpy(places.reshape(windows.shape))]  # (num_crops, K, T, C, size, size)
        return views.transpose(0, 1).flatten(0, 1)


def evaluation_loader(dataset: EvaluationViews, *, num_workers: int, pin_memory: bool = False) -> DataLoader:
    """A loader of `Views`, one a video, in the table's order."""
    return DataLoader(dataset, batch_size=None, **worker_options(num_workers, pin_memory))
