"""What a run does: one validated model a notebook, with its names, types, bounds, defaults and help.

The defaults fit the demo: after `make demo` every notebook runs by hand as it is, in a minute or two on a CPU.

The same model checks a YAML file (`from_file`), the cell of a notebook edited by hand (`from_notebook`) and a batch
file before its first run starts. Unknown names are refused with the nearest one, and all errors come at once.
Flat on purpose: papermill replaces a nested parameter as a whole.
"""

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator


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


def _check_model(spec: str) -> str:
    from actlib.models import parse_spec  # torch is imported only where a network is named

    parse_spec(spec)
    return spec.replace(":", "=")  # colons in notebooks: papermill passes over lines with a second equals sign


def read_factors(entries: list[str]) -> dict[str, float]:
    """`["layer4=0.1", "head=1"]` as {"layer4": 0.1, "head": 1.0}. Raises ValueError, naming the entry."""
    factors: dict[str, float] = {}
    for entry in entries:
        found = re.fullmatch(r"\s*([\w.]+)\s*=\s*(\d*\.?\d+(?:[eE][-+]?\d+)?)\s*", entry)
        if not found or float(found[2]) == 0:
            raise ValueError(
                f"{entry!r}: expected module=factor, above 0, as in layer4=0.1 (train_from freezes layers)"
            )
        if found[1] in factors:
            raise ValueError(f"{entry!r}: {found[1]} stands twice")
        factors[found[1]] = float(found[2])
    return factors


def default(value: Any, description: str, **bounds: Any) -> Any:
    """A field: its default, its help, its bounds."""
    if isinstance(value, list):
        return Field(default_factory=lambda: list(value), description=description, **bounds)
    return Field(value, description=description, **bounds)


class DataPrepParams(Params):
    """01_data_prep: from videos, or from nothing, to an annotation table."""

    run_dir: str = default("outputs/data", "the run folder: table.csv and quarantine.csv are written here")
    source: Literal["synthetic", "folders", "csv"] = default("synthetic", "synthetic, folders or csv")
    data_root: str = default("", "folder of the videos; for synthetic where to write them (empty: run_dir/videos)")
    csv: InputPath = default("", "source csv: the list with the columns path,label,subset")
    validation: Annotated[Share, Field(lt=1)] = default(0.2, "source folders: share of each class for validation")
    testing: Annotated[Share, Field(lt=1)] = default(0.0, "source folders: share of each class for testing")
    label_set: Literal["motion", "motion_finetune"] = default("motion", "synthetic: motion or motion_finetune")
    training_videos: Positive = default(40, "synthetic: training videos per class")
    validation_videos: Positive = default(12, "synthetic: validation videos per class")
    seed: int = default(0, "of the synthetic videos or of the split", ge=0)
    num_workers: Positive = default(2, "processes that write and probe videos")
    timeout: float = default(20.0, "seconds that a decoder may take over one file before it is given up", gt=0)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.source == "folders" and not self.data_root:
            raise ValueError("data_root: '': source folders needs the folder that holds the class folders")
        if self.source == "csv" and not self.csv:
            raise ValueError("csv: '': source csv needs the file with path,label,subset")
        if self.source == "folders" and self.validation + self.testing >= 1:
            raise ValueError("validation + testing: together they must stay below 1")
        return self


class _DeviceParams(Params):
    device: str = default("auto", "auto, cpu, cuda, cuda:1, …")
    precision: Literal["auto", "float32", "bf16"] = default("auto", "float32, bf16 or auto: the fastest measured")
    memory_format: Literal["auto", "contiguous", "channels_last"] = default(
        "auto", "contiguous, channels_last or auto: the fastest measured"
    )


