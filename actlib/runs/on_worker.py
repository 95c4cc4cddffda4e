"""What a Dask worker does for a batch: it says what it sees, and supervises runs, each in one of its threads.

A worker that declares GPUs (`dask worker … --resources "gpu=4"`) gives each run its own of them. A run is stopped where
nobody wants it any more: Dask forgets the tasks of a process that has gone, or that cancels them.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from dask.system import CPU_COUNT
from distributed import Reschedule, Status, Worker, get_worker
from distributed.comm import get_address_host

from actlib.runs.gpus import VISIBLE
from actlib.runs.seen import unseen
from actlib.runs.supervise import POLL_S, Outcome, Supervisor, Task

GPU = "gpu"  # the resource that workers declare
# A run that goes on here after another worker died finds its folder locked until that one's processes have noticed, or
# its machine is taken for dead (see `locks`).
WAIT_S = 120.0


@dataclass
class Blind:
    """What a worker says in place of doing a task, where it does not see what that needs."""

    address: str
    why: list[str]


async def look(path: str, dask_worker: Worker) -> dict:
    """What this worker is like: what it does not see of what is written down at `path`, the GPUs that it hands out, and
    its cores."""
    told = await asyncio.to_thread(unseen, path)
    return {"unseen": told, "gpus": visible_gpus(dask_worker), "cores": cores(dask_worker)}


def where(worker: Worker) -> str:
    """How a worker is called: by its name, else its address."""
    return str(worker.name).partition("://")[2] or f"{worker.name}"


def cores(worker: Worker) -> str:
    """The cores that a worker may use, by its machine and their numbers; workers that say the same share them."""
    numbers = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else ""
    return f"{get_address_host(worker.address)} {numbers}"


def visible_gpus(worker: Worker) -> list[str]:
    """The GPUs that a worker hands out, by their names for CUDA; none if it declares none."""
    count = int(worker.state.total_resources.get(GPU, 0))
    shown = os.environ.get(VISIBLE)
    names = map(str, range(count)) if shown is None else (each.strip() for each in shown.split(","))
    return [each for each in names if each][:count]


class _Free:
    """The GPUs that no run in this process has."""

    def __init__(self):
        self.names: list[str] | None = None
        self.changed = threading.Condition()

    @contextmanager
    def taken(self, count: int, worker: Worker) -> Iterator[list[str]]:
        """`count` of them for the block; Dask starts no task that needs more than there are."""
        with self.changed:
            if self.names is None:
                self.names = visible_gpus(worker)
            self.changed.wait_for(lambda: len(self.names) >= count)
            taken, self.names = self.names[:count], self.names[count:]
        try:
            yield taken
        finally:
            with self.changed:
                self.names = sorted([*self.names, *taken])
                self.changed.notify_all()


class _AtWork:
    """The run folders that this process works in, each with the batch that it is of. A lock is the process's: it does
    not tell one thread from another."""

    def __init__(self):
        self.batches: dict[str, str] = {}
        self.changed = threading.Condition()

    @contextmanager
    def alone(self, folder: str, batch: str) -> Iterator[None]:
        with self.changed:
            if not self.changed.wait_for(lambda: folder not in self.batches, WAIT_S):
                raise RuntimeError(
                    f"{folder}: another batch has been at work in this folder on the same worker. Wait for it, stop "
                    "it, or use another folder"
                )
            self.batches[folder] = batch
        try:
            yield
        finally:
            with self.changed:
                del self.batches[folder]
                self.changed.notify_all()


_free, _at_work = _Free(), _AtWork()
_seen: dict[str, list[str]] = {}  # what was not seen, by the file that says what should be


def at_work(batch: str) -> list[str]:
    """The folders in which this process works for a batch."""
    return [folder for folder, each in list(_at_work.batches.items()) if each == batch]


def supervise(task: Task, batch: str, seen: str, gpus: int, threads: dict[str, int]) -> Outcome | Blind:
    """Execute a run here, with `gpus` of this worker's GPUs, and tell the topic `batch` how far it is: that it begins,
    and lines about it. `seen`: the file of what a worker must see; `threads`: of all workers together, by their
    `cores`."""
    worker, unwanted = get_worker(), _unwanted(get_worker())
    if seen not in _seen:
        _seen[seen] = unseen(seen, late=True)
    if _seen[seen]:
        return Blind(worker.address, _seen[seen])
    try:
        with _at_work.alone(str(task.folder.folder), batch), _free.taken(gpus, worker) as taken:
            return _supervised(task, batch, worker, unwanted, _environment(worker, taken, threads))
    except RuntimeError as error:
        return Outcome(task.run, "failed", why=str(error))


def _supervised(task: Task, batch: str, worker: Worker, unwanted: Callable[[], bool], environment: dict) -> Outcome:
    """What becomes of a run. Raises Reschedule where it was stopped: if somebody wants it, another worker goes on."""
    if unwanted():
        raise Reschedule
    tell = partial(_tell, worker, batch, task.run.name)
    tell("begun", where(worker))
    each = Supervisor(task, partial(tell, "line"), environment, where=where(worker), wait=WAIT_S)
    outcome = each.begin()
    while outcome is None:
        time.sleep(POLL_S)
        if unwanted():
            each.interrupt()
            raise Reschedule
        outcome = each.look_at()
    return outcome


def _tell(worker: Worker, topic: str, name: str, kind: str, words: str) -> None:
    worker.log_event(topic, [name, kind, words])


def _unwanted(worker: Worker) -> Callable[[], bool]:
    """Asks whether nobody waits for the task in this thread any more: the process of the batch has gone or cancelled
    it, or this worker is closing, its scheduler lost."""
    key = worker.get_current_task()

    def unwanted() -> bool:
        known = worker.state.tasks.get(key)
        working = worker.status in (Status.running, Status.paused)
        return not working or known is None or known.state not in ("executing", "long-running")

    return unwanted


def _environment(worker: Worker, gpus: list[str], threads: dict[str, int]) -> dict[str, str]:
    """For a run's processes: their GPUs and their share of the cores, in place of the single one that Dask leaves its
    workers. More threads than cores, of other workers' runs too, would wait for each other most of the time."""
    together = max(worker.state.nthreads, threads.get(cores(worker), 0))  # one that joined late is not counted there
    share = str(max(1, CPU_COUNT // together))
    found = {"OMP_NUM_THREADS": share, "MKL_NUM_THREADS": share}
    return found | ({VISIBLE: ",".join(gpus)} if GPU in worker.state.total_resources else {})
