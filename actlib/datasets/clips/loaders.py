"""Datasets that torch's DataLoader reads: random clips for training, all views of each video for evaluation."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.clips.sampling import training_window
from actlib.datasets.clips.transforms import as_clip
from actlib.datasets.errors import DataError, VideoError
from actlib.datasets.video.reader import MODALITIES, read_frames


class _Paths:
    """The paths of many videos in two tensors: what all begin with once, then the rest of each, end to end.

    Python objects would be copied into every worker process, page by page, as their reference counts change; tensors
    are not: a forked worker shares their pages, one that is started anew gets them as shared memory.
    """

    def __init__(self, paths: Sequence[str]):
        # min and max: what these two have in common, all between them have too.
        self._common = os.path.commonprefix([min(paths), max(paths)]) if len(paths) else ""
        rests = [os.fsencode(path[len(self._common) :]) for path in paths]
        self._bytes = torch.frombuffer(bytearray(b"".join(rests) or b"\0"), dtype=torch.uint8)
        self._ends = torch.tensor([0, *map(len, rests)]).cumsum(0)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        begin, end = self._ends[index].item(), self._ends[index + 1].item()
        return self._common + os.fsdecode(self._bytes[begin:end].numpy().tobytes())


class _Videos(Dataset):
    """What both datasets share: the videos of a table with their class indices and segments, held as tensors, and how
    they are read (see `sources.read_frames`).

    `timeout`: seconds that a decoder may take over one clip; after that the video counts as one that cannot be decoded.
    """

    def __init__(self, table: pd.DataFrame, classes: Sequence[str], modality: str, timeout: float | None):
        if modality not in MODALITIES:
            raise ValueError(f"modality {modality!r}: expected one of {', '.join(MODALITIES)}")
        labels = pd.Index(classes).get_indexer(table["label"])
        unknown = sorted(table["label"][labels < 0].unique())
        if unknown:
            raise DataError(
                f"label {', '.join(map(repr, unknown[:5]))} is not among the {len(classes)} classes "
                f"{', '.join(list(classes)[:8])}{', …' if len(classes) > 8 else ''}"
            )
        unprobed = table.loc[table["num_frames"].isna(), "path"]
        if len(unprobed):
            raise DataError(
                f"{len(unprobed):,} videos have no num_frames, {unprobed.iloc[0]} first; "
                "notebook 01_data_prep probes them and fills it in"
            )
        self.modality, self.timeout = modality, timeout
        self.paths = _Paths(table["path"].to_list())
        self.labels = torch.from_numpy(labels.astype(np.int32))
        self._begins = torch.from_numpy(table["start"].fillna(0).to_numpy(dtype=np.int32))
        self._ends = torch.from_numpy(table["end"].fillna(table["num_frames"]).to_numpy(dtype=np.int32))

    def __len__(self) -> int:
        return len(self.paths)

    def segment(self, index: int) -> tuple[int, int]:
        """The frames [begin, end) of the file that belong to the video."""
        return self._begins[index].item(), self._ends[index].item()

    def read(self, index: int, frames: np.ndarray) -> torch.Tensor:
        """The frames of these numbers: uint8 (T, C, H, W). Raises VideoError."""
        found = read_frames(self.paths[index], frames, modality=self.modality, timeout=self.timeout)
        return as_clip(found)


@dataclass
class Batch:
    """`clips` uint8 (B, T, C, H, W), `labels` int64 (B), `failures`: (path, reason) of each clip that was replaced."""

    clips: torch.Tensor
    labels: torch.Tensor
    failures: list[tuple[str, str]]

    def pin_memory(self) -> "Batch":
        return Batch(self.clips.pin_memory(), self.labels.pin_memory(), self.failures)


class TrainingClips(_Videos):
    """One random clip of a video, augmented. Every random choice comes from (seed, epoch, video) alone, so a run
    is the same whatever the number of workers, and an epoch that is run again after a crash is the same epoch.

    A clip that cannot be decoded is replaced by one of another video, drawn at random, at most
    `max_replacements` times; then VideoError is raised, since something is wrong with the whole disk.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        classes: Sequence[str],
        *,
        num_frames: int,
        frame_stride: int,
        transform: Callable[[torch.Tensor], torch.Tensor],
        sampling: str = "random",
        loop: str = "taken",
        modality: str = "rgb",
        timeout: float | None = 60.0,
        seed: int = 0,
        max_replacements: int = 10,
    ):
        """`sampling`, `loop`: see `sampling.training_window`; `transform`: uint8 (T, C, H, W) to (T, C, size, size)."""
        super().__init__(table, classes, modality, timeout)
        self.num_frames, self.frame_stride, self.transform = num_frames, frame_stride, transform
        self.sampling, self.loop = sampling, loop
        self.seed, self.max_replacements = seed, max_replacements
        self.window(1, np.random.default_rng(0))  # an unknown rule is refused here, not in a worker

    def window(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """The frame numbers of one clip of a video of `n` frames: int64 (T,)."""
        return training_window(self.sampling, n, self.num_frames, self.frame_stride, rng, loop=self.loop)

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        """`key` is (epoch, index), as `EpochSampler` gives it; a batch of one comes back."""
        epoch, index = key
        rng = np.random.default_rng((self.seed, epoch, index))
        failures: list[tuple[str, str]] = []
        while True:
            begin, end = self.segment(index)
            frames = begin + self.window(end - begin, rng)
            try:
                clip = self.read(index, frames)
                break
            except VideoError as error:
                failures.append((error.path, error.reason))
                if len(failures) > self.max_replacements:
                    raise VideoError(
                        error.path, f"{error.reason} (and {self.max_replacements} replacements failed as well)"
                    ) from error
                index = int(rng.integers(len(self)))
        with torch.random.fork_rng(devices=[]):  # the transforms draw from torch's global generator
            # torch.manual_seed seeds all devices, which takes a tenth of the time of a short clip.
            torch.default_generator.manual_seed(int(rng.integers(2**62)))
            clip = self.transform(clip)
        return Batch(clip.contiguous()[None], self.labels[index : index + 1].long(), failures)


def _collate(items: list[Batch]) -> Batch:
    return Batch(
        default_collate([item.clips[0] for item in items]),  # in a worker, straight into shared memory
        torch.cat([item.labels for item in items]),
        [failure for item in items for failure in item.failures],
    )


class EpochSampler(Sampler):
    """(epoch, index) in an order that depends on seed and epoch alone. Set `epoch` before each pass.

    The epoch travels with each index because worker processes that outlive an epoch are not told of it otherwise.
    """

    def __init__(self, length: int, seed: int):
        self.length, self.seed, self.epoch = length, seed, 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        epoch = self.epoch
        return ((epoch, int(index)) for index in order)  # a list of them would be larger than the whole table

    def __len__(self) -> int:
        return self.length


def training_loader(dataset: TrainingClips, *, batch_size: int, num_workers: int, pin_memory: bool) -> DataLoader:
    """A loader of `Batch`es; set `loader.sampler.epoch` before each pass."""
    return DataLoader(
        dataset,
        batch_size,
        sampler=EpochSampler(len(dataset), dataset.seed),
        collate_fn=_collate,
        **_worker_options(num_workers, pin_memory),
    )


@dataclass
class Views:
    """All views of one video: uint8 (V, T, C, H, W), those of the first protocol first.

    `counts`: views per protocol. A video that cannot be decoded has no views and an `error`.
    """

    index: int
    clips: torch.Tensor | None
    counts: tuple[int, ...]
    error: str = ""


class EvaluationViews(_Videos):
    """Every view that the protocols ask of a video, each needed frame decoded once."""

    def __init__(
        self,
        table: pd.DataFrame,
        classes: Sequence[str],
        protocols: Sequence[Protocol],
        *,
        modality: str = "rgb",
        timeout: float | None = 60.0,
    ):
        super().__init__(table, classes, modality, timeout)
        if len({(each.num_frames, each.crop_size) for each in protocols}) != 1:
            raise ValueError("protocols that are evaluated together share num_frames and crop_size, to share batches")
        self.protocols = tuple(protocols)

    def __getitem__(self, index: int) -> Views:
        begin, end = self.segment(index)
        windows = [begin + protocol.windows(end - begin) for protocol in self.protocols]
        needed = np.unique(np.concatenate([each.ravel() for each in windows]))
        try:
            frames = self.read(index, needed)
        except VideoError as error:
            return Views(index, None, (0,) * len(windows), error.reason)
        views = [
            self._cut(frames, np.searchsorted(needed, each), protocol)
            for each, protocol in zip(windows, self.protocols)
        ]
        return Views(index, torch.cat(views), tuple(len(each) for each in views))

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
    return DataLoader(dataset, batch_size=None, **_worker_options(num_workers, pin_memory))


def _worker_options(num_workers: int, pin_memory: bool) -> dict:
    """Workers live through the whole run; a generator of its own keeps the loader off torch's global one, whose
    state is part of a checkpoint."""
    return {
        "num_workers": num_workers,
        "pin_memory": pin_memory,
        "persistent_workers": num_workers > 0,
        "generator": torch.Generator(),
    }
