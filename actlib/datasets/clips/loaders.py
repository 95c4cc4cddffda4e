"""Random clips of videos for training, and what all datasets of videos share."""

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate, get_worker_info

from actlib.datasets.clips.class_balance import Counts, epoch_order, times_before
from actlib.datasets.clips.handover import HandedOver, in_shared_memory, workers_in_words
from actlib.datasets.clips.rows import VideoRows
from actlib.datasets.clips.sampling import training_window
from actlib.datasets.clips.streams import stream
from actlib.datasets.clips.transforms import as_clip
from actlib.datasets.errors import DataError, VideoError
from actlib.datasets.video.reader import check_backend, read_frames
from actlib.datasets.vocabulary import MODALITIES


class Videos(Dataset):
    """What both datasets share: the videos of a table with their class indices and segments, held as tensors, and how
    they are read (see `video.reader.read_frames`).

    `timeout`: seconds that a decoder may take over one clip; after that the video counts as one that cannot be decoded.
    """

    def __init__(
        self,
        table: pd.DataFrame | VideoRows,
        classes: Sequence[str],
        *,
        modality: str,
        timeout: float | None,
        backend: str,
    ):
        if modality not in MODALITIES:
            raise ValueError(f"modality {modality!r}: expected one of {', '.join(MODALITIES)}")
        self.modality, self.timeout, self.backend = modality, timeout, check_backend(backend)
        rows = table.of_classes(classes) if isinstance(table, VideoRows) else VideoRows(table, classes)
        self.paths, self.labels, self._begins, self._ends = rows.paths, rows.labels, rows.begins, rows.ends

    def __len__(self) -> int:
        return len(self.paths)

    def segment(self, index: int) -> tuple[int, int]:
        """The frames [begin, end) of the file that belong to the video."""
        return self._begins[index].item(), self._ends[index].item()

    def read(self, index: int, frames: np.ndarray) -> torch.Tensor:
        """The frames of these numbers: uint8 (T, C, H, W). Raises VideoError."""
        found = read_frames(
            self.paths[index], frames, modality=self.modality, timeout=self.timeout, backend=self.backend
        )
        return as_clip(found)


@dataclass
class Batch(HandedOver):
    """`clips` uint8 (B, T, C, H, W), `labels` int64 (B), `failures`: (path, reason) of each clip that was replaced."""

    clips: torch.Tensor
    labels: torch.Tensor
    failures: list[tuple[str, str]]

    def pin_memory(self) -> "Batch":
        return Batch(self.clips.pin_memory(), self.labels.pin_memory(), self.failures)

    def to(self, device: torch.device) -> "Batch":
        there = [each.to(device, non_blocking=True) for each in self.tensors()]
        return Batch(*there, self.failures)

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.clips, self.labels


class Sample(tuple):
    """(clip, label), and as `failures` the (path, reason) of each video that could not be decoded in its place."""

    failures: tuple[tuple[str, str], ...]

    def __new__(cls, clip: torch.Tensor, label: int, failures: Sequence[tuple[str, str]] = ()):
        sample = super().__new__(cls, (clip, label))
        sample.failures = tuple(failures)
        return sample

    def __getnewargs__(self):
        return (*self, self.failures)


