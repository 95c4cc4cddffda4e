"""Executing a batch, here or on a cluster: which run is ready, what is told of it, what became of it.

Each run is a `Supervisor`'s; those of a batch on this machine are looked at in turn, those on a cluster by the workers
there (see `cluster`).
"""

import os
import secrets
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from actlib.run_progress import BLOCKED, in_words
from actlib.runs import gpus
from actlib.runs.batch import Batch, Run
from actlib.runs.folder import RunFolder
from actlib.runs.live_table import LiveTable
from actlib.runs.supervise import EPOCH_LINE, POLL_S, Outcome, Supervisor, Task

_ENDS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def run_batch(batch: Batch, root: Path, *, force: bool = False, fork: bool = False) -> list[Outcome]:
    """Execute the runs of `batch`, each as soon as what it builds on is finished: on this machine `batch.workers` at a
    time, or as tasks of the Dask scheduler at `batch.scheduler`.

    `force` repeats what is done already, from the beginning. `fork`: import once and fork each run from here (see
    `warm`), which asks for a process that has computed nothing yet; where that cannot be, which is said, and without
    `fork`, each run's processes start anew.

    On KeyboardInterrupt, SIGTERM and SIGHUP (unless nohup silenced it) runs in progress are stopped, with all their
    processes, and noted as failed; the exception goes on to the caller. Raises RuntimeError where the cluster cannot
    execute them, before the first one starts.
    """
    executor = _Executor(batch, root, force)
    previous = {number: signal.getsignal(number) for number in _ENDS}
    for number, handler in previous.items():
        if handler != signal.SIG_IGN:  # what nohup ignores stays ignored
            signal.signal(number, _interrupt)
    try:
        executor.find_place(fork)
        return executor.run()
    finally:
        executor.stop()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _interrupt(*_) -> None:
    raise KeyboardInterrupt


class _States:
    """How far the steps are: which runs are ready, wait, or are blocked by a step that they need and that failed."""

    def __init__(self, batch: Batch):
        self.left = {step: len(runs) for step, runs in batch.steps().items()}
        self.failed: set[str] = set()
        self.changed = True  # since all that wait were looked at

    def of(self, run: Run) -> str:
        if any(step in self.failed for step in run.needs):
            return "blocked"
        return "waiting" if any(self.left[step] for step in (*run.needs, *run.after)) else "ready"

    def note(self, outcome: Outcome) -> None:
        self.left[outcome.run.step] -= 1
        self.changed = True
        if outcome.state in ("failed", "blocked"):
            self.failed.add(outcome.run.step)


