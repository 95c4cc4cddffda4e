"""Ending a training before its time: after the epoch at hand, whose checkpoint is as good as any."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from actlib.progress import is_interactive


class Stop:
    """Whether a training is to end after the present epoch. It is `asked` by `ask`, by a file `stop` in the run folder
    (`touch outputs/run/stop`), or by a notebook's first interrupt (JupyterLab's ■); a second one ends at once."""

    def __init__(self, run_dir: str | Path):
        self.file = Path(run_dir) / "stop"
        self._asked = False

    def ask(self) -> None:
        self._asked = True

    @property
    def asked(self) -> bool:
        return self._asked or self.file.exists()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """For as long as a training runs; what was asked before or is left afterwards is forgotten."""
        self._forget()
        listens = _in_a_watched_notebook()
        if listens:
            signal.signal(signal.SIGINT, self._interrupted)
        try:
            yield
        finally:
            if listens and signal.getsignal(signal.SIGINT) == self._interrupted:  # a later cell may have its own
                signal.signal(signal.SIGINT, signal.default_int_handler)
            self._forget()

    def _interrupted(self, number, frame) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self.ask()

    def _forget(self) -> None:
        self._asked = False
        self.file.unlink(missing_ok=True)


def _in_a_watched_notebook() -> bool:
    """There alone: Ctrl-C in a terminal ends a script at once, as everywhere."""
    return "ipykernel" in sys.modules and is_interactive() and threading.current_thread() is threading.main_thread()
