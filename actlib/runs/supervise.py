"""What becomes of a run's process: its end, and stopping it.

A process's children are stopped with it: papermill's kernel lives in a session of its own and its data workers
below that, so a signal to papermill alone would leave them running.
"""

import contextlib
from dataclasses import dataclass

import psutil

from actlib.files import FULL, DiskFull, free_bytes
from actlib.runs.batch import Run
from actlib.runs.folder import RunFolder

STOP_S = 5.0  # how long a process may take to end by itself once it is told to
PAPERMILL_DEAD_KERNEL = 138


@dataclass
class Outcome:
    """What became of a run: done, skipped (done before), failed or blocked (needs a run that failed)."""

    run: Run
    state: str
    seconds: float = 0.0
    why: str = ""


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
