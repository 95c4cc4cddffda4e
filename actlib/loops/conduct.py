"""A run on several devices, as the notebook conducts it: torchrun's agent starts a process a device, the ranks, which
do the work (see `rank`); here arrives what the first of them says, as if it were computed here.

A rank that is killed is started again with all others, by the agent, from the last checkpoint. Errors end the run.
Whatever ends the notebook's cell or its kernel ends agent and ranks.
"""

import contextlib
import io
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import torch

from actlib import lifeline, locks
from actlib.analysis.results.scores import Scores
from actlib.files import write_json
from actlib.loops import resume
from actlib.loops.channel import FOLDER, LOST, SAID, Lines, failures, read_scores
from actlib.loops.job import Evaluation, Job
from actlib.loops.travel import made_by_prepare
from actlib.models.weights.checkpoint import read_checkpoint
from actlib.params import NOTEBOOKS

RESTARTS = 3  # torchrun's --max-restarts
POLL_S = 0.1
STOP_S = 5.0  # how long agent and ranks may take to end by themselves
LOG = "ranks.log"  # in the run folder: all that agent and ranks said, where they failed


class RanksError(RuntimeError):
    """A run on several devices that failed. Says which rank, where and why."""


def training(job: Job, progress: Callable[..., Iterable] | None = None) -> Iterator[dict]:
    """The rows of `train`, computed by `job.devices` processes. With each, `job` has that epoch's history, best epoch
    and validation scores; after the last one it is as if it had been trained here.

    All its parts are as its parameters make them (see `travel`). Raises RanksError for what a rank raises,
    `locks.Locked`.
    """
    with locks.take(job.p.run_dir) as lock, job.stop.listening():
        yield from list(job.history)
        if not job.stopped:
            return
        with _Ranks(job, lock) as ranks:
            for event in ranks.events():
                if "total" in event:
                    ranks.show(event, progress)
                elif "row" in event and event["row"]["epoch"] > len(job.history):
                    job.history.append(event["row"])
                    job.best_epoch = event["best_epoch"]
                    job.val_scores = ranks.scores(event)["clip"] if event["scores"] else None
                    yield event["row"]
        _pick_up(job)


def evaluation(job: Evaluation, progress: Callable[..., Iterable] | None = None) -> dict[str, Scores]:
    """What `evaluate` returns, computed by `job.devices` processes. Raises as `training`."""
    found: dict[str, Scores] = {}
    with locks.take(job.p.run_dir) as lock, _Ranks(job, lock) as ranks:
        for event in ranks.events():
            if "total" in event:
                ranks.show(event, progress)
            elif "scores" in event:
                found = ranks.scores(event)
    return found


def _pick_up(job: Job) -> None:
    """Put the ranks' last checkpoint into `job`: weights, optimiser, schedule, random states."""
    last = read_checkpoint(resume.folder_of(job.p) / "last.pt")
    resume.load_state(job.model, last)
    with contextlib.redirect_stdout(io.StringIO()):  # where it goes on: said by the first rank
        resume.pick_up(job, last)
    job.made |= made_by_prepare(job, {})
    job.p = job.p.model_copy(update={"resume": "auto"})  # trained again, it goes on from there


