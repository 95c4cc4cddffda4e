"""Progress that suits who watches: a bar in JupyterLab or a terminal, a plain line now and then in a log.

Under papermill a bar's widget freezes at 0 % in the saved notebook and a text bar prints a line for every
refresh, so there the same information comes as one line every `LOG_EVERY_S` seconds.
This module knows nobody else in the package; everybody may use it.
"""

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

LOG_EVERY_S = 30.0
SLOW_S = 5.0  # after which a step says what it does


def is_interactive() -> bool:
    """Whether a person watches: JupyterLab, VS Code or a terminal, as against papermill, a batch run or a pipe.

    ACTLIB_HEADLESS=1 (set by the batch runner) or =0 decides; otherwise a notebook server that has told the
    kernel its session counts as a person, since papermill's kernels are never told one.
    """
    forced = os.environ.get("ACTLIB_HEADLESS")
    if forced is not None:
        return forced in ("", "0")
    if "ipykernel" in sys.modules:
        return any(name in os.environ for name in ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG"))
    return sys.stderr.isatty()


def progress(items: Iterable, *, total: int | None = None, desc: str = "") -> Iterator:
    """Iterate over `items` and show how far it is; `total` where `items` has no length."""
    if is_interactive():
        from tqdm.auto import tqdm

        yield from tqdm(items, total=total, desc=desc)
        return
    if total is None and hasattr(items, "__len__"):
        total = len(items)
    start = last = time.monotonic()
    count, items = 0, iter(items)
    first = f" of {total:,}" if total else ""
    while True:
        with told_if_slow(f"{desc or 'this'}: waiting for number 1{first}", now=not count):
            item = next(items, _END)
        if item is _END:
            break
        with told_if_slow(f"{desc or 'this'}: at work on number 1{first}", now=not count):
            yield item
        count += 1
        now = time.monotonic()
        if now - last >= LOG_EVERY_S:
            last = now
            print(_line(desc, count, total, now - start), flush=True)
    if last > start:  # a short loop needs no line
        print(_line(desc, count, total, time.monotonic() - start) + ", done", flush=True)


_END = object()


@contextmanager
def told_if_slow(what: str, *, now: bool = True) -> Iterator[None]:
    """Print `what` with three dots if the block takes more than five seconds; nothing unless `now`."""
    timer = threading.Timer(SLOW_S, print, (f"{what} …",), {"flush": True})
    timer.daemon = True
    if now:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _line(desc: str, count: int, total: int | None, seconds: float) -> str:
    of = f" of {total:,}" if total else ""
    rate = f"{count / seconds:.3g}/s" if seconds > 0 else ""
    left = ""
    if total and count < total and seconds > 0:
        left = f", about {(total - count) * seconds / count:,.0f} s left"
    return f"{desc + ': ' if desc else ''}{count:,}{of} in {seconds:,.0f} s ({rate}){left}"
