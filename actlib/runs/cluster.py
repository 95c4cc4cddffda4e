"""A batch on a Dask cluster: each run is a task, put on a worker by Dask's scheduler and supervised there.

A worker that dies loses no run: Dask gives its tasks to others, where they go on in the same folders from their
checkpoints. Before anything starts all workers are asked what they see; one that joins later is asked by its first
task. Where workers declare GPUs (`dask worker … --resources "gpu=4"`) a run takes as many as its `devices` says.
"""

import contextlib
import queue
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from actlib.messages import listed, problems_in_words
from actlib.progress import told_if_slow
from actlib.runs import seen
from actlib.runs.batch import Batch, Run
from actlib.runs.supervise import POLL_S, STOP_S, Outcome, Task

try:
    from distributed import Client, Future, KilledWorker, as_completed
    from distributed.comm import get_address_host_port

    from actlib.runs import on_worker
except ImportError as error:
    raise RuntimeError(f"scheduler: needs Dask distributed ({error}): pip install -e '.[cluster]'") from None

ANSWER_S = 10  # how long a scheduler may take to answer
RESCUE_S = 5  # how often it is looked whether workers are gone
STARTS = 4  # how often a run may begin, each time on a worker that dies


@dataclass
class _Handed:
    """A run that Dask has: `where` are the addresses of the only workers that may execute it, None for all."""

    task: Task
    future: Future
    where: list[str] | None


class Cluster:
    """The workers of `batch.scheduler` as the place where runs work; see `execute.Here`. `say` prints a line.

    Raises RuntimeError where nobody answers there, where a worker does not see what the runs need, and for runs that
    need more GPUs than any worker has.
    """

    has_room = True  # Dask knows what has

    def __init__(
        self, batch: Batch, root: Path, begun: Callable[[Run, str], None], heard: Callable[[Run, str], None],
        say: Callable[[str], None],
    ):  # fmt: skip
        self.begun, self.heard, self.say = begun, heard, say
        self.name = f"actlib-{secrets.token_hex(4)}"
        self.runs = {run.name: run for run in batch.runs}
        self.running: dict[str, _Handed] = {}  # at work or waiting for it, by run
        self.starts, self.submitted, self.blind, self.next_rescue = Counter(), 0, {}, 0.0
        self.address, self.seen = batch.scheduler, None
        self.client = _connect(self.address)
        try:
            self.events = queue.SimpleQueue()
            self.ended = as_completed(loop=self.client.loop, with_results=True, raise_errors=False)
            self.client.subscribe_topic(self.name, lambda event: self.events.put(event[1]))
            self._prepare(batch, root)
        except BaseException:
            self._close()
            raise

    def _prepare(self, batch: Batch, root: Path) -> None:
        client = self.client
        with told_if_slow(f"{batch.scheduler}: waiting for a first worker"):
            client.submit(str, self.name, pure=False).result()  # a cluster that grows with its tasks has none before
        self.seen = seen.write(batch, root, f".{self.name}.json")
        with told_if_slow("asking the workers what they see"):
            told = client.run(on_worker.look, str(self.seen), on_error="return")
        workers = {address: each for address, each in self._workers().items() if address in told}
        _refuse_blind(workers, told)
        self.gpus = {run.name: _gpus_of(run) for run in batch.runs} if _most_gpus(workers) else {}
        if problems := _wrong_gpus(batch, workers, told, self.gpus):
            raise RuntimeError(problems_in_words(f"{batch.scheduler}: nothing was started", problems))
        self.threads = Counter()
        for address, each in workers.items():
            self.threads[told[address]["cores"]] += each["nthreads"]
        self.workers = self.threads.total()
        words = f"{len(workers)} worker{'s' if len(workers) > 1 else ''} with {self.workers} threads"
        if self.gpus:
            count = sum(_gpus_in(each) for each in workers.values())
            words += f" and {count} GPUs"
            self.workers = min(self.workers, count)
            if any(_gpus_in(each) < each["nthreads"] for each in workers.values()):
                self.say(
                    "workers have more threads than GPUs: a run may wait for a GPU while another worker has one; "
                    "start each with as many threads (`--nthreads`) as GPUs"
                )
        self.dashboard = client.dashboard_link or ""
        self.say(f"{batch.scheduler}: {words}; dashboard {self.dashboard}")

    def begin(self, task: Task) -> Outcome | None:
        """Hand a run to Dask; what became of it where there is no worker that could execute it."""
        self.submitted += 1
        name, where = task.run.name, None
        if self.blind:
            where = [address for address in self._workers() if address not in self.blind]
            if not where:
                why = f"no worker sees what it needs: {listed(list(self.blind.values()))}"
                return Outcome(task.run, "failed", why=why)
        gpus = self.gpus.get(name, 0)
        future = self.client.submit(
            on_worker.supervise, task, self.name, str(self.seen), gpus, dict(self.threads),
            key=f"{name}-{self.name}-{self.submitted}", pure=False, workers=where,
            resources={on_worker.GPU: gpus} if gpus else None,
        )  # fmt: skip
        self.running[name] = _Handed(task, future, where)
        self.ended.add(future)
        return None

    def look(self) -> list[Outcome]:
        """Wait a moment; what became of the runs that have ended. Raises RuntimeError where the scheduler has gone."""
        time.sleep(POLL_S)
        ended = self.ended.next_batch(block=False)
        while not self.events.empty():  # what was said before they ended
            name, kind, words = self.events.get()
            if kind == "begun":
                self.starts[name] += 1
                self.begun(self.runs[name], words)
            else:
                self.heard(self.runs[name], words)
        names = {each.future.key: name for name, each in self.running.items()} if ended else {}
        ended = [(names[future.key], future.status, result) for future, result in ended if future.key in names]
        if any(status == "cancelled" for _, status, _ in ended):
            raise RuntimeError(
                f"{self.address}: the scheduler has gone, or forgot the runs; its workers stop them. Start it again, "
                "and the same command goes on from here"
            )
        outcomes = [self._outcome(name, result) for name, _, result in ended] + self._rescue()
        return [each for each in outcomes if each is not None]

    def _rescue(self) -> list[Outcome | None]:
        """Hand out again what was meant for workers that have gone since, in place of others that do not see enough."""
        if not self.blind or time.monotonic() < self.next_rescue:
            return []
        there, self.next_rescue = self._workers(), time.monotonic() + RESCUE_S
        lost = [each for each in self.running.values() if each.where and there.keys().isdisjoint(each.where)]
        for each in lost:
            del self.running[each.task.run.name]
            self.client.cancel(each.future)
        return [self.begin(each.task) for each in lost]

    def _outcome(self, name: str, result) -> Outcome | None:
        """What became of a run whose task has ended; None where it is handed out again."""
        task = self.running.pop(name).task
        if isinstance(result, Outcome):
            return result
        if isinstance(result, on_worker.Blind):
            if result.address not in self.blind:
                self.blind[result.address] = f"{result.address} {listed(result.why)}"
                self.say(f"    worker {self.blind[result.address]}: no run goes there")
            return self.begin(task)
        error = result[1]
        if isinstance(error, KilledWorker) and self.starts[name] < STARTS:
            return self.begin(task)  # it only waited on workers that died
        why = f"{type(error).__name__}: {error}"
        if isinstance(error, KilledWorker):
            why = f"{self.starts[name]} workers died while they were at it, the last one {error.last_worker.address}"
        return Outcome(task.run, "failed", why=why)

    def _workers(self) -> dict[str, dict]:
        # scheduler_info() gives what an update in the background, which names no worker, may just have overwritten.
        return self.client.sync(self.client.scheduler.identity, n_workers=-1)["workers"]

    def stop(self) -> None:
        """Stop all runs on all workers, and wait until they have stopped."""
        try:
            if self.running:
                self.client.cancel([each.future for each in self.running.values()])
                end = time.monotonic() + 3 * STOP_S
                while any(self.client.run(on_worker.at_work, self.name, on_error="ignore").values()):
                    if time.monotonic() > end:
                        self.say("some workers are slow to stop their runs; they go on with that")
                        break
                    time.sleep(POLL_S)
        except (OSError, RuntimeError) as error:
            self.say(f"the workers stop their runs by themselves, since nobody answers: {error}")
        finally:
            self.running.clear()
            self._close()

    def _close(self) -> None:
        if self.seen is not None:
            self.seen.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self.seen.parent.rmdir()  # where nothing began
        with contextlib.suppress(OSError, RuntimeError):
            self.client.close(timeout=STOP_S)


