"""Executing a batch: one papermill process a run, everything it says in the run folder's log.txt.

A process's children are stopped with it: papermill's kernel lives in a session of its own and its data workers
below that, so a signal to papermill alone would leave them running.
"""

import contextlib
import json
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
from actlib.runs.folder import in_words, now

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
    fingerprints = batch.fingerprints(root)
    running: dict[Future, Run] = {}
    outcomes: dict[str, Outcome] = {}
    processes = _Processes(threads=max(1, (os.cpu_count() or 1) // batch.workers) if batch.workers > 1 else None)
    previous = signal.signal(signal.SIGTERM, _interrupt)
    pool = ThreadPoolExecutor(batch.workers)
    try:
        while len(outcomes) < len(batch.runs):
            for run in batch.runs:
                if run.name in outcomes or run in running.values() or len(running) == batch.workers:
                    continue
                state = _readiness(run, batch, outcomes)
                if state == "ready" and not force and _is_done(root / run.folder, fingerprints[run.name]):
                    state = "skipped"
                if state == "ready":
                    number = len(outcomes) + len(running) + 1
                    print(f"[{number}/{len(batch.runs)}] {run.name}: {run.notebook} …", flush=True)
                    job = pool.submit(_execute, run, batch, root, fingerprints[run.name], processes, force)
                    running[job] = run
                elif state != "waiting":
                    why = "" if state == "skipped" else "needs a run that failed"
                    outcomes[run.name] = _tell(Outcome(run, state, why=why), root)
            if running:
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    run = running.pop(done)
                    outcomes[run.name] = _tell(done.result(), root)
    finally:
        processes.stop_all()
        pool.shutdown(wait=True)
        signal.signal(signal.SIGTERM, previous)
    return [outcomes[run.name] for run in batch.runs]


def _interrupt(*_) -> None:
    raise KeyboardInterrupt


def _readiness(run: Run, batch: Batch, outcomes: dict[str, Outcome]) -> str:
    """ready; waiting for an earlier step; or blocked, where a step that `run` needs has failed."""
    earlier = [other for other in batch.runs if other.step in (*run.needs, *run.after)]
    bad = [each for each in earlier if each.name in outcomes and outcomes[each.name].state in ("failed", "blocked")]
    if any(each.step in run.needs for each in bad):
        return "blocked"
    return "ready" if all(each.name in outcomes for each in earlier) else "waiting"


def _tell(outcome: Outcome, root: Path) -> Outcome:
    """Print what became of a run, with its headline numbers or the reason of its failure."""
    told = outcome.why or headline(root / outcome.run.folder)
    took = f" in {outcome.seconds:.0f} s" if outcome.seconds else ""
    print(f"{outcome.run.name}: {outcome.state}{took}{': ' + told if told else ''}", flush=True)
    return outcome


class _Processes:
    """The papermill processes that run now. `threads`: how many each may compute with, None for as many as it likes."""

    def __init__(self, threads: int | None):
        self.threads = threads
        self.stopping = False
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen] = set()

    def start(self, command: list[str], folder: Path) -> subprocess.Popen:
        environment = {**os.environ, "ACTLIB_HEADLESS": "1", "PYTHONUNBUFFERED": "1"}
        environment["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # else every kernel logs a warning about frozen modules
        if self.threads:
            environment["OMP_NUM_THREADS"] = str(self.threads)
        with self._lock:
            if self.stopping:
                raise RuntimeError("the batch is being stopped")
            process = subprocess.Popen(
                command, cwd=folder, env=environment, text=True, errors="replace",
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            self._running.add(process)
        return process

    def ended(self, process: subprocess.Popen) -> None:
        with self._lock:
            self._running.discard(process)

    def stop_all(self) -> None:
        with self._lock:
            self.stopping = True
            running = list(self._running)
        for process in running:
            stop(process.pid)


def _is_done(folder: Path, fingerprint: str) -> bool:
    return (
        _read(folder / "status.json").get("state") == "done"
        and (folder / "result.json").is_file()
        and _read(folder / "batch.json").get("fingerprint") == fingerprint
    )


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return {}


def _execute(run: Run, batch: Batch, root: Path, fingerprint: str, processes: _Processes, force: bool) -> Outcome:
    folder = root / run.folder
    try:
        _claim(folder, fingerprint, fresh=force)
    except RuntimeError as error:
        return Outcome(run, "failed", why=str(error))
    write_json(folder / "batch.json", {"batch": str(batch.path), "step": run.step, "fingerprint": fingerprint})
    write_json(folder / "status.json", {"state": "queued", "time": now(), "pid": os.getpid()})
    parameters = write_text(folder / "params.yaml", run.params.as_yaml())
    partial, finished = folder / "notebook.running.ipynb", folder / "notebook.ipynb"
    command = [
        *(sys.executable, "-m", "papermill", str(root / "notebooks" / f"{run.notebook}.ipynb"), str(partial)),
        *("-f", str(parameters), "--cwd", str(root), "--kernel", "python3", "--no-progress-bar", "--log-output"),
    ]
    begin = time.monotonic()
    process = processes.start(command, root)
    with open(folder / "log.txt", "w", encoding="utf-8") as log:
        for line in process.stdout:
            log.write(line)
            log.flush()
            if line.startswith(ECHO):
                print(f"    {run.name}: {line.rstrip()}", flush=True)
    code = process.wait()
    processes.ended(process)
    if partial.exists():
        partial.replace(finished)
    why = "interrupted" if processes.stopping else _why_failed(folder, code)
    if why:
        write_json(folder / "status.json", {"state": "failed", "time": now(), "why": why})
    return Outcome(run, "failed" if why else "done", time.monotonic() - begin, why)


def _claim(folder: Path, fingerprint: str, fresh: bool) -> None:
    """Make the run folder ready: what another set of parameters left there is put aside (with `fresh` anything is),
    what this one left when it was stopped stays, to be continued. Raises RuntimeError if a process is at work in it."""
    status = _read(folder / "status.json")
    if status.get("state") == "running" and psutil.pid_exists(int(status.get("pid", -1))):
        with contextlib.suppress(psutil.Error):
            if "ipykernel" in " ".join(psutil.Process(status["pid"]).cmdline()):
                raise RuntimeError(f"{folder}: process {status['pid']} is at work in this run folder")
    other = fresh or _read(folder / "batch.json").get("fingerprint") != fingerprint
    if other and folder.exists() and any(folder.iterdir()):
        aside = put_aside(folder)
        print(f"    the earlier results of {folder.name} are now in {aside.name}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("result.json", "notebook.ipynb"):
        (folder / name).unlink(missing_ok=True)


def _why_failed(folder: Path, code: int) -> str:
    """Why a run is not good, empty if it is: papermill ended well and the notebook reached its last cell."""
    status = _read(folder / "status.json")
    if code == 0 and status.get("state") == "done" and (folder / "result.json").is_file():
        return ""
    if status.get("state") == "failed":
        return status.get("why", "")
    if code == PAPERMILL_DEAD_KERNEL:
        return f"the kernel died (out of memory?); see {folder / 'log.txt'}"
    if code == 0:
        return "the notebook ended without run.finish(…): no result.json"
    lines = (folder / "log.txt").read_text(encoding="utf-8").strip().splitlines()
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


def headline(folder: Path) -> str:
    """The numbers of a run's result.json on one line, each with its protocol."""
    numbers = _read(folder / "result.json").get("numbers", {})
    return "; ".join(in_words(name, entry) for name, entry in numbers.items())


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
