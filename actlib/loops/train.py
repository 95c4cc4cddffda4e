"""Training and fine-tuning: one loop, a generator of one row an epoch.

A row holds epoch, loss, top1, top5, lr, clips_per_s, data_wait (share of the epoch spent waiting for decoded clips, 0
to 1), replaced (clips that could not be decoded), val_loss, val_top1, val_top5, val_macro_f1 (on one clip and the
centre crop, see `prepare.validation_protocol`), val_videos (how many could be decoded; the others count as wrong) and
seconds. Accuracies are in percent; a clip mixed of two counts for the one of which it has more.

Everything random is seeded by purpose, epoch and video (see `datasets.clips.streams`) or is part of the checkpoint, so
a run that is killed and resumed gives the same weights as one that was not: bit for bit on the CPU.

Several processes (`job.ranks`) train alike, each on its share of every batch: the gradient is that of the whole batch,
and so are dropout and, with `sync_bn`, the statistics of batch norm. The first of them writes what is written.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial

import numpy as np
import torch
import torch.distributed as dist

from actlib import locks
from actlib.compute import sync_norm
from actlib.compute.device import on_device, to_device, to_float
from actlib.datasets.clips.class_balance import times_before
from actlib.datasets.clips.handover import workers_in_words
from actlib.datasets.clips.loaders import Batch
from actlib.datasets.clips.streams import stream
from actlib.datasets.clips.transforms import mirror
from actlib.loops import conduct, resume, scalars
from actlib.loops.evaluate import evaluate
from actlib.loops.job import Job
from actlib.loops.mixing import Targets, draw
from actlib.loops.optim import rate, set_rates
from actlib.loops.travel import can_travel

CHECK_EVERY = 50  # batches until a loss that is not a number is noticed: asking makes a GPU wait


class TrainingError(RuntimeError):
    """Training that cannot go on, such as a loss that is not a number."""


def train(job: Job, progress: Callable | None = None) -> Iterator[dict]:
    """Train `job.model` on `job.train_data`, yielding one row an epoch; a resumed run yields the finished epochs' rows
    first. `progress(iterable, total=…, desc=…)` wraps the batches of an epoch, and then the videos of its validation.

    Checkpoints lie in `run_dir`/checkpoints: last.pt after every epoch, and every `checkpoint_minutes` inside one;
    best.pt (highest validation top-1, or macro-F1, as `best_by` says; of equal ones the first); epoch_NNNN.pt every
    `checkpoint_every` epochs. With `tensorboard` each epoch's scalars go into `run_dir`/tensorboard. Ends early where
    that is asked for (see `Stop`): the same run, started again, goes on and ends with the same weights. Raises
    TrainingError when the loss is no longer finite, DiskFull when a checkpoint does not fit, and the last good one
    stays; `locks.Locked` while another process is at work in the folder.

    A notebook's process only conducts a run on several devices (see `conduct`). Raises RanksError for what one of these
    raises; PartsError where they cannot have a part that this process alone has.
    """
    if job.devices > job.ranks.size and can_travel(job):
        yield from conduct.training(job, progress)
        return
    # A dead worker is noticed anywhere, by a signal.
    with workers_in_words(), _at_work(job) as write:
        resume.begin(job)
        write(job.history)
        yield from list(job.history)
        for epoch in range(len(job.history), job.p.epochs):
            begin = time.perf_counter()
            with job.execution.switched():
                trained = _train_epoch(job, epoch, progress)
            row = {"epoch": epoch + 1, **trained, **_validate(job, progress)}
            row["seconds"] = round(time.perf_counter() - begin, 2)
            row = job.ranks.of_first(row)
            if job.plateau:
                job.plateau.step(row["val_loss"])
                set_rates(job.schedule)
            job.history.append(row)
            resume.save_epoch(job)
            write(job.history)
            yield row
            if job.ranks.agreed(job.stop.asked) and job.stopped:
                print(f"{job.stopped}; run all cells again, and it goes on there", flush=True)
                return


@contextmanager
def _at_work(job: Job) -> Iterator[Callable[[list[dict]], None]]:
    """For the first process the folder is its own, it hears who asks it to stop, and what this gives writes scalars."""
    if not job.ranks.first:
        yield lambda history: None
        return
    with locks.take(job.p.run_dir), job.stop.listening(), scalars.writer(job.p) as write:
        yield write


def _train_epoch(job: Job, epoch: int, progress: Callable | None) -> dict:
    p, sizes, ranks = job.p, job.batches.sizes, job.ranks
    within = job.within or {"batches": 0, "totals": torch.zeros(3), "clips": 0, "replaced": 0}
    sums = _Sums(job, within)
    job.set_training_mode()
    job.set_epoch(epoch, within["batches"])
    batches = progress(job.loader, total=len(job.batches), desc=f"epoch {epoch + 1}") if progress else job.loader
    order = list(job.batches.whole())
    flips = _flips(job, epoch, order)
    losses: list[torch.Tensor] = []
    waited, lr = 0.0, rate(job.optimizer)
    begin = asked = saved = time.perf_counter()
    arriving = zip(on_device(batches, job.device), order, flips)
    for number, (batch, videos, flip) in enumerate(arriving, start=within["batches"]):
        waited += time.perf_counter() - asked
        sums.note(batch.failures)
        ends_step = (number + 1) % p.accumulate == 0 or number + 1 == len(sizes)
        clips, targets = _augmented(job, epoch, videos, batch, flip)
        with _together(job, len(videos), ends_step):
            logits = _forward(job, clips, number)
            loss = job.loss(logits, targets.of(logits.shape[1]))
            share = _share_of_loss(job, len(logits), len(videos))
            step = _clips_of_step(sizes, number, p.accumulate)
            job.scaler.scale(loss * share * len(videos) / step * ranks.size).backward()
        if ends_step:
            lr = _step(job)
        losses.append(loss.detach() * share)
        sums.add(loss.detach(), _hits(logits, targets.dominant), len(logits), len(videos))
        late = time.perf_counter() - saved > 60 * p.checkpoint_minutes
        due = ends_step and p.checkpoint_minutes > 0 and ranks.agreed(late)
        if len(losses) == CHECK_EVERY or number + 1 == len(sizes) or due:
            _require_finite(job, losses, epoch, number)
            losses.clear()
        if due and number + 1 < len(sizes):
            resume.save_within(job, {"batches": number + 1} | sums.of_all())
            saved = time.perf_counter()
        asked = time.perf_counter()
    job.within = None
    seconds, found = time.perf_counter() - begin, sums.of_all()
    loss, top1, top5 = (found["totals"] / found["clips"]).tolist()
    return {
        "loss": round(loss, 5),
        "top1": round(100 * top1, 3),
        "top5": round(100 * top5, 3),
        "lr": lr,
        "clips_per_s": round((found["clips"] - within["clips"]) / seconds, 2),
        "data_wait": round(waited / seconds, 4),
        "replaced": found["replaced"],
    }


class _Sums:
    """What an epoch adds up: `totals` (loss, right at 1, right at 5, over clips), `clips`, and `replaced` ones. Each
    process has its own; those of an epoch that goes on inside are the first one's."""

    def __init__(self, job: Job, within: dict):
        first = job.ranks.first
        self.job, self.failures = job, []
        self.totals = (within["totals"] if first else torch.zeros(3)).to(job.device)
        self.clips, self.replaced = (within["clips"], within["replaced"]) if first else (0, 0)

    def note(self, failures: list[tuple[str, str]]) -> None:
        """Clips that could not be decoded."""
        if self.job.ranks.size == 1:
            self.replaced += self.job.note_failures(failures, "training")
        else:
            self.failures += failures  # the first process writes them, when all meet

    def add(self, loss: torch.Tensor, hits: list[torch.Tensor], clips: int, whole: int) -> None:
        """A batch of `whole` clips, of which `clips` are this process's; what all of them have is counted once."""
        if self.job.ranks.first or not self.job.ranks.is_whole(whole):
            self.totals += torch.stack([loss * clips, *hits])
            self.clips += clips

    def of_all(self) -> dict:
        """All processes' together, for each."""
        ranks, found = self.job.ranks, {"clips": self.clips, "replaced": self.replaced}
        if ranks.size == 1:
            return found | {"totals": self.totals.cpu()}
        told = ranks.gathered((self.failures, self.clips))
        self.failures = []
        if ranks.first:
            self.replaced += self.job.note_failures([each for failures, _ in told for each in failures], "training")
            found = {"clips": sum(clips for _, clips in told), "replaced": self.replaced}
        return ranks.of_first(found) | {"totals": ranks.sum(self.totals.clone()).cpu()}


