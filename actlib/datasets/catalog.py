"""What is known beforehand of every data set: its classes, its published size, its files, and what a mirror does to it.

The facts stand in `catalog.yaml`; `lists/annotations.py` reads the lists themselves. This module imports nothing heavy,
so that the parameters of a notebook can be checked in no time.
"""

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from actlib.datasets.same_class import loose_name, plain_name
from actlib.messages import near_names, shown


@dataclass(frozen=True)
class Sampling:
    """How the reference codebases take a training clip: `kind` is a rule of `clips.sampling.training_window`;
    `num_frames` frames, every `frame_stride`-th."""

    kind: str
    num_frames: int
    frame_stride: int


@dataclass(frozen=True)
class Dataset:
    """One data set. `format` names the reader of its lists (`lists/annotations.py`); `published` its videos by subset,
    of the first split where there are several (None: nobody says), `published_by_split` those of the other splits;
    `unit` what a row of its table is, videos or segments; `mirrored_pairs`: the classes that a horizontal flip
    exchanges; `files`: the lists as they are published; `layouts`: where below data_root the videos usually lie (any
    other place is found too); `parent`: the data set whose lists a mini set takes its videos from."""

    name: str
    title: str
    num_classes: int
    format: str
    published: dict[str, int | None]
    sampling: Sampling
    files: tuple[str, ...]
    layouts: tuple[str, ...]
    splits: int = 1
    unit: str = "videos"
    mirrored_pairs: tuple[tuple[str, str], ...] = ()
    parent: str = ""
    published_by_split: dict[int, dict[str, int | None]] = field(default_factory=dict)

    __pydantic_config__ = {"extra": "forbid"}  # a misspelled field of the file is an error

    @property
    def needs_class_list(self) -> bool:
        """Whether the user has to name the file of the classes (the mini sets)."""
        return bool(self.parent)

    @property
    def file_names(self) -> list[str]:
        """The names of the published lists, in small letters."""
        return re.findall(r"[\w.-]+\.(?:csv|txt|json)", " ".join(self.files).lower())

    @property
    def flip_changes_label(self) -> bool:
        """Whether a mirrored video may show another class."""
        return bool(self.mirrored_pairs)

    def published_in(self, split: int) -> dict[str, int | None]:
        """Videos by subset in split number `split`."""
        return dict(self.published_by_split.get(split, self.published))


@cache
def _datasets() -> dict[str, Dataset]:
    """The data sets by name, in the order of the file."""
    import yaml
    from pydantic import TypeAdapter

    entries = yaml.safe_load(Path(__file__).with_name("catalog.yaml").read_text(encoding="utf-8"))
    named = {name: {"name": name, **entry} for name, entry in entries.items()}
    return TypeAdapter(dict[str, Dataset]).validate_python(named)


def list_datasets() -> list[str]:
    """The names of all data sets."""
    return list(_datasets())


def find_dataset(name: str) -> Dataset:
    """The data set called `name`. Raises ValueError with the nearest name, or all of them."""
    known = _datasets()
    if name in known:
        return known[name]
    plain = {re.sub(r"[^a-z0-9]", "", each): each for each in known}
    near = near_names(re.sub(r"[^a-z0-9]", "", name.lower()), plain, 1)
    hint = f"did you mean {plain[near[0]]!r}? All: " if near else "known are "
    raise ValueError(f"no data set {shown(name)}; {hint}{', '.join(known)}")


_MIRROR = (("counterclockwise", "clockwise"), ("left", "right"))
_BACKWARDS = (
    *_MIRROR, ("up", "down"), ("in", "out"), ("forward", "backward"), ("grow", "shrink"), ("opening", "closing"),
)  # fmt: skip


def mirrored_name(name: str) -> str:
    """What a mirrored video of class `name` shows: the name with left and right, clockwise and counterclockwise
    exchanged wherever they are words of their own; the name itself if it has none of them."""
    return _exchange(name, _MIRROR)


def _exchange(name: str, pairs: tuple[tuple[str, str], ...]) -> str:
    """`name` with the words of each pair exchanged, where they are words of their own, in its case and spelling."""
    twins = dict(pairs) | {other: one for one, other in pairs}
    lower, upper = "|".join(twins), "|".join(map(str.capitalize, twins))
    lower = lower.replace("counter", "counter[-_ ]?")
    upper = upper.replace("Counterclockwise", "Counter[-_ ]?[Cc]lockwise")

    def twin(match: re.Match) -> str:
        word = match.group(0)
        other = twins[re.sub("[-_ ]", "", word.lower())]
        return other.capitalize() if word[0].isupper() else other

    return re.sub(rf"(?:(?<![A-Za-z])(?:{lower})|{upper})(?![a-z])", twin, name)


def mirrored_names(classes: list[str], pairs: tuple[tuple[str, str], ...] = ()) -> dict[str, str]:
    """The class that a mirrored video of a class shows, where that is another one.

    Guessed from the words in the names where both twins are in `classes`; and known from the `pairs` of a catalogue
    entry also where one of them is not: the mini sets keep `Turning the camera right …` without its left one, and a
    mirrored video of that has no label. (Guessing there would go wrong: `pulling it right out` has no twin.)
    """
    found = _twins(classes, _MIRROR)
    spelled = {loose_name(name): name for name in classes}
    for one, other in (*pairs, *((other, one) for one, other in pairs)):
        name = spelled.get(loose_name(one))
        if name is not None:
            underscores = "_" in name and " " not in name
            found[name] = spelled.get(loose_name(other), other.replace(" ", "_") if underscores else other)
    return found


def backwards_names(classes: list[str]) -> dict[str, str]:
    """The class that a video of a class shows when it is played backwards, where that is another one: guessed from the
    words in the names (left and right, up and down, opening and closing, …) where both are in `classes`."""
    return _twins(classes, _BACKWARDS)


def _twins(classes: list[str], pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """By class that of its name with the words of `pairs` exchanged, where that is another one."""
    spelled = {plain_name(name): name for name in classes} | {name: name for name in classes}
    others = {name: other for name in classes if (other := _exchange(name, pairs)) != name}
    twins = {name: spelled.get(other) or spelled.get(plain_name(other), name) for name, other in others.items()}
    return {name: twin for name, twin in twins.items() if twin != name}
