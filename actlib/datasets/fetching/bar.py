"""How far several downloads are, together: a bar in JupyterLab or a terminal, a line now and then in a log."""

import threading
import time

from actlib import progress
from actlib.files import in_bytes


class Bar:
    """Bytes that came of `total` (0: nobody knows), and videos that were unpacked. To be told from any thread."""

    def __init__(self, desc: str, total: int, there: dict[str, int]):
        self._desc, self._total, self._at, self._videos = desc, total, dict(there), 0
        self._before = sum(there.values())  # of an earlier run: no part of the rate
        self._start = self._last = time.monotonic()
        self._lock = threading.Lock()
        self._bar = None
        if progress.is_interactive():
            from tqdm.auto import tqdm

            form = {"unit": "B", "unit_scale": True, "total": total or None, "initial": self._before}
            self._bar = tqdm(desc=desc, **form)
        elif self._before:
            print(f"{desc}: goes on after {in_bytes(self._before)}", flush=True)

    def at(self, file: str, done: int) -> None:
        """`done` bytes of `file` are there."""
        with self._lock:
            self._at[file] = done
            self._show()

    def unpacked(self) -> None:
        """Another video is there."""
        with self._lock:
            self._videos += 1
            self._show()

    def end(self) -> None:
        with self._lock:
            self._show(last=True)
            if self._bar is not None:
                self._bar.close()

    def _show(self, *, last: bool = False) -> None:
        done, now = sum(self._at.values()), time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix_str(f"{self._videos:,} videos", refresh=False)
            self._bar.update(done - self._bar.n)
        elif last or now - self._last >= progress.LOG_EVERY_S:
            self._last = now
            print(self._line(done, now - self._start), flush=True)

    def _line(self, done: int, seconds: float) -> str:
        rate = (done - self._before) / max(seconds, 1e-3)
        of = f" of {in_bytes(self._total)}" if self._total else ""
        left = f", about {(self._total - done) / rate:,.0f} s left" if self._total > done and rate > 0 else ""
        came = f"{self._desc}: {in_bytes(done)}{of} in {seconds:,.0f} s ({in_bytes(int(rate))}/s){left}"
        return f"{came}; {self._videos:,} videos unpacked"
