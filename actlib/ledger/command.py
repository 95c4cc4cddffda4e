"""`python -m actlib ledger show|update|run`."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatch

from actlib.files import project_root
from actlib.ledger.book import UPDATE, Entry, change_book, read_book
from actlib.messages import cut, did_you_mean
from actlib.params import ParamsError
from actlib.params.yaml_files import parse_yaml


def run(name: str, options: argparse.Namespace) -> int:
    """Run one of the commands; returns the exit code: 0 good, 1 where a run failed. Raises ParamsError."""
    return {"show": _show, "update": _update, "run": _run}[name](options)


def _show(options: argparse.Namespace) -> int:
    path = project_root() / options.ledger
    if not path.is_file():
        raise ParamsError(f"{options.ledger}: no such ledger; `{UPDATE}` writes it")
    entries = read_book(path)
    chosen = _chosen(options.names, entries, lambda each: (each.file, each.data, each.network))
    print(*(_in_words(each) for each in chosen), sep="\n")
    _count(options.ledger, chosen)
    return 0


def _update(options: argparse.Namespace) -> int:
    _, entries = _bring_up_to_date(options)
    _count(options.ledger, entries)
    return 0


def _run(options: argparse.Namespace) -> int:
    from actlib.ledger import reproduce

    root, more = project_root(), _settings(options.set)
    figures, entries = _bring_up_to_date(options)  # so that a ledger that cannot be read or written is found now
    chosen = _chosen(options.names, figures, lambda each: (each.row.file, each.row.dataset, each.row.spec))
    wanted = [each for each in chosen if not each.why_not and (each.weights or options.fetch)]
    measured = {each.key for each in entries if each.state == "measured"}
    measured |= {each.key for each in wanted if reproduce.is_measured(each, options.run_dir, root)}
    new = [each for each in wanted if options.force or each.key not in measured]
    print(f"{len(chosen):,} figures: {len(wanted):,} can be measured with what is here, {len(new):,} are to be run")
    for each in new:
        if not each.row.classes:
            print(f"{each.row.file} names no classes: those of {each.table.path} are taken in their order")
    new, failed = _with_weights(new)
    outcomes = []
    try:
        if new:
            how = {"more": more, "workers": options.workers, "force": options.force}
            outcomes = reproduce.measure(new, options.run_dir, root, **how)
    finally:  # what has run has run, also where the others were interrupted
        entries = _bring_up_to_date(options, failed)[1]
        keys = {each.key for each in wanted}
        print(*(_in_words(each) for each in entries if each.key in keys), sep="\n")
        _count(options.ledger, entries)
    return int(bool(failed) or any(each.state == "failed" for each in outcomes))


def _bring_up_to_date(options: argparse.Namespace, failed: dict | None = None) -> tuple[list, list[Entry]]:
    """(figures, rows): what is published and what of it is here, and the ledger as it is now written."""
    from actlib.ledger.data import TABLES, find_tables
    from actlib.ledger.figures import count_gmacs, make_entries, published_figures
    from actlib.ledger.reproduce import read_result

    root = project_root()
    tables, problems = find_tables(options.tables or TABLES, root)
    print(*problems, sep="\n", end="\n" if problems else "", file=sys.stderr)
    figures = published_figures(tables)
    found = {each.key: read_result(each, options.run_dir, root) for each in figures} | (failed or {})
    path = root / options.ledger
    gmacs = count_gmacs(figures, read_book(path) if path.exists() else [])
    return figures, change_book(path, lambda before: make_entries(figures, before, found, gmacs))


def _with_weights(figures: list) -> tuple[list, dict[tuple, str]]:
    """The figures, with weights that were not here fetched; by key why those of others did not come."""
    from actlib.models import WeightsError
    from actlib.models.weights.fetch import fetch_weights

    ready, failed = [], {}
    for each in figures:
        try:
            ready.append(each if each.weights else replace(each, weights=str(fetch_weights(each.row.file))))
        except WeightsError as error:
            print(error, file=sys.stderr)
            failed[each.key] = f"failed: {cut(str(error), 150)}"
    return ready, failed


def _settings(given: Sequence[str]) -> dict:
    """The parameters of `--set NAME=VALUE`. Raises ParamsError for one that would measure something else."""
    from actlib.ledger.reproduce import FREE

    free, found = sorted(FREE - {"run_dir", "checkpoint", "table"}), {}
    for each in given:
        name, sign, value = each.partition("=")
        if name not in free or not sign:
            hint = did_you_mean(name, free) or f"; there are {', '.join(free)}"
            raise ParamsError(f"--set {each}: NAME=VALUE with one of what changes no figure{hint}")
        found |= parse_yaml(f"{name}: {value}")
    return found


def _chosen(names: Sequence[str], rows: Sequence, texts) -> list:
    """The rows of which one of the texts fits one of the patterns, whatever the case. Raises ParamsError for none."""
    if not names:
        return list(rows)
    kept = [row for row in rows if any(fnmatch(text.lower(), name.lower()) for text in texts(row) for name in names)]
    if not kept:
        hint = did_you_mean(names[0], {text for row in rows for text in texts(row)})
        raise ParamsError(f"{', '.join(names)}: no file, data set or network of the ledger{hint}")
    return kept


def _in_words(entry: Entry) -> str:
    """A row in one line, or two: a number never comes without its videos."""
    top1 = entry.published.top1
    published = "no published figure" if top1 is None else f"published top-1 {top1:g} ({entry.protocol})"
    words = entry.state
    if ours := entry.result:
        state = "" if ours.state == "measured" else ", partial"
        words = f"ours {ours.top1:g} ({ours.difference:+g}), {ours.videos} videos{state}, {ours.date}"
    return f"{entry.file}: {published}\n    {words}"


def _count(ledger: str, entries: Sequence[Entry]) -> None:
    states = Counter(each.state.split(": failed")[0] for each in entries)
    told = "; ".join(f"{count:,} {state}" for state, count in states.most_common())
    print(f"{ledger}: {len(entries):,} rows: {told}")
