"""Datasets that torch's DataLoader reads: random clips for training, all views of each video for evaluation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from actlib.datasets import sampling
from actlib.datasets.protocol import Protocol
from actlib.datasets.table import DataError
from actlib.datasets.transforms import as_clip, eval_crops
from actlib.datasets.video import VideoError, read_frames


class _Videos(Dataset):
    """What both datasets share: the videos of a table with their class indices and segments, held as arrays."""

    def __init__(self, table: pd.DataFrame, classes: Sequence[str]):
        index = {name: number for number, name in enumerate(classes)}
        unknown = sorted(set(table["label"]) - set(index))
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
        self.paths = table["path"].to_numpy(dtype=object)
        self.labels = np.array([index[name] for name in table["label"]], dtype=np.int64)
        self.begins = table["start"].fillna(0).to_numpy(dtype=np.int64)
        self.ends = table["end"].fillna(table["num_frames"]).to_numpy(dtype=np.int64)

    def __len__(self) -> int:
        return len(self.paths)


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

    def __init__(self, table, classes, *, num_frames, frame_stride, transform, seed=0, max_replacements=10):
        super().__init__(table, classes)
        self.num_frames, self.frame_stride, self.transform = num_frames, frame_stride, transform
        self.seed, self.max_replacements = seed, max_replacements

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        """`key` is (epoch, index), as `EpochSampler` gives it; a batch of one comes back."""
        epoch, index = key
        rng = np.random.default_rng((self.seed, epoch, index))
        failures: list[tuple[str, str]] = []
        while True:
            begin, end = self.begins[index], self.ends[index]
            frames = begin + sampling.random_window(int(end - begin), self.num_frames, self.frame_stride, rng)
            try:
                clip = as_clip(read_frames(self.paths[index], frames))
                break
            except VideoError as error:
                failures.append((error.path, error.reason))
                if len(failures) > self.max_replacements:
                    raise VideoError(
                        error.path, f"{error.reason} (and {self.max_replacements} replacements failed as well)"
                    ) from error
                index = int(rng.integers(len(self)))
        with torch.random.fork_rng(devices=[]):  # the transforms draw from torch's global generator
            torch.manual_seed(int(rng.integers(2**62)))
            clip = self.transform(clip)
        return Batch(clip.contiguous()[None], torch.tensor([self.labels[index]]), failures)


def _collate(items: list[Batch]) -> Batch:
    return Batch(
        torch.cat([item.clips for item in items]),
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
        return iter([(self.epoch, int(index)) for index in order])

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

    def __init__(self, table: pd.DataFrame, classes: Sequence[str], protocols: Sequence[Protocol]):
        super().__init__(table, classes)
        if len({(each.num_frames, each.crop_size) for each in protocols}) != 1:
            raise ValueError("protocols that are evaluated together share num_frames and crop_size, to share batches")
        self.protocols = tuple(protocols)

    def __getitem__(self, index: int) -> Views:
        begin, end = int(self.begins[index]), int(self.ends[index])
        windows = [begin + protocol.windows(end - begin) for protocol in self.protocols]
        needed = np.unique(np.concatenate([each.ravel() for each in windows]))
        try:
            frames = as_clip(read_frames(self.paths[index], needed))
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
        crops = eval_crops(frames[torch.from_numpy(used)], protocol.short_side, protocol.crop_size, protocol.num_crops)
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
