"""The file of the ledger, params/ledger.yaml: read, checked, and written so that two versions compare line by line.

Its rows follow from the table of published weights and are written anew by each `python -m actlib ledger update` or
`run`; what was measured, `ours`, stands in this file alone. This module imports neither torch nor pandas.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from actlib import locks
from actlib.files import read_text, write_text
from actlib.params import ParamsError, load_yaml
from actlib.params.base import Checked
from actlib.params.yaml_files import dump_yaml

PATH = "params/ledger.yaml"
UPDATE = "python -m actlib ledger update"
WAIT_S = 60.0  # for another process that writes the file, which takes no second
COVERED = 0.9  # of the published videos: with fewer, a measured figure is partial and reproduces nothing
_WIDE = 1 << 20  # characters: a value is never wrapped
HEADER = f"""\
# The ledger: each published figure that has weights, and what it came to when it was measured here.
# Written by `{UPDATE}` (what follows from the table of published weights and the run folders) and
# `python -m actlib ledger run` (measures first what can be measured with what is here); notebook 06 shows it.
#
# published: top-1 and top-5 in percent, by `protocol`, which rests on `rests_on`. recipe: the parameters of notebook 04
# that measure the same, beside checkpoint and table. clip: frames × stride @ crop. gmacs: of one view, counted here.
# ours: what was measured, or why not. videos: the decoded ones, of those in the data set's list (of the published ones,
# where that list has less than 90 % of them); undecodable ones count as wrong. state: measured, or partial where less
# than 90 % of the published videos were there: such a number reproduces nothing. difference: ours less theirs.
# These lines stay as they are; comments further down do not.
"""


class Figures(Checked):
    """Accuracies in percent; none where a file has no published figure."""

    model_config = ConfigDict(title="published figures")

    top1: float | None = None
    top5: float | None = None


class Ours(Checked):
    """What was measured here: `difference` is in points, `versions` says by which software and on what."""

    model_config = ConfigDict(title="a measured figure", coerce_numbers_to_str=True)

    top1: float
    top5: float | None = None
    difference: float
    videos: Annotated[str, Field(pattern=r"^[\d,]+ of [\d,]+$")]
    state: Literal["measured", "partial"]
    protocol: str
    date: str
    table: str
    run: str
    versions: str

    @property
    def counts(self) -> tuple[int, int]:
        """(videos that were decoded, videos that there should be)."""
        seen, of = (int(each.replace(",", "")) for each in self.videos.split(" of "))
        return seen, of


class Entry(Checked):
    """A row of the ledger. A file of weights has one for each of its published figures, or one without a figure."""

    model_config = ConfigDict(title="a row of the ledger", coerce_numbers_to_str=True)

    file: str
    network: str
    clip: str
    gmacs: float | None = None
    data: str
    published: Figures = Figures()
    protocol: str = ""
    rests_on: str = ""
    recipe: dict[str, Any] = {}
    ours: Ours | str

    @property
    def key(self) -> tuple[str, float | None]:
        """What stays the same of a row when its protocol is put into other words, or into a better recipe."""
        return self.file, self.published.top1

    @property
    def result(self) -> Ours | None:
        """What was measured, if it was."""
        return self.ours if isinstance(self.ours, Ours) else None

    @property
    def state(self) -> str:
        """measured, partial, or "not run: …" with the reason."""
        return self.ours if isinstance(self.ours, str) else self.ours.state


def read_book(path: str | Path) -> list[Entry]:
    """The rows of a ledger. Raises ParamsError that names the file, the row and the field that is wrong."""
    content = load_yaml(path)
    rows = content.get("figures")
    if set(content) != {"figures"} or not isinstance(rows, list) or not all(isinstance(each, dict) for each in rows):
        raise ParamsError(f"{path}: no ledger: expected `figures`, a list of rows; `{UPDATE}` writes one")
    entries: dict[tuple, Entry] = {}
    for number, row in enumerate(rows, 1):
        where = f"{path}: row {number} ({row.get('file', 'without a file')})"
        entry = Entry.build(row, where)
        if entry.key in entries:
            raise ParamsError(f"{where}: stands there twice, for the figure {entry.published.top1}; leave one of them")
        entries[entry.key] = entry
    return list(entries.values())


def change_book(path: str | Path, change: Callable[[list[Entry]], Sequence[Entry]]) -> list[Entry]:
    """Read the ledger (none: no rows), let `change` make new rows of its rows, write and return them. Nobody else
    writes it meanwhile: two commands at once lose no row. The comments at its top stay.

    Raises ParamsError for a ledger that cannot be read, which then stays as it is, `locks.Locked`, and OSError.
    """
    path = Path(path)
    with locks.take(path.resolve().parent, WAIT_S, ends=False) as lock:
        there = path.exists()
        text = read_text(path) if there else ""
        entries = list(change(read_book(path) if there else []))
        written = (_head(text) or HEADER) + _in_words(entries)
        lock.check()
        if written != text:
            write_text(path, written)
    return entries


def _head(text: str) -> str:
    """The comment lines that a file begins with."""
    return re.match(r"(?:#.*\n|\s*\n)*", text)[0].rstrip("\n") + "\n" if text.startswith("#") else ""


def _in_words(entries: Sequence[Entry]) -> str:
    """The rows as YAML: a line a value, a blank line between two rows."""
    return "figures:\n" + "\n".join(map(_row, entries)) if entries else "figures: []\n"


def _row(entry: Entry) -> str:
    values = {name: each for name, each in entry.model_dump(exclude_none=True).items() if each not in ("", {})}
    lines = []
    for name, value in values.items():
        if name in ("published", "recipe"):
            lines.append(f"{name}: {dump_yaml(value, default_flow_style=True, width=_WIDE).strip()}")
        else:
            lines += dump_yaml({name: value}, width=_WIDE).splitlines()
    return "\n".join(("- " if number == 0 else "  ") + line for number, line in enumerate(lines)) + "\n"
