"""Lists of class numbers, `path start end label` a line, as the reference codebases keep them.

Separated by spaces or semicolons, and told apart by how many numbers follow the path:

- `path start end label …` (IBM/action-recognition-pytorch): frames numbered from 1, or from 0 where `first_frame` says
  so or a line begins at 0; `end` included; a video may have several labels, of which a table holds the first
- `path num_frames label` (mit-han-lab/temporal-shift-module) · `path label` · `path start end` and `path` (test lists)
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from actlib.datasets.errors import DataError
from actlib.datasets.lists.class_lists import read_class_names
from actlib.datasets.lists.source import (  # fmt: skip
    ListedVideo,
    Listing,
    Source,
    check_path,
    drop_suffix,
    frame,
    label_problem,
    whole,
    with_unique_ids,
)
from actlib.datasets.same_class import ClassNames
from actlib.messages import shown

_CLASS_FILES = r".*(label|labels|label_map|category|categories|classind|classes|class_list)\.(txt|csv|json)"
_MOST_CLASSES = 100_000  # without names
_NUMBER = r"\d{1,9}(?:\.0*)?"  # some writers keep labels as 5.0


def read_index_lists(source: Source, lists: dict[str, Path]) -> Listing:
    """The videos of lists of class numbers (see above), and the classes: of the class list that the user named or that
    lies with the lists, else called by their numbers.

    A label that is no number must be one of these classes, or, without a class list, is one.
    """
    file = Path(source.class_list) if source.class_list else next(iter(source.files(_CLASS_FILES)), None)
    classes = [name for _, name in read_class_names(source, file)] if file is not None else []
    read = [_List(source, path, subset) for subset, path in lists.items()]
    first_frame, why = _first_frame(source, read)
    parsed = [row for each in read for row in each.rows(first_frame)]
    if not classes:
        names = {label for labels, _ in parsed for label in labels}
        if all(re.fullmatch(r"[0-9]{1,9}", name) for name in names):
            last = max(map(int, names), default=-1)
            if last >= _MOST_CLASSES:
                raise DataError(f"{source.path}: class number {last:,} without a class list: is that column the class?")
            classes = [str(number) for number in range(1 + last)]
            source.notes.append(f"no class list beside {source.path.name}: the classes are called 0 to {last}")
        else:
            classes = sorted(names)
    known, by_number = ClassNames(classes, "" if file is None else file.name), dict(enumerate(classes))
    rows, where = [], file.name if file is not None else "the list"
    for labels, row in parsed:
        named = [known.find(label) or by_number.get(whole(label)) for label in labels]
        if None not in named:
            rows.append(row._replace(label=named[0] if named else ""))
            continue
        bad = labels[named.index(None)]
        what = f"class number {bad}: expected 0 to {len(classes) - 1}, by {where}"
        source.problem(row.file, row.line, what if bad.isdecimal() else label_problem(bad, classes, where))
    several = sum(len(labels) > 1 for labels, _ in parsed)
    if several:
        source.notes.append(f"{several:,} videos have several labels; the table holds the first of each")
    source.notes += [f"frames are numbered from {first_frame} in these lists: {why}"] if why else []
    return classes, with_unique_ids(frame(rows))


class _List:
    """The lines of one list. `usual`: how many numbers most of them have after the path, 3 standing for more."""

    def __init__(self, source: Source, path: Path, subset: str):
        self.source, self.path, self.subset = source, path, subset
        self.lines = [(line, *_split(text)) for line, text in source.read_lines(path)]
        usual = Counter(min(len(numbers), 3) for _, _, numbers, _ in self.lines).most_common(1)
        self.usual = usual[0][0] if usual else 0
        firsts = {numbers[0] for _, _, numbers, _ in self.lines if numbers}
        # Of a list without labels; another one with two numbers has the number of frames and the class.
        self._spans = self.usual == 2 and subset == "testing" and firsts in ({"0"}, {"1"})

    def has_span(self, label: str) -> bool:
        """Whether a line with such a label in words says which frames are meant."""
        return self.usual == 3 or self._spans or (self.usual == 2 and bool(label))

    def starts(self) -> Iterator[tuple[int, int]]:
        """(line, first frame) of every line that says it."""
        for line, _, numbers, label in self.lines:
            if min(len(numbers), 3) == self.usual and self.has_span(label):
                yield line, int(numbers[0])

    def rows(self, first_frame: int) -> Iterator[tuple[list[str], ListedVideo]]:
        """(labels, the video without a label) of every good line; frames are numbered from `first_frame`."""
        source, path, testing = self.source, self.path, self.subset == "testing"
        for line, name, numbers, label in self.lines:
            if min(len(numbers), 3) != self.usual or (not testing and not numbers and not label):
                text = f"{shown(name)} followed by {len(numbers)} numbers"
                source.problem(path, line, f"{text}; expected path start end label, as in the other lines")
                continue
            has_span = self.has_span(label)
            first, last = map(int, numbers[:2]) if has_span else (first_frame, None)
            if has_span and not first_frame <= first <= last:
                hint = "; for frames from 0 set first_frame: 0" if first == 0 else ""
                what = f"expected from {first_frame} on, the last one included{hint}"
                source.problem(path, line, f"frames {first} to {last}: {what}")
                continue
            labels = [label] if label else numbers[2:] if has_span else numbers[-1:]
            if hint := check_path(source, path, line, name):
                start, end = (first - first_frame, last - first_frame + 1) if has_span else (None, None)
                video_id = drop_suffix(PurePosixPath(hint).name)
                yield labels, ListedVideo(video_id, "", self.subset, path, line, hint, start, end)


def _first_frame(source: Source, lists: list[_List]) -> tuple[int, str]:
    """From which number the lists count frames: as the user says, else 0 where a line begins there, else 1; and why,
    empty where no line says which frames are meant."""
    starts = [(each.path, line, first) for each in lists for line, first in each.starts()]
    if not starts:
        return 1, ""
    zeros = [(path, line) for path, line, first in starts if first == 0]
    if source.first_frame != "auto":
        return int(source.first_frame), "as first_frame says"
    if not zeros:
        return 1, "no line begins at 0"
    path, line = zeros[0]
    return 0, f"{len(zeros):,} of {len(starts):,} lines begin there, {source.name(path)} line {line} first"


def _split(text: str) -> tuple[str, list[str], str]:
    """(path, the numbers after it, a label in words after these) of a line."""
    if ";" in text:
        name, *fields = (part.strip() for part in text.split(";"))
        label = fields.pop() if fields and not re.fullmatch(_NUMBER, fields[-1]) else ""
        numbers = fields if all(re.fullmatch(_NUMBER, each) for each in fields) else []
    else:  # a path may have spaces: the folders of Kinetics do
        name, numbers = re.fullmatch(rf"(.+?)((?:\s+{_NUMBER})*)", text).groups()
        label, numbers = "", numbers.split()
    return name, [each.partition(".")[0] for each in numbers], label
