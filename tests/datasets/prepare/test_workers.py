"""Processes that can be killed: what hangs or crashes costs one answer, and nothing is left running."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import workertasks
from workertasks import processes

from actlib.datasets.errors import DataError
from actlib.datasets.prepare.workers import run_all


@pytest.fixture(autouse=True)
def tasks_are_found(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def values(*tasks):
    return [{"number": number} | task for number, task in enumerate(tasks)]


def test_every_value_has_its_answer_when_it_is_done():
    tasks = values({}, {"do": "unreadable"}, {"do": "odd"}, *[{}] * 6)
    answers = list(run_all(workertasks.do, tasks, workers=2, timeouts=[60] * 9))
    assert sorted(number for number, _ in answers) == list(range(9))
    by_number = dict(answers)
    assert by_number.pop(1) == {"reason": "is empty"}
    assert by_number.pop(2) == {"reason": "ZeroDivisionError: by zero"}
    assert all(answer["value"] == number for number, answer in by_number.items())
    assert 1 <= len({answer["process"] for answer in by_number.values()} - {os.getpid()}) <= 2
    assert processes() == []
    slow_first = values({"wait": 3}, {}, {})
    assert [number for number, _ in run_all(workertasks.do, slow_first, workers=2, timeouts=[60] * 3)][-1] == 0


def test_a_hang_and_a_crash_cost_one_answer_each():
    tasks = values({"wait": 300}, {}, {"do": "crash"}, {}, {"do": "exit"}, {})
    answers = dict(run_all(workertasks.do, tasks, workers=1, timeouts=[1.5, 60, 60, 60, 60, 60]))
    assert answers[0] == {"reason": "no answer within 1.5 s: the decoder hangs on this file"}
    assert answers[2] == {"reason": "the decoder crashed (signal 11)"}
    assert answers[4] == {"reason": "the decoder crashed (exit status 3)"}
    assert [answers[number]["value"] for number in (1, 3, 5)] == [1, 3, 5]
    assert processes() == []


def test_a_process_that_is_killed_costs_one_answer():
    """From outside, as the system does to whoever takes too much memory."""

    def kill_it():
        while not processes():
            time.sleep(0.02)
        time.sleep(1.5)  # started, and at its first value
        processes()[0].send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill_it)
    killer.start()
    answers = dict(run_all(workertasks.do, values({"wait": 20}, {}), workers=1, timeouts=[100, 100]))
    killer.join()
    assert answers[0] == {"reason": "the decoder crashed (signal 9)"} and answers[1]["value"] == 1


def test_a_full_disk_ends_it_all():
    tasks = values({}, {"do": "full"}, *[{"wait": 100}] * 20)
    start = time.monotonic()
    with pytest.raises(DataError, match="No space left on device"):
        list(run_all(workertasks.do, tasks, workers=1, timeouts=[200] * 22))
    assert time.monotonic() - start < 60 and processes() == []


def test_an_interrupt_leaves_nothing_running():
    start = time.monotonic()
    with (
        pytest.raises(KeyboardInterrupt),
        closing(run_all(workertasks.do, values({}, *[{"wait": 300}] * 20), workers=2, timeouts=[300] * 21)) as answers,
    ):
        next(answers)
        raise KeyboardInterrupt
    assert time.monotonic() - start < 60 and processes() == []


def test_workers_end_with_who_asked():
    """Killed, not closed: what they are at must not go on beside the next run."""
    script = "import workertasks; from actlib.datasets.prepare.workers import run_all\n"
    script += "list(run_all(workertasks.do, [{'number': 0, 'wait': 300}] * 2, workers=2, timeouts=[300] * 2))"
    asking = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 60
    while len(workers := processes(asking.pid)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    asking.kill()
    asking.wait()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive
