"""Lists of classes: a class a line, numbered or not, or a JSON file of classes."""

import re
from collections.abc import Iterable
from pathlib import Path

from actlib.datasets.lists.source import JsonList, Source
from actlib.datasets.same_class import in_words, plain_name
from actlib.messages import misfit, shown

NUMBER_FIRST = re.compile(r"(?P<number>\d{1,9})[\s,;]+(?P<name>.+)")  # 1 Name
NUMBER_LAST = re.compile(r"(?P<name>.+?)\s*[,;]\s*(?P<number>\d{1,9})")  # Name,0


def read_class_names(source: Source, path: Path) -> list[tuple[int, str]]:
    """(line, class) of a class list, in the order of the classes: a class a line, bare or numbered
    (`1 Name`, `Name,0`), or a JSON of class: index. Blank lines do not count; a doubled class is a problem."""
    if path.suffix.lower() == ".json":
        return list(enumerate(json_classes(source, path), start=1))
    lines = source.read_lines(path)
    for pattern in (NUMBER_FIRST, NUMBER_LAST):
        matches = [pattern.fullmatch(text) for _, text in lines]
        if lines and all(matches):
            numbered = sorted((int(match["number"]), line, match["name"]) for match, (line, _) in zip(matches, lines))
            # Numbers without a gap are indices; others belong to the names, as in `1 on 1`.
            if [number for number, *_ in numbered] == list(range(numbered[0][0], numbered[0][0] + len(lines))):
                lines = [(line, name) for _, line, name in numbered]
                break
    return each_once(source, path, lines)


def each_once(source: Source, path: Path, lines: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
    """(line, class) of each class, where it stands first; a doubled one is a problem, in whatever spelling."""
    seen: dict[str, tuple[int, str]] = {}
    for line, name in lines:
        before, first = seen.setdefault(plain_name(name), (line, name))
        if before != line:
            why = f": {in_words(first, name)}" if first != name else ""
            source.problem(path, line, f"class {shown(first)} stands already in line {before}{why}")
    return list(seen.values())


def numbered_classes(
    source: Source, path: Path, pattern: re.Pattern, expected: str, lines: Iterable[tuple[int | None, str]] = ()
) -> dict[int, str]:
    """{number: class} in the order of the file, by `pattern` (NUMBER_FIRST or NUMBER_LAST), which is what is
    `expected` in words; of the (line, text) in `lines`, by default those of the file."""
    numbers: dict[int, str] = {}
    names: dict[str, str] = {}
    for line, text in lines or source.read_lines(path):
        match = pattern.fullmatch(text)
        if match is None:
            source.problem(path, line, f"{shown(text)}: expected {expected}")
            continue
        number, name = int(match["number"]), match["name"]
        first = names.get(plain_name(name), "")
        if number in numbers or first == name:
            source.problem(path, line, f"{shown(text)}: this number or class stands twice")
        elif first:
            source.problem(path, line, in_words(first, name))
        else:
            numbers[number] = names[plain_name(name)] = name
    return numbers


def json_classes(source: Source, path: Path) -> list[str]:
    """The classes of a JSON file, a list of them or a mapping class: index, in the order of their index."""
    document = JsonList(source, path, "class")
    if isinstance(document.data, list):
        return class_names(document, document.data, "the whole file")
    classes = document.checked(document.data, dict, f"{path}: the whole file")
    lines = [(document.line(name), f"{name},{index}") for name, index in classes.items()]
    numbers = numbered_classes(source, path, NUMBER_LAST, "class,index", lines)
    return [numbers[number] for number in sorted(numbers)]


def class_names(document: JsonList, names: list, where: str) -> list[str]:
    """The classes that a list in JSON names, each once; what is no name and what stands there twice is a problem."""
    found: dict[str, str] = {}
    if all(type(name) is int for name in names):  # some call their classes by numbers
        names = list(map(str, names))
    for number, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            document.problem("", misfit(f"{where}[{number}]", "the name of a class", name))
        elif (first := found.get(plain_name(name))) is None:
            found[plain_name(name)] = name
        elif first == name:
            document.problem(name, f"{where}[{number}]: class {shown(name)} stands there twice")
        else:
            document.problem(name, f"{where}[{number}]: {in_words(first, name)}")
    return list(found.values())
