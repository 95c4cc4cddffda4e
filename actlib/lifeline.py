"""A process ends with the one that started it, however that ended: by SIGKILL too, which nobody can pass on.

A thread looks once a second whether the parent is still the same: an orphan gets another one at once. Linux has a
signal for it (PR_SET_PDEATHSIG), but that comes as soon as the *thread* ends that started the process, as those of a
pool do, and Dask runs its tasks in one; other systems have none. Windows leaves an orphan its dead parent's number:
nothing is noticed there. This module knows nobody else of the package; everybody may use it.
"""

import contextlib
import os
import signal
import sys
import threading
import time

PARENT = "ACTLIB_PARENT"  # in the environment of a new process: the pid of who starts it
LOOK_S = 1.0
GRACE_S = 10.0  # to end by itself: papermill gives its kernel five seconds first


def end_with_parent(starter: int | None = None) -> None:
    """From now on this process ends, with its descendants, within LOOK_S + GRACE_S seconds of its parent's end.

    `starter`: the pid of who asked for this process, else PARENT of the environment, which is taken out of it: one that
    is gone already is noticed too, and so is one that is not the parent, but above it (a launcher stands in between).
    The end: SIGTERM where this process handles that, so that it can stop its children; otherwise they get it. What is
    left after GRACE_S is killed.
    """
    told = os.environ.pop(PARENT, "")
    starter = starter or (int(told) if told.isdigit() else None)
    threading.Thread(target=_watch, args=(os.getppid(), starter), name="lifeline", daemon=True).start()


def _watch(parent: int, starter: int | None) -> None:
    while os.getppid() == parent and (starter in (None, parent) or is_there(starter)):
        time.sleep(LOOK_S)
    _say(f"process {starter or parent}, which started this one ({os.getpid()}), is gone: so this one ends")
    _end()


def end_at_once(why: str, status: int) -> None:
    """End this process with the exit status `status` and its descendants by force, after the words `why`. No handler
    runs, nothing is written any more."""
    _say(why)
    try:
        _kill(_descendants())
    finally:
        os._exit(status)


def stop(pid: int, grace_s: float) -> None:
    """End a process and all its descendants: politely, then by force after `grace_s` seconds."""
    import psutil

    try:
        parent = psutil.Process(pid)
        family = [*parent.children(recursive=True), parent]
    except psutil.NoSuchProcess:
        return
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(family, timeout=grace_s)
    _kill(alive)
    psutil.wait_procs(alive, timeout=grace_s)


def is_there(pid: int) -> bool:
    """Whether a process of this number lives on this machine, or is dead and not collected yet."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True


def _end() -> None:
    """End this process and its descendants, politely and then by force. Not in the main thread, where Python runs the
    handlers of signals."""
    family = []
    try:
        if callable(signal.getsignal(signal.SIGTERM)):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(GRACE_S)
        else:  # it would end at once, and leave them
            import psutil

            for each in (family := _descendants()):
                with contextlib.suppress(psutil.Error):
                    each.terminate()
            psutil.wait_procs(family, timeout=GRACE_S)
        _kill([*family, *_descendants()])
    finally:
        os.kill(os.getpid(), signal.SIGKILL)


def _descendants() -> list:
    import psutil  # when it is needed: it takes longer than the rest

    return psutil.Process().children(recursive=True)


def _kill(processes: list) -> None:
    import psutil

    for each in processes:
        with contextlib.suppress(psutil.Error):
            each.kill()


def _say(words: str) -> None:
    """Print to standard error, for a second at most: who read there may be gone, and a full pipe holds for ever."""

    def say():
        with contextlib.suppress(OSError, ValueError):
            print(words, file=sys.stderr, flush=True)

    thread = threading.Thread(target=say, daemon=True)
    thread.start()
    thread.join(1.0)
