"""What the tests of `datasets.workers` let its processes do."""

import errno
import os
import signal
import time

from actlib.datasets.video import VideoError


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
