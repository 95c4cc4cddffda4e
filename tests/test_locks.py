"""Locks of folders, held and lost by real processes."""

import os
import signal
import subprocess
import sys
import time

import pytest

from actlib import locks
from actlib.files import put_aside
from actlib.locks import TOKEN, Locked, take

HOLD = "import sys, time; from actlib import locks; lock = locks.take(sys.argv[1]); print(lock.token, flush=True); "


@pytest.fixture
def started():
    """Starts Python on a program; what it says first comes with it. All are killed at the end."""
    processes = []

    def start(program, *arguments, **environment):
        process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)], stdout=subprocess.PIPE, text=True,
            env={**os.environ, **environment},
        )  # fmt: skip
        processes.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path, started):
    holder, _ = started(HOLD + "time.sleep(60)", tmp_path / "run")
    with pytest.raises(Locked) as error:
        take(tmp_path / "run")
    message = str(error.value)
    for words in (str(tmp_path / "run"), f"process {holder.pid} (", "since 20", f"`kill {holder.pid}`", "another"):
        assert words in message
    take(tmp_path / "other").release()
    holder.kill()
    holder.wait()
    with take(tmp_path / "run") as lock:
        assert take(tmp_path / "run") is lock
        lock.release()
        assert started(HOLD, tmp_path / "run")[1] == ""  # taken twice, given back once
    assert started(HOLD, tmp_path / "run")[1]


def test_who_is_given_the_token_joins_and_keeps_the_folder(tmp_path, started):
    holder, token = started(HOLD + "time.sleep(60)", tmp_path)
    stranger, said = started(HOLD, tmp_path, **{TOKEN: "guessed"})
    assert said == "" and stranger.wait() == 1
    heir, same = started(HOLD + "time.sleep(60)", tmp_path, **{TOKEN: token})
    assert same == token
    holder.kill()
    holder.wait()
    with pytest.raises(Locked, match=f"process {heir.pid} has been at work"):
        take(tmp_path)
    heir.kill()
    heir.wait()
    take(tmp_path).release()


def test_a_folder_that_was_put_aside_leaves_its_name_free(tmp_path):
    first = take(tmp_path / "run")
    put_aside(tmp_path / "run")
    second = take(tmp_path / "run")
    assert second is not first and (tmp_path / "run" / locks.NAME).is_file()
    first.release()
    assert take(tmp_path / "run") is second
    second.release()
    second.release()
    assert tmp_path / "run" not in locks._held


def test_a_forked_child_keeps_nothing_locked(tmp_path):
    lock = take(tmp_path)
    ready, tell = os.pipe()
    if (child := os.fork()) == 0:
        os.write(tell, b".")
        time.sleep(60)
        os._exit(0)
    try:
        os.read(ready, 1)
        os.close(lock.file)  # as the end of this process would
        lock.file = -1
        lock.release()
        locks._held.clear()
        take(tmp_path).release()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_forked_child_does_not_wait_for_a_thread_that_it_has_not(tmp_path):
    lock = take(tmp_path)
    with lock._in_use:  # as the thread that gives signs of life has it now and then
        if (child := os.fork()) == 0:
            lock.release()
            os._exit(0)
    lock.release()
    deadline = time.monotonic() + 60
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("it waits for ever")
        time.sleep(0.01)
