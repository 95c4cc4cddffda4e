"""Processes that end with the one that started them, which is killed."""

import contextlib
import signal
import subprocess
import sys
import time

import psutil
import pytest

# Starts Python on its first argument; the rest is the new process's, and stands in PARENT too where it is a number.
START = """
import os, subprocess, sys, time
from actlib.lifeline import PARENT
environment = {**os.environ, **({PARENT: sys.argv[2]} if sys.argv[2:] else {})}
subprocess.Popen([sys.executable, "-c", *sys.argv[1:]], env=environment)
time.sleep(300)
"""
FAST = """
import os, signal, subprocess, sys, time
from actlib import lifeline
lifeline.LOOK_S, lifeline.GRACE_S = 0.05, 2.0
"""
WATCH = FAST + "lifeline.end_with_parent()\n"
CHILD = "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\n"
TELL = "print(os.getpid(), child.pid, os.environ.get('ACTLIB_PARENT'), flush=True)\ntime.sleep(300)\n"
HANDLES = (
    WATCH + CHILD + "def stop(*_):\n    open({file!r}, 'w').close()\n    {then}\n"
    "signal.signal(signal.SIGTERM, stop)\n" + TELL
)


@pytest.fixture
def started():
    """Starts Python on a program; returns the process, and the words that it, or one below it, says first."""
    begun, seen = [], []

    def start(program, *arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip
        begun.append(process)
        words = process.stdout.readline().split()
        seen.extend(psutil.Process(int(word)) for word in words if word.isdigit() and psutil.pid_exists(int(word)))
        return process, words

    yield start
    for process in [*begun, *seen]:
        with contextlib.suppress(psutil.Error):
            process.kill()
    for process in begun:
        process.wait()
        process.stdout.close()


def ended(*pids) -> bool:
    """Whether these processes end within a minute. A zombie is one that did: not every first process collects them."""
    deadline = time.monotonic() + 60
    while left := [pid for pid in pids if is_at_work(int(pid))]:
        if time.monotonic() > deadline:
            print(f"still there: {left}")
            return False
        time.sleep(0.02)
    return True


def is_at_work(pid) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def killed(process) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_killed_parent_takes_its_child_with_it_and_what_that_started(started):
    parent, (child, below, told) = started(START, WATCH + CHILD + TELL)
    assert psutil.Process(int(child)).ppid() == parent.pid and told == "None"
    killed(parent)
    assert ended(child, below)
    said = parent.stdout.read()
    assert f"process {parent.pid}, which started this one ({child}), is gone" in said


def test_who_handles_sigterm_stops_its_children_itself_and_who_will_not_is_killed(started, tmp_path):
    for then in ("child.kill(); sys.exit()", "pass"):
        file = tmp_path / then[:4]
        parent, (child, below, _) = started(START, HANDLES.format(file=str(file), then=then))
        killed(parent)
        assert ended(child, below) and file.exists()


def test_one_that_was_gone_before_anybody_looked_is_noticed(started):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    late = FAST + CHILD + TELL.replace("time.sleep", "lifeline.end_with_parent()\ntime.sleep")
    parent, (child, below, told) = started(START, late, gone.pid)
    assert told == str(gone.pid) and ended(child, below) and parent.poll() is None


def test_one_further_up_is_watched_too(started):
    """A launcher stands between them, and lives on."""
    top = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    try:
        launcher, (child, below, told) = started(START, WATCH + CHILD + TELL, top.pid)
        assert told == "None"  # taken out of the environment: those below have a parent of their own
        time.sleep(0.5)  # ten looks
        assert is_at_work(int(child))
    finally:
        killed(top)
    assert ended(child, below) and launcher.poll() is None


def test_the_end_of_the_thread_that_started_it_is_not_the_end_of_a_process(started):
    in_a_thread = START.replace("subprocess.Popen(", "t = threading.Thread(target=subprocess.Popen, args=(")
    in_a_thread = in_a_thread.replace(", env=environment)", ",), kwargs={'env': environment}); t.start(); t.join()")
    parent, (child, _, _) = started("import threading\n" + in_a_thread, WATCH + CHILD + TELL)
    time.sleep(0.5)
    assert is_at_work(int(child))
    killed(parent)
    assert ended(child)
