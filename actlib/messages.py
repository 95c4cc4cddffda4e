"""Sentences that many errors share: the nearest names, long lists cut short, all problems of a file at once.

This module knows nobody else in the package; everybody may use it.
"""

import difflib
import os
import reprlib
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

PROBLEMS_SHOWN = 20
_LINE, _NAME, _SCREEN = 400, 120, 3_600  # characters of a problem, of a name in a list, and of all problems together
_NAMES_SEARCHED = 5_000  # for one that is like a wrong one: a longer list would take seconds
Problem = str | Callable[[], str]  # what takes long to say is worked out only where it is shown
_short = reprlib.Repr()
_short.maxlevel, _short.maxlist, _short.maxtuple, _short.maxdict, _short.maxset = 3, 8, 8, 8, 8
_short.maxstring = _short.maxother = 120


def shorter(text: str, most: int = 1000) -> str:
    """`text`, of a long one the beginning."""
    return text if len(text) <= most else f"{text[:most]}…"


def shown(value) -> str:
    """A value as Python writes it, cut where it is long or deep: no message is longer than a screen."""
    text = _short.repr(value)
    return shorter(text, 200)


def printable(text: str) -> str:
    """`text` as any file and screen takes it. A file's name need not be UTF-8: those that aren't come as `\\xe9`."""
    if text.isascii():
        return text
    try:
        return os.fsencode(text).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can write and no file's name has
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def is_utf8(text: str) -> bool:
    """Whether `text` can be written as UTF-8, which a file's name need not be."""
    return text.isascii() or not any("\ud800" <= each <= "\udfff" for each in text)


def cut(text: str, most: int = _LINE) -> str:
    """`text` in one line of about `most` characters, as any screen takes it."""
    return printable(shorter(text, most)).replace("\r", "\\r").replace("\n", "\\n")


def near_names(wrong: str, names: Iterable[str], count: int = 3, cutoff: float = 0.6) -> list[str]:
    """At most `count` of `names` that are like `wrong`, the most alike first; of very many the first are looked at."""
    if len(wrong) > _NAME:
        return []
    return difflib.get_close_matches(wrong, list(islice(names, _NAMES_SEARCHED)), n=count, cutoff=cutoff)


def did_you_mean(wrong: str, names: Iterable[str], count: int = 3, cutoff: float = 0.6, *, quote: bool = False) -> str:
    """`; did you mean a or b?` with the nearest of `names`; empty where none is like it. `quote`: each as Python
    writes it."""
    near = [shown(each) if quote else cut(each, _NAME) for each in near_names(wrong, names, count, cutoff)]
    return f"; did you mean {' or '.join(near)}?" if near else ""


def listed(names: Sequence, most: int = 8, quote: bool = False) -> str:
    """The first `most` of `names` in one line, and how many more there are. `quote`: each as Python writes it."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(shown(each) if quote else cut(str(each), _NAME) for each in names[:most]) + more


def kind_of(value) -> str:
    """What kind of value this is, for `expected …, found …`: nothing (None), a list, a dict, an int, …"""
    name = type(value).__name__
    return "nothing" if value is None else f"an {name}" if name[0] in "aeiou" else f"a {name}"


def misfit(where: str, expected: str, value) -> str:
    """`where: expected …, found …`, for a value of another kind or with something else in it."""
    kind = "" if isinstance(value, str | int | float) else kind_of(value)
    found = kind if value is None else f"{kind}: {shown(value)}" if kind else shown(value)
    return f"{where}: expected {expected}, found {found}"


def problems_in_words(source, problems: Sequence[Problem]) -> str:
    """`source: n problems`, then a line each; of more than PROBLEMS_SHOWN the first ones."""
    lines = [f"{source}: {len(problems):,} problem{'s' if len(problems) > 1 else ''}"]
    most = min(_LINE, _SCREEN // max(1, len(problems[:PROBLEMS_SHOWN])))
    lines += [f"  - {cut(each if isinstance(each, str) else each(), most)}" for each in problems[:PROBLEMS_SHOWN]]
    more = len(problems) - PROBLEMS_SHOWN
    return "\n".join(lines + ([f"  … and {more:,} more"] if more > 0 else []))
