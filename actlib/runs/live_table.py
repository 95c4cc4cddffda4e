"""How far a batch is: in a terminal one table that is written over, below the lines that stay."""

import contextlib
import os
import shutil
import sys
import time
import unicodedata
from dataclasses import replace
from pathlib import Path
from statistics import mean

from actlib.batch_progress import EVERY_S, BatchProgress, count_states, time_told
from actlib.files import read_mapping
from actlib.run_progress import COLUMNS, ENDED, ProgressTable, Row, Told
from actlib.runs.batch import Batch, Run
from actlib.runs.time_left import time_left

REFRESH_S = 1.0  # how often the table is drawn anew while no state changes
_SHARE = 20  # of the time, at most one part in so many goes into the table
_ON_TOP = ("running", "queued", "failed", "stopped")  # rows of a terminal's table; the others are counted
_WIDEST = {"run": 40, "where": 28, "why": 60}  # characters of a column, where the terminal is wide enough


class LiveTable:
    """Lines that stay (`say`), and in a terminal a table of the runs below them, brought up to date by `show`; nowhere
    else is there such a table. Both tell whoever follows the batch's folder (see `batch_progress`).

    `dashboard`: an address to name beside the table.
    """

    def __init__(self, batch: Batch, root: Path):
        self.batch, self.dashboard = batch, ""
        self.moves = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self.folder = (root / batch.runs[0].folder).parent
        self.told = BatchProgress.begin(self.folder, str(batch.path), (run.name for run in batch.runs))
        self._table, self._drawn = ProgressTable(self.folder), []
        # How long each took the last time, read before anything is put aside, and what its notebook takes now.
        self._last_time = {run.name: _seconds(root / run.folder) for run in batch.runs}
        self._this_time: dict[str, list[float]] = {}
        self._changed, self._next_show, self._next_write = True, 0.0, 0.0

    def expected(self, run: Run) -> float | None:
        """Seconds that a run takes: as the last time, else as others of its notebook took just now; None if unknown."""
        others = self._this_time.get(run.notebook)
        return self._last_time[run.name] or (mean(others) if others else None)

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self._print([line], self._drawn)

    def show(self, states: dict[str, tuple[str, str]]) -> None:
        """Bring the table up to date: state and worker (or "") of each run that does not wait any more, by its name.

        Cheap enough to be called at every poll: nothing is read or drawn more often than each REFRESH_S; of thousands
        of runs less often, since that takes time."""
        begin = time.monotonic()
        self._take_in(states)
        if begin < self._next_show:
            return
        rows = self._table.rows(self.told.runs)
        left = {row.run: row.left for row in rows if row.state in ("queued", "running")}
        ended = {row.run for row in rows if row.state in ENDED}
        self.told.left, self.told.left_is_all = time_left(self.batch, ended, left, self.expected)
        if self._changed or begin >= self._next_write:
            self._write()
        if self.moves:
            self._print([], self._lines(rows))
        self._next_show = begin + max(REFRESH_S, _SHARE * (time.monotonic() - begin))

    def close(self, states: dict[str, tuple[str, str]]) -> None:
        """Take the table away and say in the folder how all ended; what still runs has been stopped."""
        self._take_in(states)
        self.told.dashboard = self.dashboard
        with contextlib.suppress(OSError):
            self.told.end()
        if self.moves:
            self._print([], [])

    def _take_in(self, states: dict[str, tuple[str, str]]) -> None:
        now, runs = time.time(), self.told.runs
        for run in self.batch.runs:
            state, where = states.get(run.name, ("waiting", ""))
            before = runs[run.name]
            if state in ENDED:
                where = where or before.where
            if (state, where) == (before.state, before.where):
                continue
            since = now if state == "running" else None
            if state == "done" and before.since is not None:
                self._this_time.setdefault(run.notebook, []).append(now - before.since)
            runs[run.name] = Told(state, where, since, self.expected(run) if since else None)
            self._changed = True

    def _write(self) -> None:
        self.told.dashboard = self.dashboard
        with contextlib.suppress(OSError):  # a full disk stops the runs, not their table
            self.told.write()
        self._changed, self._next_write = False, time.monotonic() + EVERY_S

    # --- what a terminal shows --------------------------------------------------------------------------------

    def _lines(self, rows: list[Row]) -> list[str]:
        width, height = shutil.get_terminal_size()
        return table_lines(rows, self._heading(rows), width - 1, height - 2)

    def _heading(self, rows: list[Row]) -> str:
        ended = sum(row.state in ENDED for row in rows)
        words = f"[{ended}/{len(rows)}] {count_states(rows)} · {time_told(replace(self.told, heard=time.time()))}"
        return words + (f" · {self.dashboard}" if self.dashboard else "")

    def _print(self, stay: list[str], moving: list[str]) -> None:
        """Write the lines that stay in the place of the table, and the table below them."""
        if not self.moves:
            print(*stay, sep="\n", end="\n" * bool(stay), flush=True)
            return
        width = shutil.get_terminal_size().columns
        up = sum(max(1, -(-_width(line) // width)) for line in self._drawn)  # a narrower terminal has broken them
        back = f"\x1b[{up}F" if up else "\r"
        sys.stdout.write(f"{back}\x1b[J" + "".join(f"{line}\n" for line in [*stay, *moving]))
        sys.stdout.flush()
        self._drawn = moving


def table_lines(rows: list[Row], heading: str, width: int, height: int) -> list[str]:
    """The rows of runs at work, then of the failed ones, as lines of at most `width` characters under a heading; what
    finds no place in `height` lines is counted."""
    order = {state: place for place, state in enumerate(_ON_TOP)}
    top = sorted((row for row in rows if row.state in order), key=lambda row: order[row.state])
    room = max(1, height - 3)  # beside the heading, the columns' heads and the count
    kept, rest = top[:room], [*top[room:], *(row for row in rows if row.state not in order)]
    lines = [heading]
    if kept:
        cells = [row.cells() for row in kept]
        columns = [name for name in COLUMNS if any(each[name] for each in cells)]
        widths = _widths({name: [name, *(each[name] for each in cells)] for name in columns}, width)
        table = [dict(zip(columns, columns)), *cells]
        lines += ["  ".join(_fit(each[name], widths[name]) for name in widths).rstrip() for each in table]
    if rest and kept:
        lines.append(f"and {count_states(rest)}")
    return [_cut(line, width) for line in lines]


def _widths(columns: dict[str, list[str]], width: int) -> dict[str, int]:
    """How wide each column is; where all of them do not fit, the long texts give way, then the last columns."""
    widths = {name: min(max(map(_width, texts)), _WIDEST.get(name, 99)) for name, texts in columns.items()}

    def over() -> int:
        return sum(widths.values()) + 2 * (len(widths) - 1) - width

    for name, least in (("why", 20), ("where", 10), ("run", 16), ("why", 8), ("run", 8)):
        if over() > 0 and name in widths:
            widths[name] = max(min(least, widths[name]), widths[name] - over())
    for name in ("where", "clips/s", "why", "accuracy, %", "epoch", "left"):
        if over() > 0:
            widths.pop(name, None)
    return widths


def _fit(text: str, width: int) -> str:
    text = _cut(text, width)
    return text + " " * (width - _width(text))


def _cut(text: str, width: int) -> str:
    """The text in at most `width` columns of a terminal, without what would move its cursor."""
    text = "".join(each if each.isprintable() else "?" for each in text)
    if _width(text) <= width:
        return text
    kept, used = [], 1
    for each in text:
        used += _width(each)
        if used > width:
            break
        kept.append(each)
    return "".join(kept) + "…"


def _width(text: str) -> int:
    """Columns of a terminal: two for what East Asian writing has wide, none for marks above letters."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(each) else 1 + (unicodedata.east_asian_width(each) in "WF") for each in text)


def _seconds(folder: Path) -> float | None:
    try:
        seconds = read_mapping(folder / "batch.json").get("seconds")
    except (OSError, ValueError):
        return None
    return seconds if isinstance(seconds, int | float) else None
