"""Executing a batch: one papermill process a run, everything it says in the run folder's log.txt.

A process's children are stopped with it: papermill's kernel lives in a session of its own and its data workers
below that, so a signal to papermill alone would leave them running.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from actlib import locks
from actlib.files import FULL, DiskFull, free_bytes, write_json, write_text
from actlib.locks import TOKEN, Lock
from actlib.run_progress import BLOCKED, in_words
from actlib.runs.batch import Batch, Run
from actlib.runs.folder import RunFolder
from actlib.runs.live_table import LiveTable
from actlib.runs.ours import clear, require_ours

STOP_S = 5.0  # how long a process may take to end by itself once it is told to
POLL_S = 0.2  # how often the processes and their logs are looked at
ECHO = "epoch "  # lines of a notebook that are printed too, where no line moves; log.txt has them all
PAPERMILL_DEAD_KERNEL = 138
_ENDS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@dataclass
class Outcome:
    """What became of a run: done, skipped (done before), failed or blocked (needs a run that failed)."""

    run: Run
    state: str
    seconds: float = 0.0
    why: str = ""


def run_batch(batch: Batch, root: Path, *, force: bool = False, fork: bool = False) -> list[Outcome]:
    """Execute the runs of `batch`, `batch.workers` at a time, each as soon as what it builds on is finished.

    `force` repeats what is done already, from the beginning. `fork`: import once and fork each run from here (see
    `warm`), which asks for a process that has computed nothing yet; where that cannot be, which is said, and without
    `fork`, each run's processes start anew. On KeyboardInterrupt, SIGTERM and SIGHUP (unless nohup silenced it) runs in
    progress are stopped, with all their processes, and noted as failed; the exception goes on to the caller.
    """
    executor = _Executor(batch, root, force)
    waiting, running, outcomes = list(batch.runs), [], {}
    previous = {number: signal.getsignal(number) for number in _ENDS}
    for number, handler in previous.items():
        if handler != signal.SIG_IGN:  # what nohup ignores stays ignored
            signal.signal(number, _interrupt)
    try:
        if fork:
            executor.warm_up()
        states = _States(batch)
        while waiting or running:
            looked_at, states.changed = waiting[:] if states.changed else [], False
            for run in looked_at:
                if len(running) == batch.workers:
                    break
                if (state := states.of(run)) == "waiting":
                    continue
                waiting.remove(run)
                number = len(outcomes) + len(running) + 1
                begun = executor.begin(run, number) if state == "ready" else Outcome(run, state, why=BLOCKED)
                if isinstance(begun, _Running):
                    running.append(begun)
                else:
                    outcomes[run.name] = states.note(executor.tell(begun))
            executor.line.show(executor.states(outcomes, running))
            if running:
                time.sleep(POLL_S)
            for each in list(running):
                if (outcome := executor.look_at(each)) is not None:
                    running.remove(each)
                    outcomes[each.run.name] = states.note(executor.tell(outcome))
    finally:
        for each in running:
            executor.interrupt(each)
        executor.line.close(executor.states(outcomes, running))
        for number, handler in previous.items():
            signal.signal(number, handler)
    return [outcomes[run.name] for run in batch.runs]


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

    def note(self, outcome: Outcome) -> Outcome:
        self.left[outcome.run.step] -= 1
        self.changed = True
        if outcome.state in ("failed", "blocked"):
            self.failed.add(outcome.run.step)
        return outcome


@dataclass
class _Running:
    """A run at work: its process, which ends with what `poll` returns, and how much of its log has been read."""

    run: Run
    folder: RunFolder
    lock: Lock
    pid: int
    poll: Callable[[], int | None]
    begin: float
    read: int = 0


class _Executor:
    """Executes runs of `batch`, each in a papermill process; several at a time share the cores."""

    def __init__(self, batch: Batch, root: Path, force: bool):
        self.batch, self.root, self.force = batch, root, force
        self.fingerprints = batch.fingerprints(root)
        self.line = LiveTable(batch, root)
        self.fork: Callable | None = None

    def folder(self, run: Run) -> RunFolder:
        return RunFolder(self.root / run.folder)

    def is_done_already(self, run: Run) -> bool:
        folder = self.folder(run)
        same = folder.read("batch.json").get("fingerprint") == self.fingerprints[run.name]
        return same and not self.force and folder.is_done()

    def warm_up(self) -> None:
        """Import what the runs' notebooks import, so that they can be forked; say so, or why not. One run alone starts
        as fast by itself."""
        notebooks = [run.notebook for run in self.batch.runs if not self.is_done_already(run)]
        if len(notebooks) < 2 or sys.platform != "linux":
            return
        self.line.say("importing once for all runs what their notebooks import …")
        try:
            from actlib.runs import warm

            warm.import_for(self.root / "notebooks" / f"{name}.ipynb" for name in set(notebooks))
            self.fork = warm.start
        except Exception as error:
            self.line.say(f"each run starts its own processes, which takes longer: {type(error).__name__}: {error}")

    def states(self, outcomes: dict[str, Outcome], running: list[_Running]) -> dict[str, tuple[str, str]]:
        """The state of each run that does not wait any more, for the table; all of them run here."""
        return {name: (each.state, "") for name, each in outcomes.items()} | {
            each.run.name: ("running", "") for each in running
        }

    def tell(self, outcome: Outcome) -> Outcome:
        """Print what became of a run, with its headline numbers or the reason of its failure."""
        numbers = self.folder(outcome.run).read("result.json").get("numbers", {})
        told = outcome.why or "; ".join(in_words(name, entry) for name, entry in numbers.items())
        took = f" in {outcome.seconds:.0f} s" if outcome.seconds else ""
        self.line.say(f"{outcome.run.name}: {outcome.state}{took}{': ' + told if told else ''}")
        return outcome

    def begin(self, run: Run, number: int) -> "_Running | Outcome":
        """Start papermill on the run's notebook as the batch's `number`th run, or skip it where it is done already.
        Failed at once where another process is at work in its folder, the folder is not ours, or the disk is full."""
        if self.is_done_already(run):
            return Outcome(run, "skipped")
        self.line.say(f"[{number}/{len(self.batch.runs)}] {run.name}: {run.notebook} …")
        folder, lock = self.folder(run), None
        try:
            require_ours(folder.folder)
            lock = locks.take(folder.folder)
            if self.is_done_already(run):  # by who held the lock just now
                lock.release()
                return Outcome(run, "skipped")
            if aside := self._clear(run, folder):
                self.line.say(f"    the earlier results of {folder.folder.name} are now in {aside.name}")
                lock.release()  # it went with them
                lock = locks.take(folder.folder)
            return self._begin(run, folder, lock)
        except (OSError, RuntimeError) as error:
            if lock:
                lock.release()
            return Outcome(run, "failed", why=str(error))

    def _clear(self, run: Run, folder: RunFolder) -> Path | None:
        """Put aside what another set of parameters left in the folder (with `force` anything); what this one left when
        it was stopped stays, to be continued. Returns where the former is now."""
        if self.force or folder.read("batch.json").get("fingerprint") != self.fingerprints[run.name]:
            return clear(folder.folder)
        folder.remove_temporaries()
        for name in ("result.json", "notebook.ipynb"):
            folder.path(name).unlink(missing_ok=True)
        return None

    def _begin(self, run: Run, folder: RunFolder, lock: Lock) -> _Running:
        told = {"batch": str(self.batch.path), "step": run.step, "fingerprint": self.fingerprints[run.name]}
        write_json(folder.path("batch.json"), told)
        folder.set_status("queued")
        parameters = write_text(folder.path("params.yaml"), run.params.as_yaml())
        notebook = self.root / "notebooks" / f"{run.notebook}.ipynb"
        arguments = [
            *(str(notebook), str(folder.path("notebook.running.ipynb")), "-f", str(parameters)),
            *("--cwd", str(self.root), "--kernel", "python3", "--no-progress-bar", "--log-output"),
        ]
        log = folder.path("log.txt")
        log.write_bytes(b"")
        pid, poll = self._start(arguments, log, lock)
        return _Running(run, folder, lock, pid, poll, time.monotonic())

    def _start(self, arguments: list[str], log: Path, lock: Lock) -> tuple[int, Callable[[], int | None]]:
        """Papermill's process, which keeps the run folder locked even where this one is killed, and what asks for its
        exit code, None while it is at work."""
        environment = {"ACTLIB_HEADLESS": "1", "PYTHONUNBUFFERED": "1", TOKEN: lock.token}
        environment["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # else every kernel logs a warning about frozen modules
        if self.batch.workers > 1:
            environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // self.batch.workers))
        if self.fork is not None:
            process = self.fork(arguments, log=log, cwd=self.root, environment=environment, folder=lock.folder)
            return process.pid, lambda: process.exitcode
        with open(log, "ab") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "actlib.runs.papermill_sooner", *arguments],
                cwd=self.root, env={**os.environ, **environment}, start_new_session=True, pass_fds=lock.files,
                stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
            )  # fmt: skip
        return process.pid, process.poll

    def look_at(self, each: _Running) -> Outcome | None:
        """Read on in the run's log; what became of it once its process has ended, else None."""
        code = each.poll()
        said = b""
        with contextlib.suppress(OSError), open(each.folder.path("log.txt"), "rb") as log:
            log.seek(each.read)
            said = log.read()
        whole = said[: said.rfind(b"\n") + 1]
        each.read += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            if line.startswith(ECHO) and not self.line.moves:
                self.line.say(f"    {each.run.name}: {line.rstrip()}")
        return None if code is None else self._end(each, _why_failed(each.folder, code))

    def _end(self, each: _Running, why: str) -> Outcome:
        partial, seconds = each.folder.path("notebook.running.ipynb"), time.monotonic() - each.begin
        try:
            if partial.exists():
                partial.replace(each.folder.path("notebook.ipynb"))
            if why:
                each.folder.set_status("failed", why=why)
            else:
                told = each.folder.read("batch.json") | {"seconds": round(seconds, 1)}
                write_json(each.folder.path("batch.json"), told)
        except OSError as error:
            why = why or str(error)
        finally:
            each.lock.release()
        return Outcome(each.run, "failed" if why else "done", seconds, why)

    def interrupt(self, each: _Running) -> None:
        if each.poll() is None:
            stop(each.pid)
        self._end(each, "interrupted")


def _why_failed(run: RunFolder, code: int) -> str:
    """Why a run is not good, empty if it is: papermill ended well and the notebook reached its last cell."""
    if code == 0 and run.is_done():
        return ""
    status, log = run.read("status.json"), run.path("log.txt")
    if status.get("state") == "failed":
        return status.get("why", "")
    if status.get("state") == "stopped":
        return f"{status.get('why')}; the same command goes on there"
    if code == PAPERMILL_DEAD_KERNEL:
        return f"the kernel died (out of memory?); see {log}"
    if code == 0:
        return "the notebook ended without run.finish(…): no result.json, or a file that it names is not there"
    if free_bytes(run.folder) < FULL:
        return str(DiskFull(run.folder, None, free_bytes(run.folder)))
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.is_file() else []
    return f"papermill ended with code {code}: {lines[-1] if lines else 'it said nothing'}"


def stop(pid: int) -> None:
    """End a process and all its descendants: politely, then by force after STOP_S seconds."""
    try:
        parent = psutil.Process(pid)
        family = [*parent.children(recursive=True), parent]
    except psutil.NoSuchProcess:
        return
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(family, timeout=STOP_S)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=STOP_S)


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
