"""Hostile cases: what a user may have or do, spoilt by a seed, under one rule for all of them.

A case is refused, in an error of the project's own that names the file and the field, within a second and on less than
a screen; or its result is that of what was not spoilt. `make test` tries the first few seeds of every kind,
`make hostile` all of them; at the end stands how many of each kind were refused, equal, or failed.
"""

import os
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

ALL = os.environ.get("ACTLIB_HOSTILE") == "all"
# A second, where nothing else runs and the cores are new; what this guards against took minutes.
MOST_SECONDS = 1.0 if ALL else 5.0
MOST_CHARACTERS, MOST_LINES = 4000, 30


def pytest_generate_tests(metafunc):
    """A test marked `seeds(few, many)` takes `seed`: from 0 to `few`, with ACTLIB_HOSTILE=all to `many`."""
    if marker := metafunc.definition.get_closest_marker("seeds"):
        few, many = marker.args
        metafunc.parametrize("seed", range(many if ALL else few))


@pytest.fixture
def judge(request, record_property):
    """Call `read` and hold it to the rule. `kind`: what the case is counted as. `errors`: the project's own that may
    refuse it. `names`: what a refusal must say. `same`: whether a result is the unspoilt one; without it only a refusal
    is right. Returns the refusal's message, or None."""

    def hold(read, *, kind: str, errors, names=(), same=None) -> str | None:
        outcome, message = "failed", None
        begin = time.process_time()
        try:
            try:
                result = read()
            except errors as error:
                message = str(error)
                took = time.process_time() - begin
                assert took < MOST_SECONDS, f"refused after {took:.1f} s of CPU time"
                assert len(message) <= MOST_CHARACTERS and message.count("\n") < MOST_LINES, message[:2000]
                assert not (missing := [name for name in names if name not in message]), f"{missing} not in: {message}"
                outcome = "refused"
            else:
                assert same is not None, f"was not refused: {str(result)[:500]}"
                assert same(result), f"neither refused nor the result of what was not spoilt: {str(result)[:500]}"
                outcome = "equal"
        finally:
            record_property("hostile", [kind, outcome])
        return message

    return hold


@pytest.fixture(scope="session")
def in_small_memory():
    """Runs a command where `folder` is a file system of its own of so many bytes ("512k"), in memory, which nobody else
    sees: (folder, size, command) to the finished process."""

    def run(folder: Path, size: str, command: list[str]) -> subprocess.CompletedProcess:
        mounted = f"mount -t tmpfs -o size={size} tmpfs '{folder}' && exec \"$@\""
        command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mounted, "sh", *command]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    if not shutil.which("unshare") or run(Path("/mnt"), "64k", ["true"]).returncode:
        pytest.skip("this machine lets nobody mount a file system of his own (unshare --map-root-user --mount)")
    return run


def pytest_terminal_summary(terminalreporter):
    found = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == "hostile" and getattr(report, "when", "") == "call":
                    found[tuple(value)] += 1
    if found:
        terminalreporter.section("hostile cases")
        kinds = sorted({kind for kind, _ in found})
        width = max(map(len, kinds))
        for kind in kinds:
            counts = "  ".join(f"{found[kind, outcome]:6,} {outcome}" for outcome in ("refused", "equal", "failed"))
            terminalreporter.line(f"{kind:<{width}} {counts}")
