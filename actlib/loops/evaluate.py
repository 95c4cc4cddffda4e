"""Evaluation: every video's prediction from all its views, each needed frame decoded once.

A video that cannot be decoded is in the result all the same, named, with its reason, and counts as wrong: an
accuracy over fewer videos than were asked for is a different number.

What the reference codebases average over the views of a video: 3D-ResNets-PyTorch (both branches) and
Efficient-3DCNNs the softmax scores; action-recognition-pytorch and pytorch-resnet3d the logits. Both leave one order of
the classes for a single view, but not for several; a protocol says which it is.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from actlib.analysis.results.scores import Scores
from actlib.compute.device import to_device, to_float
from actlib.compute.execution import Execution
from actlib.compute.folding import fold_batch_norm
from actlib.compute.processes import ALONE, Ranks
from actlib.datasets.clips.handover import workers_in_words
from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.clips.views import Chunk, EvaluationViews, evaluation_loader
from actlib.loops import conduct
from actlib.loops.job import Evaluation
from actlib.loops.travel import can_travel
from actlib.models import ModelError
from actlib.params import VideoAccuracyParams

NOT_FINITE = "the network's scores are not finite numbers"


def evaluate(job: Evaluation, progress: Callable[..., Iterable] | None = None) -> dict[str, Scores]:
    """The scores of every video of `job.val_data` by `job.model` as it is now, by protocol: those of notebook 04, or of
    the validation of a training. `progress(iterable, total=…, desc=…)` wraps the videos. See `score_views`.

    Of several processes each has a share of the videos; the first gets the scores of all, the others none."""
    if job.devices > job.ranks.size and isinstance(job.p, VideoAccuracyParams) and can_travel(job):
        return conduct.evaluation(job, progress)
    ours = job.val_loader.dataset.videos is job.val_data  # not where the caller has put other videos there
    return score_views(
        job.model, job.val_data, **job.normalisation, device=job.device, execution=job.execution,
        batch_size=-(-job.p.batch_size // job.ranks.size), num_workers=job.p.num_workers,
        loader=job.val_loader if ours else None, progress=progress, ranks=job.ranks,
        name=job.run_name, subset=job.subset, expected=job.expected, table_digest=job.table_digest,
    )  # fmt: skip


@workers_in_words()
def score_views(
    model: nn.Module,
    data: EvaluationViews,
    *,
    mean: list[float],
    std: list[float],
    channel_order: str = "rgb",
    device: torch.device,
    execution: Execution | None = None,
    batch_size: int = 16,
    num_workers: int = 0,
    loader: DataLoader | None = None,
    progress: Callable[..., Iterable] | None = None,
    ranks: Ranks = ALONE,
    name: str = "",
    **told,
) -> dict[str, Scores]:
    """Run `model` over every video of `data`, in one pass over the files; the scores by protocol.

    `mean`, `std` and `channel_order` are the network's (see `compute.device.to_float`). A video whose scores are no
    numbers (a network that diverged) has an error that says so, and is wrong. `name` and `told` (subset, expected,
    table_digest) go into the `Scores`.
    The views of successive videos share batches of `batch_size`, whatever their number a video, so memory does
    not grow with it; a view that two protocols ask for is shown to the network once. `loader`: the `evaluation_loader`
    of `data`, where its workers are to live on; one of `num_workers` is made without. `progress(iterable, total=…,
    desc=…)` wraps the videos. Of several processes (`ranks`) the first gets the scores, the others {}. A copy of the
    model in evaluation mode does the work, its batch norms folded into its convolutions (see `compute.folding`).
    """
    part = ranks.rank, ranks.size
    if loader is None:
        loader = evaluation_loader(data, num_workers=ranks.share_of_workers(num_workers), part=part)
    mine = data.share(*part)
    execution = execution or Execution()
    totals = _Totals(list(data.protocols.values()), mine, len(data.classes), device)
    views, errors = np.zeros((len(data.protocols), len(data)), dtype=np.int64), [""] * len(data)
    as_float = partial(
        to_float, device=device, mean=mean, std=std, channel_order=channel_order, execution=execution
    )  # fmt: skip
    chunks = run_views(Folded(model, execution), as_float, loader, totals.add, batch_size=batch_size, device=device)

    def finished() -> Iterator[int]:
        """The videos, each as soon as its last view is in a batch."""
        for chunk in chunks:
            if chunk.last:
                errors[chunk.index] = chunk.error
                views[:, chunk.index] = 0 if chunk.error else chunk.counts
                yield chunk.index

    with torch.inference_mode(), execution.switched():
        for _ in progress(finished(), total=len(mine), desc="videos") if progress else finished():
            pass
        log_scores = totals.log_means(views[:, mine])
    if ranks.size > 1:
        parts = ranks.gathered((mine, log_scores, views[:, mine], [errors[index] for index in mine]))
        if parts is None:
            return {}
        log_scores = np.empty((*views.shape, len(data.classes)))
        for videos, its_scores, its_views, its_errors in parts:
            log_scores[:, videos], views[:, videos] = its_scores, its_views
            for index, error in zip(videos, its_errors):
                errors[index] = error
    return {
        kind: _scores(data, str(protocol), log_scores[each], views[each], errors, name=name, **told)
        for each, (kind, protocol) in enumerate(data.protocols.items())
    }


def _scores(data: EvaluationViews, protocol: str, log_scores: np.ndarray, views, errors: list[str], **told) -> Scores:
    finite = ~np.isnan(log_scores).any(axis=1) & (log_scores < np.inf).all(axis=1)
    errors = [error or ("" if sound else NOT_FINITE) for error, sound in zip(errors, finite)]
    log_scores[[bool(error) for error in errors]] = np.nan
    table = data.table
    return Scores(
        video_ids=table["video_id"].tolist(),
        labels=table["label"].tolist(),
        classes=data.classes,
        scores=np.exp(log_scores).astype(np.float32),
        protocol=protocol,
        paths=table["path"].tolist(),
        views=views,
        errors=errors,
        losses=-log_scores[np.arange(len(table)), data.labels],
        **told,
    )


def run_views(
    answer: Callable[[torch.Tensor], object],
    as_float: Callable[[torch.Tensor], torch.Tensor],
    loader: DataLoader,
    take: Callable[[object, list["Owner"]], None],
    *,
    batch_size: int,
    device: torch.device,
) -> Iterator[Chunk]:
    """Run a network over every view of a loader's videos, in batches of `batch_size` that successive videos share:
    `take(answer(as_float(clips)), owners)` for each. Yields every chunk as soon as its views are in a batch; the last
    batch is run after the last chunk, so go on to the end.

    as_float: uint8 (B, T, C, H, W) in any memory to what the network takes, (B, C, T, H, W) on `device`.
    """
    batches = _Batches(batch_size, device)

    def run(clips: torch.Tensor, owners: list[Owner]) -> None:
        clips = as_float(clips)
        batches.copied()
        take(answer(clips), owners)

    for chunk in loader:
        for batch in batches.of(chunk):
            run(*batch)
        yield chunk
    if batches.count:
        run(*batches.rest())


class Folded:
    """`model` as it answers in an evaluation: a copy, made with the first batch, whose batch norms are folded into its
    convolutions (see `compute.folding`). `features`: whether `with_features` will be asked for."""

    def __init__(self, model: nn.Module, execution: Execution, *, features: bool = False):
        self._model, self._execution, self._features = model, execution, features
        self._given: list[torch.Tensor] = []  # to the last layer
        self.network: nn.Module | None = None  # the copy

    def __call__(self, clips: torch.Tensor) -> torch.Tensor:
        """Normalised (B, C, T, H, W) on the model's device to logits (B, classes)."""
        if self.network is None:
            self.network = fold_batch_norm(self._model, clips[:1])
            if self._features:  # now: torch.compile passes over hooks that come later
                head = self.network.get_submodule(self._model.classifier_name)
                head.register_forward_pre_hook(lambda head, args: self._given.append(args[0]))
            if self._execution.compile:  # once for all epochs: what torch compiled for one copy fits the next
                self.network.compile()
        self._given.clear()
        with self._execution.autocast(clips.device):
            return self.network(clips)

    def with_features(self, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(logits, what the network's last layer gets, of several positions or frames the mean: float32 (B, D)).
        Raises ModelError where that layer is not called."""
        logits, name = self(clips), self._model.classifier_name
        if not self._given:
            raise ModelError(f"{self._model.spec}: its last layer, {name}, is not called, so no features are known")
        return logits, _pooled(self.network.get_submodule(name), self._given[0], len(clips))


def _pooled(head: nn.Module, given: torch.Tensor, clips: int) -> torch.Tensor:
    """What a last layer gets, of several positions or frames the mean: float32 (B, D). A linear one gets (…, D), the
    frames of a clip one after another; a convolution (B, D, T, H, W)."""
    vectors = given.float().flatten(0, -2) if isinstance(head, nn.Linear) else given.float().flatten(2).mean(dim=2)
    return vectors.unflatten(0, (clips, -1)).mean(dim=1)


# (protocol, video, place in the batch, place among the video's views), of one view several where it is shown again
Owner = tuple[int, int, int, int]


class _Batches:
    """Puts the views of successive chunks together to batches, in memory that is used again and again.

    For a CUDA device it is pinned, and there are two: one is filled while the other one is still being copied.
    """

    def __init__(self, size: int, device: torch.device):
        self.size, self.count, self._device = size, 0, device
        self._memory: list[torch.Tensor] = []
        self._events = [torch.cuda.Event() for _ in range(2)] if device.type == "cuda" else []
        self._owners: list[Owner] = []

    def of(self, chunk: Chunk) -> Iterator[tuple[torch.Tensor, list[Owner]]]:
        """Add a chunk; the batches that become full, uint8 (B, T, C, H, W), each to be copied before the next one is
        asked for, as is told by `copied`."""
        done = 0
        while chunk.clips is not None and done < len(chunk.clips):
            if not self._memory:
                self._memory = [self._like(chunk.clips) for _ in self._events or [None]]
            if self._events and not self.count:
                self._events[0].synchronize()
            added = min(self.size - self.count, len(chunk.clips) - done)
            self._memory[0][self.count : self.count + added] = chunk.clips[done : done + added]
            part = slice(done, done + added)
            for place, protocols, views in zip(count(self.count), chunk.owners()[part], chunk.places[part]):
                self._owners += [(protocol, chunk.index, place, view) for protocol, view in zip(protocols, views)]
            done, self.count = done + added, self.count + added
            if self.count == self.size:
                yield self.rest()

    def rest(self) -> tuple[torch.Tensor, list[Owner]]:
        """What there is of a batch."""
        batch = self._memory[0][: self.count], self._owners
        self.count, self._owners = 0, []
        return batch

    def copied(self) -> None:
        """The last batch's copy to the device is asked for: go on with the other memory."""
        if self._events:
            self._events[0].record(torch.cuda.current_stream(self._device))  # which may not be the current device's
            self._events.reverse()
            self._memory.reverse()

    def _like(self, clips: torch.Tensor) -> torch.Tensor:
        """Of the order in memory that chunks have, which is the network's where channels are last."""
        frames, channels, height, width = clips.shape[1:]
        shape = self.size, frames, height, width, channels
        return torch.empty(shape, dtype=clips.dtype, pin_memory=bool(self._events)).permute(0, 1, 4, 2, 3)


class _Totals:
    """Per protocol and video, float64 on the device that computes: of logits their sum, of softmax scores the logarithm
    of theirs, with which an improbable class keeps its loss. Nothing here waits for the device but `log_means`.
    `videos`: the numbers of those that are added up here, ascending."""

    def __init__(self, protocols: list[Protocol], videos: np.ndarray, num_classes: int, device: torch.device):
        self._device = device if device.type == "cuda" else torch.device("cpu")
        self._of_logits = np.array([protocol.average == "logits" for protocol in protocols])
        self._videos = videos
        shape = len(protocols), len(videos), num_classes
        self._sums = torch.zeros(shape, dtype=torch.float64, device=self._device)
        for number in np.flatnonzero(~self._of_logits):
            self._sums[number] = -torch.inf
        self._rows = self._sums.view(-1, num_classes)

    def add(self, logits: torch.Tensor, owners: list[Owner]) -> None:
        """`logits`: (B, classes)."""
        logits = logits.to(self._device, torch.float64)
        protocols, videos, places, _ = np.array(owners).T
        rows = protocols * len(self._videos) + np.searchsorted(self._videos, videos)
        of_logits = self._of_logits[protocols]
        if of_logits.any():
            self._rows.index_add_(0, self._sent(rows[of_logits]), logits[self._sent(places[of_logits])])
        if not of_logits.all():
            self._add_logarithms(rows[~of_logits], logits.log_softmax(dim=1)[self._sent(places[~of_logits])])

    def _add_logarithms(self, rows: np.ndarray, logarithms: torch.Tensor) -> None:
        different, which = (self._sent(each) for each in np.unique(rows, return_inverse=True))
        before = self._rows[different]
        largest = before.scatter_reduce(0, which[:, None].expand_as(logarithms), logarithms, "amax")
        largest.clamp_(min=torch.finfo(torch.float64).min)  # -inf is taken from -inf nowhere
        sums = (before - largest).exp().index_add(0, which, (logarithms - largest[which]).exp())
        self._rows[different] = sums.log() + largest

    def log_means(self, views: np.ndarray) -> np.ndarray:
        """`views`: their number per protocol and video. The logarithms of the scores (protocols, videos, classes)."""
        sums = self._sums.cpu()
        views = torch.from_numpy(views).double()[..., None]  # of a video without a view: 0 / 0 = NaN
        for number, of_logits in enumerate(self._of_logits):
            if of_logits:
                sums[number] = (sums[number] / views[number]).log_softmax(dim=-1)
            else:
                sums[number] -= views[number].log()
        return sums.numpy()

    def _sent(self, numbers: np.ndarray) -> torch.Tensor:
        return to_device(torch.from_numpy(numbers), self._device)
