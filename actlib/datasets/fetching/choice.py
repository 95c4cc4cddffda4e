"""Which of a data set's videos are kept, and where each of them goes, by what its lists say."""

import os
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pandas as pd

from actlib.datasets.catalog import find_dataset
from actlib.datasets.errors import DataError, raise_problems
from actlib.datasets.lists.annotations import find_videos, read_annotations
from actlib.datasets.lists.class_lists import read_class_names
from actlib.datasets.lists.source import Source, drop_suffix
from actlib.datasets.same_class import ClassNames, loose_name
from actlib.messages import did_you_mean, shown

UNLABELLED = "test"  # the folder of videos whose class is withheld
_YOUTUBE_ID = 11  # characters


class Choice:
    """The videos of `subsets` (all there are by default: training and validation) and `classes` (names; () are all),
    at most `limit` of each class in each subset: the first ones that come. Of a data set with several splits all
    videos that one of them lists are kept; with a `limit` those of the first.

    `kept` are the places of those that are on the disk. Raises DataError for classes that the lists do not have, and
    for lists that cannot be read.
    """

    def __init__(self, name: str, lists: Path, subsets: tuple[str, ...], classes: list[str], limit: int | None):
        known = find_dataset(name)
        splits = range(1, known.splits + 1 if limit is None else 2)
        found = self._annotations = [read_annotations(name, lists, split=split) for split in splits]
        self._known = ClassNames(found[0].classes, str(lists))
        self.classes = _named(classes, found[0].classes, self._known)
        self.subsets, self.limit = subsets, limit
        rows = pd.concat([each.videos for each in found], ignore_index=True)
        rows = rows[rows["subset"].isin(subsets)].drop_duplicates(["video_id", "hint"])
        self.listed = Counter(rows["label"])
        if self.classes:
            rows = rows[rows["label"].isin(self.classes)]
        if rows.empty:
            raise DataError(f"{lists}: the lists name no video of {', '.join(subsets)}")
        self._by_name: dict[str, list[str]] = {}
        self._groups: dict[str, tuple[str, str]] = {}
        self._by_id: dict[str, str] = {}
        for video_id, hint, label, subset in zip(*(rows[key] for key in ("video_id", "hint", "label", "subset"))):
            stem = drop_suffix(PurePosixPath(hint or video_id).name)
            folder = _as_folder(label) if label else UNLABELLED
            place = f"{folder}/{stem}"
            self._groups[place] = (label, subset)
            self._by_id[video_id] = place
            self._by_name.setdefault(stem.casefold(), []).append(place)
            if len(stem) == _YOUTUBE_ID + 14:  # and the seconds, six digits each
                self._by_name.setdefault(stem[:_YOUTUBE_ID].casefold(), []).append(place)
        self.chosen = Counter(self._groups.values())
        self.kept: set[str] = set()
        self._count: Counter = Counter()

    def place_of(self, member: PurePosixPath) -> str:
        """Where a video of that path in an archive goes, below the folder of the videos; "" if it is not chosen."""
        stem, folder = drop_suffix(member.name), loose_name(member.parent.name)
        places = self._by_name.get(stem.casefold(), [])
        if len(places) > 1:  # one name in several classes, or in other capitals
            places = [each for each in places if each.rpartition("/")[2] == stem] or places
        if len(places) > 1:
            places = [each for each in places if loose_name(each.partition("/")[0]) == folder]
        return f"{places[0]}{member.suffix}" if places else ""

    def has(self, path: str) -> bool:
        """Whether the video at `path` is there."""
        return drop_suffix(path) in self.kept

    def wants(self, path: str) -> bool:
        """Whether the video that goes to `path` is still to be kept."""
        full = self.limit is not None and self._count[self._groups[drop_suffix(path)]] >= self.limit
        return not full and not self.has(path)

    def keep(self, path: str) -> None:
        """Note that the video at `path` is there."""
        if (place := drop_suffix(path)) not in self.kept:
            self.kept.add(place)
            self._count[self._groups[place]] += 1

    def keep_what_is_in(self, folder: Path) -> None:
        """Note what lies below `folder` already, wherever and in whatever form notebook 01 finds it."""
        for each in self._annotations:
            with suppress(DataError):  # there is nothing
                for video_id in find_videos(replace(each), folder)[0]["video_id"]:
                    if video_id in self._by_id:
                        self.keep(self._by_id[video_id])
        for file in (folder / UNLABELLED).glob("[!.]*"):  # the notebook does not ask for these
            if f"{UNLABELLED}/{drop_suffix(file.name)}" in self._groups:
                self.keep(f"{UNLABELLED}/{file.name}")

    @property
    def is_complete(self) -> bool:
        """Whether nothing more is wanted."""
        return all(self._count[group] >= min(number, self._most) for group, number in self.chosen.items())

    @property
    def _most(self) -> float:
        return float("inf") if self.limit is None else self.limit

    @property
    def wanted(self) -> int:
        """How many videos are to be kept in all."""
        return int(sum(min(number, self._most) for number in self.chosen.values()))

    def leaves_out(self, stem: str) -> bool:
        """Whether an archive is called after a class that is not wanted, or has all that is wanted of it."""
        label = self._class_of(stem)
        if not label:
            return False
        groups = [group for group in self.chosen if group[0] == label]
        return all(self._count[group] >= min(self.chosen[group], self._most) for group in groups)

    def listed_in(self, stems: list[str]) -> int:
        """How many listed videos of the chosen subsets archives of these names hold, at least 1."""
        labels = {self._class_of(stem) for stem in stems}
        return max(1, sum(self.listed.values() if "" in labels else (self.listed[label] for label in labels)))

    def _class_of(self, stem: str) -> str:
        return self._known.find_loosely(stem) or ""

    def as_entry(self) -> dict:
        """What the journal says of an archive that was gone through for this choice."""
        return {"subsets": sorted(self.subsets), "classes": sorted(self.classes), "limit": self.limit}

    def covered_by(self, entry: dict) -> bool:
        """Whether an archive that was gone through for the choice of a journal's `entry` has nothing more for this one:
        that choice was as wide, and what was kept then is there."""
        subsets, classes, limit = entry.get("subsets"), entry.get("classes"), entry.get("limit")
        if not isinstance(subsets, list) or not isinstance(classes, list) or not set(self.subsets) <= set(subsets):
            return False
        if classes and not (self.classes and set(self.classes) <= set(classes)):
            return False
        if limit is not None and (self.limit is None or self.limit > limit):
            return False
        return all(self.has(path) for path in entry.get("videos", []) if drop_suffix(path) in self._groups)


def _as_folder(label: str) -> str:
    return label.replace("/", "_").replace("\0", "_").strip(".") or "_"


def _named(wanted: list[str], classes: list[str], known: ClassNames) -> list[str]:
    """`wanted` as the lists spell them, in the lists' order. Raises DataError for those that they do not have."""
    found = {name: known.find_loosely(name) for name in wanted}
    unknown = [name for name, each in found.items() if each is None]
    problems = [f"{shown(name)}: none of the {len(classes)} classes{did_you_mean(name, classes)}" for name in unknown]
    raise_problems("classes", problems)
    return [name for name in classes if name in found.values()]


def read_classes(given: list[str]) -> list[str]:
    """The classes that a person names: names themselves, or a file of names, one a line."""
    names = []
    for each in given:
        if os.path.isfile(each):
            source = Source(Path(each))
            names += [name for _, name in read_class_names(source, source.path)]
            raise_problems(each, source.problems)
        else:
            names.append(each)
    return names
