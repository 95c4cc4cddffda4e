"""What all parameter models share: validation with every problem at once, the notebook's cell."""

import contextlib
import glob
import json
import os
from collections.abc import Collection
from enum import Enum
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from actlib.compute.vocabulary import CHOSEN, MEMORY_FORMATS, PRECISIONS
from actlib.files import project_root
from actlib.messages import PROBLEMS_SHOWN, did_you_mean, shorter, shown
from actlib.notebook_errors import tell_in_words
from actlib.params.injected import injected_values
from actlib.params.yaml_files import ParamsError, dump_yaml, load_yaml

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1, le=2**31 - 1)]
Above0 = Annotated[float, Field(gt=0)]
InputPath = Annotated[str, Field(json_schema_extra={"input_path": True})]
WeightsPath = Annotated[str, Field(json_schema_extra={"input_path": True, "weights": True})]


class Group(Enum):
    """The groups of a notebook's parameters, in the order in which its cell has them below comment lines."""

    start = "start here"
    data = "data"
    synthetic = "synthetic videos"
    network = "network"
    clip = "clip"
    views = "views of a video"
    augment = "augmentation"
    optim = "optimiser"
    storage = "storage"
    speed = "speed"
    published = "published figures"
    shown = "what is shown and written"
    run = "run"

    def __call__(self, default: Any, description: str, **bounds: Any) -> Any:
        """A field of this group: its default, its help (`{}` stands for the choices of a Literal), its bounds."""
        values = {"default_factory": default.copy} if isinstance(default, list) else {"default": default}
        return Field(**values, description=description, json_schema_extra={"group": self.value}, **bounds)