def _together(job: Job, clips: int, ends_step: bool) -> AbstractContextManager:
    """The context of a batch's forward and backward pass: gradients of all processes meet with the last batch of a
    step; where each process has all `clips`, their batch norms have them all already."""
    stack = ExitStack()
    if job.parallel is not None:
        job.noise.count = clips
        if not ends_step:
            stack.enter_context(job.parallel.no_sync())
        if job.ranks.is_whole(clips):
            stack.enter_context(sync_norm.apart(job.model))
    return stack


def _share_of_loss(job: Job, clips: int, whole: int) -> float:
    """What the mean loss over this process's `clips` counts for in that over the `whole` batch: all shares make 1."""
    return 1 / job.ranks.size if job.ranks.is_whole(whole) else clips / whole


def _flips(job: Job, epoch: int, order: list[list[int]]) -> list[torch.Tensor | None]:
    """Which clips of this process's part of each batch of the epoch are mirrored, bool (B,) on the device; None without
    `flip`. A video that comes again is mirrored where it was not before. `order`: the whole batches. One copy for all
    of them: a batch need not wait for its own."""
    if not job.p.flip:
        return [None] * len(order)
    drawn = stream(job.p.seed, "flip", epoch).random(len(job.train_data)) < 0.5
    mine = [videos[job.ranks.share(len(videos))] for videos in order]
    again = np.array([times_before(video) % 2 == 1 for videos in mine for video in videos])
    flips = to_device(torch.from_numpy(drawn[np.concatenate(mine)] ^ again), job.device)
    return list(flips.split([len(videos) for videos in mine]))


