"""What a checkpoint of this project holds, field by field: checked once, where it is read, so that whoever uses one
may rely on the kinds. What the fields mean stands in `checkpoint`."""

import math
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)
from torch.optim.lr_scheduler import LRScheduler

from actlib.messages import kind_of, listed, problems_in_words, shown

FORMAT = "actlib checkpoint 1"  # stands under 'format' in a checkpoint of this project
UNSAID = {"channel_order": "rgb", "modality": "rgb"}  # preprocessing that older checkpoints do not tell
# The numbers of an epoch; a loop of the user's may add what it likes.
COUNTED = {"epoch", "replaced", "val_videos"}
MEASURED = {
    "loss", "top1", "top5", "lr", "clips_per_s", "data_wait", "val_loss", "val_top1", "val_top5", "val_macro_f1",
    "seconds",
}  # fmt: skip
# What the optimisers of torch keep of each parameter, of its own shape.
MOMENTA = {"momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "square_avg", "grad_avg", "sum"}


class CheckpointError(ValueError):
    """A checkpoint that is missing, is not one of this project's, does not fit the run, or names code that nobody here
    did. Names the file."""


def check_fields(path: Path, content: dict, state: dict[str, torch.Tensor]) -> None:
    """`content`: all of a checkpoint besides its tensors, `state`. Raises CheckpointError, naming every field that is
    missing or of another kind; one with `optimizer` must have all that going on takes."""
    problems = []
    try:
        (Resumable if "optimizer" in content else Content).model_validate(content)
        problems = list(_misfits(content, state))
    except ValidationError as error:
        problems = [_problem(each) for each in error.errors(include_url=False)]
    if problems:
        raise CheckpointError(problems_in_words(f"{path}: damaged, or not as this project writes it", problems))


def _problem(error: dict) -> str:
    name = ".".join(str(each)[:60] for each in error["loc"] if each not in ("now", "before"))  # see `Resumable`
    what = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if error["type"] == "missing":
        return f"{name} is missing"
    return f"{name}: {shown(error['input'])[:80]}: {what[:200]}" if name else what[:400]


def _misfits(content: dict, state: dict[str, torch.Tensor]):
    """What does not go together, of fields that each are of the right kind."""
    classes, num_classes = content.get("classes"), content["model"]["num_classes"]
    if classes is not None and len(classes) != num_classes:
        yield f"classes: {len(classes)} classes for a network of num_classes {num_classes}"
    if num_classes > sum(each.numel() for each in state.values()):
        yield f"model.num_classes: {num_classes} of a network with fewer numbers in all"
    shapes = {tuple(each.shape) for each in state.values()}
    for place, kept in content.get("optimizer", {}).get("state", {}).items():
        for name, value in kept.items() if isinstance(kept, dict) else ():
            if name in MOMENTA and isinstance(value, torch.Tensor) and tuple(value.shape) not in shapes:
                yield f"optimizer.state.{place}.{name}: no tensor of the network has its shape {tuple(value.shape)}"


# --- kinds ------------------------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """What an option may be."""
    if not isinstance(value, bool | int | float | str | None) or value in (math.inf, -math.inf) or value != value:
        raise ValueError("must be a finite number, text, true or false")
    return value


def _parameter(value: Any) -> Any:
    """What a run's parameter may be."""
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, bool | int | float | str | None):
            raise ValueError("must be a number, text, true or false, or a list of such")
    if isinstance(value, list | str) and len(value) > 5000:
        raise ValueError(f"is {len(value):,} long")
    return value


def _distinct(names: list[str]) -> list[str]:
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"{listed(repeated, 5)[:150]}: stands there more than once")
    return names


def _vector(value: Any, length: int = 0) -> torch.Tensor:
    if not isinstance(value, torch.Tensor) or value.ndim != 1 or value.layout != torch.strided or value.is_meta:
        raise ValueError(f"must be a tensor of one axis, not {kind_of(value)}")
    if length and len(value) != length:
        raise ValueError(f"must have {length} numbers, not {len(value)}")
    return value


