"""How far a batch is: in a terminal one line that is written over, with what is known of the time that is left."""

import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from actlib.runs.batch import Batch, Run

EPOCH = re.compile(r"epoch +(\d+) of (\d+): ")  # how notebooks 02 and 03 begin the line of a finished epoch


@dataclass
class Progress:
    """Of a run at work: when it began, how long it took the last time, and the epochs that its log tells of."""

    expected: float | None = None  # seconds; None if nothing is known
    begin: float = field(default_factory=time.monotonic)
    epochs: list[tuple[int, int, float]] = field(default_factory=list)  # finished, of how many, when it was seen

    def note(self, line: str) -> None:
        """Take in a line of the log."""
        if found := EPOCH.match(line):
            self.epochs.append((int(found[1]), int(found[2]), time.monotonic()))

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begin

    def left(self) -> float | None:
        """Seconds until it ends, by its epochs, else by the last time; None if unknown, or if it takes longer."""
        if len(self.epochs) > 1:
            (first, _, begin), (done, count, seen) = self.epochs[0], self.epochs[-1]
            if done > first:
                return max(0.0, (count - done) * (seen - begin) / (done - first) - (time.monotonic() - seen))
        if self.expected is not None and self.expected > self.seconds:
            return self.expected - self.seconds
        return None

    def __str__(self) -> str:
        return f" epoch {self.epochs[-1][0]}/{self.epochs[-1][1]}" if self.epochs else ""


def time_left(
    batch: Batch, ended: set[str], running: dict[str, Progress], expected: Callable[[Run], float | None]
) -> tuple[float, bool]:
    """Seconds until the whole batch is done, and whether that is all of it: a run of which nothing is known counts as
    nothing, so that the sum is what it takes at least. `ended`, `running`: names of runs.

    The runs are played through in the order in which `execute.run_batch` starts them.
    """
    left = {run.name: each.left() if (each := running.get(run.name)) else expected(run) for run in batch.runs}
    waiting = [run for run in batch.runs if run.name not in ended and run.name not in running]
    known = all(left[name] is not None for name in [*running, *(run.name for run in waiting)])
    now, step_of = 0.0, {run.name: run.step for run in batch.runs}
    unfinished = Counter(run.step for run in batch.runs if run.name not in ended)
    active = {name: left[name] or 0.0 for name in running}
    while waiting or active:
        later = []
        for run in waiting:
            if len(active) < batch.workers and not any(unfinished[step] for step in (*run.needs, *run.after)):
                active[run.name] = now + (left[run.name] or 0.0)
            else:
                later.append(run)
        waiting, now = later, min(active.values())
        for name in [name for name, end in active.items() if end == now]:
            del active[name]
            unfinished[step_of[name]] -= 1
    return now, known


def describe(
    batch: Batch, ended: set[str], running: dict[str, Progress], begin: float, left: tuple[float, bool]
) -> str:
    """`[7/19] 2 running: train_tam_resnet18 epoch 5/10, accuracy_resnet10 · 2:10 gone, about 1:40 left`"""
    seconds, known = left
    told = ", ".join(f"{name}{each}" for name, each in running.items())
    words = f"[{len(ended)}/{len(batch.runs)}] {len(running)} running: {told} · {_clock(time.monotonic() - begin)} gone"
    if known or seconds >= 1:
        words += f", {'about' if known else 'more than'} {_clock(seconds)} left"
    return words


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class StatusLine:
    """Lines that stay, and in a terminal one below them that is written over; nowhere else is there such a line."""

    def __init__(self):
        self.moves = sys.stdout.isatty()

    def say(self, line: str) -> None:
        """Print a line that stays."""
        print(f"\r\x1b[K{line}" if self.moves else line, flush=True)

    def show(self, line: str) -> None:
        """Write over the line that moves, cut to the terminal's width; an empty one clears it."""
        if self.moves:
            width = shutil.get_terminal_size().columns - 1
            line = line if len(line) <= width else line[: width - 1] + "…"
            print(f"\r\x1b[K{line}", end="", flush=True)