class TrainingClips(Videos):
    """One random clip of each video, augmented: `data[i]` is (uint8 clip (T, C, H, W), label), a `Sample`.

    A map-style dataset: torch's DataLoader, Subset and DistributedSampler work on it. Call `set_epoch` before each
    pass; worker processes see it too. Every random choice comes from (seed, epoch, video) alone, so a clip is the same
    whatever the batch size and the number of processes, and an epoch run again after a crash is the same epoch. A video
    that comes again in an epoch (`class_balance.Again`) shows another clip.

    A clip that cannot be decoded is replaced by one of another video, drawn at random, at most `max_replacements`
    times; then VideoError is raised, since something is wrong with the whole disk.
    """

    def __init__(
        self,
        table: pd.DataFrame | VideoRows,
        classes: Sequence[str],
        *,
        num_frames: int,
        frame_stride: int,
        transform: Callable[[torch.Tensor], torch.Tensor],
        sampling: str = "random",
        loop: str = "taken",
        modality: str = "rgb",
        timeout: float | None = 60.0,
        backend: str = "auto",
        seed: int = 0,
        max_replacements: int = 10,
    ):
        """`sampling`, `loop`: see `sampling.training_window`. `transform`: uint8 (T, C, H, W) to (T, C, size, size),
        uint8, or float on the 0-1 scale. `backend`: what decodes video files."""
        super().__init__(table, classes, modality=modality, timeout=timeout, backend=backend)
        self.num_frames, self.frame_stride, self.transform = num_frames, frame_stride, transform
        self.sampling, self.loop = sampling, loop
        self.seed, self.max_replacements = seed, max_replacements
        with workers_in_words():
            self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()  # so that workers which live on are told
        self.window(1, np.random.default_rng(0))  # an unknown rule is refused here, not in a worker

    @property
    def epoch(self) -> int:
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Draw the clips of another epoch, counted from 0, from now on."""
        self._epoch[0] = epoch

    def window(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """The frame numbers of one clip of a video of `n` frames: int64 (T,)."""
        return training_window(self.sampling, n, self.num_frames, self.frame_stride, rng, loop=self.loop)

    def __getitem__(self, index: int) -> Sample:
        again = times_before(index)
        index = range(len(self))[index]  # negative ones as in a list; IndexError past the end
        rng = stream(self.seed, "clip", self.epoch, index, *([again] if again else []))
        failures: list[tuple[str, str]] = []
        while True:
            try:
                _, clip = self._decoded(index, rng)
                break
            except VideoError as error:
                failures.append((error.path, error.reason))
                if len(failures) > self.max_replacements:
                    raise VideoError(
                        error.path, f"{error.reason} (and {self.max_replacements} replacements failed as well)"
                    ) from error
                index = int(rng.integers(len(self)))
        return Sample(self._augmented(clip, rng), int(self.labels[index]), failures)

    def draw(self, index: int) -> "Drawn":
        """`data[index]` and how it comes about, for people to look at. Raises VideoError where the video cannot be
        decoded: none takes its place."""
        rng = stream(self.seed, "clip", self.epoch, index)
        frames, decoded = self._decoded(index, rng)
        clip = self._augmented(decoded, rng)
        return Drawn(frames, decoded, clip, getattr(self.transform, "last_crop", None))

    def _decoded(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, torch.Tensor]:
        begin, end = self.segment(index)
        frames = begin + self.window(end - begin, rng)
        return frames, self.read(index, frames)

    def _augmented(self, clip: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        with torch.random.fork_rng(devices=[]):  # the transforms draw from torch's global generator
            # torch.manual_seed seeds all devices, which takes a tenth of the time of a short clip.
            torch.default_generator.manual_seed(int(rng.integers(2**62)))
            return self.transform(clip)


@dataclass
class Drawn:
    """How a training clip comes about. `frames`: the numbers of its frames in the file, int64 (T,); `decoded`: uint8
    (T, C, H, W); `clip`: what the network is given, (T, C, size, size); `crop`: see `TrainTransform.last_crop`."""

    frames: np.ndarray
    decoded: torch.Tensor
    clip: torch.Tensor
    crop: tuple[tuple[int, int], tuple[int, int, int, int]] | None


def batch_sizes(length: int, batch_size: int, last_batch: str = "spread") -> list[int]:
    """The sizes of the batches of an epoch of `length` clips.

    What is left after the whole batches: `keep` makes a small batch of it, whose batch norms see few clips (as the
    references do); `drop` leaves it out; `spread` shares it with the batch before, half each, so that no batch is
    smaller than half a batch, or than two clips (a rest of one beside a batch of two makes one of three).
    Raises DataError where nothing is left.
    """
    whole, rest = divmod(length, batch_size)
    sizes = [batch_size] * whole
    if rest and last_batch == "keep":
        sizes.append(rest)
    elif rest and last_batch == "spread":
        together = rest + (sizes.pop() if sizes else 0)
        sizes += [together - together // 2, together // 2] if whole and together > 3 else [together]
    if not sizes:
        raise DataError(f"last_batch: drop leaves no batch of {batch_size} from {length} clips; lower batch_size")
    return sizes


class EpochBatches(Sampler[list[int]]):
    """The batches of an epoch, each a list of indices, in an order that depends on seed and epoch alone: a batch
    sampler for torch's DataLoader. Set `epoch` before each pass; `first`: the batch to begin with, counted from 0.

    `share`: which part of a batch of so many clips is this process's, where several have a part each. `sizes` are those
    of the whole batches. `counts` and `class_sampling`: how often each class is drawn (see `class_balance`); an epoch
    has `length` clips all the same, and without them each video once.
    """

    def __init__(
        self, length: int, batch_size: int, *, seed: int, last_batch: str = "spread",
        share: Callable[[int], slice] = slice, counts: Counts | None = None, class_sampling: str = "natural",
    ):  # fmt: skip
        self.length, self.seed, self.share, self.epoch, self.first = length, seed, share, 0, 0
        self.counts, self.class_sampling = counts, class_sampling
        self.sizes = batch_sizes(length, batch_size, last_batch)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.whole():
            yield batch[self.share(len(batch))]

    def whole(self) -> Iterator[list[int]]:
        """The batches of all processes together."""
        rng = stream(self.seed, "order", self.epoch)
        if self.class_sampling == "natural":
            order = rng.permutation(self.length).tolist()
        else:
            order = epoch_order(self.counts, self.class_sampling, rng)
        ends = np.cumsum(self.sizes)
        for end, size in list(zip(ends, self.sizes))[self.first :]:
            yield order[end - size : end]

    def __len__(self) -> int:
        return len(self.sizes) - self.first


def _collate(items: list[Sample]) -> Batch:
    """`items`: `Sample`s, or the (clip, label) of a dataset of the user's."""
    clips = [torch.as_tensor(item[0]) for item in items]
    size = sum(clip.nbytes for clip in clips)
    # In a worker, straight into shared memory.
    shared = in_shared_memory(size, lambda: default_collate(clips)) if get_worker_info() else torch.stack(clips)
    batch = Batch(
        torch.stack(clips) if shared is None else shared,
        torch.tensor([int(item[1]) for item in items]),
        [failure for item in items for failure in getattr(item, "failures", ())],
    )
    batch.by_pipe = shared is None
    return batch


def training_loader(data: Dataset, batches: EpochBatches, *, num_workers: int, pin_memory: bool) -> DataLoader:
    """A loader of `Batch`es of a map-style dataset of (clip, label); `set_epoch` it and `batches` before each pass."""
    return DataLoader(data, batch_sampler=batches, collate_fn=_collate, **worker_options(num_workers, pin_memory))


@workers_in_words()
def start_workers(loader: DataLoader) -> None:
    """Start the worker processes of a loader whose workers live on, before its first pass asks for them."""
    if loader.num_workers:
        iter(loader)


def worker_options(num_workers: int, pin_memory: bool) -> dict:
    """Workers live through the whole run; a generator of its own keeps the loader off torch's global one, whose
    state is part of a checkpoint."""
    return {
        "num_workers": num_workers,
        "pin_memory": pin_memory,
        "persistent_workers": num_workers > 0,
        "worker_init_fn": _let_interrupts_pass,
        "generator": torch.Generator(),
    }


def _let_interrupts_pass(worker: int) -> None:
    """A notebook's interrupt reaches all its processes; what becomes of the run is for the first of them to say, which
    ends its workers when it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
