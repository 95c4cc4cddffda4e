"""Executing a batch: one papermill process a run, everything it says in the run folder's log.txt.

A process's children are stopped with it: papermill's kernel lives in a session of its own and its data workers
below that, so a signal to papermill alone would leave them running.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import psutil

from actlib.files import put_aside, write_json, write_text
from actlib.runs.batch import Batch, Run
from actlib.runs.folder import RunFolder, in_words

STOP_S = 5.0  # how long a process may take to end by itself once it is told to
ECHO = "epoch "  # lines of a notebook that the terminal shows too; log.txt has them all
PAPERMILL_DEAD_KERNEL = 138


@dataclass
class Outcome:
    """What became of a run: done, skipped (done before), failed or blocked (needs a run that failed)."""

    run: Run
    state: str
    seconds: float = 0.0
    why: str = ""


def run_batch(batch: Batch, root: Path, *, force: bool = False) -> list[Outcome]:
    """Execute the runs of `batch`, `batch.workers` at a time, each as soon as what it builds on is finished.

    `force` repeats what is done already, from the beginning. On KeyboardInterrupt or SIGTERM the runs in progress
    are stopped, with all their processes, and noted as failed; the exception goes on to the caller.
    """
    executor = _Executor(batch, root, force)
    running: dict[Future, Run] = {}
    outcomes: dict[str, Outcome] = {}
    previous = signal.signal(signal.SIGTERM, _interrupt)
    pool = ThreadPoolExecutor(batch.workers)
    try:
        while len(outcomes) < len(batch.runs):
            for run in batch.runs:
                if run.name in outcomes or run in running.values() or len(running) == batch.workers:
                    continue
                state = _readiness(run, batch, outcomes)
                if state == "ready" and executor.is_done_already(run):
                    outcomes[run.name] = executor.tell(Outcome(run, "skipped"))
                elif state == "ready":
                    number = len(outcomes) + len(running) + 1
                    print(f"[{number}/{len(batch.runs)}] {run.name}: {run.notebook} …", flush=True)
                    running[pool.submit(executor.execute, run)] = run
                elif state == "blocked":
                    outcomes[run.name] = executor.tell(Outcome(run, state, why="needs a run that failed"))
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                outcomes[running.pop(done).name] = executor.tell(done.result())
    finally:
        executor.stop_all()
        pool.shutdown(wait=True)
        signal.signal(signal.SIGTERM, previous)
    return [outcomes[run.name] for run in batch.runs]


def _interrupt(*_) -> None:
    raise KeyboardInterrupt


def _readiness(run: Run, batch: Batch, outcomes: dict[str, Outcome]) -> str:
    """ready; waiting for an earlier step; or blocked, where a step that `run` needs has failed."""
    earlier = [other for other in batch.runs if other.step in (*run.needs, *run.after)]
    ended = {each.name: outcomes[each.name].state for each in earlier if each.name in outcomes}
    if any(each.step in run.needs and ended.get(each.name) in ("failed", "blocked") for each in earlier):
        return "blocked"
    return "ready" if len(ended) == len(earlier) else "waiting"


class _Executor:
    """Executes runs of `batch` in threads, each in a papermill process; several at a time share the cores."""

    def __init__(self, batch: Batch, root: Path, force: bool):
        self.batch, self.root, self.force = batch, root, force
        self.fingerprints = batch.fingerprints(root)
        self.stopping = False
        self._lock = threading.Lock()
        self._processes: list[subprocess.Popen] = []

    def folder(self, run: Run) -> RunFolder:
        return RunFolder(self.root / run.folder)

    def is_done_already(self, run: Run) -> bool:
        folder = self.folder(run)
        same = folder.read("batch.json").get("fingerprint") == self.fingerprints[run.name]
        return same and not self.force and _is_complete(folder)

    def tell(self, outcome: Outcome) -> Outcome:
        """Print what became of a run, with its headline numbers or the reason of its failure."""
        numbers = self.folder(outcome.run).read("result.json").get("numbers", {})
        told = outcome.why or "; ".join(in_words(name, entry) for name, entry in numbers.items())
        took = f" in {outcome.seconds:.0f} s" if outcome.seconds else ""
        print(f"{outcome.run.name}: {outcome.state}{took}{': ' + told if told else ''}", flush=True)
        return outcome

    def execute(self, run: Run) -> Outcome:
        """Run the notebook to its end; what it prints goes to log.txt, a line an epoch to the terminal too."""
        folder, fingerprint = self.folder(run), self.fingerprints[run.name]
        try:
            _claim(folder, fingerprint, fresh=self.force)
        except RuntimeError as error:
            return Outcome(run, "failed", why=str(error))
        write_json(
            folder.path("batch.json"), {"batch": str(self.batch.path), "step": run.step, "fingerprint": fingerprint}
        )
        folder.set_status("queued")
        parameters = write_text(folder.path("params.yaml"), run.params.as_yaml())
        partial, finished = folder.path("notebook.running.ipynb"), folder.path("notebook.ipynb")
        command = [
            *(sys.executable, "-m", "papermill", str(self.root / "notebooks" / f"{run.notebook}.ipynb"), str(partial)),
            *(
                "-f",
                str(parameters),
                "--cwd",
                str(self.root),
                "--kernel",
                "python3",
                "--no-progress-bar",
                "--log-output",
            ),
        ]
        begin = time.monotonic()
        process = self._start(command)
        with open(folder.path("log.txt"), "w", encoding="utf-8") as log:
            for line in process.stdout:
                log.write(line)
                log.flush()
                if line.startswith(ECHO):
                    print(f"    {run.name}: {line.rstrip()}", flush=True)
        code = process.wait()
        if partial.exists():
            partial.replace(finished)
        why = "interrupted" if self.stopping else _why_failed(folder, code)
        if why:
            folder.set_status("failed", why=why)
        return Outcome(run, "failed" if why else "done", time.monotonic() - begin, why)

    def _start(self, command: list[str]) -> subprocess.Popen:
        environment = {**os.environ, "ACTLIB_HEADLESS": "1", "PYTHONUNBUFFERED": "1"}
        environment["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # else every kernel logs a warning about frozen modules
        if self.batch.workers > 1:
            environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // self.batch.workers))
        with self._lock:
            if self.stopping:
                raise RuntimeError("the batch is being stopped")
            process = subprocess.Popen(
                command, cwd=self.root, env=environment, text=True, errors="replace",
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            self._processes.append(process)
        return process

    def stop_all(self) -> None:
        with self._lock:
            self.stopping = True
        for process in self._processes:
            if process.poll() is None:
                stop(process.pid)


def _claim(run: RunFolder, fingerprint: str, fresh: bool) -> None:
    """Make the run folder ready: what another set of parameters left there is put aside (with `fresh` anything is),
    what this one left when it was stopped stays, to be continued. Raises RuntimeError if a process is at work in it."""
    status, folder = run.read("status.json"), run.folder
    with contextlib.suppress(psutil.Error):
        if status.get("state") == "running" and "ipykernel" in " ".join(psutil.Process(status.get("pid")).cmdline()):
            raise RuntimeError(f"{folder}: process {status['pid']} is at work in this run folder")
    other = fresh or run.read("batch.json").get("fingerprint") != fingerprint
    if other and folder.exists() and any(folder.iterdir()):
        aside = put_aside(folder)
        print(f"    the earlier results of {folder.name} are now in {aside.name}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("result.json", "notebook.ipynb"):
        run.path(name).unlink(missing_ok=True)


def _is_complete(run: RunFolder) -> bool:
    """Whether the notebook reached its last cell."""
    return run.read("status.json").get("state") == "done" and run.path("result.json").is_file()


def _why_failed(run: RunFolder, code: int) -> str:
    """Why a run is not good, empty if it is: papermill ended well and the notebook reached its last cell."""
    if code == 0 and _is_complete(run):
        return ""
    status, log = run.read("status.json"), run.path("log.txt")
    if status.get("state") == "failed":
        return status.get("why", "")
    if code == PAPERMILL_DEAD_KERNEL:
        return f"the kernel died (out of memory?); see {log}"
    if code == 0:
        return "the notebook ended without run.finish(…): no result.json"
    lines = log.read_text(encoding="utf-8").strip().splitlines()
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
