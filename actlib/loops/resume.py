"""Checkpoints of a training in progress: what going on exactly takes, when it is written, how a run goes on from it.

Three kinds lie in `run_dir/checkpoints`: best.pt (the network of the best epoch, for inference), epoch_NNNN.pt, and
last.pt, which is written last: the other two are there once it says so. Besides what any checkpoint holds (see
`models.weights.checkpoint`) last.pt and epoch_NNNN.pt hold `optimizer`, `schedule`, `plateau`, `scaler`, `rng`,
`failures`, `best_epoch`, and, inside an epoch, `within`.
"""

from collections import Counter
from dataclasses import asdict
from pathlib import Path

import torch

from actlib import locks
from actlib.compute.execution import Execution
from actlib.datasets.same_class import same_classes
from actlib.files import DiskFull, put_aside, remove_temporaries
from actlib.loops.job import Job, random_states
from actlib.loops.optim import rate, rate_factor, set_rates
from actlib.models import VideoModel, WeightsError
from actlib.models.weights.checkpoint import CheckpointError, network_content, read_checkpoint, save_checkpoint
from actlib.models.weights.file import WeightsFile
from actlib.params import TrainingParams
from actlib.params.same_run import differences, refusal


def folder_of(p: TrainingParams) -> Path:
    return Path(p.run_dir) / "checkpoints"


# --- going on -------------------------------------------------------------------------------------------------


def find_checkpoint(p: TrainingParams) -> WeightsFile | None:
    """The checkpoint that `p.resume` says to go on from, read; None to begin. Raises CheckpointError."""
    if p.resume == "never":
        return None
    path = folder_of(p) / "last.pt" if p.resume == "auto" else Path(p.resume)
    if p.resume == "auto" and not path.is_file():
        return None
    last = read_checkpoint(path)
    if "optimizer" not in last.content:
        raise CheckpointError(f"{path}: holds no optimiser state to go on from (a best.pt?); resume from last.pt")
    return last


def require_same(p: TrainingParams, classes: list[str], last: WeightsFile) -> None:
    """Going on with other parameters would be neither the old run nor a new one: refuse, naming them."""
    differ = differences(p.model_dump(), last.content)
    if not same_classes(last.content["classes"], classes):
        differ.append(f"the table has {len(classes)} classes, the checkpoint {len(last.content['classes'])} or others")
    if differ:
        raise CheckpointError(refusal(last.path, differ))


def execution_of(last: WeightsFile, device: torch.device) -> Execution | None:
    """How the run computed; None where that was on another device."""
    told = dict(last.content["execution"])
    before = told.pop("device", device.type)
    if before != device.type:
        print(f"precision and memory format are chosen anew: the run was on {before}, and goes on on {device.type}")
        return None
    return Execution(**told)


def load_state(model: VideoModel, last: WeightsFile) -> None:
    """Load the weights of `last` into a network of the user's. Raises WeightsError."""
    try:
        model.load_state_dict(last.state)
    except RuntimeError as error:
        raise WeightsError(f"{last.path}: does not fit the model that was given: {error}") from error


def pick_up(job: Job, last: WeightsFile) -> None:
    """Put optimiser, schedule, history and random states of `last` into `job`; its network is loaded already."""
    content, p = last.content, job.p
    try:
        job.optimizer.load_state_dict(content["optimizer"])
    except (ValueError, KeyError, RuntimeError) as error:
        reason = f"its optimiser's state does not fit this run's parameters ({error})"
        raise CheckpointError(f"{last.path}: {reason}; resume: never starts again here") from error
    state = content["schedule"]
    if "step_count" in state:  # as it was written before torch's schedules were used
        job.schedule.last_epoch = state["step_count"]
        state = {"best": state["best_loss"], "num_bad_epochs": state["bad_epochs"], "_last_lr": [state["plateau"]]}
    else:
        job.schedule.load_state_dict(state)
        state = content["plateau"]
    if job.plateau:
        job.plateau.load_state_dict(state)
        job.plateau.optimizer.param_groups[0]["lr"] = state["_last_lr"][0]
    before = rate(job.optimizer)
    set_rates(job.schedule)
    _tell_of_a_jump(job, before, content["params"]["epochs"])
    job.history, job.within = content["history"], content.get("within")
    job.best_epoch = content.get("best_epoch", _first_best(job.history))
    states = content.get("rng_of_ranks", [content["rng"]])
    job.failures = Counter({tuple(each[:-1]): each[-1] for each in content["failures"]})
    if job.ranks.rank < len(states):  # else its own of the beginning: there were fewer processes
        job.random_states = states[job.ranks.rank]
    if job.noise is not None and "noise" in content:
        job.noise.generator.set_state(content["noise"])
    elif job.noise is not None and job.device.type == "cpu":  # one process wrote it
        job.noise.generator.set_state(content["rng"]["torch"])
    job.scaler.load_state_dict(content.get("scaler", {}))
    if job.ranks.first:
        _check_best(job)
    job.best_epoch = job.ranks.of_first(job.best_epoch)
    done = len(job.history)
    if done == p.epochs:
        print(f"all {done} epochs of this run are done")
    else:
        print(f"goes on after epoch {done} of {p.epochs}" + (", inside the next" if job.within else ""))