def _generator_state(value: Any) -> torch.Tensor:
    try:
        torch.Generator().set_state(_vector(value))
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"is no state of torch's generator ({str(error).splitlines()[0][:100]})") from None
    return value


def _bytes(value: Any) -> torch.Tensor:
    if _vector(value).dtype != torch.uint8:
        raise ValueError(f"must be bytes, not {value.dtype}")
    return value


def _row(value: Any) -> Any:
    """What the history holds of an epoch."""
    for name, number in value.items() if isinstance(value, dict) else [("a row", value)]:
        kinds = int if name in COUNTED else int | float if name in MEASURED else object
        if not isinstance(value, dict) or not isinstance(number, kinds):
            raise ValueError(f"{str(name)[:60]} must be a number, not {shown(number)[:60]}")
    return value


def _failure(value: Any) -> Any:
    texts, count = (value[:-1], value[-1]) if isinstance(value, list | tuple) and len(value) == 4 else ((None,), 0)
    if not all(isinstance(each, str) for each in texts) or type(count) is not int or count < 1:
        raise ValueError("must be [subset, path, reason, how many clips]")
    return value


def _channels(value: Any) -> Any:
    """A number a channel."""
    numbers = value if isinstance(value, list | tuple) else ()
    if not numbers or not all(isinstance(each, int | float) and math.isfinite(each) for each in numbers):
        raise ValueError("must be a list of finite numbers, one a channel")
    return value


def _deviations(value: Any) -> Any:
    if min(_channels(value)) <= 0:
        raise ValueError("must be above 0")
    return value


def _rate(value: Any) -> Any:
    """A learning rate, which torch takes as a tensor too."""
    number = value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 and not value.is_meta else value
    if not isinstance(number, int | float) or not 0 <= number < math.inf:
        raise ValueError("must be a number, 0 or more")
    return value


