"""What papermill put into a notebook, which it does without a look at it: unknown names, doubled keys, YAML 1.1."""

import ast
from pathlib import Path
from typing import Any

import yaml

from actlib.files import read_text
from actlib.params.yaml_files import load_yaml

_COMMENT = "# Parameters\n"  # how papermill's cell begins
_OPTIONS = ("-f", "--parameters_file")


def injected_values(namespace: dict[str, Any]) -> dict[str, Any]:
    """The values that papermill injected into the notebook whose `globals()` these are, by name, known to the notebook
    or not; those of a file as YAML 1.2 reads them. Empty where it injected none. Raises ParamsError for a file with a
    doubled key."""
    cells = [source for source in namespace.get("In", ()) if isinstance(source, str) and source.startswith(_COMMENT)]
    names = [
        target.id
        for source in cells
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    found = {name: namespace[name] for name in names if name in namespace}
    for file in _files() if names else ():
        as_1_2 = load_yaml(file)
        as_1_1 = yaml.safe_load(read_text(file)) or {}
        taken = {name for name in as_1_2 if name in found and found[name] == as_1_1.get(name)}
        found |= {name: as_1_2[name] for name in taken}
    return found


def _files() -> list[Path]:
    """The parameter files on the command line of the papermill that started this kernel."""
    import psutil

    try:
        parent = psutil.Process().parent()
        words, folder = parent.cmdline(), Path(parent.cwd())
    except (psutil.Error, AttributeError, OSError):
        return []
    if not any(Path(word).name == "papermill" for word in words[:3]):
        return []
    paths = [folder / path for option, path in zip(words, words[1:]) if option in _OPTIONS]
    paths += [folder / word.partition("=")[2] for word in words if word.startswith("--parameters_file=")]
    return [path for path in paths if path.is_file()]
