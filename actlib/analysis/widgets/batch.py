"""A batch at work, followed from a notebook: a table of its runs that keeps itself up to date."""

import asyncio
import html
from pathlib import Path

import IPython.display
import ipywidgets
import pandas as pd

from actlib import batch_progress
from actlib.analysis.results.batch_runs import end_of_log
from actlib.analysis.widgets.clicks import Clicks
from actlib.messages import cut
from actlib.progress import is_interactive
from actlib.run_progress import COLUMNS, Row

EVERY_S = 2.0
MOST_ROWS = 200  # those at work first, then the failed ones
_NUMBERS = ("epoch", "accuracy, %", "clips/s", "left")
_COLOURS = {  # of a state's mark, which can be seen on white and on black
    "running": "#2f81f7", "queued": "#7d8590", "failed": "#e5534b", "stopped": "#e5534b", "damaged": "#e5534b",
    "blocked": "#d29922", "done": "#2da44e", "skipped": "#2da44e",
}  # fmt: skip


class BatchProgress:
    """Follows the batch in a folder, or of a batch file, wherever it runs: all that is shown is read from the run
    folders (see `batch_progress`).

    A row a run, those at work first; a click on one shows the end of its log. It reads again every two seconds,
    beside whatever the kernel does, until the batch has ended, its cell is run again, or it is closed (`close`).
    Headless the table is shown once. Can be tested without a browser: `refresh` does what the clock does, `click` what
    a click does. `table`: what was read, a row a run. Raises FileNotFoundError for a source that is not there,
    ValueError for a file that is no batch's.
    """

    _shown: dict[str, tuple[object, list["BatchProgress"]]] = {}  # by cell: which execution of it made which

    def __init__(self, source: str | Path, interactive: bool | None = None, every_s: float = EVERY_S):
        self.folder = batch_progress.folder_of(source)
        self.every_s, self.chosen = every_s, ""
        self._follower, self._task = batch_progress.Follower(self.folder), None
        self.head, self.log = ipywidgets.HTML(), ipywidgets.HTML()
        self.rows = Clicks(lambda key, more: self.click(key))
        self.widget = ipywidgets.VBox([self.head, self.rows, self.log])
        for name in ("head", "rows", "log"):
            getattr(self, name).add_class(f"actlib-batch-{name}")
        self._take_in(*self._read())
        if is_interactive() if interactive is None else interactive:
            IPython.display.display(self.widget)
            self._begin()
        else:
            print(self.words)
            IPython.display.display(self.table)

    @property
    def follows(self) -> bool:
        """Whether it still reads again and again."""
        return self._task is not None and not self._task.done()

    def close(self) -> None:
        """End following, and take the widget away."""
        if self._task is not None:
            self._task.cancel()
        self.widget.close()

    def click(self, run: str) -> None:
        """Show the end of a run's log; of the one that is shown, no more."""
        self.chosen = "" if run == self.chosen else run
        self._draw(*self._read())

    def refresh(self) -> None:
        """Read again, and show what has changed."""
        self._take_in(*self._read())

    # --- following --------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._stop_those_before()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no kernel
            return
        if not self._has_ended:
            self._task = loop.create_task(self._follow())

    async def _follow(self) -> None:
        """Reading takes long on a slow disk, so a thread does it; the kernel's own thread draws."""
        while not self._has_ended and self.widget.comm is not None:
            await asyncio.sleep(self.every_s)
            try:
                self._take_in(*await asyncio.to_thread(self._read))
            except OSError as error:
                self.head.value = html.escape(f"{error}; tries again")

    def _stop_those_before(self) -> None:
        """End the ones of an earlier execution of this cell."""
        cell, execution = _cell()
        before, shown = self._shown.get(cell, (None, []))
        if before != execution:
            for each in shown:
                if each._task is not None:
                    each._task.cancel()
            shown = []
        self._shown[cell] = execution, [*shown, self]

    # --- what is shown ----------------------------------------------------------------------------------------

    def _read(self) -> tuple[batch_progress.BatchProgress | None, list[Row], list[str]]:
        batch, rows = self._follower.look()
        return batch, rows, end_of_log(self.folder / self.chosen) if self.chosen else []

    def _take_in(self, batch, rows: list[Row], log: list[str]) -> None:
        at_work = any(row.state in ("running", "queued") for row in rows)
        self._has_ended = batch.state != "running" if batch is not None else bool(rows) and not at_work
        self.table = pd.DataFrame([row.cells() for row in rows], columns=list(COLUMNS))
        self.words = f"{self.folder.name}: {batch_progress.count_states(rows) or 'nothing has begun yet'}"
        if batch is not None:
            self.words += f" · {batch_progress.time_told(batch)}"
        self._draw(batch, rows, log)

    def _draw(self, batch, rows: list[Row], log: list[str]) -> None:
        self.head.value = f"<b>{html.escape(self.words)}</b>{_address(batch)}"
        shown = batch_progress.ordered(rows)[:MOST_ROWS]
        cells = [row.cells() for row in shown]
        columns = [name for name in COLUMNS if any(each[name] for each in cells)]
        heads = "".join(f'<th style="padding:4px 8px">{name}</th>' for name in columns)
        body = "".join(self._row(row, texts, columns) for row, texts in zip(shown, cells))
        more = f"<p>and {len(rows) - MOST_ROWS:,} more</p>" if len(rows) > MOST_ROWS else ""
        self.rows.html = f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>{more}" if rows else ""
        said = html.escape("\n".join(log) or "it has said nothing yet")
        pre = f'<pre style="max-height:320px;overflow:auto;white-space:pre-wrap">{said}</pre>'
        self.log.value = f"<b>{html.escape(self.chosen)}/log.txt</b>{pre}" if self.chosen else ""

    def _row(self, row: Row, texts: dict[str, str], columns: list[str]) -> str:
        mark = f'<span style="color:{_COLOURS.get(row.state, "#7d8590")}">● </span>'
        cells = "".join(
            f"<td{NUMBER * (name in _NUMBERS)}>{mark * (name == 'state')}{html.escape(texts[name])}</td>"
            for name in columns
        )
        title = html.escape("\n".join(filter(None, (row.protocol, cut(row.why, 1000)))))
        look = ' class="actlib-chosen"' * (row.run == self.chosen)
        return f'<tr data-key="{html.escape(row.run)}" title="{title}"{look}>{cells}</tr>'


NUMBER = ' class="actlib-number"'


def _address(batch: batch_progress.BatchProgress | None) -> str:
    """A link to Dask's dashboard while the batch runs."""
    if batch is None or batch.state != "running" or not batch.dashboard.startswith(("http://", "https://")):
        return ""
    address = html.escape(batch.dashboard)
    return f' · <a href="{address}" target="_blank" style="color:var(--jp-content-link-color)">{address}</a>'


def _cell() -> tuple[str, object]:
    """The cell that is being executed, and which execution of it that is; empty outside of a notebook."""
    try:
        parent = get_ipython().get_parent()
        return str(parent["metadata"].get("cellId", "")), parent["header"]["msg_id"]
    except (NameError, AttributeError, KeyError, TypeError):
        return "", None
