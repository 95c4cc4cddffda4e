"""Probing every video of a table in processes that can be killed: a decoder that hangs or crashes costs one video only.

Each worker is a plain Python process that runs this module, reads a JSON string (a path) a line from its standard input
and answers a JSON object a line; it lives for many files. Unlike multiprocessing this works the same from a notebook, a
script without a main guard, and on every platform.
"""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from actlib.datasets.video import VideoError, probe, read_frames

if TYPE_CHECKING:
    import pandas as pd  # the workers run without it: they start a second sooner

_COLUMNS = ["video_id", "path", "label", "subset", "start", "end", "num_frames", "fps", "width", "height"]
_PROBED = ["num_frames", "fps", "width", "height"]
_QUARANTINE = ["video_id", "path", "label", "subset", "reason"]
_STARTUP_TIMEOUT = 120.0  # seconds; a worker imports torch, which takes a while from a cold disk


def probe_table(
    table: "pd.DataFrame", *, workers: int = 2, timeout: float = 20.0, progress=None
) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Open every video of `table` and decode its first, middle and last frame. Returns (readable, quarantine).

    `table` has the columns video_id, path, label, subset, start, end, num_frames,
    fps, width, height. `readable` holds the rows of the readable videos with the last four filled in (frames, frames
    per second, pixels as displayed); `quarantine` the others: video_id, path, label, subset, reason. Both keep the
    order of `table` and are numbered from 0. A video that takes longer than `timeout` seconds, or that crashes the
    decoder, is quarantined too. `workers` is the number of processes; none is left when this returns or raises.
    `progress`, if given, wraps an iterable and takes `total`, as tqdm does. Raises ValueError for a table or options
    that do not fit.
    """
    missing = [name for name in _COLUMNS if name not in table.columns]
    if missing:
        raise ValueError(f"the table of videos lacks {', '.join(missing)}; its columns are {', '.join(table.columns)}")
    if workers < 1 or timeout <= 0:
        raise ValueError(f"workers must be at least 1 and timeout positive, got {workers} and {timeout}")
    table = table.reset_index(drop=True)
    results = _probe_all([str(path) for path in table["path"]], workers, timeout, progress)

    failed = np.array(["reason" in result for result in results], dtype=bool)
    readable = table[~failed].copy()
    for name in _PROBED:
        readable[name] = [result[name] for result in results if name in result]
    quarantine = table[failed].copy()
    quarantine["reason"] = [result["reason"] for result in results if "reason" in result]
    return readable.reset_index(drop=True), quarantine[_QUARANTINE].reset_index(drop=True)


def _probe_all(paths: list[str], workers: int, timeout: float, progress) -> list[dict]:
    """What `_probe_file` says of each path, in order, or a dict with the `reason` why it could not say anything."""
    pool = [_Worker(timeout) for _ in range(min(workers, len(paths)))]
    idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    for worker in pool:
        idle.put(worker)

    def probe_one(path: str) -> dict:
        worker = idle.get()
        try:
            return worker.probe(path)
        finally:
            idle.put(worker)

    threads = ThreadPoolExecutor(max_workers=workers)
    try:
        results = threads.map(probe_one, paths)
        return list(progress(results, total=len(paths)) if progress else results)
    finally:
        # Also on Ctrl-C: no file is begun any more, and the killed processes free the threads that wait for an answer.
        threads.shutdown(wait=False, cancel_futures=True)
        for worker in pool:
            worker.kill()
        threads.shutdown(wait=True)
        for worker in pool:
            worker.reap()


class _Worker:
    """One probing process, started at the first file and again after each that it does not survive."""

    def __init__(self, timeout: float):
        self._timeout = timeout
        self._process: subprocess.Popen | None = None
        self._lock = threading.Lock()  # between a thread that starts a process and the one that kills it
        self._killed = False
        self._timed_out = False

    def probe(self, path: str) -> dict:
        if self._process is None:
            self._start()
        answer = self._exchange(json.dumps(path), self._timeout)
        if answer is not None:
            return json.loads(answer)
        status = self.reap()
        if self._timed_out:
            return {"reason": f"no answer within {self._timeout:g} s: the decoder hangs on this file"}
        return {"reason": f"the decoder crashed ({f'signal {-status}' if status < 0 else f'exit status {status}'})"}

    def kill(self):
        """End the process, from any thread, and start none again."""
        with self._lock:
            self._killed = True
            if self._process is not None:
                self._process.kill()

    def reap(self) -> int | None:
        """Collect the process, dead or to be ended; the next file gets a new one. Returns its exit status."""
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
        package_root = str(Path(__file__).resolve().parents[2])
        search_path = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
        with tempfile.TemporaryFile() as errors:
            with self._lock:
                if self._killed:
                    raise RuntimeError("probing was stopped")
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "actlib.datasets.prepare"],
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
                raise RuntimeError(f"a probing process did not start; it said:\n{tail}")

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


def _probe_file(path: str) -> dict:
    """VideoInfo's fields, or the `reason` why the file is unreadable."""
    try:
        info = probe(path)
        # In this order of numbers the decoder must seek and arrive: a count that promises too much is found out here.
        read_frames(path, [0, (info.num_frames - 1) // 2, info.num_frames - 1])
    except VideoError as error:
        return {"reason": error.reason}
    return asdict(info)


def _serve():
    """Answer the lines of standard input until it ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not end up among the answers
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_probe_file(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    _serve()