class _Ranks:
    """torchrun's agent with its ranks, for as long as the context lasts."""

    def __init__(self, job: Evaluation, lock: locks.Lock):
        self.job, self.lock = job, lock
        self.folder = Path(job.p.run_dir).resolve() / FOLDER
        self._said, self._lost = Lines(self.folder / SAID), Lines(self.folder / LOST)
        self._waiting: list[dict] = []
        self._losses: list[str] = []
        self._starts = 0
        self.watcher: Callable | None = None

    def __enter__(self) -> "_Ranks":
        shutil.rmtree(self.folder, ignore_errors=True)  # of a conductor that was killed
        self.folder.mkdir(parents=True)
        job = self.job
        task = {
            "notebook": next(name for name, kind in NOTEBOOKS.items() if kind is type(job.p)),
            "params": job.p.model_dump(),
            "device": job.device.type,
            "execution": asdict(job.execution),
        }
        write_json(self.folder / "job.json", task)
        if job.device.type == "cuda":
            torch.cuda.empty_cache()  # the first rank has the same GPU
        with open(self.folder / LOG, "wb") as log:
            self._agent = subprocess.Popen(
                [
                    *(sys.executable, "-m", "actlib.compute.agent", "actlib.loops.rank", str(self.folder)),
                    *(str(self.folder / LOST), str(job.devices), str(RESTARTS)),
                ],
                env=_environment(job, self.lock), start_new_session=True, pass_fds=self.lock.files,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        _watch_cells(self)
        return self

    def __exit__(self, kind, *exception) -> None:
        _unwatch_cells(self)
        self.end()
        if kind is not None and issubclass(kind, RanksError):
            shutil.move(self.folder / LOG, self.folder.parent / LOG)
        shutil.rmtree(self.folder, ignore_errors=True)

    def events(self) -> Iterator[dict]:
        """What the first rank says, but what it prints, which is printed. Ends with the ranks. Raises RanksError."""
        while True:
            ended = self._agent.poll() is not None  # asked first: all that was said is there then
            self._waiting += self._said.new()
            while self._waiting:
                event = self._waiting.pop(0)
                if "printed" in event:
                    print(event["printed"], flush=True)
                elif "joined" in event:
                    self._notice_start()
                else:
                    yield event
            self._notice_failures(ended)
            if ended:
                return
            if isinstance(self.job, Job) and self.job.stop.asked:
                self.job.stop.ask()  # the first rank forgets what was asked before it was there
                self.job.stop.file.touch()
            time.sleep(POLL_S)

    def show(self, begun: dict, progress: Callable[..., Iterable] | None) -> None:
        """Let `progress` count what the first rank counts, until that is over."""
        counted = self._counted()
        for _ in progress(counted, total=begun["total"], desc=begun["desc"]) if progress else counted:
            pass

    def _counted(self) -> Iterator[int]:
        count = 0
        for event in self.events():
            if "done" not in event:  # begun anew, by ranks that were started again
                self._waiting.insert(0, event)
                return
            yield from range(count, event["done"])
            count = event["done"]
            if event.get("over"):
                return

    def scores(self, event: dict) -> dict[str, Scores]:
        return read_scores(self.folder / event["scores"])

    def _notice_start(self) -> None:
        self._starts += 1
        if self._starts > 1:
            print("all ranks are started again, and go on from the last checkpoint", flush=True)

    def _notice_failures(self, ended: bool) -> None:
        """Say which ranks were lost. Raises RanksError for an error that another try would meet again, and where the
        agent has given up."""
        left = failures(self.folder)
        said = {each["rank"] for each in left}
        for each in self._lost.new():
            if each["signal"] or each["rank"] not in said:
                how = f"was ended by {each['signal']}" if each["signal"] else f"ended with code {each['exitcode']}"
                self._losses.append(f"rank {each['rank']} ({socket.gethostname()}) {how}")
                print(self._losses[-1], flush=True)
        told = [f"rank {each['rank']} ({each['host']}): {each['error']}" for each in left]
        log = f"; all that was said is in {Path(self.job.p.run_dir) / LOG}"
        if left and left[0]["ends"]:
            raise RanksError(told[0] + log)
        if ended and self._agent.returncode:
            why = [*reversed(self._losses), *told] or [f"torchrun's agent ended with code {self._agent.returncode}"]
            raise RanksError(why[0] + (f", the last of {self._starts} times" if self._starts > 1 else "") + log)

    def end(self) -> None:
        """End agent and ranks, whatever they are at: politely, then by force."""
        if self._agent.poll() is not None:
            return
        lifeline.stop(self._agent.pid, STOP_S)
        self._agent.wait()


def _environment(job: Evaluation, lock: locks.Lock) -> dict[str, str]:
    """What the agent and its ranks find: this package, the folder's lock, their part of the machine's cores."""
    paths = [str(Path(locks.__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // job.devices)),
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": f"{STOP_S:.0f}",
        # Else torchrun has one store for all starts (2.15), and a rank may find there where a dead one had listened.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        locks.TOKEN: lock.token,
        lifeline.PARENT: str(os.getpid()),
    }


# --- a notebook's cell --------------------------------------------------------------------------------------------


def _watch_cells(ranks: _Ranks) -> None:
    """A cell that fails within `for row in train(job)` leaves the generator, and with it the ranks, which then end."""

    def note_failure(result) -> None:
        if result.error_before_exec or result.error_in_exec:
            ranks.end()

    if (shell := _shell()) is not None:
        shell.events.register("post_run_cell", note_failure)
        ranks.watcher = note_failure


def _unwatch_cells(ranks: _Ranks) -> None:
    if ranks.watcher is not None:
        with contextlib.suppress(ValueError):
            _shell().events.unregister("post_run_cell", ranks.watcher)


def _shell():
    try:
        return get_ipython()
    except NameError:
        return None