class Checked(BaseModel):
    """Values that are checked whole, every problem named."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, protected_namespaces=(), allow_inf_nan=False
    )

    @classmethod
    def build(cls, values: dict[str, Any], source: str | Path) -> Self:
        """Validate `values`. Raises ParamsError that names `source` and lists every problem, the first ones of many."""
        try:
            return cls(**values)
        except ValidationError as error:
            errors = error.errors(include_url=False)
        problems = [cls._problem(each) for each in errors[:PROBLEMS_SHOWN]]
        if len(errors) > PROBLEMS_SHOWN:
            problems.append(f"  … and {len(errors) - PROBLEMS_SHOWN:,} more")
        title = cls.model_config.get("title") or cls.__name__
        raise ParamsError("\n".join([f"{source}: not usable as {title}", *problems]))

    @classmethod
    def _problem(cls, error: dict) -> str:
        name = shorter(".".join(map(str, error["loc"])), 100)
        if error["type"] == "extra_forbidden":
            hint = did_you_mean(name, cls.model_fields, 1, cutoff=0.5) or "; known: " + ", ".join(cls.model_fields)
            return f"  - {name}: no such parameter{hint}"
        what = shorter(error["msg"].removeprefix("Value error, "))
        return f"  - {name}: {shown(error['input'])}: {what}" if name else f"  - {what}"


class Params(Checked):
    """What all notebooks share."""

    run_dir: str = Group.start("outputs/run", "the run folder: everything is written here", min_length=1)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        for info in cls.model_fields.values():
            if "{}" in info.description:
                *others, last = map(str, get_args(info.annotation))
                info.description = info.description.replace("{}", f"{', '.join(others)} or {last}")

    @classmethod
    def from_file(cls, path: str | Path, overrides: dict[str, Any] | None = None) -> Self:
        """The parameters of a YAML file, with `overrides` put over them."""
        return cls.build({**load_yaml(path), **(overrides or {})}, path)

    @classmethod
    def from_notebook(cls, namespace: dict[str, Any]) -> Self:
        """The parameters that stand in a notebook's `globals()`, whether from its cell, papermill or a person. A name
        that papermill put there, and that the notebook does not have, is refused as everywhere."""
        tell_in_words()
        values = {name: namespace[name] for name in cls.model_fields if name in namespace}
        return cls.build(values | injected_values(namespace), "this notebook")

    @classmethod
    def groups(cls) -> dict[str, list[str]]:
        """The parameters' names by group, as the cell has them: in each group a notebook's own matters come first."""
        own = [name for name in cls.__annotations__ if name in cls.model_fields]
        names = dict.fromkeys([*own, *cls.model_fields])
        grouped = {
            group: [name for name in names if cls.model_fields[name].json_schema_extra["group"] == group.value]
            for group in Group
        }
        return {group.value: found for group, found in grouped.items() if found}

    @classmethod
    def cell(cls) -> str:
        """The source of the notebook's cell tagged `parameters`: a comment line a group, below it one literal a line,
        with its help as comment."""
        line = cls.lines({name: cls._default(name) for name in cls.model_fields}).__getitem__
        return "\n\n".join("\n".join([f"# {group}", *map(line, names)]) for group, names in cls.groups().items())

    @classmethod
    def lines(cls, values: dict[str, Any]) -> dict[str, str]:
        """How the cell writes these values, by name: `lr = 0.005  # learning rate after warm-up`."""
        helps = {name: field.description for name, field in cls.model_fields.items()}
        return {name: f"{name} = {_literal(_spelled(name, value))}  # {helps[name]}" for name, value in values.items()}

    @classmethod
    def _default(cls, name: str) -> Any:
        return cls.model_fields[name].get_default(call_default_factory=True)

    @classmethod
    @cache
    def _input_fields(cls) -> list[tuple[str, dict]]:
        fields = [(name, info.json_schema_extra) for name, info in cls.model_fields.items()]
        return [(name, extra) for name, extra in fields if extra.get("input_path")]

    def inputs(self) -> dict[str, list[str]]:
        """The input files that are named, by parameter; of a list of networks' specs the checkpoints."""
        found = {}
        for name, extra in self._input_fields():
            value, words = getattr(self, name), extra.get("words", ())
            each = extra.get("each", False)
            paths = [value] if isinstance(value, str) else value if each else filter(is_checkpoint, value)
            found[name] = [path for path in paths if path and path not in words]
        return found

    def code_files(self) -> list[str]:
        """The user's files that networks are built from, such as `my_nets.py` of `my_nets.py:small3d width=16`."""
        named = [getattr(self, name) for name in ("model", "models") if name in type(self).model_fields]
        specs = [spec for value in named for spec in ([value] if isinstance(value, str) else value)]
        files = [spec.split()[0].rpartition(":")[0] for spec in specs if spec]
        return [file for file in files if file.endswith(".py")]

    def missing_inputs(
        self, root: str | Path, written: Collection[str] = (), known: dict[str, str] | None = None
    ) -> dict[str, str]:
        """What to say about each input file that is not there, by parameter; relative paths are below `root`. What
        lies in one of the folders `written` is still to come, and not missed. `known`: what was said before of a path;
        it is added to, for thousands of runs that name the same files."""
        known, found = {} if known is None else known, {}
        for name, paths in self.inputs().items():
            for path in paths:
                if path not in known:
                    coming = written and any(str(each) in written for each in (Path(path), *Path(path).parents))
                    weights = type(self).model_fields[name].json_schema_extra.get("weights")
                    there = coming or is_address(path, hub=weights) or _is_there(os.path.join(root, path))
                    known[path] = "" if there else _missing_weights(path) if weights else "no such file"
                if why := known[path]:
                    alone = path == getattr(self, name) or why.startswith(f"{path}: ")
                    found[name] = why if alone else f"{path}: {why}"
        return found

    def problems(self, root: str | Path) -> list[str]:
        """What is wrong with the files and folders that the parameters name, one sentence each, found without opening a
        video or a network; relative paths are below `root`."""
        return [f"{name}: {shown(getattr(self, name))}: {why}" for name, why in self.missing_inputs(root).items()]

    def refuse(self, *checks: tuple[str, bool, str]) -> Self:
        """Raise one ValueError that lists all (parameter, whether it is wrong, why) that are wrong; for validators."""
        problems = []
        for name, wrong, why in checks:
            value = getattr(self, name)
            if wrong:
                problems.append(f"{name}: {f'{value:g}' if isinstance(value, float) else repr(value)}: {why}")
        if problems:
            raise ValueError("\n  - ".join(problems))
        return self

    def as_yaml(self, only_changes: bool = False) -> str:
        """Every parameter, or those that are not the defaults, as YAML that reads back to the same."""
        defaults = type(self)().model_dump() if only_changes else {}
        values = {name: value for name, value in self if name not in defaults or value != defaults[name]}
        return dump_yaml(values) if values else ""


