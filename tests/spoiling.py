"""Spoiling what a user may have, by a seed: texts in wrong codings, wrong values in JSON."""

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path

# By kind: what stands there by mistake instead of such a value. 1e400 is read as infinity.
WRONG = {
    str: [None, True, 3.5, [], ["a"], {}, {"label": "a"}],
    int: [None, True, "12 ", "²", [], {}, 1e400],
    float: [None, True, "1.0", [], {}, 1e400],
    list: [None, False, 0, 7, "text", {}, {"a": 1}],
    dict: [None, True, 0, 7, "text", [], [1, 2]],
    type(None): [True, 2.5, [], {"a": 1}],
}


def nodes(value, path: tuple = ()) -> Iterator[tuple]:
    """The path of each value in a JSON document, its own first."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from nodes(each, (*path, key))


def spoil_value(document, rng: random.Random, passed_over: tuple[str, ...] = ()):
    """(a copy with one wrong value, its path); never one below a key of `passed_over`."""
    path = rng.choice([path for path in nodes(document) if not set(path) & set(passed_over)])
    document = [copy.deepcopy(document)]
    place, *rest = (0, *path)
    parent = document
    for key in rest:
        parent, place = parent[place], key
    value = parent[place]
    parent[place] = rng.choice([wrong for wrong in WRONG[type(value)] if wrong != value])
    return document[0], path


def spoil_text(path: Path, rng: random.Random) -> str:
    """Rewrite a text file as something that is no text of its kind, or the same one in another coding. Returns how."""
    text = path.read_text(encoding="utf-8")
    place = rng.randrange(len(text))
    how = rng.choice(["latin-1", "utf-16", "utf-16-le", "utf-32", "bom", "crlf", "nul", "bytes", "half"])
    if how in ("latin-1", "utf-16", "utf-16-le", "utf-32"):
        given = text[:place] + "ü" + text[place:] if how == "latin-1" else text
        data = given.encode(how, errors="replace")
    elif how == "bom":
        data = text.encode("utf-8-sig")
    elif how == "crlf":
        data = text.replace("\r", "").replace("\n", "\r\n").encode()
    elif how == "nul":
        data = (text[:place] + "\0" + text[place:]).encode()
    elif how == "bytes":
        data = text.encode()[:place] + rng.randbytes(8) + b"\xff" + text.encode()[place:]
    else:
        data = text.encode("utf-16")[:-1]
    path.write_bytes(data)
    return how


def write_json(path: Path, document, indent: int | None = 1) -> Path:
    path.write_text(json.dumps(document, indent=indent, ensure_ascii=False), encoding="utf-8")
    return path
