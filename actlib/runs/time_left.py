"""How long a batch still takes."""

from collections import Counter
from collections.abc import Callable

from actlib.runs.batch import Batch, Run


def time_left(
    batch: Batch, ended: set[str], running: dict[str, float | None], expected: Callable[[Run], float | None]
) -> tuple[float, bool]:
    """Seconds until the whole batch is done, and whether that is all of it: a run of which nothing is known counts as
    nothing, so that the sum is what it takes at least. `ended`: names of runs; `running`: the seconds that each of
    those at work still takes, None if unknown; `expected`: those of a run that has not begun.

    The runs are played through in the order in which `execute.run_batch` starts them, as many at a time as may run, or
    do.
    """
    left = {run.name: running[run.name] if run.name in running else expected(run) for run in batch.runs}
    waiting = [run for run in batch.runs if run.name not in ended and run.name not in running]
    known = all(left[name] is not None for name in [*running, *(run.name for run in waiting)])
    now, step_of, places = 0.0, {run.name: run.step for run in batch.runs}, max(batch.workers, len(running))
    unfinished = Counter(run.step for run in batch.runs if run.name not in ended)
    active = {name: left[name] or 0.0 for name in running}
    while waiting or active:
        later = []
        for run in waiting:
            if len(active) < places and not any(unfinished[step] for step in (*run.needs, *run.after)):
                active[run.name] = now + (left[run.name] or 0.0)
            else:
                later.append(run)
        waiting, now = later, min(active.values())
        for name in [name for name, end in active.items() if end == now]:
            del active[name]
            unfinished[step_of[name]] -= 1
    return now, known
