"""A real kernel that believes a person watches it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jupyter_client.manager import KernelManager, start_new_kernel

MOST_S = 600


@contextmanager
def watched_kernel(monkeypatch) -> Iterator[tuple[KernelManager, object, Callable[[str], str]]]:
    """(manager, client, said_by) of a kernel: `said_by(code)` executes code, and returns what it printed, and the name
    of the error that ended it, if any."""
    monkeypatch.delenv("ACTLIB_HEADLESS", raising=False)
    monkeypatch.setenv("JPY_SESSION_NAME", "test.ipynb")
    manager, client = start_new_kernel(kernel_name="python3")

    def said_by(code: str) -> str:
        said = []

        def hear(message):
            said.append(message["content"].get("text", "") + message["content"].get("ename", ""))

        client.execute_interactive(code, timeout=MOST_S, output_hook=hear)
        return "".join(said)

    try:
        yield manager, client, said_by
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
