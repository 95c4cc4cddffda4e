"""Evaluation: every video's prediction from all its views, each needed frame decoded once.

A video that cannot be decoded is in the result all the same, named, with its reason, and counts as wrong: an
accuracy over fewer videos than were asked for is a different number.

What the reference codebases average over the views of a video: 3D-ResNets-PyTorch (both branches) and
Efficient-3DCNNs the softmax scores; action-recognition-pytorch and pytorch-resnet3d the logits. Both leave one order of
the classes for a single view, but not for several; a protocol says which it is.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import nn

from actlib.analysis.results.scores import Scores
from actlib.compute.device import to_float
from actlib.compute.execution import Execution
from actlib.compute.folding import fold_batch_norm
from actlib.datasets.clips.views import EvaluationViews, Views, evaluation_loader
from actlib.loops.job import Evaluation

NOT_FINITE = "the network's scores are not finite numbers"


def evaluate(job: Evaluation, progress: Callable[..., Iterable] | None = None) -> dict[str, Scores]:
    """The scores of every video of `job.val_data` by `job.model` as it is now, by protocol: those of notebook 04, or of
    the validation of a training. `progress(iterable, total=…, desc=…)` wraps the videos. See `score_views`."""
    return score_views(
        job.model, job.val_data, **job.normalisation, device=job.device, execution=job.execution,
        batch_size=job.p.batch_size, num_workers=job.p.num_workers, progress=progress,
        name=job.run_name, subset=job.subset, expected=job.expected, table_digest=job.table_digest,
    )  # fmt: skip


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
    progress: Callable[..., Iterable] | None = None,
    name: str = "",
    **told,
) -> dict[str, Scores]:
    """Run `model` over every video of `data`, in one pass over the files; the scores by protocol.

    `mean`, `std` and `channel_order` are the network's (see `compute.device.to_float`). A video whose scores are no
    numbers (a network that diverged) has an error that says so, and is wrong. `name` and `told` (subset, expected,
    table_digest) go into the `Scores`.
    The views of successive videos share batches of `batch_size`, whatever their number a video, so memory does
    not grow with it. `progress(iterable, total=…, desc=…)` wraps the videos. A copy of the model in evaluation mode
    does the work, its batch norms folded into its convolutions (see `compute.folding`).
    """
    loader = evaluation_loader(data, num_workers=num_workers)
    videos = progress(loader, total=len(data), desc="videos") if progress else loader
    execution = execution or Execution()
    shape = (len(data.protocols), len(data))
    # Of logits their sum, of softmax scores the logarithm of theirs: an improbable class keeps its loss.
    logits_averaged = np.array([protocol.average == "logits" for protocol in data.protocols.values()])
    sums = np.zeros((*shape, len(data.classes)))
    sums[~logits_averaged] = -np.inf
    views = np.zeros(shape, dtype=np.int64)
    errors = [""] * len(data)
    folded = None
    with torch.inference_mode():
        for clips, owners in _batches(videos, batch_size, errors):
            clips = to_float(clips, device, mean=mean, std=std, channel_order=channel_order, execution=execution)
            if folded is None:
                folded = fold_batch_norm(model, clips[:1])
            with execution.autocast(device):
                logits = folded(clips)
            logits, places = logits.double().cpu(), tuple(np.array(owners).T)  # (protocol, video) of each view
            raw = logits_averaged[places[0]]
            np.add.at(sums, tuple(each[raw] for each in places), logits[raw].numpy())
            with np.errstate(invalid="ignore"):  # scores that are no numbers are named below
                np.logaddexp.at(sums, tuple(each[~raw] for each in places), logits[~raw].log_softmax(dim=1).numpy())
            np.add.at(views, places, 1)
    with np.errstate(invalid="ignore", divide="ignore"):  # a video without a view: 0 / 0 = NaN
        sums = np.where(logits_averaged[:, None, None], sums / views[..., None], sums - np.log(views)[..., None])
    log_scores = torch.from_numpy(sums)
    log_scores[logits_averaged] = log_scores[logits_averaged].log_softmax(dim=-1)
    return {
        kind: _scores(data, str(protocol), log_scores[each].numpy(), views[each], errors, name=name, **told)
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


def _batches(videos: Iterable[Views], batch_size: int, errors: list[str]) -> Iterator[tuple]:
    """Regroup the views of successive videos: (uint8 (B, T, C, H, W), [(protocol, video), …]); fills in `errors`."""
    clips: list[torch.Tensor] = []
    owners: list[tuple[int, int]] = []
    for video in videos:
        errors[video.index] = video.error
        if video.clips is None:
            continue
        numbers = [number for number, count in enumerate(video.counts) for _ in range(count)]
        for clip, number in zip(video.clips, numbers):
            clips.append(clip)
            owners.append((number, video.index))
            if len(clips) == batch_size:
                yield torch.stack(clips), owners
                clips, owners = [], []
    if clips:
        yield torch.stack(clips), owners
