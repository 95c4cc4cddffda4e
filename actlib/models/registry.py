"""The models by name: how one is registered, listed, created and written on one line.

An entry function `name(num_classes, *, option=default, ...)` builds one network; its keyword-only options are
scalars (bool, int, float or str), and its signature is the only place where they and their defaults are written.
A network with its options on one line is a *spec*: the name, then `option=value` separated by blanks, as in
`mobilenetv2 width_mult=0.45`; `option:value` is read too. Parameter files, tables and plot labels all use it.
"""

import difflib
import inspect
import math
from collections.abc import Callable

import torch
from torch import nn

from actlib.models.parts.channels import set_input_channels

Scalar = bool | int | float | str

_ENTRIES: dict[str, Callable[..., "VideoModel"]] = {}
# Options that every model has besides its own; `VideoModel.options` and a spec hold them where they differ from these.
_COMMON: dict[str, Scalar] = {"in_channels": 3}


class ModelError(ValueError):
    """A model name, an option, an input or a spec that cannot be used; the message says what can."""


class VideoModel(nn.Module):
    """What every model can do: float clips (B, C, T, H, W) in, logits (B, num_classes) out; C is 3 unless the option
    `in_channels`, which every model has, says otherwise.

    A family implements `forward_features` and `forward_head` and names its head. `create_model` sets `name` and
    `options` (complete, defaults included). The state dict holds the reference's keys and no others.
    """

    classifier_name = "fc"  # the head's prefix in the state dict
    dropout_name = "dropout"  # the dropout module before it
    in_channels = _COMMON["in_channels"]
    name: str
    options: dict[str, Scalar]
    num_classes: int

    @property
    def spec(self) -> str:
        """The network on one line, such as `resnet18 shortcut=A`."""
        return format_spec(self.name, self.options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: normalised float (B, C, T, H, W). Returns logits (B, num_classes). Raises ModelError for another input."""
        if x.ndim != 5 or x.shape[1] != self.in_channels:
            raise ModelError(
                f"the input's shape is {tuple(x.shape)}: a model takes (B, {self.in_channels}, T, H, W) clips "
                "(batch, channels, frames, height, width); permute frames and channels, or add the batch axis"
            )
        if not x.is_floating_point():
            raise ModelError(f"the input is {x.dtype}: a model takes float clips; convert and normalise them first")
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, T, H, W). Returns the last feature maps, (B, C, T', H', W')."""
        raise NotImplementedError

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        """features: (B, C, T', H', W') from `forward_features`. Returns logits (B, num_classes)."""
        raise NotImplementedError

    def new_classifier(self, in_features: int, num_classes: int) -> nn.Module:
        """A fresh head, linear or a convolution, initialised as the family's paper or reference code does."""
        return nn.Linear(in_features, num_classes)

    def reset_classifier(self, num_classes: int, dropout: float | None = None) -> None:
        """Put a freshly initialised head of `num_classes` outputs in place; with `dropout`, set its probability too."""
        _check_num_classes(num_classes)
        if dropout is not None:
            if not 0 <= dropout < 1:
                raise ModelError(f"dropout={dropout!r}: a probability from 0 to below 1 is needed")
            self.get_submodule(self.dropout_name).p = dropout
        old = self.get_submodule(self.classifier_name)
        in_features = old.in_features if isinstance(old, nn.Linear) else old.in_channels
        fresh = self.new_classifier(in_features, num_classes)
        self.set_submodule(self.classifier_name, fresh.to(old.weight))
        self.num_classes = num_classes


# --- registering and creating ---------------------------------------------------------------------------------


def register_model(entry: Callable[..., VideoModel]) -> Callable[..., VideoModel]:
    """Decorator: make `entry(num_classes, *, option=default, ...)` known under its own name. A duplicate raises."""
    name = entry.__name__
    if name in _ENTRIES:
        raise ModelError(f"a model named {name!r} is registered already; model names are unique")
    first, *options = inspect.signature(entry).parameters.values()
    for option in options:
        if option.kind is not option.KEYWORD_ONLY or not isinstance(option.default, Scalar):
            raise ModelError(
                f"{name}: option {option.name!r} must be keyword-only with a bool, int, float or str default"
            )
    if first.name != "num_classes":
        raise ModelError(f"{name}: the first parameter must be num_classes, not {first.name!r}")
    _ENTRIES[name] = entry
    return entry


def list_models() -> list[str]:
    """Every model's name, in alphabetical order with numbers by value (resnet18 before resnet101)."""
    return sorted(_ENTRIES, key=_natural_order)


def model_options(name: str) -> dict[str, Scalar]:
    """The options of a model with their defaults. Raises ModelError for an unknown name."""
    if name not in _ENTRIES:
        raise ModelError(f"unknown model {name!r}; {_hint(name, list_models(), 'list_models() names them all')}")
    parameters = inspect.signature(_ENTRIES[name]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def create_model(name: str, num_classes: int, **options: Scalar) -> VideoModel:
    """Build a model, randomly initialised, in training mode.

    Raises ModelError, naming the nearest choices, for an unknown name or option or a value that cannot be used.
    """
    complete = model_options(name)
    for option, value in options.items():
        complete[option] = _checked(name, option, value)
    in_channels = complete.pop("in_channels", VideoModel.in_channels)
    try:
        _check_num_classes(num_classes)
        check_positive("in_channels", in_channels)
        model = _ENTRIES[name](num_classes, **complete)
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from None
    model.name, model.options = name, complete
    return change_channels(model, in_channels, keep=False)


def change_channels(model: VideoModel, in_channels: int, *, keep: bool) -> VideoModel:
    """Let `model` take clips of `in_channels` channels, in place, and say so in its options; see
    `channels.set_input_channels`. Returns it."""
    if in_channels != model.in_channels:
        set_input_channels(model, in_channels, keep=keep)
        model.options = {name: value for name, value in model.options.items() if name not in _COMMON}
        if in_channels != _COMMON["in_channels"]:
            model.options["in_channels"] = in_channels
    return model


# --- one line a network ---------------------------------------------------------------------------------------


def parse_spec(spec: str) -> tuple[str, dict[str, Scalar]]:
    """Split `"mobilenetv2 width_mult=0.45"` into `("mobilenetv2", {"width_mult": 0.45})`.

    A value is read by the type of the option's default: true or false, a whole number, a number, or text.
    Raises ModelError for an unknown name or option, a repeated option, or a value of another type.
    """
    words = spec.split()
    if not words:
        raise ModelError("the model is empty: write a name, then option=value separated by blanks")
    name, options = words[0], {}
    defaults = model_options(name) | _COMMON
    for word in words[1:]:
        option, equals, text = word.replace(":", "=").partition("=")
        if not equals or not option or not text:
            raise ModelError(f"{word!r} in {spec!r}: options are written option=value, without blanks around the '='")
        if option in options:
            raise ModelError(f"{option!r} is given twice in {spec!r}")
        _require_option(name, option)
        options[option] = _checked(name, option, _read(text, type(defaults[option])))
    return name, options


def format_spec(name: str, options: dict[str, Scalar]) -> str:
    """The spec of a model; options equal to their defaults are left out. `parse_spec` reads it back."""
    values = {option: _checked(name, option, value) for option, value in options.items()}
    changed = [
        f"{option}={str(values[option]).lower() if isinstance(default, bool) else values[option]}"
        for option, default in (model_options(name) | _COMMON).items()
        if values.get(option, default) != default
    ]
    return " ".join([name, *changed])


def create_from_spec(spec: str, num_classes: int, **extra: Scalar) -> VideoModel:
    """Build the model that a spec names; `extra` options must not contradict it. Raises ModelError."""
    name, options = parse_spec(spec)
    for option, value in extra.items():
        if option in options and options[option] != value:
            raise ModelError(f"{spec!r} says {option}={options[option]}, but {option}={value} is asked for too")
    return create_model(name, num_classes, **(options | extra))


# --- what the families share ----------------------------------------------------------------------------------


def normal_linear(in_features: int, num_classes: int, std: float) -> nn.Linear:
    """A fresh linear layer with weights of N(0, std²) and bias 0, as several of the references start their heads."""
    linear = nn.Linear(in_features, num_classes)
    nn.init.normal_(linear.weight, std=std)
    nn.init.zeros_(linear.bias)
    return linear


def check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ModelError(f"{option}={value!r}: use one of {', '.join(choices)}")


def check_positive(option: str, value: int | float) -> None:
    if not 0 < value < math.inf:
        raise ModelError(f"{option}={value!r}: a number above 0 is needed")


def scale_width(channels: int, option: str, factor: float) -> int:
    """Channels times a width factor, truncated as both reference codebases do it. Raises where none are left."""
    check_positive(option, factor)
    width = int(channels * factor)
    if width < 1:
        raise ModelError(f"{option}={factor!r}: leaves a layer of {channels} channels without any; use a larger factor")
    return width


# --- helpers --------------------------------------------------------------------------------------------------


def _check_num_classes(num_classes: int) -> None:
    if not isinstance(num_classes, int) or num_classes < 1:
        raise ModelError(f"num_classes={num_classes!r}: a whole number above 0 is needed")


def _require_option(name: str, option: str) -> None:
    allowed = list(model_options(name))
    if option not in allowed and option not in _COMMON:
        everything = f"allowed are {', '.join(allowed)}" if allowed else f"{name} has no options"
        raise ModelError(f"{name} has no option {option!r}; {_hint(option, allowed, everything)}")


def _checked(name: str, option: str, value: Scalar) -> Scalar:
    """The value, an int made float where the option is one. Raises for an unknown option or another type."""
    _require_option(name, option)
    kind = type((model_options(name) | _COMMON)[option])
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ModelError(f"{name}: {option}={value!r} must be {_KINDS[kind]}")
    return value


_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _read(text: str, kind: type) -> Scalar:
    """Text as a value of `kind`; where it is none, the text itself, which `_checked` then refuses by name."""
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        return kind(text)
    except ValueError:
        return text


def _hint(wrong: str, names: list[str], everything: str) -> str:
    near = difflib.get_close_matches(wrong, names, n=3)
    return f"did you mean {' or '.join(near)}? ({everything})" if near else everything


def _natural_order(name: str) -> list[tuple[int, str]]:
    """Sort key: runs of digits compare as numbers."""
    digits = "".join(c if c.isdigit() else f" {c} " for c in name).split()
    return [(int(part), "") if part.isdigit() else (-1, part) for part in digits]