class Here:
    """This machine as the place where runs work, `workers` at a time, which share its cores and GPUs. `begun` is told
    of each run that begins, and where; `heard` the lines about it."""

    def __init__(self, workers: int, begun: Callable[[Run, str], None], heard: Callable[[Run, str], None]):
        self.workers, self.begun, self.heard = workers, begun, heard
        self.running: dict[str, tuple[Supervisor, dict[str, str]]] = {}  # each with the GPUs that are its own
        self.free = gpus.shared_out(workers)
        self.fork: Callable | None = None
        share = max(1, (os.cpu_count() or 1) // workers)
        self.environment = {"OMP_NUM_THREADS": str(share)} if workers > 1 else {}

    @property
    def has_room(self) -> bool:
        return len(self.running) < self.workers

    def begin(self, task: Task) -> Outcome | None:
        """Begin a run; what became of it where it ends at once."""
        self.begun(task.run, "")
        named = ":" in getattr(task.run.params, "device", "")  # cuda:1 is a GPU of all
        environment = self.environment | ({} if named else self.free[0])
        each = Supervisor(task, lambda line: self.heard(task.run, line), environment, fork=self.fork)
        outcome = each.begin()
        if outcome is None:
            self.running[task.run.name] = each, self.free.pop(0)
        return outcome

    def look(self) -> list[Outcome]:
        """Wait a moment; what became of the runs that have ended."""
        time.sleep(POLL_S)
        outcomes = []
        for name, (each, own) in list(self.running.items()):
            if (outcome := each.look_at()) is not None:
                del self.running[name]
                self.free.append(own)
                outcomes.append(outcome)
        return outcomes

    def stop(self) -> None:
        """Interrupt what is at work."""
        for each, _ in self.running.values():
            each.interrupt()
        self.running.clear()


class _Executor:
    """Executes the runs of `batch`, and tells how far they are."""

    def __init__(self, batch: Batch, root: Path, force: bool):
        prints = batch.fingerprints(root)
        self.batch, self.root, self.line, self.place = batch, root, LiveTable(batch, root), None
        forced = secrets.token_hex(8) if force else ""
        self.tasks = {run.name: Task(run, root, str(batch.path), prints[run.name], forced) for run in batch.runs}
        self.outcomes: dict[str, Outcome] = {}
        self.active: dict[str, str] = {}  # the runs at work, and where each is

    def find_place(self, fork: bool) -> None:
        """Where the runs will work."""
        if self.batch.scheduler:
            from actlib.runs.cluster import Cluster

            self.place = Cluster(self.batch, self.root, self.begun, self.heard, self.line.say)
            self.line.batch = replace(self.batch, workers=self.place.workers)
            self.line.dashboard = self.place.dashboard
            return
        self.place = Here(self.batch.workers, self.begun, self.heard)
        if fork:
            self._warm_up()

    def _warm_up(self) -> None:
        """Import what the runs' notebooks import, so that they can be forked; say so, or why not. One run alone starts
        as fast by itself."""
        notebooks = [task.run.notebook for task in self.tasks.values() if not task.is_done()]
        if len(notebooks) < 2 or sys.platform != "linux":
            return
        self.line.say("importing once for all runs what their notebooks import …")
        try:
            from actlib.runs import warm

            warm.import_for(self.root / "notebooks" / f"{name}.ipynb" for name in set(notebooks))
            self.place.fork = warm.start
        except Exception as error:
            self.line.say(f"each run starts its own processes, which takes longer: {type(error).__name__}: {error}")

    def run(self) -> list[Outcome]:
        waiting, states, place = list(self.batch.runs), _States(self.batch), self.place
        while waiting or place.running:
            looked_at, states.changed = waiting[:] if states.changed else [], False
            for run in looked_at:
                if not place.has_room:
                    break
                if (state := states.of(run)) == "waiting":
                    continue
                waiting.remove(run)
                outcome = self._begin(run) if state == "ready" else Outcome(run, "blocked", why=BLOCKED)
                if outcome is not None:
                    states.note(self._tell(outcome))
            self.line.show(self._states())
            for outcome in place.look() if place.running else ():
                states.note(self._tell(outcome))
        return [self.outcomes[run.name] for run in self.batch.runs]

    def _begin(self, run: Run) -> Outcome | None:
        task = self.tasks[run.name]
        return Outcome(run, "skipped") if task.is_done() else self.place.begin(task)

    def stop(self) -> None:
        if self.place is not None:  # else nothing has begun
            try:
                self.place.stop()
            finally:
                self.line.close(self._states())

    def begun(self, run: Run, where: str) -> None:
        """Say that a run begins; on a cluster perhaps anew, on another worker."""
        number = len(self.outcomes) + len(self.active.keys() - {run.name}) + 1
        on = f" on {where}" if where else ""
        self.line.say(f"[{number}/{len(self.batch.runs)}] {run.name}: {run.notebook}{on} …")
        self.active[run.name] = where

    def heard(self, run: Run, line: str) -> None:
        """Take in a line about a run at work, of its log or of its supervisor."""
        if not line.startswith(EPOCH_LINE):
            self.line.say(f"    {line}")
        elif not self.line.moves:
            self.line.say(f"    {run.name}: {line}")

    def _states(self) -> dict[str, tuple[str, str]]:
        """The state of each run that does not wait any more, and the worker where it is at work, for the table."""
        return {name: (each.state, "") for name, each in self.outcomes.items()} | {
            name: ("running", where) for name, where in self.active.items()
        }

    def _tell(self, outcome: Outcome) -> Outcome:
        """Note and print what became of a run, with its headline numbers or the reason of its failure."""
        run = outcome.run
        self.outcomes[run.name] = outcome
        self.active.pop(run.name, None)
        numbers = RunFolder(self.root / run.folder).read("result.json").get("numbers", {})
        told = outcome.why or "; ".join(in_words(name, entry) for name, entry in numbers.items())
        took = f" in {outcome.seconds:.0f} s" if outcome.seconds else ""
        self.line.say(f"{run.name}: {outcome.state}{took}{': ' + told if told else ''}")
        return outcome


def summary(outcomes: list[Outcome]) -> str:
    """The closing table, failures first."""
    order = {"failed": 0, "blocked": 1, "done": 2, "skipped": 3}
    rows = sorted(outcomes, key=lambda each: order[each.state])
    width = max(len(each.run.name) for each in rows)
    lines = []
    for each in rows:
        why = each.why.splitlines()[0] if each.why else ""
        lines.append(f"{each.state:<8} {each.run.name:<{width}} {each.seconds:6.0f} s  {why}".rstrip())
    return "\n".join(lines)