def _connect(address: str) -> Client:
    try:
        # A client that reaches nobody is still at it when it goes: asked first.
        socket.create_connection(get_address_host_port(address), timeout=ANSWER_S).close()
        return Client(address, timeout=ANSWER_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise RuntimeError(
            f"scheduler: {address!r}: nobody answers there ({error}). Start one with `dask scheduler`, which says its "
            "address, and on each machine `dask worker tcp://host:8786`"
        ) from None


def _refuse_blind(workers: dict[str, dict], told: dict) -> None:
    """Raise RuntimeError that says of all workers what they do not see."""
    problems = []
    for address, each in workers.items():
        said = told[address]
        no = f"cannot run this project: {type(said).__name__}: {said}"
        if lacks := said["unseen"] if isinstance(said, dict) else [no]:
            problems.append(f"worker {each['name']} ({address}) {listed(lacks, 4)}")
    if problems:
        raise RuntimeError(
            problems_in_words("nothing was started: workers do not see what the runs need", problems)
            + "\nMount the shared folder at the same place on all machines, and start the workers there with the "
            "project's Python"
        )


def _gpus_in(worker: dict) -> int:
    return int(worker["resources"].get(on_worker.GPU, 0))


def _most_gpus(workers: dict[str, dict]) -> int:
    return max(map(_gpus_in, workers.values()), default=0)


def _gpus_of(run: Run) -> int:
    """How many GPUs a run takes where workers hand them out."""
    device = getattr(run.params, "device", "cpu")
    devices = getattr(run.params, "devices", 1)
    return 0 if device == "cpu" else 1 if devices == "auto" else devices


def _wrong_gpus(batch: Batch, workers: dict[str, dict], told: dict, gpus: dict[str, int]) -> list[str]:
    """Why the runs cannot have the GPUs that they ask for."""
    problems, of, most = [], {}, _most_gpus(workers)
    for address, each in workers.items():
        if (count := len(told[address]["gpus"])) < (declared := _gpus_in(each)):
            problems.append(
                f"worker {each['name']} ({address}) declares {declared} GPUs, and its CUDA_VISIBLE_DEVICES has {count}"
            )
        for gpu in told[address]["gpus"]:
            if (other := of.setdefault((each["host"], gpu), address)) != address:
                problems.append(
                    f"workers {other} and {address} on {each['host']} both hand out GPU {gpu}: start each with its own "
                    "CUDA_VISIBLE_DEVICES"
                )
    for run in batch.runs:
        index = getattr(run.params, "device", "").partition("cuda:")[2]
        if gpus.get(run.name, 0) > most:
            problems.append(f"{run.name}: devices: {gpus[run.name]}: no worker has more than {most} GPUs")
        elif gpus and index.isdigit() and int(index) >= gpus[run.name]:
            problems.append(f"{run.name}: device: cuda:{index}: its GPUs are numbered from 0 there; set device: cuda")
    return problems
