"""Locks between machines: processes that believe themselves on several, in one folder. Without locks between these, as
on many network file systems; with them, as on others."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from actlib import locks
from actlib.locks import LOST, NAME, TOKEN

BEAT_S = 0.25  # a dead one is known after twelve, and watched for three
PATIENCE_S = 100
TAKE = """
import subprocess, sys, time
from actlib import locks
def take(wait, ends=True):
    try:
        lock = locks.take(sys.argv[1], wait, ends=ends)
    except locks.Locked as error:
        sys.exit(f"refused: {error}")
    print("took", lock.token, flush=True)
    return lock
"""
HOLD = TAKE + "lock = take(0)\ntime.sleep(300)"
WAIT = TAKE + f"lock = take({PATIENCE_S})\ntime.sleep(300)"
TRY = TAKE + "take(0).release()"
BOTH = pytest.mark.parametrize("with_flock", [False, True], ids=["without locks", "with locks"])


@pytest.fixture
def on(tmp_path):
    """Starts Python on a program, on a machine of this name; what it says stands in its `log`."""
    begun = []

    def start(machine, program, *, with_flock=False, **more):
        environment = {"ACTLIB_LOCK_HOST": machine, "ACTLIB_LOCK_BEAT_S": str(BEAT_S), **more}
        if not with_flock:
            environment["ACTLIB_LOCK_NONE"] = "1"
        log = tmp_path / f"{machine}-{len(begun)}.txt"
        with log.open("w") as said:
            process = subprocess.Popen(
                [sys.executable, "-c", program, str(tmp_path / "run")], stdout=said, stderr=subprocess.STDOUT,
                env={**os.environ, **environment}, cwd=tmp_path,
            )  # fmt: skip
        process.log = log
        begun.append(process)
        return process

    yield start
    for process in begun:
        with contextlib.suppress(psutil.Error):
            for each in psutil.Process(process.pid).children(recursive=True):
                each.kill()
        process.kill()
        process.wait()


def until(what, *processes):
    """What `what` returns, once it is something; after PATIENCE_S the test fails with what the processes said."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := what()):
        assert time.monotonic() < deadline, [process.log.read_text() for process in processes]
        time.sleep(0.02)
    return found


def token(process) -> str:
    """The token of the lock that a process took, as soon as it has it."""
    until(lambda: "took" in process.log.read_text() or process.poll() is not None, process)
    said = process.log.read_text()
    assert "took" in said, said
    return said.split("took ")[1].split()[0]


def refusal(process) -> str:
    assert process.wait(PATIENCE_S) == 1
    said = process.log.read_text()
    assert said.startswith("refused: "), said
    return said


def kill(process):
    process.kill()
    process.wait()


@BOTH
def test_another_machine_is_refused_until_the_holder_was_silent_for_long(on, tmp_path, with_flock):
    holder = on("one", HOLD, with_flock=with_flock)
    token(holder)
    said = refusal(on("two", TRY, with_flock=with_flock))
    words = f"{tmp_path / 'run'}: process {holder.pid} (", " on one has been at work", "since 20", "last sign of life"
    for each in (*words, f"`kill {holder.pid}` on one", "If that machine is gone, the folder is free in "):
        assert each in said
    assert f"process {holder.pid} (" in refusal(on("one", TRY, with_flock=with_flock))  # on its own too
    waiting = on("two", WAIT, with_flock=with_flock)
    until(lambda: "waiting for it for up to" in waiting.log.read_text(), waiting)
    kill(holder)
    assert "last sign of life" in refusal(on("three", TRY, with_flock=with_flock))  # nobody there knows yet
    token(waiting)
    assert waiting.log.read_text().count("\n") == 2  # said once
    assert f"process {waiting.pid} (" in refusal(on("one", TRY, with_flock=with_flock))


