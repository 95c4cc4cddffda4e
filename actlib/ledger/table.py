"""The ledger as a table, for notebook 06: to look at, to filter, to plot."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from actlib.ledger.book import UPDATE, Entry, read_book
from actlib.messages import did_you_mean
from actlib.params import ParamsError

COLUMNS = (
    "file", "network", "dataset", "clip", "gmacs", "top1", "top5", "protocol", "rests_on", "ours_top1", "ours_top5",
    "difference", "videos", "state", "date", "views",
)  # fmt: skip
# What is shown of it, with the heads.
SHOWN = {
    "dataset": "data set", "network": "network", "file": "weights", "clip": "clip", "gmacs": "GMACs",
    "top1": "published top-1, %", "ours_top1": "ours, %", "difference": "difference", "videos": "videos",
    "state": "state", "date": "date", "protocol": "protocol",
}  # fmt: skip
_ONE_VIEW = ("clip", "begin")


def read_ledger(path: str | Path) -> pd.DataFrame:
    """The ledger's rows with COLUMNS: accuracies in percent, `difference` in points, `gmacs` 10⁹ MACs of one view, what
    is not known missing. state: measured, partial, or "not run: …". views: whether the recipe shows several of them.

    Raises ParamsError for a file that is not there, or is no ledger.
    """
    if not Path(path).is_file():
        raise ParamsError(f"ledger: {str(path)!r}: no such file; `{UPDATE} --ledger {path}` writes one")
    return ledger_table(read_book(path))


def ledger_table(entries: Sequence[Entry]) -> pd.DataFrame:
    """The same of rows that are read."""
    table = pd.DataFrame([_row(each) for each in entries], columns=list(COLUMNS))
    numbers = ["gmacs", "top1", "top5", "ours_top1", "ours_top5", "difference"]
    return table.astype(dict.fromkeys(numbers, float))


def _row(entry: Entry) -> tuple:
    ours, one = entry.result, entry.recipe.get("protocol", "") in _ONE_VIEW or entry.protocol.startswith("clip")
    measured = (ours.top1, ours.top5, ours.difference, ours.videos) if ours else (None, None, None, "")
    published = (entry.published.top1, entry.published.top5, entry.protocol, entry.rests_on)
    facts = (entry.file, entry.network, entry.data, entry.clip, entry.gmacs)
    return *facts, *published, *measured, entry.state, ours.date if ours else "", not one


def rows_on(ledger: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """The rows of one data set, whatever its name's case. Raises ParamsError that lists those there are."""
    chosen = ledger[ledger["dataset"].str.casefold() == dataset.casefold()].reset_index(drop=True)
    if chosen.empty:
        there = ledger["dataset"].drop_duplicates().tolist()
        hint = did_you_mean(dataset, there) or f"; there are {', '.join(there) or 'none'}"
        raise ParamsError(f"ledger_dataset: {dataset!r}: no published figure of it in the ledger{hint}")
    return chosen


def for_reading(rows: pd.DataFrame) -> pd.DataFrame:
    """The columns SHOWN as texts, by their heads: accuracies with the digits that were published."""
    exact = {name: "{:.2f}" for name in ("top1", "ours_top1")} | {"difference": "{:+.2f}", "gmacs": "{:.3g}"}
    texts = {
        name: [("" if pd.isna(each) else exact.get(name, "{}").format(each)) for each in rows[name]] for name in SHOWN
    }
    return pd.DataFrame(texts).rename(columns=SHOWN)
