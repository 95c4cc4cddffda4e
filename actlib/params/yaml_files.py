"""Recipes and batch files: YAML 1.2, in which a number is what it looks like, and nothing is read but what is meant.

YAML 1.1, which PyYAML follows, takes `yes` for True, `010` for 8, `1:30` for 90 and `1e-3` for a text, and of a key
that stands twice the last. Here they are a text, 10, a text, a number, and an error.
"""

import os
import re
from pathlib import Path
from typing import Any

import yaml

from actlib.files import read_text
from actlib.messages import did_you_mean, kind_of, shorter, shown

MOST_BYTES = 4_000_000
MOST_VALUES = 1_000_000  # once every alias stands for what it names
DEEPEST = 50  # lists and mappings within each other; a batch file has three
TOO_DEEP = "brackets in brackets, deeper than any recipe has them"
_SCHEMA = {  # the core schema: https://yaml.org/spec/1.2.2/#103-core-schema
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "merge": (r"<<", "<"),
}


class ParamsError(ValueError):
    """Parameters that cannot be used. The message names the source and every field with its value and fix."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """The core schema of YAML 1.2, without doubled keys."""

    yaml_implicit_resolvers = {}
    yaml_constructors = {
        tag: yaml.SafeLoader.yaml_constructors[tag]
        for tag in (None, *(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "float", "seq", "map")))
    }

    def construct_mapping(self, node, deep=False):
        if not isinstance(node, yaml.MappingNode):  # by a tag that says so
            raise ParamsError(f"line {node.start_mark.line + 1}: expected names with values")
        self.flatten_mapping(node)
        made, lines = {}, {}
        for key_node, value_node in node.value:
            line, key = key_node.start_mark.line + 1, self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise ParamsError(f"line {line}: {shown(key)}: expected a name before the colon, found {kind_of(key)}")
            if key in made:
                raise ParamsError(f"{shown(key)} stands in line {lines[key]} and in line {line}; leave one of them")
            lines[key], made[key] = line, self.construct_object(value_node, deep=deep)
        return made

    def flatten_mapping(self, node):
        """What `<<` brings in gives way to what stands there, as YAML's merge keys do, and is no doubled key."""
        own = [item for item in node.value if item[0].tag != "tag:yaml.org,2002:merge"]
        if len(own) < len(node.value):
            super().flatten_mapping(node)
            names = {key.value for key, _ in own}
            brought = {key.value: (key, value) for key, value in node.value[: len(node.value) - len(own)]}
            node.value = [item for name, item in brought.items() if name not in names] + own

    def construct_whole(self, node):
        text = self.construct_scalar(node)
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)

    def construct_yaml_str(self, node):
        text = self.construct_scalar(node)
        if "\0" in text:
            raise ParamsError(f"line {node.start_mark.line + 1}: {shown(text)}: holds a NUL character")
        return text


class _Dumper(yaml.SafeDumper):
    """Writes what is the same in YAML 1.1, which papermill reads, and 1.2."""

    yaml_implicit_resolvers = {key: value[:] for key, value in yaml.SafeDumper.yaml_implicit_resolvers.items()}


for _name, (_pattern, _first) in _SCHEMA.items():
    for _each in (_Loader, _Dumper):
        _each.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_whole)
_Loader.add_constructor("tag:yaml.org,2002:str", _Loader.construct_yaml_str)


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping. Raises ParamsError for anything else, with the line of what is wrong."""
    path = Path(path)
    if not os.path.isfile(path):  # pathlib raises for a name that is too long
        beside = [each.name for each in path.parent.glob("*.yaml")] if os.path.isdir(path.parent) else []
        raise ParamsError(f"{shorter(str(path), 300)}: no such file{did_you_mean(path.name[:300], beside)}")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ParamsError(f"holds {path.stat().st_size:,} bytes, more than any recipe ({MOST_BYTES:,})")
        return parse_yaml(read_text(path))
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: not valid YAML: {shorter(str(error))}") from None
    except (ParamsError, OSError, ValueError) as error:
        raise ParamsError(f"{path}: {error}") from None


def parse_yaml(text: str) -> dict[str, Any]:
    """The mapping that a YAML text holds. Raises ParamsError and yaml.YAMLError, neither of which names the file."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return {}
        _require_small(node, {})
        content = loader.construct_document(node)
    except RecursionError:  # of PyYAML without its C part
        raise ParamsError(TOO_DEEP) from None
    finally:
        loader.dispose()
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ParamsError(f"expected lines of the form name: value, found {kind_of(content)}")
    return content


def _require_small(node: yaml.Node, known: dict[int, int], depth: int = 0) -> int:
    """How many values a node stands for, aliases resolved. Raises ParamsError above MOST_VALUES, and below DEEPEST
    levels: Python's own limit of recursion is another one after some imports."""
    if depth > DEEPEST:
        raise ParamsError(TOO_DEEP)
    if id(node) not in known:
        known[id(node)] = MOST_VALUES + 1  # what refers to itself has no end
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        if isinstance(node, yaml.MappingNode):
            parts = [part for item in parts for part in item]
        known[id(node)] = 1 + sum(_require_small(part, known, depth + 1) for part in parts)
    if known[id(node)] > MOST_VALUES:
        line = node.start_mark.line + 1
        raise ParamsError(f"line {line}: aliases (*name) make more than {MOST_VALUES:,} values of it; write them out")
    return known[id(node)]


def dump_yaml(values: dict[str, Any], **layout: Any) -> str:
    """YAML that reads back to the same, in 1.1 and 1.2; `layout` as for yaml.dump."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, **layout)