class _Fields(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", arbitrary_types_allowed=True, defer_build=True)


Count = Annotated[int, Field(ge=0, le=2**53)]
Size = Annotated[int, Field(ge=1, le=2**20)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Rate = Annotated[Any, AfterValidator(_rate)]
Rates = Annotated[list[Rate], Field(min_length=1, fail_fast=True)]
Name = Annotated[str, Field(min_length=1, max_length=1000)]
Classes = Annotated[list[Name], Field(min_length=1, fail_fast=True), AfterValidator(_distinct)]
Params = dict[str, Annotated[Any, AfterValidator(_parameter)]]
History = Annotated[list[Annotated[Any, AfterValidator(_row)]], Field(fail_fast=True)]


# --- fields -----------------------------------------------------------------------------------------------------------


class Code(_Fields):
    file: Name
    sha256: Name


class Network(_Fields):
    name: Name
    options: dict[str, Annotated[Any, AfterValidator(_plain)]] = {}  # which an older checkpoint has in its spec alone
    num_classes: Size
    spec: Name
    code: Code | None = None


class Preprocessing(_Fields):
    """Each may be missing: whoever needs it says so."""

    num_frames: Size = 1
    frame_stride: Size = 1
    short_side: Size = 1
    crop_size: Size = 1
    mean: Annotated[Any, AfterValidator(_channels)] = ()
    std: Annotated[Any, AfterValidator(_deviations)] = ()
    channel_order: Literal["rgb", "bgr"] = UNSAID["channel_order"]
    modality: Literal["rgb", "flow"] = UNSAID["modality"]


class Execution(_Fields):
    model_config = ConfigDict(strict=True, extra="forbid", defer_build=True)
    precision: str
    memory_format: str
    compile: bool = False
    device: str = ""


class Content(_Fields):
    """What a checkpoint for inference holds."""

    model: Network
    classes: Classes | None = None
    preprocessing: Preprocessing | None = None
    execution: Execution = None
    epoch: Count = 0
    history: History = []
    params: Params = {}

    @model_validator(mode="after")
    def _epochs(self):
        found = [row.get("epoch") for row in self.history]
        if found != list(range(1, len(found) + 1)):
            raise ValueError(f"history: its rows are of the epochs {listed(found)}, not 1, 2, …")
        if {"epoch", "history"} <= self.model_fields_set and self.epoch != len(found):
            raise ValueError(f"epoch: {self.epoch}, and history has {len(found)} rows")
        return self


class Optimizer(_Fields):
    class Group(_Fields):
        params: Annotated[list[Count], Field(fail_fast=True)]
        lr: Rate

    state: dict[int | str, Any]
    param_groups: Annotated[list[Group], Field(min_length=1, fail_fast=True)]

    @model_validator(mode="after")
    def _numbered(self):
        numbers = [number for group in self.param_groups for number in group.params]
        kept = {number: each for number, each in self.state.items() if isinstance(number, int)}
        if sorted(numbers) != list(range(len(numbers))) or not kept.keys() <= set(numbers):
            raise ValueError("optimizer: the parameters of its groups are not 0, 1, …, or others are in its state")
        if odd := [number for number, each in kept.items() if not isinstance(each, dict)]:
            raise ValueError(f"optimizer.state.{odd[0]}: must be a dict, not {kind_of(kept[odd[0]])}")
        return self


class _State(_Fields):
    """Of a schedule of torch's, which sets all that it finds here as attributes of its own."""

    last_lr: Rates = Field(alias="_last_lr")

    @model_validator(mode="after")
    def _no_more(self):
        if odd := [key for key in self.model_extra if callable(getattr(LRScheduler, key, None)) or key == "optimizer"]:
            raise ValueError(f"holds {listed(odd, 5)[:150]}, which no schedule keeps")
        return self


class Schedule(_State):
    last_epoch: Count
    base_lrs: Rates
    lr_lambdas: Annotated[list[dict[str, Any] | None], Field(fail_fast=True)]


class Plateau(_State):
    best: float
    num_bad_epochs: Count


class OldSchedule(_Fields):
    """As it was before torch's schedules were used."""

    step_count: Count
    best_loss: float
    bad_epochs: Count
    plateau: Finite


def _which_schedule(state: Any) -> str:
    return "before" if isinstance(state, dict) and "step_count" in state else "now"


class Random(_Fields):
    torch: Annotated[Any, AfterValidator(_generator_state)]
    cuda: Annotated[list[Annotated[Any, AfterValidator(_bytes)]], Field(fail_fast=True)]


class Within(_Fields):
    batches: Count
    clips: Count
    replaced: Count
    totals: Annotated[Any, AfterValidator(lambda value: _vector(value, 3))]


class Resumable(Content):
    """What one holds that training can go on from."""

    classes: Classes
    execution: Execution
    history: History
    params: Params
    optimizer: Optimizer
    schedule: Annotated[
        Annotated[Schedule, Tag("now")] | Annotated[OldSchedule, Tag("before")], Discriminator(_which_schedule)
    ]
    plateau: Plateau | None = None
    scaler: dict[str, float] = {}
    rng: Random
    failures: Annotated[list[Annotated[Any, AfterValidator(_failure)]], Field(fail_fast=True)]
    best_epoch: Count = 0
    within: Within | None = None

    @model_validator(mode="after")
    def _goes_together(self):
        if type(epochs := self.params.get("epochs")) is not int or epochs < 1:
            raise ValueError(f"params.epochs: {shown(epochs)}: must be a whole number above 0")
        if any("val_top1" not in row for row in self.history):
            raise ValueError("history: a row has no val_top1")
        if self.params.get("best_by") == "macro_f1" and any("val_macro_f1" not in row for row in self.history):
            raise ValueError("history: a row has no val_macro_f1, by which the best is chosen")
        if self.best_epoch > len(self.history):
            raise ValueError(f"best_epoch: {self.best_epoch}, and history has {len(self.history)} rows")
        groups = len(self.optimizer.param_groups)
        if isinstance(self.schedule, Schedule) and not (
            groups == len(self.schedule.base_lrs) == len(self.schedule.last_lr) == len(self.schedule.lr_lambdas)
        ):
            raise ValueError(f"schedule: not of the {groups} groups of the optimizer")
        if isinstance(self.schedule, Schedule) and "plateau" not in self.model_fields_set:
            raise ValueError("plateau is missing")
        return self