def _tell_of_a_jump(job: Job, before: float, epochs: int) -> None:
    """A cosine over another number of epochs is another curve: say where the rate goes on."""
    p, step = job.p, job.schedule.last_epoch
    if epochs != p.epochs and p.schedule == "cosine":
        old = p.model_copy(update={"epochs": epochs})
        last = p.base_lr * rate_factor(old, job.steps_per_epoch, max(0, step - 1))
        print(
            f"epochs is {p.epochs}, was {epochs}: the cosine is drawn over all of them, and the learning rate goes on "
            f"at {rate(job.optimizer):.3g} where the last step had {last:.3g}"
        )


def _first_best(history: list[dict]) -> int:
    """The first epoch, counted from 1, of those with the highest validation accuracy; 0 without any."""
    best = max((row["val_top1"] for row in history), default=None)
    return next((row["epoch"] for row in history if row["val_top1"] == best), 0)


def _check_best(job: Job) -> None:
    """best.pt must be the network of `best_epoch` of this very history. It is not after going on from an earlier epoch,
    or in another folder: then the network at hand, the only one there is, takes its place."""
    if not job.history:
        return
    try:
        found = read_checkpoint(folder_of(job.p) / "best.pt").content["history"]
    except CheckpointError:
        found = None
    if found != job.history[: job.best_epoch]:
        print("best.pt is of another course of this run: the network that goes on takes its place")
        job.best_epoch = 0 if job.within else len(job.history)  # inside an epoch there is none yet
        if job.best_epoch:
            with locks.take(job.p.run_dir):
                save_checkpoint(folder_of(job.p) / "best.pt", content_of(job))


# --- writing --------------------------------------------------------------------------------------------------


def begin(job: Job) -> None:
    """Set torch's generators as `prepare` left them, or the checkpoint, whatever was drawn since by looking at things.
    What a killed write left goes. With `resume: never` earlier checkpoints are put aside, not overwritten."""
    torch.set_rng_state(job.random_states["torch"])
    cuda = job.random_states["cuda"]
    if cuda and len(cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(cuda)
    folder = folder_of(job.p)
    if job.ranks.first:
        remove_temporaries(folder)
        if job.p.resume == "never" and not job.history and job.within is None and folder.exists():
            put_aside(folder)
    job.ranks.wait()


def content_of(job: Job) -> dict:
    """What inference needs."""
    return network_content(job.model, job.classes, job.preprocessing) | {
        "execution": asdict(job.execution) | {"device": job.device.type},
        "epoch": len(job.history),
        "history": job.history,
        "params": job.p.model_dump(),
    }


def _whole_content(job: Job, states: list[dict]) -> dict:
    """What going on exactly needs: randomness besides torch's generators, whose `states` each process has, is seeded by
    epoch and video."""
    return content_of(job) | {
        "optimizer": job.optimizer.state_dict(),
        "schedule": job.schedule.state_dict(),
        "plateau": job.plateau.state_dict() if job.plateau else None,
        "scaler": job.scaler.state_dict(),
        "rng": states[0],
        **_of_several(job, states),
        "failures": [[*key, count] for key, count in job.failures.items()],
        "best_epoch": job.best_epoch,
        "within": job.within,
    }


def _of_several(job: Job, states: list[dict]) -> dict:
    """What is more to be said where several processes trained: of the generators of each, and of what their dropouts
    draw from, with which on a CPU one process may go on as well."""
    if job.noise is None:
        return {}
    noise = job.noise.generator.get_state()
    of_one = {"rng": states[0] | {"torch": noise}} if job.device.type == "cpu" else {}
    return {"rng_of_ranks": states, "noise": noise} | of_one


def save_epoch(job: Job) -> None:
    """Write the checkpoints of the epoch that is last in the history: best.pt if it is the best so far, epoch_NNNN.pt
    every `checkpoint_every` epochs, and then last.pt. All processes call it, and the first one writes."""
    folder, row = folder_of(job.p), job.history[-1]
    job.within = None
    better = not job.best_epoch or row[job.best_measure] > job.best[job.best_measure]
    job.best_epoch = row["epoch"] if better else job.best_epoch
    states = job.ranks.gathered(random_states())
    if states is None:
        return
    if better:
        _write(folder / "best.pt", content_of(job))  # for inference: without the optimiser's state
    whole = _whole_content(job, states)
    if job.p.checkpoint_every and row["epoch"] % job.p.checkpoint_every == 0:
        _write(folder / f"epoch_{row['epoch']:04d}.pt", whole)
    _write(folder / "last.pt", whole)


def save_within(job: Job, within: dict) -> None:
    """Write last.pt inside an epoch. `within`: the batches done and the epoch's sums so far (see `train`)."""
    job.within = within
    if states := job.ranks.gathered(random_states()):
        _write(folder_of(job.p) / "last.pt", _whole_content(job, states))


def _write(path: Path, content: dict) -> None:
    """Write a checkpoint. Raises DiskFull, which says from where the run goes on."""
    try:
        save_checkpoint(path, content)
    except DiskFull as full:
        last = path.with_name("last.pt")
        kept = f"{last} is intact: the run goes on from there" if last.exists() else "No checkpoint was written before"
        raise DiskFull(path, full.takes, full.free, kept) from None
