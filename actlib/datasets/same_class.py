"""Which names mean the same class: published lists, class folders and checkpoints spell them each their own way.

"Swiping Up" in a table is "Swiping_Up" in the class list of a network, and "HandstandPushups" is "HandStandPushups".
Wherever the classes of two lists are matched it is done here: an exact match wins, then names that differ in case,
blanks, underscores or hyphens alone. Where that leaves a choice it is an error, which names both.
"""

import re
from collections.abc import Iterable, Sequence

from actlib.datasets.errors import DataError
from actlib.messages import shown

_SEPARATORS = re.compile(r"(\d?)[\s_-]+(?=(\d?))")
_PLUS = re.compile(r"(?<=[^\W\d_])\+(?=[^\W\d_])")  # in Moments in Time: adult+female+singing


def plain_name(name: str) -> str:
    """A class's name for comparing: without case, blanks, underscores and hyphens. Numbers stay apart: `1_12` is not
    `11_2`. A name of such signs alone stays as it is."""
    joined = _SEPARATORS.sub(lambda match: match[1] + (" " if match[1] and match[2] else ""), name.casefold())
    return joined or name


def loose_name(name: str) -> str:
    """The same for folders and for lists that pick classes of other lists, also without the plus signs between words,
    brackets and stray punctuation at the end that published ones have (that of Mini-Kinetics ends in `yoga''.`)."""
    return plain_name(re.sub(r"[\[\]]", "", _PLUS.sub(" ", name)).strip(" '\".,;"))


def spelled_twice(names: Iterable[str]) -> list[tuple[str, str]]:
    """The pairs of different names that mean the same class, each with the one that stands first."""
    first: dict[str, str] = {}
    pairs = [(first.setdefault(plain_name(name), name), name) for name in dict.fromkeys(names)]
    return [(one, other) for one, other in pairs if one != other]


def same_classes(names: Sequence[str], others: Sequence[str]) -> bool:
    """Whether two lists name the same classes in the same order."""
    if list(names) == list(others) or len(names) != len(others):
        return list(names) == list(others)
    return all(plain_name(a) == plain_name(b) for a, b in zip(names, others)) and not spelled_twice(names)


def in_words(one: str, other: str, where: str = "") -> str:
    """That two names of one list mean the same class, for an error."""
    names = f"{shown(one)} and {shown(other)}" + (f" of {where}" if where else "")
    return f"{names} differ in case, blanks, underscores or hyphens alone, which is one class; write one of them"


class ClassNames:
    """The classes of one list, which is called `where` in errors, to be found whatever their spelling."""

    def __init__(self, names: Iterable[str], where: str = ""):
        self.where = where
        self._names = dict.fromkeys(names)
        self._plain: dict[str, list[str]] | None = None
        self._loose: dict[str, str] | None = None

    def find(self, name: str) -> str | None:
        """The class that `name` means, as this list spells it; None if it is none of them. Raises DataError where two
        could be meant."""
        if name in self._names:
            return name
        if self._plain is None:  # seldom needed, and of many names not made in no time
            self._plain = {}
            for each in self._names:
                self._plain.setdefault(plain_name(each), []).append(each)
        found = self._plain.get(plain_name(name), [])
        if len(found) > 1:
            raise DataError(f"class {shown(name)}: {in_words(*found[:2], self.where)}")
        return found[0] if found else None

    def find_loosely(self, name: str) -> str | None:
        """The same where folders, or lists that pick classes of this one, spell them: see `loose_name`."""
        if (found := self.find(name)) is not None:
            return found
        if self._loose is None:
            self._loose = {loose_name(each): each for each in self._names}
        return self._loose.get(loose_name(name))


def respelled(names: Sequence[str], wanted: Iterable[str], where: str = "", wanted_where: str = "") -> list[str]:
    """`names` in their order, each that means the same class as one of `wanted` in the spelling of that one.

    `where` and `wanted_where` say in errors whose they are. Raises DataError where two names of one side mean the same
    class, and not both have their exact match.
    """
    wanted = dict.fromkeys(wanted)
    known, renamed = ClassNames(names, where), {}
    for name in wanted:
        found = known.find(name)
        if found is None or found == name:
            continue
        if other := found if found in wanted else renamed.get(found):
            raise DataError(in_words(other, name, wanted_where))
        renamed[found] = name
    return [renamed.get(name, name) for name in names]
