"""What the processes of one machine read once and hold once: one of them makes it, all of them map its file."""

import pickle
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TypeVar

import torch

from actlib.compute.processes import Ranks
from actlib.files import naming_full_disk

T = TypeVar("T")


def shared_on_node(make: Callable[[], T], ranks: Ranks) -> T:
    """What `make` returns, for each of the processes, all of which call this. One of each machine calls `make` and
    writes the result to a file; all of the machine map that, the one that made it too, so that its tensors are in
    memory once, whatever the number of processes. They are not for writing: a page that is written to is copied.

    The file lies in the machine's temporary folder, and is removed once all have opened it. Raises in every process
    what `make` raised in one, of several the first. A process alone gets what `make` returns.
    """
    if ranks.size == 1:
        return make()
    with tempfile.TemporaryDirectory(prefix="actlib-") if ranks.leads_node else nullcontext() as folder:
        said = _made(make, Path(folder) / "shared.pt") if ranks.leads_node else None
        of_all = ranks.of_first(ranks.gathered(said))
        for each in of_all:
            if isinstance(each, Exception):
                raise each
        # Ours alone may write to the folder, so that what is unpickled is what was written.
        found = torch.load(of_all[ranks.rank - ranks.local_rank], mmap=True, weights_only=False)
        ranks.wait()
    return found


def _made(make: Callable[[], T], path: Path) -> str | Exception:
    """Write what `make` returns to `path`; returns that, or the error."""
    try:
        made = make()
        with naming_full_disk(path):
            torch.save(made, path)
    except Exception as error:
        return _to_be_sent(error)
    return str(path)


def _to_be_sent(error: Exception) -> Exception:
    """`error`, or one of the same words where another process could not open it."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(str(error))
    return error