def _augmented(job: Job, epoch: int, videos: list[int], batch: Batch, flip: torch.Tensor | None) -> tuple:
    """The batch normalised, flipped and mixed as `job.p` says: float32 (B, C, T, H, W), and its `Targets`.

    `videos`: the indices of the whole batch, whose first with seed and epoch decides how it is mixed; `batch`, `flip`,
    bool (B,): this process's part. A flipped clip gets the label of its mirror image. A clip's partner may be another
    process's: where a batch is mixed, all of them get all its clips, as uint8.
    """
    p, ranks, clips, labels, whole = job.p, job.ranks, batch.clips, batch.labels, len(videos)
    if flip is not None:
        clips = torch.where(flip.view(-1, 1, 1, 1, 1), mirror(clips), clips)
        if job.mirrored is not None:
            labels = torch.where(flip, job.mirrored[labels], labels)
    rng = stream(p.seed, "mix", epoch, videos[0])
    mixture = draw(whole, mixup=p.mixup, cutmix=p.cutmix, rng=rng)
    prepared = partial(to_float, device=job.device, **job.normalisation, execution=job.execution)
    if mixture is None:
        return prepared(clips), Targets(labels, labels)
    partner = to_device(mixture.partner[ranks.share(whole)], job.device)
    others, other_labels = (ranks.concatenated(each, whole)[partner] for each in (clips, labels))
    clips = prepared(clips)
    return clips, mixture.apply(clips, labels, prepared(others), other_labels)


def _forward(job: Job, clips: torch.Tensor, number: int) -> torch.Tensor:
    """Logits (B, classes), at least float32. Raises TrainingError for a batch that is too small for batch norm."""
    try:
        with job.execution.autocast(job.device):
            logits = (job.parallel or job.model)(clips)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise TrainingError(
            f"batch {number + 1} has {len(clips)} clip, too few for the statistics of a batch norm whose maps are of "
            "one pixel; set last_batch: spread or drop, a larger batch_size, or larger clips"
        ) from error
    return logits if logits.dtype == torch.float64 else logits.float()


def _clips_of_step(sizes: list[int], number: int, accumulated: int) -> int:
    """How many clips share the optimiser step of batch `number`."""
    first = number // accumulated * accumulated
    return sum(sizes[first : first + accumulated])


def _step(job: Job) -> float:
    """One optimiser step on the gradients summed so far; returns its learning rate."""
    lr = rate(job.optimizer)
    if job.p.clip_grad > 0:
        job.scaler.unscale_(job.optimizer)
        torch.nn.utils.clip_grad_norm_(job.model.parameters(), job.p.clip_grad)
    job.scaler.step(job.optimizer)
    job.scaler.update()
    job.optimizer.zero_grad(set_to_none=True)
    job.schedule.step()
    return lr


def _hits(logits: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
    """How many labels are the best, and among the best five."""
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
    return [best[:, 0].sum(), best.sum()]


def _require_finite(job: Job, losses: list[torch.Tensor], epoch: int, number: int) -> None:
    """Raise TrainingError, in all processes, for the first of the `losses` up to batch `number` that is not a number;
    they are shares whose sum over the processes is the loss."""
    values = job.ranks.sum(torch.stack(losses)).tolist()
    for place, loss in enumerate(values, start=number - len(values) + 1):
        if not math.isfinite(loss):
            p, last = job.p, resume.folder_of(job.p) / "last.pt"
            kept = f"; {last} is good" if last.is_file() and job.history else ""
            raise TrainingError(
                f"the loss is {loss} at batch {place + 1} of {len(job.batches.sizes)} in epoch {epoch + 1}: try a "
                f"lower lr ({p.base_lr:g}), warmup_epochs, clip_grad or precision: float32{kept}"
            )


def _validate(job: Job, progress: Callable | None) -> dict:
    """The validation's part of a row, for the first process; the others help, and get an empty one."""
    if job.parallel is not None:
        for buffer in job.model.buffers():  # batch norms that saw their own parts: the first one's are kept
            dist.broadcast(buffer, src=0)
    found = evaluate(job, progress)
    if not job.ranks.first:
        return {}
    job.val_scores = scores = found["clip"]
    failed = [(path, error) for path, error in zip(scores.paths, scores.errors) if error]
    job.note_failures(failed, "validation")
    return {
        "val_loss": round(scores.loss(), 5),
        "val_top1": round(scores.top(1), 3),
        "val_top5": round(scores.top(5), 3),
        "val_macro_f1": round(scores.macro_f1(), 3),
        "val_videos": scores.num_scored,
    }
