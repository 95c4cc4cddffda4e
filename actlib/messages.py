"""Sentences that many errors share: the nearest names, long lists cut short, all problems of a file at once.

This module knows nobody else in the package; everybody may use it.
"""

import difflib
import reprlib
from collections.abc import Iterable, Sequence

PROBLEMS_SHOWN = 20
_short = reprlib.Repr()
_short.maxlevel, _short.maxlist, _short.maxtuple, _short.maxdict, _short.maxset = 3, 8, 8, 8, 8
_short.maxstring = _short.maxother = 120


def shown(value) -> str:
    """A value as Python writes it, cut where it is long or deep: no message is longer than a screen."""
    text = _short.repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def near_names(wrong: str, names: Iterable[str], count: int = 3, cutoff: float = 0.6) -> list[str]:
    """At most `count` of `names` that are like `wrong`, the most alike first."""
    return difflib.get_close_matches(wrong, list(names), n=count, cutoff=cutoff)


def did_you_mean(
    wrong: str, names: Iterable[str], count: int = 3, cutoff: float = 0.6, *, quote: bool = False
) -> str:
    """`; did you mean a or b?` with the nearest of `names`; empty where none is like it. `quote`: each as Python
    writes it."""
    near = [repr(each) if quote else each for each in near_names(wrong, names, count, cutoff)]
    return f"; did you mean {' or '.join(near)}?" if near else ""


def listed(names: Sequence, most: int = 8, quote: bool = False) -> str:
    """The first `most` of `names` in one line, and how many more there are. `quote`: each as Python writes it."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(repr(each) if quote else str(each) for each in names[:most]) + more


def kind_of(value) -> str:
    """What kind of value this is, for `expected …, found …`: nothing (None), a list, a dict, an int, …"""
    name = type(value).__name__
    return "nothing" if value is None else f"an {name}" if name[0] in "aeiou" else f"a {name}"


def problems_in_words(source, problems: Sequence[str]) -> str:
    """`source: n problems`, then a line each; of more than PROBLEMS_SHOWN the first ones."""
    lines = [f"{source}: {len(problems):,} problem{'s' if len(problems) > 1 else ''}"]
    lines += [f"  - {problem}" for problem in problems[:PROBLEMS_SHOWN]]
    more = len(problems) - PROBLEMS_SHOWN
    return "\n".join(lines + ([f"  … and {more:,} more"] if more > 0 else []))
