"""What the tests of `datasets.prepare.workers` let its processes do, and which these are."""

import errno
import os
import signal
import time

import psutil

from actlib.datasets.errors import VideoError


def do(value: dict) -> dict:
    """What `value` says, with a real process: answer, wait, crash, fail."""
    print("a library's chatter")
    time.sleep(value.get("wait", 0))
    match value.get("do"):
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            os._exit(3)
        case "unreadable":
            raise VideoError("v.mp4", "is empty")
        case "odd":
            raise ZeroDivisionError("by zero")
        case "full":
            raise OSError(errno.ENOSPC, "No space left on device", "/disk/v.mp4")
    return {"value": value["number"], "process": os.getpid()}


def processes(parent: int | None = None) -> list[psutil.Process]:
    """The worker processes of this process, or of another."""
    found = []
    for child in psutil.Process(parent).children(recursive=True):
        try:
            if "actlib.datasets.prepare.workers" in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
        except psutil.NoSuchProcess:
            pass
    return found
