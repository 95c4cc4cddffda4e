"""Entry functions, each of which builds one network: what they look like, and how one in a file of the user's is found.

An entry `name(num_classes, *, option=default, ...)` returns a network; its keyword-only options are scalars, and its
signature is the only place where they and their defaults are written. A class with such an `__init__` is an entry too.

The entries of this package are known by their names. One of the user's is named by its file, `my_nets.py:small3d`
(relative to the working folder, or absolute), or by its module, `package.module:small3d`. Its file is executed when it
is asked for, and again once its content has changed; what it imports is not looked at again.
A checkpoint may name code too. That is another matter: `refusal` says, before anything is executed, why it is not run.
"""

import ast
import importlib
import importlib.util
import inspect
import linecache
import sys
import sysconfig
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from torch import nn

from actlib.files import digest
from actlib.messages import did_you_mean
from actlib.models.parts.options import ModelError

Scalar = bool | int | float | str
Entry = Callable[..., nn.Module]

_EXECUTED: dict[Path, tuple[str, ModuleType]] = {}  # by file: the digest of what was executed, and what came of it
_INSTALLED = {"site-packages", "dist-packages"}  # folders of libraries


def entry_options(entry: Entry, name: str) -> dict[str, Scalar]:
    """The options of an entry with their defaults. Raises ModelError, beginning with `name`, for another signature."""
    try:
        first, *options = [*inspect.signature(entry).parameters.values()] or [None]
    except (TypeError, ValueError):
        raise ModelError(f"{name}: is not a function that takes num_classes and options") from None
    if first is None or first.name != "num_classes" or first.kind is not first.POSITIONAL_OR_KEYWORD:
        found = "there is none" if first is None else f"it is {first}"
        raise ModelError(f"{name}: the first parameter must be num_classes; {found}")
    for option in options:
        if option.kind is not option.KEYWORD_ONLY or not isinstance(option.default, Scalar):
            raise ModelError(
                f"{name}: option {option.name!r} must be keyword-only with a bool, int, float or str default"
            )
    return {option.name: option.default for option in options}


# --- the user's files -----------------------------------------------------------------------------------------


def is_code(name: str) -> bool:
    """Whether a network's name is that of a function in a file or module of the user's."""
    return ":" in name


def function_of(name: str) -> str:
    """The function's name alone: `small3d` of `my_nets.py:small3d`; a registered name is its function's."""
    return name.rpartition(":")[2]


def code_file(name: str) -> Path:
    """The file of `my_nets.py:small3d` or `package.module:small3d`, found without an import. Raises ModelError."""
    place, _, function = name.rpartition(":")
    if not function.isidentifier() or not place:
        raise ModelError(f"{name!r}: a network of one's own is written file.py:function or package.module:function")
    if place.endswith(".py"):
        if (file := Path(place).expanduser()).is_file():
            return file
        others = [each.name for each in file.parent.glob("*.py")]
        raise ModelError(f"{name}: no such file in the folder {Path.cwd()}{did_you_mean(file.name, others)}")
    parts = place.split(".")
    if not all(part.isidentifier() for part in parts):
        raise ModelError(f"{name}: {place!r} is neither a file with the suffix .py nor the name of a module")
    for folder in dict.fromkeys([Path.cwd(), *map(Path, sys.path)]):
        base = folder.joinpath(*parts)
        for file in (base / "__init__.py", base.with_name(f"{base.name}.py")):
            if file.is_file():
                return file
    raise ModelError(f"{name}: no module {place!r}, neither in the folder {Path.cwd()} nor where Python looks for one")


def load_entry(name: str) -> tuple[Entry, dict[str, str]]:
    """The function that `name` names, its file executed if it is new or has changed, and {"file", "sha256"} of it: the
    file as it is written in `name`, and the `files.digest` of what was executed.

    Raises ModelError for a file that is missing, fails, or has no such function, or one of another signature.
    """
    file, function = code_file(name), function_of(name)
    if _of_standard_library(file):
        raise ModelError(f"{name}: {file} belongs to Python itself; name a file of your own")
    key, sha256 = file.resolve(), digest(file)
    if _EXECUTED.get(key, ("",))[0] != sha256:
        _EXECUTED[key] = sha256, _execute(name, file)
    module = _EXECUTED[key][1]
    entry = getattr(module, function, None)
    if not callable(entry):
        raise ModelError(f"{file} has no function {function!r}{did_you_mean(function, vars(module))}")
    entry_options(entry, name)
    return entry, {"file": name.rpartition(":")[0], "sha256": sha256}


