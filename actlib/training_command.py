"""The commands `python -m actlib train FILE` and `evaluate FILE`: what notebooks 02, 03 and 04 compute, without them.

One process, or those that torchrun starts, on one machine or several; the run folder is on a disk that all of them see.
The first process does with it what the notebooks do; the notebook with the same parameters then shows what is there.
"""

import argparse
import os
import socket
import sys
import traceback

import pandas as pd

from actlib import lifeline, locks
from actlib.analysis.costs import flops, speed
from actlib.analysis.results import val_json
from actlib.analysis.results.history import describe_row
from actlib.compute.device import pick_device
from actlib.compute.processes import Ranks, join
from actlib.files import project_root
from actlib.loops import evaluate, prepare, train
from actlib.loops.rank import going_on, is_loss
from actlib.params import NOTEBOOKS, Params, ParamsError, TrainingParams, notebook_of
from actlib.runs.folder import RunFolder

KINDS = {"02_train": "train", "03_finetune": "finetune", "04_video_accuracy": "video_accuracy"}
LOST_S = 150.0  # after which a machine that is silent has lost its lock (see `heartbeat`)
COMMANDS = {"train": ("02_train", "03_finetune"), "evaluate": ("04_video_accuracy",)}


def run(name: str, options: argparse.Namespace) -> int:
    """Run one of the commands; returns the exit code: 0 good, 1 failed, 2 refused, with the reason printed."""
    p, kind = _parameters(name, options)
    under_torchrun = "RANK" in os.environ
    if under_torchrun:
        lifeline.end_with_parent()
    os.chdir(project_root())
    ranks = join(pick_device(p.device).type)
    if not ranks.first:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    folder, started = RunFolder(p.run_dir), False
    try:
        if ranks.size > ranks.local_size and ranks.first:  # the first may have been on a machine that is lost
            locks.take(p.run_dir, wait=LOST_S)
        if ranks.first:
            RunFolder.start(p)
        ranks.wait()
        started = True
        (_evaluate if name == "evaluate" else _train)(p, kind, ranks, folder)
        ranks.wait()
        code = 0
    except (Exception, KeyboardInterrupt) as error:
        code = _tell(error, ranks, folder if started else None)
    sys.stdout.flush()
    sys.stderr.flush()
    if ranks.size > 1:
        os._exit(code)  # a usual end might wait for processes that are gone
    return code


def _parameters(name: str, options: argparse.Namespace) -> tuple[Params, str]:
    try:
        notebook = options.notebook or notebook_of(options.file, COMMANDS[name])
    except ParamsError as error:
        raise ParamsError(f"{error}; or say --notebook {COMMANDS[name][0]}") from None
    if notebook not in COMMANDS[name]:
        other = next((each for each, books in COMMANDS.items() if notebook in books), None)
        hint = f"; `python -m actlib {other}` takes it" if other else ""
        raise ParamsError(f"{options.file}: is of notebook {notebook}, which `{name}` does not run{hint}")
    return NOTEBOOKS[notebook].from_file(options.file), KINDS[notebook]


def _tell(error: BaseException, ranks: Ranks, folder: RunFolder | None) -> int:
    """Print whose error it is, with its traceback where it is none of ours, and note it in `folder`. Who but lost
    another process notes nothing: torchrun starts all of them again, or that one has said why it ended."""
    who = f"rank {ranks.rank} ({socket.gethostname()}): " if ranks.size > 1 else ""
    words = "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"
    ours = type(error).__module__.split(".")[0] == __name__.split(".")[0] or isinstance(error, OSError)
    if not ours and isinstance(error, Exception):
        traceback.print_exc()
    print(f"{who}{words}", file=sys.stderr, flush=True)
    last_try = os.environ.get("TORCHELASTIC_RESTART_COUNT") == os.environ.get("TORCHELASTIC_MAX_RESTARTS")
    if folder is not None and (not is_loss(error) or ranks.size == 1 or (ranks.first and last_try)):
        folder.set_status("failed", why=f"{who}{words}")
        folder.leave()
    return 130 if isinstance(error, KeyboardInterrupt) else 2 if ours else 1


def _train(p: TrainingParams, kind: str, ranks: Ranks, folder: RunFolder) -> None:
    job = prepare(_of(going_on(p, ranks), ranks), ranks=ranks)
    _record(job, folder)
    rows = []
    for row in train(job, folder.progress if ranks.first else None):
        rows.append(row)
        if ranks.first:
            print(describe_row(row, p.epochs), flush=True)
            folder.save_table(pd.DataFrame(rows), "metrics.csv")
    if ranks.first:
        protocol = f"{job.val_protocol}, best of {len(job.history)} epochs"
        on = {"videos": job.best["val_videos"], "expected": job.expected}
        found = folder.numbers(job.best_accuracies, protocol=protocol, **on)
        folder.finish(kind=kind, model=job.model.spec, numbers=found, files=job.checkpoints, stopped=job.stopped)


def _evaluate(p: Params, kind: str, ranks: Ranks, folder: RunFolder) -> None:
    job = prepare(_of(p, ranks), ranks=ranks)
    _record(job, folder)
    results = evaluate(job, folder.progress if ranks.first else None)
    if not ranks.first:
        return
    final = results.get("video", results["clip"])
    made, found = val_json.write_results(folder.folder, final), {}
    for name, scores in results.items():
        on = {"videos": scores.num_scored, "expected": job.expected}
        found |= folder.numbers(scores.accuracies(name), protocol=scores.protocol, **on)
    costs = {"gmacs": flops.count_macs(job.model, job.input_shape).total / 1e9, "input": list(job.input_shape[1:])}
    costs |= {"params_m": flops.num_params(job.model) / 1e6, "execution": str(job.execution), "device": str(job.device)}
    costs |= {"clips_per_s": speed.clips_per_s(job.model, job.input_shape, p.batch_size, job.execution, job.device)}
    costs |= {"dataset": job.dataset, "views": round(float(final.views.mean()), 2)}
    folder.finish(kind=kind, model=job.model.spec, numbers=found, files=made, **costs)


def _of(p: Params, ranks: Ranks) -> Params:
    """`p` for this very number of processes: one process starts no others."""
    return p.model_copy(update={"devices": ranks.size})


def _record(job, folder: RunFolder) -> None:
    told = job.processes()
    if job.ranks.first:
        folder.record(execution=job.execution.describe(job.device), processes=told)