class _TrainingParams(_DeviceParams):
    """What training and fine-tuning share."""

    table: InputPath = default("outputs/demo/motion/table.csv", "annotation table written by 01_data_prep")
    num_frames: int = default(8, "T: frames of a clip", ge=1)
    frame_stride: int = default(2, "step between the frames of a clip", ge=1)
    short_side: int = default(48, "pixels of the short side before a random or centre crop", ge=16)
    crop_size: int = default(48, "pixels, height and width of a clip", ge=16)
    mean: list[float] = default([0.4345, 0.4051, 0.3775], "of the channels, 0-1 scale", min_length=3, max_length=3)
    std: list[Above0] = default([0.2768, 0.2713, 0.2737], "of the channels, 0-1 scale", min_length=3, max_length=3)
    channel_order: Literal["rgb", "bgr"] = default("rgb", "order of the channels, of mean and std too: rgb or bgr")
    crop: Literal["random_resized", "random", "center"] = default(
        "random_resized", "crop in training: random_resized, random or center"
    )
    scale_min: float = default(0.8, "random_resized: smallest share of the frame's area", gt=0, le=1)
    flip: bool = default(False, "mirror half of the clips left to right (not where that changes the label)")
    batch_size: Positive = default(16, "clips of a batch")
    accumulate: Positive = default(1, "batches whose gradients are summed before a step")
    epochs: Positive = default(8, "passes over the training videos")
    optimizer: Literal["sgd", "adamw"] = default("adamw", "sgd or adamw")
    lr: float = default(0.005, "learning rate after warm-up", gt=0)
    momentum: Annotated[Share, Field(lt=1)] = default(0.9, "sgd")
    dampening: Share = default(0.0, "sgd")
    nesterov: bool = default(False, "sgd")
    weight_decay: float = default(0.01, "L2 penalty (sgd) or decoupled decay (adamw)", ge=0)
    schedule: Literal["cosine", "multistep", "plateau", "constant"] = default(
        "cosine", "of the learning rate: cosine, multistep, plateau or constant"
    )
    milestones: list[Positive] = default([4, 6], "multistep: epochs after which the rate is multiplied by gamma")
    gamma: float = default(0.1, "multistep and plateau: factor of the learning rate", gt=0, lt=1)
    patience: int = default(5, "plateau: epochs without a better validation loss before gamma", ge=0)
    warmup_epochs: float = default(0.0, "epochs in which the learning rate rises linearly", ge=0)
    label_smoothing: Annotated[Share, Field(lt=1)] = default(0.0, "share of the label spread over all classes")
    clip_grad: float = default(0.0, "largest norm of the gradient; 0: no limit", ge=0)
    checkpoint_every: int = default(0, "also keep a checkpoint every so many epochs; 0: last and best alone", ge=0)
    resume: str = default("auto", "auto: go on where this run folder stopped; never; or a checkpoint's path")
    max_replacements: int = default(10, "tries to replace a clip that cannot be decoded", ge=0)
    num_workers: int = default(2, "processes that decode", ge=0)
    seed: int = default(0, "of weights, order, clips and crops", ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = []
        if 0 < self.short_side < self.crop_size:
            problems.append(f"crop_size: {self.crop_size}: larger than short_side {self.short_side}")
        for name in ("mean", "std"):
            if len(getattr(self, name)) % 3:
                problems.append(f"{name}: {getattr(self, name)}: three numbers are needed, one a channel")
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            problems.append("nesterov: True: needs momentum above 0 and dampening 0")
        if self.schedule == "multistep" and self.milestones != sorted(set(self.milestones)):
            problems.append(f"milestones: {self.milestones}: they must rise")
        if self.warmup_epochs >= self.epochs:
            problems.append(f"warmup_epochs: {self.warmup_epochs:g}: must be below epochs {self.epochs}")
        if problems:
            raise ValueError("\n  - ".join(problems))
        return self


class TrainParams(_TrainingParams):
    """02_train: a network from scratch."""

    run_dir: str = default("outputs/train", "the run folder: everything is written here")
    model: str = default(
        "resnet10 widen_factor:0.25 conv1_t_size:3", "network, with options as in: resnet18 shortcut:A"
    )

    _model = field_validator("model")(_check_model)


class FinetuneParams(_TrainingParams):
    """03_finetune: a trained network on new classes. 0, an empty list or '' take the checkpoint's value."""

    run_dir: str = default("outputs/finetune", "the run folder: everything is written here")
    pretrained: WeightsPath = default(
        "outputs/demo/train_resnet10/checkpoints/best.pt", "checkpoint, or a published one's name, to start from"
    )
    table: InputPath = default("outputs/demo/motion_finetune/table.csv", "annotation table written by 01_data_prep")
    model: str = default("", "network to start with weights of an image network; empty: the checkpoint's own")
    train_from: str = default("all", "all, head, or a module's name (layer4): what lies before it is frozen")
    batch_norm: Literal["tuned", "frozen_layers", "frozen"] = default(
        "frozen_layers", "tuned: adapts everywhere; frozen_layers: not in frozen layers; frozen: nowhere"
    )
    lr_factors: list[str] = default([], "factors of lr, each a module's name, an equals sign, a number; the rest has 1")
    head_dropout: float = default(-1.0, "dropout before the head, 0 to below 1; -1: the network's own", ge=-1, lt=1)
    num_frames: int = default(0, "T: frames of a clip; 0: the checkpoint's", ge=0)
    frame_stride: int = default(0, "step between the frames of a clip; 0: the checkpoint's", ge=0)
    short_side: int = default(0, "pixels of the short side before a crop; 0: the checkpoint's", ge=0)
    crop_size: int = default(0, "pixels, height and width of a clip; 0: the checkpoint's", ge=0)
    mean: list[float] = default([], "of the channels, 0-1 scale; empty: the checkpoint's", max_length=3)
    std: list[Above0] = default([], "of the channels, 0-1 scale; empty: the checkpoint's", max_length=3)
    channel_order: Literal["", "rgb", "bgr"] = default("", "of mean and std too: rgb, bgr; empty: the checkpoint's")
    lr: float = default(0.001, "learning rate after warm-up", gt=0)
    epochs: Positive = default(5, "passes over the training videos")
    milestones: list[Positive] = default([3, 4], "multistep: epochs after which the rate is multiplied by gamma")

    _model = field_validator("model")(lambda spec: _check_model(spec) if spec else spec)

    @field_validator("lr_factors")
    @classmethod
    def _factors(cls, entries: list[str]) -> list[str]:
        read_factors(entries)
        return entries

    @property
    def factors(self) -> dict[str, float]:
        """`lr_factors` by module."""
        return read_factors(self.lr_factors)


class VideoAccuracyParams(_DeviceParams):
    """04_video_accuracy: a checkpoint's clip and video accuracy on one subset."""

    run_dir: str = default("outputs/video_accuracy", "the run folder: everything is written here")
    checkpoint: InputPath = default("outputs/demo/train_resnet10/checkpoints/best.pt", "checkpoint to evaluate")
    table: InputPath = default("outputs/demo/motion/table.csv", "annotation table written by 01_data_prep")
    subset: Literal["training", "validation", "testing"] = default("validation", "training, validation or testing")
    protocol: Literal["clip", "video", "views"] = default(
        "video", "clip: the centre clip; video: all non-overlapping clips; views: num_clips x num_crops"
    )
    num_clips: Positive = default(1, "protocol views: evenly spread clips of a video")
    num_crops: Literal[1, 3, 5, 10] = default(1, "protocol views: crops of a clip: 1, 3, 5 or 10")
    num_frames: int = default(0, "T: frames of a clip; 0: the checkpoint's", ge=0)
    frame_stride: int = default(0, "step between the frames of a clip; 0: the checkpoint's", ge=0)
    short_side: int = default(0, "pixels of the short side before the crop; 0: the checkpoint's", ge=0)
    crop_size: int = default(0, "pixels, height and width of a view; 0: the checkpoint's", ge=0)
    batch_size: Positive = default(16, "views that go through the network at once")
    num_workers: int = default(2, "processes that decode", ge=0)
    worst: int = default(6, "wrongly classified videos to show", ge=0)

    @model_validator(mode="after")
    def _views(self) -> Self:
        if self.protocol != "views" and (self.num_clips, self.num_crops) != (1, 1):
            raise ValueError("num_clips, num_crops: they belong to protocol: views")
        return self


class FlopsParams(_DeviceParams):
    """05_flops: parameters, work, memory and clips/s of a list of networks at one input, beside published figures."""

    run_dir: str = default("outputs/flops", "the run folder: everything is written here")
    models: list[str] = default(
        ["resnet18 shortcut:A", "mobilenetv2", "tsn_resnet18", "tam_resnet18"],
        "networks with options; or all",
        min_length=1,
    )
    num_classes: Positive = default(400, "outputs of the last layer")
    num_frames: Positive = default(16, "T: frames of a clip")
    crop_size: int = default(112, "pixels, height and width of a clip", ge=16)
    batch_sizes: list[Positive] = default([1, 8], "clips of a batch when the speed is measured; empty: no speed")
    training: bool = default(False, "measure the speed of training steps too")
    compare_with: Literal["listed", "all"] = default(
        "listed", "published MACs to compare with: those of the listed networks, or all"
    )
    published_dataset: Literal[
        "Kinetics-400", "Kinetics-600", "Something-Something-V2", "Jester", "UCF-101",
        "Mini-Kinetics-400", "Mini-Something-Something-V2", "Mini-Moments",
    ] = default("Kinetics-600", "data set whose published accuracy is plotted")  # fmt: skip

    @field_validator("models")
    @classmethod
    def _models(cls, specs: list[str]) -> list[str]:
        if "all" in specs and len(specs) > 1:
            raise ValueError("all stands for every network: leave the others out")
        return [spec if spec == "all" else _check_model(spec) for spec in specs]

    @field_validator("batch_sizes")
    @classmethod
    def _batches(cls, sizes: list[int]) -> list[int]:
        return sorted(set(sizes))


class CompareParams(Params):
    """06_compare: any set of run folders in one table and one plot."""

    run_dir: str = default("outputs/compare", "the run folder: everything is written here")
    runs: list[str] = default(["outputs/demo/*"], "run folders; * and ** as in a shell", min_length=1)
    accuracy: Literal["video_top1", "video_top5", "clip_top1", "clip_top5"] = default(
        "video_top1", "the accuracy to plot: video_top1, video_top5, clip_top1 or clip_top5"
    )


NOTEBOOKS: dict[str, type[Params]] = {
    "01_data_prep": DataPrepParams,
    "02_train": TrainParams,
    "03_finetune": FinetuneParams,
    "04_video_accuracy": VideoAccuracyParams,
    "05_flops": FlopsParams,
    "06_compare": CompareParams,
}


def notebook_of(path: str | Path) -> str:
    """The notebook a recipe belongs to, by its folder: params/train/x.yaml -> 02_train. Raises ParamsError."""
    folder = Path(path).resolve().parent.name
    for name in NOTEBOOKS:
        if name.split("_", 1)[1] == folder:
            return name
    folders = ", ".join(name.split("_", 1)[1] for name in NOTEBOOKS)
    raise ParamsError(f"{path}: its folder {folder!r} names no notebook; put it under params/ in one of {folders}")