def _execute(name: str, file: Path) -> ModuleType:
    """A new module from the file's present content. Its neighbours can be imported, as if Python had been started with
    the file, and relatively where `name` names a module."""
    place = name.rpartition(":")[0]
    own = place.endswith(".py")
    module_name = f"{file.stem} ({file})" if own else place
    spec = importlib.util.spec_from_file_location(
        module_name, file, submodule_search_locations=[str(file.parent)] if file.name == "__init__.py" else None
    )
    module = importlib.util.module_from_spec(spec)
    earlier = sys.modules.get(module_name)
    if earlier is None or any(earlier is each for _, each in _EXECUTED.values()):
        sys.modules[module_name] = module  # what the user imported himself stays as it is
    linecache.checkcache(str(file))
    try:
        with _first_on_path(file.parent if own else Path.cwd()):
            if not own and "." in place:
                importlib.import_module(place.rpartition(".")[0])
            exec(compile(file.read_bytes(), str(file), "exec"), vars(module))
    except Exception as error:
        if sys.modules.get(module_name) is module:
            del sys.modules[module_name]
        here = isinstance(error, SyntaxError) and error.filename == str(file)
        line = error.lineno if here else _line_in(file, error)
        where = f", line {line}" if line else ""
        raise ModelError(f"{file}{where}: {type(error).__name__}: {error}; {name} cannot be had from it") from error
    return module


@contextmanager
def _first_on_path(folder: Path):
    sys.path.insert(0, str(folder.resolve()))
    try:
        yield
    finally:
        sys.path.remove(str(folder.resolve()))


def _line_in(file: Path, error: BaseException) -> int | None:
    """The last line of `file` that an error came through."""
    lines, trace = [], error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == str(file):
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return lines[-1] if lines else None


def _of_standard_library(file: Path) -> bool:
    """Whether a file lies with Python's own modules, and not among the packages installed beside them."""
    resolved = file.resolve()
    folders = [Path(sysconfig.get_path(each)).resolve() for each in ("stdlib", "platstdlib")]
    return any(map(resolved.is_relative_to, folders)) and not _INSTALLED & set(resolved.parts)


# --- code that a file of weights names ------------------------------------------------------------------------


def refusal(name: str) -> str:
    """Why code that nobody but a file of weights names is not run; empty where it may be. Nothing is executed or
    imported here.

    It may where the file lies in the working folder, neither hidden nor reached by `..` or by a link to elsewhere, nor
    part of an installed Python, and where an entry of that name is written in it.
    """
    try:
        file, folder = code_file(name), Path.cwd().resolve()
        written, resolved = file, file.resolve()
        if file.is_absolute() and file.is_relative_to(Path.cwd()):
            written = file.relative_to(Path.cwd())
        if ".." in file.parts or not resolved.is_relative_to(folder) or folder == Path(folder.anchor):
            return f"{file} is not in the working folder {folder}"
        parts = resolved.relative_to(folder).parts
        if any(part.startswith(".") for part in (*parts, *(() if written.is_absolute() else written.parts))):
            return f"{file} is hidden"
        above = [folder.joinpath(*parts[:count]) for count in range(1, len(parts))]
        if (
            _INSTALLED & set(parts)
            or _of_standard_library(file)
            or any((each / "pyvenv.cfg").exists() or (each / "conda-meta").exists() for each in above)
        ):
            return f"{file} is part of an installed Python"
        return _not_an_entry(resolved, function_of(name))
    except (ModelError, OSError, ValueError, SyntaxError, RecursionError) as error:
        return str(error)


def _not_an_entry(file: Path, function: str) -> str:
    """Why no entry `function` stands in a file, by its text alone; empty if one does."""
    for node in ast.parse(file.read_bytes()).body:
        skipped = 0
        if isinstance(node, ast.ClassDef) and node.name == function:
            inside = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
            node, skipped = (inside[-1] if inside else None), 1
        elif not isinstance(node, ast.FunctionDef) or node.name != function:
            continue
        if node is not None:
            arguments = node.args
            others = arguments.posonlyargs or arguments.vararg or arguments.kwarg or None in arguments.kw_defaults
            if [each.arg for each in arguments.args][skipped:] == ["num_classes"] and not others:
                return ""
        return f"{function} in {file} is not of the form {function}(num_classes, *, option=default, …)"
    return f"no function {function} is written in {file}"