def _spelled(name: str, value: Any) -> Any:
    """Networks with colons in their options, as a cell needs them: see `check_model`."""
    if isinstance(value, list):
        return [_spelled(name, each) for each in value]
    if name not in ("model", "models") or not value:
        return value
    network, *options = value.split()
    return " ".join([network, *(option.replace("=", ":", 1) for option in options)])


def _literal(value: Any) -> str:
    """A value as Python writes it, in double quotes where it is, or holds, a text."""
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _is_there(path: str) -> bool:
    """Whether there is such a file or folder, or one that fits a pattern with * or ?."""
    return os.path.exists(path) or (glob.has_magic(path) and any(glob.iglob(path, recursive=True)))


def _missing_weights(name: str) -> str:
    """Why weights given by name cannot be had; empty if they lie in the weights folder or can be downloaded."""
    from actlib.models import WeightsError, find_published, find_weights

    row = find_published(name)
    if row and row.url:
        return ""
    try:
        find_weights(name)
    except WeightsError as error:
        return str(error)
    return ""


def is_address(name: str, hub: bool = False) -> bool:
    """Whether it is a web address, or with `hub` one of transformers' hub (`hf:ORGANISATION/NAME`), of which only the
    server knows whether there is anything."""
    return name.startswith(("https://", "http://", *(["hf:"] if hub else [])))


def is_checkpoint(name: str) -> bool:
    """Whether an entry of a list of networks is the path of a checkpoint."""
    return name.endswith(".pt")


def check_model(spec: str) -> str:
    """The spec of a network with `=` in its options, where notebooks write colons: papermill's help passes over lines
    with a second equals sign. Empty stays empty. Raises ModelError (a ValueError) for a network that cannot be built.

    A file in it (`my_nets.py:small3d`) lies relative to the project's folder, which every run works in.
    """
    name, *options = spec.split() or [""]
    spec = " ".join([name, *(option.replace(":", "=", 1) for option in options)])
    return _check_own_model(spec) if ":" in name else _check_model(spec)


@lru_cache  # a batch names the same one in thousands of runs
def _check_model(spec: str) -> str:
    if spec:
        from actlib.models import parse_spec  # torch is imported only where a network is named

        parse_spec(spec)
    return spec


def _check_own_model(spec: str) -> str:
    with contextlib.chdir(project_root()):
        return _check_model.__wrapped__(spec)  # its file may change meanwhile


Precision = Literal[*CHOSEN, *PRECISIONS]
MemoryFormat = Literal[*CHOSEN, *MEMORY_FORMATS]
PRECISION_HELP = "{}; auto: by rule, measure: the fastest"


class DeviceParams(Params):
    """What notebooks that run a network share."""

    device: str = Group.run("auto", "auto, cpu, cuda, cuda:1, …")
    precision: Precision = Group.run("auto", PRECISION_HELP)
    memory_format: MemoryFormat = Group.run("auto", PRECISION_HELP)
    compile: bool = Group.run(False, "run the network through torch.compile, which takes minutes first")


class DevicesParams(DeviceParams):
    """What notebooks share that can compute on several devices at once."""

    devices: Literal["auto"] | Positive = Group.run(
        "auto", "processes that share each batch, one a device; auto: all GPUs there are, 1 on a CPU"
    )