@BOTH
def test_on_one_machine_a_dead_holder_is_known_at_once_and_nobody_waits_after_an_orderly_end(on, tmp_path, with_flock):
    holder = on("one", HOLD, with_flock=with_flock)
    token(holder)
    kill(holder)
    again = on("one", TRY, with_flock=with_flock)  # would be refused, for a while, if it went by signs of life
    assert again.wait(PATIENCE_S) == 0, again.log.read_text()
    assert (tmp_path / "run" / NAME).read_bytes().strip() == b""
    forgets = on("two", TAKE + "take(0)", with_flock=with_flock)
    assert forgets.wait(PATIENCE_S) == 0, forgets.log.read_text()
    third = on("three", TRY, with_flock=with_flock)
    assert third.wait(PATIENCE_S) == 0, third.log.read_text()
    assert [each.name for each in (tmp_path / "run").iterdir()] == [NAME]


@BOTH
def test_who_was_suspended_and_finds_another_at_work_ends_at_once(on, tmp_path, with_flock):
    child = "below = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\nprint(below.pid)\n"
    away = on("one", TAKE + child + "take(0)\ntime.sleep(300)", with_flock=with_flock)
    token(away)
    below = psutil.Process(away.pid).children()[0]
    away.send_signal(signal.SIGSTOP)
    other = on("two", WAIT, with_flock=with_flock)
    token(other)
    away.send_signal(signal.SIGCONT)
    assert away.wait(PATIENCE_S) == LOST
    said = away.log.read_text()
    assert f"process {other.pid} (" in said and " on two took this folder over" in said
    assert f"no sign of life of process {away.pid} on one for 3 s" in said and "So this one ends" in said
    until(lambda: not below.is_running() or below.status() == psutil.STATUS_ZOMBIE, away)
    assert other.poll() is None


def test_who_runs_others_learns_of_a_lost_folder_and_lives(on):
    looks = TAKE + (
        "lock = take(0, ends=False)\nwhile not lock.lost:\n    time.sleep(0.05)\n"
        "try:\n    lock.check()\nexcept locks.Locked as error:\n    print('lost:', error)\nlock.release()\n"
    )
    away = on("one", looks)
    token(away)
    away.send_signal(signal.SIGSTOP)
    other = on("two", WAIT)
    token(other)
    away.send_signal(signal.SIGCONT)
    assert away.wait(PATIENCE_S) == 0
    assert f"process {other.pid} (" in away.log.read_text().split("lost: ")[1]
    assert f"process {other.pid} (" in refusal(on("three", TRY))  # giving back what is lost frees nothing


def test_of_many_that_take_a_dead_ones_folder_over_at_once_one_has_it(on, tmp_path):
    dead = on("dead", HOLD)
    token(dead)
    kill(dead)
    at_once = "import os, time\nwhile not os.path.exists('go'):\n    time.sleep(0.001)\n" + HOLD
    others = [on(f"m{number}", at_once) for number in range(4)]
    time.sleep(13 * BEAT_S)
    (tmp_path / "go").touch()
    until(lambda: sum(each.poll() is None for each in others) == 1, *others)
    winner = next(each for each in others if each.poll() is None)
    token(winner)
    for each in others:
        assert each is winner or each.returncode in (1, LOST), each.log.read_text()
        assert each is winner or f"process {dead.pid} (" not in each.log.read_text()
    assert winner.poll() is None


@BOTH
def test_who_joined_keeps_the_folder_when_the_first_is_gone(on, with_flock):
    first = on("one", HOLD, with_flock=with_flock)
    heir = on("one", HOLD, with_flock=with_flock, **{TOKEN: token(first)})
    assert token(heir) == token(first)
    kill(first)
    time.sleep(16 * BEAT_S)  # longer than a dead one is waited for
    assert "last sign of life" in refusal(on("two", TRY, with_flock=with_flock))
    assert heir.poll() is None


def test_a_folder_on_a_disk_of_this_machine_needs_no_signs_of_life(tmp_path):
    """Nor does a process that forks runs get a thread."""
    program = TAKE + "import threading\nlock = take(0)\nprint(threading.active_count(), flush=True)\n"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(TOKEN)}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], env=environment, capture_output=True, text=True
    )  # fmt: skip
    if locks.heartbeat.is_shared(tmp_path):
        pytest.skip(f"{tmp_path} is on a network file system, or one that is not known")
    assert done.stdout.split()[2:] == ["1"], done.stderr
