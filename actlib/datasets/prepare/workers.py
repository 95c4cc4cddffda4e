"""Doing something with every video in processes that can be killed: a decoder that hangs or crashes costs one video.

Each worker is a plain Python process that runs this module with the names of a module and a function of it. It reads a
JSON value a line from its standard input, calls the function with it and answers a JSON object a line; it lives for
many videos. Its module had better import nothing that takes long inside the function: that counts as the video's time.
Unlike multiprocessing this works the same from a notebook, a script without a main guard, and everywhere.
"""

import errno
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from actlib.datasets.errors import DataError, VideoError
from actlib.files import DiskFull

# Errors that the next video would meet as well: a full disk, a folder that may not be written to.
_STOPPING = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
_STARTUP_TIMEOUT = 120.0  # seconds; a worker imports PyAV and NumPy, which takes a while from a cold disk


def check_limits(workers: int, timeout: float) -> None:
    if workers < 1 or timeout <= 0:
        raise ValueError(f"workers must be at least 1 and timeout positive, got {workers} and {timeout}")


def run_all(
    task: Callable[[object], dict],
    values: Sequence,
    *,
    workers: int,
    timeouts: Sequence[float],
    request: Callable = lambda value: value,
    backend: str = "pyav",
) -> Iterator[tuple[int, dict]]:
    """Call `task`, a function of a module, with each of `values` (JSON), and yield the number of a value and the dict
    that `task` returns for it, as they are done. Where all `values` would fill the memory, `request` makes what is sent
    of each when its turn comes. `backend`: what `task` decodes videos with.

    An error that it raises, no answer within the value's `timeouts` (seconds), and the death of the process become a
    dict with the `reason` alone. `workers` processes run at a time and none is left when this generator ends or is
    closed. Raises RuntimeError when a process cannot start, DataError when `task` does or a disk is full.
    """
    pool = [_Worker(task, backend) for _ in range(min(workers, len(values)))]
    done: queue.SimpleQueue[tuple[int, dict | Exception]] = queue.SimpleQueue()
    numbers = iter(range(len(values)))

    def serve(worker: _Worker):
        for number in numbers:  # one iterator for all threads: each takes the next
            if worker.killed:
                return
            try:
                done.put((number, worker.call(request(values[number]), timeouts[number])))
            except Exception as error:  # raised again where somebody waits
                done.put((number, error))

    threads = [threading.Thread(target=serve, args=(worker,), daemon=True) for worker in pool]
    try:
        for thread in threads:
            thread.start()
        for _ in range(len(values)):
            number, result = done.get()
            if isinstance(result, Exception):
                raise result
            yield number, result
    finally:
        # Also on Ctrl-C: nothing is begun any more, and the killed processes free the threads that wait for an answer.
        for worker in pool:
            worker.kill()
        for thread in threads:
            if thread.ident is not None:  # started
                thread.join()
        for worker in pool:
            worker.reap()


class _Worker:
    """One process, started at the first value and again after each that it does not survive."""

    def __init__(self, task: Callable[[object], dict], backend: str):
        self._task = [task.__module__, task.__name__, backend]
        self._process: subprocess.Popen | None = None
        self._lock = threading.Lock()  # between a thread that starts a process and the one that kills it
        self.killed = False
        self._timed_out = False

    def call(self, value, timeout: float) -> dict:
        if self._process is None:
            self._start()
        answer = self._exchange(json.dumps(value), timeout)
        if answer is None:
            status = self.reap()
            if self._timed_out:
                return {"reason": f"no answer within {timeout:g} s: the decoder hangs on this file"}
            return {"reason": f"the decoder crashed ({f'signal {-status}' if status < 0 else f'exit status {status}'})"}
        answer = json.loads(answer)
        if "stop" in answer:
            raise DataError(answer["stop"])
        return answer

    def kill(self):
        """End the process, from any thread, and start none again."""
        with self._lock:
            self.killed = True
            if self._process is not None:
                self._process.kill()

    def reap(self) -> int | None:
        """Collect the process, dead or to be ended; the next value gets a new one. Returns its exit status."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return None
        process.kill()
        process.stdout.close()
        with suppress(OSError):  # it may hold a line that nobody will read
            process.stdin.close()
        return process.wait()

    def _start(self):
        package_root = str(Path(__file__).resolve().parents[3])
        search_path = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
        with tempfile.TemporaryFile() as errors:
            with self._lock:
                if self.killed:
                    raise RuntimeError("the work was stopped")
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "actlib.datasets.prepare.workers", *self._task],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    env=os.environ | {"PYTHONPATH": search_path},
                    start_new_session=True,  # a Ctrl-C in the terminal is for the parent, who then kills the workers
                )
            if self._exchange(None, _STARTUP_TIMEOUT) is None:
                self.reap()
                errors.seek(0)
                tail = errors.read().decode(errors="replace")[-2000:]
                raise RuntimeError(f"a worker process did not start; it said:\n{tail}")

    def _exchange(self, line: str | None, timeout: float) -> str | None:
        """Send a line, if any, and return the answer; None when the process died, or was killed for its silence."""
        process, self._timed_out = self._process, False

        def give_up():
            self._timed_out = True
            process.kill()

        answer = ""
        timer = threading.Timer(timeout, give_up)
        timer.daemon = True
        timer.start()
        with suppress(BrokenPipeError):
            if line is not None:
                process.stdin.write(line + "\n")
                process.stdin.flush()
            answer = process.stdout.readline()
        timer.cancel()
        timer.join()  # an answer in the very moment of giving up counts for nothing: the process is gone
        return None if self._timed_out else answer or None


def _serve(module: str, function: str, backend: str):
    """Answer the lines of standard input, until it ends: then also in the middle of the work."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not end up among the answers
    task = getattr(import_module(module), function)
    if backend == "decord":  # torch comes with it, which takes long: not in the first video's time
        import_module("actlib.datasets.video.decord_reader")
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen():
        for line in sys.stdin:
            lines.put(line)
        os._exit(0)  # whoever asked is gone, perhaps killed: what is half done must not go on beside the next run

    threading.Thread(target=listen, daemon=True).start()
    print("ready", file=answers, flush=True)
    while True:
        try:
            answer = task(json.loads(lines.get()))
        except VideoError as error:
            answer = {"reason": error.reason}
        except Exception as error:
            told = isinstance(error, DataError | DiskFull)
            stop = told or getattr(error, "errno", None) in _STOPPING
            text = str(error) if told else f"{type(error).__name__}: {error}"
            answer = {"stop" if stop else "reason": text}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
