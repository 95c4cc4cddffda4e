"""How clips come from worker processes: through shared memory, which is fast, or through pipes where that is full.

Containers give /dev/shm 64 MB, of which a few batches of clips take more. What does not fit goes through the worker's
pipe, pickled: the same clips, a few milliseconds later.
"""

import errno
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

SHARED = "/dev/shm"
SPARE = 1 << 20  # bytes that are left to others: locks of processes lie there too
_NO_ROOM = "unable to allocate shared memory"  # torch's words
_told = False


class WorkerError(RuntimeError):
    """Worker processes that ended, or cannot start. The message says why and which parameter helps."""


def free_shared() -> int | None:
    """The free bytes of shared memory; None where it is no folder that could be asked (macOS, Windows)."""
    try:
        return shutil.disk_usage(SHARED).free
    except OSError:
        return None


def in_shared_memory(size: int, put: Callable[[], Any]) -> Any:
    """What `put` returns, which puts `size` bytes there; None where there is no room for them."""
    free = free_shared()
    if free is not None and free < size + SPARE:
        return None
    try:
        return put()
    except RuntimeError as error:  # another worker was faster: torch reserves what it takes before it writes
        if _NO_ROOM in str(error):
            return None
        raise


class HandedOver:
    """What a worker sends. Its tensors go through the pipe where `by_pipe` is set, else as torch sends them."""

    by_pipe = False

    def __getstate__(self) -> dict:
        state = dict(vars(self))
        if self.by_pipe:
            state = {name: _Packed(each) if isinstance(each, torch.Tensor) else each for name, each in state.items()}
            state |= {"by_pipe": False, "free": free_shared()}
        return state

    def __setstate__(self, state: dict) -> None:
        if "free" in state:
            size = sum(each.data.nbytes for each in state.values() if isinstance(each, _Packed))
            _tell(size, state.pop("free"))
        for name, each in state.items():
            setattr(self, name, each.tensor() if isinstance(each, _Packed) else each)


class _Packed:
    """A tensor as bytes that pickle takes as they are, in the order in which they lie in memory."""

    def __init__(self, tensor: torch.Tensor):
        self.order = sorted(range(tensor.ndim), key=lambda axis: -tensor.stride(axis))
        ordered = tensor.permute(self.order).contiguous()
        self.shape, self.dtype = tuple(ordered.shape), ordered.dtype
        self.data = ordered.flatten().view(torch.uint8).numpy()

    def tensor(self) -> torch.Tensor:
        ordered = torch.from_numpy(self.data).view(self.dtype).view(self.shape)
        return ordered.permute([self.order.index(axis) for axis in range(len(self.order))])


def _tell(size: int, free: int | None) -> None:
    """Once a process: it costs a little time, and a container can be given more."""
    global _told
    if not _told:
        _told = True
        print(
            f"{size / 1e6:.1f} MB of clips do not fit into shared memory ({SHARED}: {(free or 0) / 1e6:.1f} MB free): "
            "worker processes send them through pipes, the same clips a little later. A container gets more with "
            "`docker run --shm-size=2g`; a smaller batch_size or num_workers needs less",
            flush=True,
        )


@contextmanager
def workers_in_words() -> Iterator[None]:
    """Raise WorkerError for what torch and Python say of dead workers and full shared memory; a decorator too."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        if why := _why(error):
            raise WorkerError(why) from error
        raise


def _why(error: RuntimeError | OSError) -> str:
    """In words what became of the workers; empty for another error."""
    free = free_shared()
    full = f"shared memory ({SHARED}) is full, {(free or 0) / 1e6:.1f} MB free: remove what others left there, give a "
    full += "container more (`docker run --shm-size=2g`), or set num_workers: 0, which does without"
    text = str(error)
    out_of_space = getattr(error, "errno", None) == errno.ENOSPC and free is not None and free < SPARE
    if _NO_ROOM in text or out_of_space:
        return full
    found = re.search(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (?:is killed by signal: (\w[\w ]*)|exited)", text)
    if not found:
        return ""
    how = f"was killed ({found[2]})" if found[2] else "ended"
    reasons = {
        "Bus error": full,
        "Killed": "most likely the memory was full: a lower num_workers or batch_size needs less",
        "Segmentation fault": "a decoder broke: num_workers: 0 shows at which video, video_backend is another decoder",
    }
    reason = reasons.get(found[2], "num_workers: 0 does without worker processes, and shows an error where it happens")
    went = f"worker process {found[1]} {how} while it read videos"
    return f"{went}; {reason}. A training goes on from its last checkpoint"
