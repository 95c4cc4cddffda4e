"""Supervising one run: a papermill process in the run's folder, from its beginning to what became of it.

All that it needs is a `Task`, which may come from another machine. A process's children are stopped with it:
papermill's kernel lives in a session of its own and its data workers below that, so a signal to papermill alone would
leave them running.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from actlib import lifeline, locks
from actlib.files import FULL, DiskFull, free_bytes, write_json, write_text
from actlib.locks import TOKEN
from actlib.runs.batch import Run
from actlib.runs.folder import RunFolder
from actlib.runs.ours import clear, require_ours

POLL_S = 0.2  # how often a process and its log are looked at
STOP_S = 5.0  # how long a process may take to end by itself once it is told to
EPOCH_LINE = "epoch "  # how lines of a log begin that are told while the run works
PAPERMILL_DEAD_KERNEL = 138


@dataclass
class Outcome:
    """What became of a run: done, skipped (done before), failed or blocked (needs a run that failed)."""

    run: Run
    state: str
    seconds: float = 0.0
    why: str = ""


@dataclass(frozen=True)
class Task:
    """A run of the batch file `batch` in the project's folder `root`.

    `force`, if given, repeats it where it is done already: what tells this execution of the batch from others, since a
    run that a dying worker left is not to be repeated, but to go on.
    """

    run: Run
    root: Path
    batch: str
    fingerprint: str
    force: str = ""

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.root / self.run.folder)

    def is_done(self) -> bool:
        """Whether it was done before, with the same parameters, notebook and inputs."""
        return self.is_begun() and self.folder.is_done()

    def is_begun(self) -> bool:
        """Whether what its folder holds is of this run, whole or in part, and may be kept."""
        told = self.folder.read("batch.json")
        return told.get("fingerprint") == self.fingerprint and self.force in ("", told.get("forced"))


@dataclass
class Supervisor:
    """One run's papermill process: `begin`, then `look_at` until it returns what became of the run, or `interrupt`.

    `tell` is called with the lines that those who watch the batch see. `environment` is set for the run's processes
    beside what there is here. `where` names the machine in batch.json, if there are several. `fork` starts them in
    place of a new Python (`warm.start`). For `wait` seconds a folder may still be locked by who worked there before.
    """

    task: Task
    tell: Callable[[str], None]
    environment: dict[str, str] = field(default_factory=dict)
    where: str = ""
    fork: Callable | None = None
    wait: float = 0.0

    def begin(self) -> Outcome | None:
        """Start papermill on the run's notebook, or skip it where another process has done it just now. Failed at once
        where one is still at work in its folder, the folder is not ours, or the disk is full."""
        self._began, self._read, self._lock = time.monotonic(), 0, None
        self._folder = folder = self.task.folder
        try:
            require_ours(folder.folder)
            self._lock = locks.take(folder.folder, self.wait, ends=False)
            if self.task.is_done():  # by who held the lock just now
                self._lock.release()
                return Outcome(self.task.run, "skipped")
            if aside := self._clear():
                self.tell(f"the earlier results of {folder.folder.name} are now in {aside.name}")
                self._lock.release()  # it went with them
                self._lock = locks.take(folder.folder, ends=False)
            self._pid, self._poll = self._start(self._write())
        except (OSError, RuntimeError) as error:
            if self._lock:
                self._lock.release()
            return Outcome(self.task.run, "failed", why=str(error))
        return None

    def _clear(self) -> Path | None:
        """Put aside what another set of parameters left in the folder (with `force` anything); what this one left when
        it was stopped stays, to be continued. Returns where the former is now."""
        folder = self._folder
        if not self.task.is_begun():
            return clear(folder.folder)
        folder.remove_temporaries()
        for name in ("result.json", "notebook.ipynb"):
            folder.path(name).unlink(missing_ok=True)
        return None

    def _write(self) -> list[str]:
        """Write what the run folder holds from the start. Returns papermill's arguments."""
        task, folder, run = self.task, self._folder, self.task.run
        told = {"batch": task.batch, "step": run.step, "fingerprint": task.fingerprint}
        more = {"worker": self.where, "forced": task.force}
        write_json(folder.path("batch.json"), told | {name: value for name, value in more.items() if value})
        folder.set_status("queued")
        parameters = write_text(folder.path("params.yaml"), run.params.as_yaml())
        folder.path("log.txt").write_bytes(b"")
        notebook = task.root / "notebooks" / f"{run.notebook}.ipynb"
        return [
            *(str(notebook), str(folder.path("notebook.running.ipynb")), "-f", str(parameters)),
            *("--cwd", str(task.root), "--kernel", "python3", "--no-progress-bar", "--log-output"),
        ]

    def _start(self, arguments: list[str]) -> tuple[int, Callable[[], int | None]]:
        """Papermill's process, which keeps the run folder locked even where this one is killed, and what asks for its
        exit code, None while it is at work."""
        environment = {"ACTLIB_HEADLESS": "1", "PYTHONUNBUFFERED": "1", TOKEN: self._lock.token, **self.environment}
        environment["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # else every kernel logs a warning about frozen modules
        log, root = self._folder.path("log.txt"), self.task.root
        if self.fork is not None:
            process = self.fork(arguments, log=log, cwd=root, environment=environment, folder=self._lock.folder)
            return process.pid, lambda: process.exitcode
        environment[lifeline.PARENT] = str(os.getpid())
        with open(log, "ab") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "actlib.runs.papermill_sooner", *arguments],
                cwd=root, env={**os.environ, **environment}, start_new_session=True, pass_fds=self._lock.files,
                stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
            )  # fmt: skip
        return process.pid, process.poll

    def look_at(self) -> Outcome | None:
        """Read on in the run's log; what became of it once its process has ended, or another machine has taken its
        folder over, else None."""
        if self._lock.lost:
            lifeline.stop(self._pid, STOP_S)
            self._lock.release()
            return Outcome(self.task.run, "failed", time.monotonic() - self._began, self._lock.lost)
        code = self._poll()
        said = b""
        with contextlib.suppress(OSError), open(self._folder.path("log.txt"), "rb") as log:
            log.seek(self._read)
            said = log.read()
        whole = said[: said.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            if line.startswith(EPOCH_LINE):
                self.tell(line.rstrip())
        return None if code is None else self._end(why_failed(self._folder, code))

    def interrupt(self) -> Outcome:
        """Stop the run with all its processes, and note that."""
        if self._poll() is None:
            lifeline.stop(self._pid, STOP_S)
        return self._end("interrupted")

    def _end(self, why: str) -> Outcome:
        folder, seconds = self._folder, time.monotonic() - self._began
        partial = folder.path("notebook.running.ipynb")
        try:
            if partial.exists():
                partial.replace(folder.path("notebook.ipynb"))
            if why:
                folder.set_status("failed", why=why)
            else:
                write_json(folder.path("batch.json"), folder.read("batch.json") | {"seconds": round(seconds, 1)})
        except OSError as error:
            why = why or str(error)
        finally:
            self._lock.release()
        return Outcome(self.task.run, "failed" if why else "done", seconds, why)


def why_failed(run: RunFolder, code: int) -> str:
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
