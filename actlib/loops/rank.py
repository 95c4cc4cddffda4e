"""One of the processes of a run that a notebook conducts, started by torchrun's agent (see `compute.agent`).

Its folder is where conductor and ranks talk (see `channel`); `job.json` there says what is to be done.
"""

import os
import re
import sys
import traceback
from pathlib import Path

import psutil
import torch
import torch.distributed as dist

from actlib import lifeline
from actlib.compute.execution import Execution
from actlib.compute.processes import Ranks, join
from actlib.files import read_mapping
from actlib.loops.channel import Teller, note_failure
from actlib.loops.evaluate import evaluate
from actlib.loops.job import Job
from actlib.loops.prepare import prepare
from actlib.loops.resume import folder_of
from actlib.loops.train import train
from actlib.params import NOTEBOOKS, TrainingParams

TASK = "job.json"
# What a rank's error says where another one is gone, or a GPU: the run goes on from its last checkpoint.
_LOST = re.compile(r"gloo|nccl|connection|peer|socket|store|CUDA error|CUDA driver|timed out", re.IGNORECASE)


def is_loss(error: BaseException) -> bool:
    """Whether an error comes of a process or device that was lost, so that starting again may help."""
    kinds = (dist.DistError, getattr(torch, "AcceleratorError", dist.DistError))
    return isinstance(error, kinds) or (type(error) is RuntimeError and bool(_LOST.search(str(error))))


def going_on(p: TrainingParams, ranks: Ranks) -> TrainingParams:
    """`p`, and where torchrun has started these ranks again, so that it goes on from the checkpoint that the lost ones
    left, whatever the run went on from. Such a last.pt is younger than torchrun's agent."""
    last = folder_of(p) / "last.pt"
    theirs = ranks.first and last.is_file() and last.stat().st_mtime > psutil.Process(os.getppid()).create_time()
    return p.model_copy(update={"resume": "auto"}) if ranks.of_first(theirs) else p


def work(folder: Path, teller: Teller | None) -> None:
    """Do what `folder`'s job.json says, with the other ranks. `teller`: the first rank's."""
    told = read_mapping(folder / TASK)
    p = NOTEBOOKS[told["notebook"]].build(told["params"], TASK)
    ranks = join(told["device"])
    pids = ranks.gathered(os.getpid())
    if teller is not None:
        teller.say(joined=pids)
    if isinstance(p, TrainingParams):
        p = going_on(p, ranks)
    job = prepare(p, ranks=ranks, execution=Execution(**told["execution"]))
    progress = teller.progress if teller else None
    if not isinstance(job, Job):
        scores = evaluate(job, progress)
        if teller is not None:
            teller.say(scores=teller.scores("scores.npz", scores))
    for row in train(job, progress) if isinstance(job, Job) else ():
        if teller is not None:
            fresh = job.val_scores is not None and row["epoch"] == len(job.history)
            name = teller.scores(f"epoch_{row['epoch']}.npz", {"clip": job.val_scores}) if fresh else None
            teller.say(row=row, best_epoch=job.best_epoch, scores=name)
    ranks.wait()
    dist.destroy_process_group()


def main(folder: str) -> None:
    """One rank's life; the first one's prints go to the conductor, the others' nowhere, all errors to stderr."""
    lifeline.end_with_parent()  # the agent, which ends with the notebook
    folder, rank = Path(folder), int(os.environ["RANK"])
    teller = Teller(folder) if rank == 0 else None
    sys.stdout = teller.stdout if teller else open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    try:
        work(folder, teller)
    except BaseException as error:
        traceback.print_exc()
        sys.stderr.flush()  # before the conductor knows, which ends all ranks
        note_failure(folder, rank, error, ends=isinstance(error, Exception) and not is_loss(error))
        os._exit(1)  # at once: at a usual end it might wait for the others
