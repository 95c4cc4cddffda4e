"""Training and fine-tuning: one loop, a generator of one row an epoch.

`train(p)` takes the parameters of notebook 02 or 03 (`params.TrainParams`, `params.FinetuneParams`). A row holds
epoch, loss, top1, top5, lr, clips_per_s, data_wait (share of the epoch spent waiting for decoded clips, 0 to 1),
replaced (clips that could not be decoded), val_loss, val_top1, val_top5 (on one clip and the centre crop, see
`protocol.validation_protocol`), val_videos (how many could be decoded; the others count as wrong) and seconds.
Accuracies are in percent; a clip mixed of two counts for the one of which it has more.

Everything random is seeded by (seed, epoch, video or batch) or is part of the checkpoint, so a run that is killed and
resumed gives the same weights as one that was not: bit for bit on the CPU.
"""

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from actlib.compute.device import to_float
from actlib.datasets.clips.loaders import Batch
from actlib.loops.evaluate import evaluate
from actlib.loops.job import Job, prepare
from actlib.loops.mixing import Targets, mix
from actlib.models.weights.checkpoint import save_checkpoint


class TrainingError(RuntimeError):
    """Training that cannot go on, such as a loss that is not a number."""


def train(p, progress: Callable | None = None) -> Iterator[dict]:
    """Train as `p` says, yielding one row an epoch; a resumed run yields the finished epochs' rows first.

    Checkpoints lie in `p.run_dir`/checkpoints: last.pt after every epoch, best.pt (highest val_top1),
    epoch_NNNN.pt every `checkpoint_every` epochs. Raises DataError, CheckpointError, ModelError or ValueError
    before any long work, TrainingError when the loss is no longer finite (the last good checkpoint stays).
    """
    job = prepare(p)
    yield from job.history
    for epoch in range(len(job.history), p.epochs):
        begin = time.perf_counter()
        row = {"epoch": epoch + 1, **_train_epoch(job, epoch, progress), **_validate(job)}
        row["seconds"] = round(time.perf_counter() - begin, 2)
        job.schedule.end_epoch(row["val_loss"])
        job.history.append(row)
        _save(job)
        yield row


def _train_epoch(job: Job, epoch: int, progress: Callable | None) -> dict:
    p, device = job.p, job.device
    job.set_training_mode()
    job.loader.sampler.epoch = epoch
    batches = progress(job.loader, total=len(job.loader), desc=f"epoch {epoch + 1}") if progress else job.loader
    totals = torch.zeros(3, device=device)  # loss, right at 1, right at 5, summed over clips
    clips_seen, replaced, waited = 0, 0, 0.0
    begin = asked = time.perf_counter()
    for number, batch in enumerate(batches):
        waited += time.perf_counter() - asked
        replaced += job.note_failures(batch.failures, "training")
        clips, targets = _augmented(job, epoch, number, batch)
        with job.execution.autocast(device):
            logits = job.model(clips)
        loss = targets.loss(logits.float(), p.label_smoothing)
        (loss / _group_size(number, len(job.loader), p.accumulate)).backward()
        if (number + 1) % p.accumulate == 0 or number + 1 == len(job.loader):
            lr = _step(job)
        totals += torch.stack([loss.detach() * len(logits), *_hits(logits, targets.dominant)])
        clips_seen += len(logits)
        asked = time.perf_counter()
    loss, top1, top5 = (totals / clips_seen).tolist()
    seconds = time.perf_counter() - begin
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss is {loss} in epoch {epoch + 1}: try a lower lr ({p.lr:g}), warmup_epochs, clip_grad or "
            f"precision: float32; the checkpoint of epoch {epoch} in {p.run_dir} is good"
        )
    return {
        "loss": round(loss, 5),
        "top1": round(100 * top1, 3),
        "top5": round(100 * top5, 3),
        "lr": lr,
        "clips_per_s": round(clips_seen / seconds, 2),
        "data_wait": round(waited / seconds, 4),
        "replaced": replaced,
    }


def _augmented(job: Job, epoch: int, number: int, batch: Batch) -> tuple[torch.Tensor, Targets]:
    """The batch on the device, normalised, flipped and mixed as `job.p` says: float32 (B, C, T, H, W), and its targets.

    Every choice comes from (seed, epoch, number of the batch) alone. A flipped clip gets the label of its mirror image.
    """
    p, seed = job.p, (job.p.seed, epoch, number)
    flip = torch.from_numpy(np.random.default_rng(seed).random(len(batch.labels)) < 0.5) if p.flip else None
    clips = to_float(
        batch.clips, job.device, **job.normalisation, execution=job.execution, flip=flip, modality=p.modality
    )
    labels = batch.labels.to(job.device, non_blocking=True)
    if flip is not None and job.mirrored is not None:
        labels = torch.where(flip.to(job.device), job.mirrored[labels], labels)
    rng = np.random.default_rng((*seed, 1))  # another stream than the flips'
    return clips, mix(clips, labels, mixup=p.mixup, cutmix=p.cutmix, rng=rng)


def _group_size(number: int, batches: int, accumulate: int) -> int:
    """How many batches share the optimiser step of batch `number`; the last group may be smaller."""
    return min(accumulate, batches - number // accumulate * accumulate)


def _step(job: Job) -> float:
    """One optimiser step on the gradients summed so far; returns its learning rate."""
    lr = job.schedule.before_step()
    if job.p.clip_grad > 0:
        torch.nn.utils.clip_grad_norm_(job.model.parameters(), job.p.clip_grad)
    job.optimizer.step()
    job.optimizer.zero_grad(set_to_none=True)
    return lr


def _hits(logits: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
    """How many labels are the best, and among the best five."""
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
    return [best[:, 0].sum(), best.sum()]


def _validate(job: Job) -> dict:
    result = evaluate(
        job.model,
        job.val_table,
        job.classes,
        {"clip": job.val_protocol},
        **job.normalisation,
        device=job.device,
        execution=job.execution,
        batch_size=job.p.batch_size,
        num_workers=job.p.num_workers,
        modality=job.p.modality,
        timeout=job.p.timeout,
    )["clip"]
    failed = result.table[result.table["error"] != ""]
    job.note_failures(list(zip(failed["path"], failed["error"])), "validation")
    return {
        "val_loss": round(result.loss(), 5),
        "val_top1": round(result.top(1), 3),
        "val_top5": round(result.top(5), 3),
        "val_videos": result.num_decoded,
    }


def _save(job: Job) -> None:
    folder = Path(job.p.run_dir) / "checkpoints"
    row = job.history[-1]
    whole = job.content() | job.training_state()
    save_checkpoint(folder / "last.pt", whole)
    if job.p.checkpoint_every and row["epoch"] % job.p.checkpoint_every == 0:
        save_checkpoint(folder / f"epoch_{row['epoch']:04d}.pt", whole)
    if row["val_top1"] >= max(each["val_top1"] for each in job.history):
        save_checkpoint(folder / "best.pt", job.content())  # for inference: without the optimiser's state
