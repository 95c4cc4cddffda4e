"""Calls that are given up on when they take too long: a decoder or a disk that hangs costs one video, not the run.

The call runs in a helper thread, which is used again for the next one. A C call cannot be interrupted; it can be left
alone, as long as it releases Python's lock, which FFmpeg's and decord's calls do. The thread that hangs in it stays
until it returns or the process ends, which it does not delay, with the lowest priority.
"""

import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress

_idle: list["_Helper"] = []  # whoever takes one out owns it: any number of threads may call
_stuck: dict[str, float] = {}  # by key, the seconds after which a call that still runs was given up
_current = threading.local()


class GivenUp(Exception):
    """Raised by `check` in a call that nobody waits for any more."""


def within(seconds: float, key: str, call: Callable, *args):
    """`call(*args)`: its result, or the error that it raises. Raises TimeoutError after `seconds`, and at once while a
    call with the same `key` that was given up still runs: what hangs once is not asked to hang again."""
    if key in _stuck:
        raise TimeoutError(f"no answer within {_stuck[key]:g} s, and none since")
    try:
        helper = _idle.pop()
    except IndexError:
        helper = _Helper()
    finished = False
    try:
        helper.calls.put((key, call, args))
        result, error = helper.answers.get(timeout=seconds)
        finished = True
    except queue.Empty:
        _stuck[key] = seconds
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    finally:  # also on Ctrl-C
        if finished:
            _idle.append(helper)
        else:
            helper.give_up()
    if error is not None:
        raise error
    return result


def check() -> None:
    """Raise GivenUp in a call of `within` that was given up; long work asks now and then."""
    helper = getattr(_current, "helper", None)
    if helper is not None and helper.given_up:
        raise GivenUp


class _Helper:
    """A thread that makes one call at a time."""

    def __init__(self):
        self.calls, self.answers = queue.SimpleQueue(), queue.SimpleQueue()
        self.given_up = False
        self._thread = threading.Thread(target=self._run, name="decoder", daemon=True)
        self._thread.start()

    def give_up(self):
        self.given_up = True
        self.calls.put(None)  # should it come back after all, it ends
        with suppress(AttributeError, OSError):  # on Linux a thread has a priority of its own
            os.setpriority(os.PRIO_PROCESS, self._thread.native_id, 19)

    def _run(self):
        _current.helper = self
        key = ""
        while (task := self.calls.get()) is not None:
            key, call, args = task
            try:
                answer = call(*args), None
            except BaseException as error:
                answer = None, error
            self.answers.put(answer)
            del task, call, args, answer  # an idle thread must not hold the last clip's memory
        _stuck.pop(key, None)


# A forked process has the caller's thread alone; it starts helpers of its own.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: (_idle.clear(), _stuck.clear()))
