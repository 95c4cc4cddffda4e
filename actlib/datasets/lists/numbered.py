"""Lists of class numbers, `path start end label` a line, as the reference codebases keep them; and class list files.

Separated by spaces or semicolons, and told apart by how many numbers follow the path:

- `path start end label …` (IBM/action-recognition-pytorch): frames numbered from 1, `end` included; a video may have
  several labels, of which a table holds the first
- `path num_frames label` (mit-han-lab/temporal-shift-module) · `path label` · `path start end` and `path` (test lists)
"""

import json
import re
from collections import Counter
from pathlib import Path, PurePosixPath

import pandas as pd

from actlib.datasets.errors import DataError
from actlib.datasets.lists.source import (  # fmt: skip
    Source,
    check_path,
    drop_suffix,
    frame,
    label_problem,
    read_lines,
    read_text,
    whole,
    with_unique_ids,
)

_CLASS_FILES = r".*(label|labels|label_map|category|categories|classind|classes|class_list)\.(txt|csv|json)"
_NUMBER = re.compile(r"(\d{1,9})(?:\.0*)?")  # some writers keep labels as 5.0


def read_class_names(source: Source, path: Path) -> list[tuple[int, str]]:
    """(line, class) of a class list, in the order of the classes: a class a line, bare or numbered
    (`1 Name`, `Name,0`), or a JSON of class: index. Blank lines do not count; a doubled class is a problem."""
    if path.suffix.lower() == ".json":
        try:
            data = json.loads(read_text(source, path))
        except json.JSONDecodeError as error:
            raise DataError(f"{path} line {error.lineno}: not JSON ({error.msg})") from None
        names = sorted(data, key=lambda name: int(data[name])) if isinstance(data, dict) else list(map(str, data))
        return list(enumerate(names, start=1))
    lines = read_lines(source, path)
    for pattern in (r"(?P<number>\d+)[\s,;]+(?P<name>.+)", r"(?P<name>.+?)\s*[,;]\s*(?P<number>\d+)"):
        matches = [re.fullmatch(pattern, text) for _, text in lines]
        if all(matches) and len({int(match["number"]) for match in matches}) == len(lines):
            numbered = sorted((int(match["number"]), line, match["name"]) for match, (line, _) in zip(matches, lines))
            if [number for number, *_ in numbered] == list(range(numbered[0][0], numbered[0][0] + len(lines))):
                lines = [(line, name) for _, line, name in numbered]
                break
    seen: dict[str, int] = {}
    for line, name in lines:
        if name in seen:
            source.problem(path, line, f"class {name!r} stands already in line {seen[name]}")
        seen.setdefault(name, line)
    return [(line, name) for name, line in seen.items()]


def read_index_lists(source: Source, lists: dict[str, Path]) -> tuple[list[str], pd.DataFrame]:
    """The videos of lists of class numbers (see above), and the classes: of the class list that the user named or that
    lies with the lists, else called by their numbers.

    A label that is no number must be one of these classes, or, without a class list, is one.
    """
    file = Path(source.class_list) if source.class_list else next(iter(source.files(_CLASS_FILES)), None)
    classes = [name for _, name in read_class_names(source, file)] if file is not None else []
    parsed = [row for subset, path in lists.items() for row in _rows(source, path, subset)]
    if not classes:
        names = {label for _, labels, *_ in parsed for label in labels}
        if all(name.isdigit() for name in names):
            classes = [str(number) for number in range(1 + max(map(int, names), default=-1))]
            last = len(classes) - 1
            source.notes.append(f"no class list beside {source.path.name}: the classes are called 0 to {last}")
        else:
            classes = sorted(names)
    known, rows, several = set(classes), [], 0
    for hint, labels, subset, start, end, path, line in parsed:
        found = [_class_of(label, classes, known) for label in labels]
        if None in found:
            bad, where = labels[found.index(None)], file.name if file is not None else "the list"
            numbered = f"class number {bad}: expected 0 to {len(classes) - 1}, by {where}"
            source.problem(path, line, numbered if bad.isdigit() else label_problem(bad, classes, where))
            continue
        several += len(found) > 1
        name = drop_suffix(PurePosixPath(hint).name)
        rows.append((name, found[0] if found else "", subset, hint, start, end, path, line))
    if several:
        source.notes.append(f"{several:,} videos have several labels; the table holds the first of each")
    columns = ("video_id", "label", "subset", "hint", "start", "end", "file", "line")
    return classes, with_unique_ids(frame(rows, columns))


def _class_of(label: str, classes: list[str], known: set[str]) -> str | None:
    if (number := whole(label)) is not None and label not in known:
        return classes[number] if number < len(classes) else None
    return label if label in known else None


def _rows(source: Source, path: Path, subset: str):
    """(path, labels, subset, start, end, file, line) of every good line of one list."""
    lines = [(line, *_split(text)) for line, text in read_lines(source, path)]
    usual = Counter(min(len(numbers), 3) for _, _, numbers, _ in lines).most_common(1)
    usual = usual[0][0] if usual else 0
    testing = subset == "testing"
    spans = usual == 2 and testing and all(numbers[:1] == ["1"] for _, _, numbers, _ in lines)
    for line, name, numbers, label in lines:
        labels = [label] if label else []
        if min(len(numbers), 3) != usual or (not testing and not numbers and not label):
            text = f"{name!r} followed by {len(numbers)} numbers"
            source.problem(path, line, f"{text}; expected path start end label, as in the other lines")
            continue
        start, end = (numbers[0], numbers[1]) if len(numbers) >= 3 or spans or (label and usual == 2) else (None, None)
        if not label:
            labels = numbers[2:] if len(numbers) >= 3 else [] if spans else numbers[-1:]
        if start is not None and not 1 <= int(start) <= int(end):
            source.problem(path, line, f"frames {start} to {end}: expected from 1 on, the last one included")
            continue
        hint = check_path(source, path, line, name)
        if hint:
            span = (None, None) if start is None else (int(start) - 1, int(end))
            yield hint, labels, subset, *span, path, line


def _split(text: str) -> tuple[str, list[str], str]:
    """(path, the numbers after it, a label in words after these) of a line."""
    if ";" in text:
        name, *fields = (part.strip() for part in text.split(";"))
        label = fields.pop() if fields and not _NUMBER.fullmatch(fields[-1]) else ""
        numbers = [match.group(1) for field in fields if (match := _NUMBER.fullmatch(field))]
        return name, numbers if len(numbers) == len(fields) else [], label
    fields = text.split()
    numbers: list[str] = []
    while len(fields) > 1 and (match := _NUMBER.fullmatch(fields[-1])):
        numbers.insert(0, match.group(1))
        fields.pop()
    # A path may have spaces (the folders of Kinetics do): cut it from the text, where they are still as they were.
    tail = len(numbers)
    return (text.rsplit(None, tail)[0] if tail else text), numbers, ""
