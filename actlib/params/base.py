"""What all parameter models share: reading YAML, validation with every problem at once, the notebook's cell."""

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError


class ParamsError(ValueError):
    """Parameters that cannot be used. The message names the source and every field with its value and fix."""


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number (YAML 1.1 asks for a dot: 1.0e-3)."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping. Raises ParamsError for anything else, with the line of a syntax error."""
    path = Path(path)
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [each.name for each in path.parent.glob("*.yaml")])
        raise ParamsError(f"{path}: no such file" + (f"; did you mean {path.parent / near[0]}?" if near else ""))
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: not valid YAML: {error}") from error
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise ParamsError(f"{path}: expected lines of the form name: value, found a {type(content).__name__}")
    return content


Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Above0 = Annotated[float, Field(gt=0)]
InputPath = Annotated[str, Field(json_schema_extra={"input_path": True})]
WeightsPath = Annotated[str, Field(json_schema_extra={"input_path": True, "weights": True})]


class Params(BaseModel):
    """What all notebooks share."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=())

    run_dir: str = Field("outputs/run", min_length=1, description="the run folder: everything is written here")

    @classmethod
    def build(cls, values: dict[str, Any], source: str | Path) -> Self:
        """Validate `values`. Raises ParamsError that names `source` and lists every problem."""
        try:
            return cls(**values)
        except ValidationError as error:
            problems = [cls._problem(each) for each in error.errors()]
        raise ParamsError(f"{source}: " + "\n".join(["not usable as " + cls.__name__, *problems]))

    @classmethod
    def _problem(cls, error: dict) -> str:
        name = ".".join(map(str, error["loc"]))
        if error["type"] == "extra_forbidden":
            near = difflib.get_close_matches(name, cls.model_fields, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else "known: " + ", ".join(cls.model_fields)
            return f"  - {name}: no such parameter; {hint}"
        what = error["msg"].removeprefix("Value error, ")
        return f"  - {name}: {error['input']!r}: {what}" if name else f"  - {what}"

    @classmethod
    def from_file(cls, path: str | Path, overrides: dict[str, Any] | None = None) -> Self:
        """The parameters of a YAML file, with `overrides` put over them."""
        return cls.build({**load_yaml(path), **(overrides or {})}, path)

    @classmethod
    def from_notebook(cls, namespace: dict[str, Any]) -> Self:
        """The parameters that stand in a notebook's `globals()`, whether from its cell, papermill or a person."""
        return cls.build({name: namespace[name] for name in cls.model_fields if name in namespace}, "this notebook")

    @classmethod
    def cell(cls) -> str:
        """The source of the notebook's cell tagged `parameters`: one literal a line, its comment the help."""
        own = [name for name in cls.__annotations__ if name in cls.model_fields]
        names = own + [name for name in cls.model_fields if name not in own]  # a notebook's own matters come first
        fields = {name: cls.model_fields[name] for name in names}
        return "\n".join(
            f"{name} = {_literal(field.get_default(call_default_factory=True))}  # {field.description}"
            for name, field in fields.items()
        )

    def missing_inputs(self, root: str | Path) -> dict[str, str]:
        """What to say about each input file that is not there, by parameter; relative paths are below `root`."""
        found = {}
        for name, info in type(self).model_fields.items():
            extra, value = info.json_schema_extra or {}, getattr(self, name)
            if value in extra.get("words", ()):
                continue  # a word with a meaning of its own, no file
            if extra.get("input_path") and value and not (Path(root) / value).exists():
                reason = _missing_weights(value) if extra.get("weights") else "no such file"
                found |= {name: reason} if reason else {}
        return found

    def as_yaml(self) -> str:
        """Every parameter, defaults included, as YAML that reads back to the same."""
        return yaml.safe_dump(self.model_dump(), sort_keys=False, allow_unicode=True)


def _literal(value: Any) -> str:
    """Python source of a default, strings in double quotes."""
    return repr(value).replace("'", '"')


def _missing_weights(name: str) -> str:
    """Why weights given by name cannot be had; empty if they lie in the weights folder or can be downloaded."""
    from actlib.models import WeightsError, find_published, find_weights

    row = find_published(name)
    if name.startswith("https://") or (row and row.url):
        return ""
    try:
        find_weights(name)
    except WeightsError as error:
        return str(error)
    return ""


def check_model(spec: str) -> str:
    from actlib.models import parse_spec  # torch is imported only where a network is named

    parse_spec(spec)
    return spec.replace(":", "=")  # colons in notebooks: papermill passes over lines with a second equals sign


def default(value: Any, description: str, **bounds: Any) -> Any:
    """A field: its default, its help, its bounds."""
    if isinstance(value, list):
        return Field(default_factory=lambda: list(value), description=description, **bounds)
    return Field(value, description=description, **bounds)


class DeviceParams(Params):
    """What notebooks that run a network share."""

    device: str = default("auto", "auto, cpu, cuda, cuda:1, …")
    precision: Literal["auto", "float32", "bf16"] = default("auto", "float32, bf16 or auto: the fastest measured")
    memory_format: Literal["auto", "contiguous", "channels_last"] = default(
        "auto", "contiguous, channels_last or auto: the fastest measured"
    )
