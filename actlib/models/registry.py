"""The models by name: how one is registered, listed, created and written on one line.

A network with its options on one line is a *spec*: the name, then `option=value` separated by blanks, as in
`mobilenetv2 width_mult=0.45`; `option:value` is read too. Parameter files, tables and plot labels all use it. The name
is that of a registered network, or of one of the user's own, as in `my_nets.py:small3d width=16` (see `entries`).
"""

from functools import cache
from importlib.util import find_spec

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd

from actlib.messages import did_you_mean
from actlib.models.entries import Entry, Scalar, entry_options, is_code, load_entry
from actlib.models.parts.channels import set_input_channels
from actlib.models.parts.options import ModelError, check_positive

_ENTRIES: dict[str, Entry] = {}
# Options that every model has besides its own; `VideoModel.options` and a spec hold them where they differ from these.
_COMMON: dict[str, Scalar] = {"in_channels": 3}
OWN_MODULE = " (own module)"  # ends the name of a network that no name can build again, since it was made by hand


class VideoModel(nn.Module):
    """What every model can do: float clips (B, C, T, H, W) in, logits (B, num_classes) out; C is 3 unless the option
    `in_channels`, which every model has, says otherwise.

    A family implements `forward_features` and `forward_head` and names its head. `create_model` sets what follows. The
    state dict of a network of this package holds the reference's keys and no others.
    """

    classifier_name = "fc"  # the head's prefix in the state dict
    dropout_name = "dropout"  # the dropout module before it
    before_head: tuple[str, ...] = ()  # prefixes of a norm or pooling that weights without a head lack too
    in_channels = _COMMON["in_channels"]
    name: str
    options: dict[str, Scalar]  # complete, defaults included
    num_classes: int
    code: dict[str, str] | None = None  # {"file", "sha256"} of a network in a file of the user's
    classes: list[str] | None = None  # the names that the weights were trained on, in index order
    preprocessing: dict | None = None  # of the clips that they were trained on (see `weights.checkpoint`)
    load_report = None  # what was loaded, a `weights.load.LoadReport`; None without weights
    _defaults: dict[str, Scalar] | None = None  # of the options when it was built: a user's file may change after that

    @property
    def spec(self) -> str:
        """The network on one line, such as `resnet18 shortcut=A`."""
        if self.name.endswith(OWN_MODULE):
            return self.name
        return _on_one_line(self.name, self.options, self._defaults or _all_options(self.name))

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
            self.set_dropout(dropout)
        old = self.get_submodule(self.classifier_name)
        in_features = old.in_features if isinstance(old, nn.Linear) else old.in_channels
        fresh = self.new_classifier(in_features, num_classes)
        self.set_submodule(self.classifier_name, fresh.to(old.weight))
        self.num_classes = num_classes

    def set_dropout(self, p: float) -> None:
        """Set the probability of the dropout before the head. Raises ModelError for none there, or no probability."""
        if not 0 <= p < 1:
            raise ModelError(f"dropout={p!r}: a probability from 0 to below 1 is needed")
        if not self.dropout_name:
            raise ModelError(f"dropout={p!r}: {self.name} has no dropout module")
        self.get_submodule(self.dropout_name).p = p


class _AdoptedModel(VideoModel):
    """What a network of the user's gets besides its own class (see `adopt`), where that has nothing of the kind."""

    def new_classifier(self, in_features: int, num_classes: int) -> nn.Module:
        """A layer as the head is, with that kind of layer's own initialisation."""
        old = self.get_submodule(self.classifier_name)
        shape = () if isinstance(old, nn.Linear) else (old.kernel_size, old.stride, old.padding)
        return type(old)(in_features, num_classes, *shape, bias=old.bias is not None)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, T, H, W). Returns what the network gives to its head."""
        inputs = []
        head = self.get_submodule(self.classifier_name)
        hook = head.register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
        try:
            self(x)
        finally:
            hook.remove()
        return inputs[-1]

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        """features: from `forward_features`. Returns what the head makes of them: the logits, if nothing follows it."""
        return self.get_submodule(self.classifier_name)(features)


# --- registering and creating ---------------------------------------------------------------------------------


def register_model(entry: Entry) -> Entry:
    """Decorator: make `entry(num_classes, *, option=default, ...)` known under its own name, in this process alone.

    Running a notebook's cell again replaces the network, which is printed. Raises ModelError for the name of a network
    of this package, and for another signature.
    """
    name = getattr(entry, "__name__", "")
    if is_builtin(name):
        raise ModelError(f"a model named {name!r} is registered already, by this package; choose another name")
    if not name.isidentifier():
        raise ModelError(f"{entry!r} has no name to be registered under; write it as a function with def")
    entry_options(entry, name)
    if name in _ENTRIES:
        print(f"{name}: replaces the network that was registered under this name")
    _ENTRIES[name] = entry
    return entry


def is_builtin(name: str) -> bool:
    """Whether it is the name of a network of this package."""
    return name in _ENTRIES and _ENTRIES[name].__module__.startswith("actlib.models.")


def library_of(name: str) -> str:
    """The library of an extra that builds a network, by the attribute `needs` of its entry; empty for most."""
    return getattr(_ENTRIES.get(name), "needs", "")


def list_models() -> list[str]:
    """Every registered model's name, in alphabetical order with numbers by value (resnet18 before resnet101). Those
    that a library of an extra builds are among them where it is installed."""
    there = {library: not library or find_spec(library) is not None for library in set(map(library_of, _ENTRIES))}
    return sorted((name for name in _ENTRIES if there[library_of(name)]), key=_natural_order)


def model_options(name: str) -> dict[str, Scalar]:
    """The options of a model with their defaults. Raises ModelError for an unknown name."""
    return entry_options(_entry(name)[0], name)


def create_from_spec(spec: str, num_classes: int, **options: Scalar) -> VideoModel:
    """Build the model that a name or a spec names, randomly initialised, in training mode. `options` must not
    contradict the spec.

    Raises ModelError, naming the nearest choices, for an unknown name or option or a value that cannot be used.
    """
    name, asked = merge_options(spec, options)
    entry, code = _entry(name)
    own = entry_options(entry, name)
    complete = own | asked
    in_channels = complete.get("in_channels")
    if "in_channels" not in own:
        complete.pop("in_channels", None)
    try:
        _check_num_classes(num_classes)
        check_positive("in_channels", 1 if in_channels is None else in_channels)
        model = entry(num_classes, **complete)
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from None
    model = adopt(model, num_classes, name, complete)
    model.code, model._defaults = code, _with_common(own)
    return model if in_channels is None else change_channels(model, in_channels, keep=False)


def adopt(model: nn.Module, num_classes: int, name: str = "", options: dict[str, Scalar] | None = None) -> VideoModel:
    """Give a module what every VideoModel has, in place; doing it again is no harm. Returns it.

    model: maps (B, C, T, H, W) to (B, num_classes). Its head is what its attribute `classifier_name` names, else its
    last linear layer or convolution with `num_classes` outputs; `dropout_name` likewise, else the last dropout. C is
    the option `in_channels`, else what a first 3-D convolution takes; of a first 2-D one, which may take several
    frames at once, only where the attribute `in_channels` says so too; else 3.
    name, options: with which it can be built again. Without a name it has its class's, marked as one that cannot.

    Raises ModelError where it has no such head, or is no module.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(f"{name or 'the model'} gives a {type(model).__name__}: a torch.nn.Module is needed")
    options = dict(options or {})
    kind = type(model)
    if not isinstance(model, VideoModel):
        layers = dict(model.named_modules())
        heads = [key for key, each in layers.items() if _num_outputs(each) == num_classes]
        drops = [key for key, each in layers.items() if isinstance(each, _DropoutNd)]
        head = getattr(model, "classifier_name", heads[-1] if heads else "")
        if head not in layers or not head:
            raise ModelError(
                f"{name or kind.__name__}: no linear layer or convolution of {num_classes} outputs, and no attribute "
                "classifier_name with the name of its last layer"
            )
        found = {
            "classifier_name": head,
            "dropout_name": getattr(model, "dropout_name", drops[-1] if drops else ""),
            "in_channels": options.get("in_channels") or _clip_channels(model),
        }
        model.__class__ = _adopted_class(kind)
        for attribute, value in found.items():
            setattr(model, attribute, value)
    if name or not hasattr(model, "name"):
        model.name, model.options, model._defaults = name or kind.__name__ + OWN_MODULE, options, None
    model.num_classes = num_classes
    return model


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

    A value is read by the type of the option's default: true or false, a whole number, a number, or text. The file of a
    network of the user's is executed, to see its options.
    Raises ModelError for an unknown name or option, a repeated option, or a value of another type.
    """
    name, *words = spec.split() or [""]
    if not name:
        raise ModelError("the model is empty: write a name, then option=value separated by blanks")
    if not is_code(name):
        name = ":".join(name.rsplit("=", 1))  # in notebooks' parameters the colon may have become an equals sign
    defaults, options = _all_options(name), {}
    for word in words:
        option, equals, text = word.replace(":", "=").partition("=")
        if not equals or not option or not text:
            raise ModelError(f"{word!r} in {spec!r}: options are written option=value, without blanks around the '='")
        if option in options:
            raise ModelError(f"{option!r} is given twice in {spec!r}")
        options[option] = _checked(name, defaults, option, _read(text, type(defaults.get(option, ""))))
    return name, options


def format_spec(name: str, options: dict[str, Scalar]) -> str:
    """The spec of a model; options equal to their defaults are left out. `parse_spec` reads it back."""
    defaults = _all_options(name)
    values = {option: _checked(name, defaults, option, value) for option, value in options.items()}
    return _on_one_line(name, values, defaults)


def merge_options(spec: str, more: dict[str, Scalar]) -> tuple[str, dict[str, Scalar]]:
    """The name of a spec, and its options with `more`. Raises ModelError where one contradicts the other."""
    name, options = parse_spec(spec)
    defaults = _all_options(name)
    for option, value in more.items():
        value = _checked(name, defaults, option, value)
        if options.setdefault(option, value) != value:
            raise ModelError(f"{spec!r} says {option}={options[option]}, but {option}={value} is asked for too")
    return name, options


# --- helpers --------------------------------------------------------------------------------------------------


def _entry(name: str) -> tuple[Entry, dict[str, str] | None]:
    """The function that builds a network, and its code as `entries.load_entry` gives it."""
    if is_code(name):
        return load_entry(name)
    if name not in _ENTRIES:
        own = f"write {name}:function" if name.endswith(".py") else "one of your own is written file.py:function"
        raise ModelError(f"unknown model {name!r}{_hint(name, list_models(), f'list_models() names them all; {own}')}")
    return _ENTRIES[name], None


def _all_options(name: str) -> dict[str, Scalar]:
    """All options of a model with their defaults: its own, then those that every model has."""
    return _with_common(model_options(name))


def _with_common(own: dict[str, Scalar]) -> dict[str, Scalar]:
    return own | {option: value for option, value in _COMMON.items() if option not in own}


def _on_one_line(name: str, values: dict[str, Scalar], defaults: dict[str, Scalar]) -> str:
    changed = [
        f"{option}={str(values[option]).lower() if isinstance(default, bool) else values[option]}"
        for option, default in defaults.items()
        if values.get(option, default) != default
    ]
    return " ".join([name, *changed])


def _num_outputs(module: nn.Module) -> int | None:
    if isinstance(module, nn.Linear):
        return module.out_features
    return module.out_channels if isinstance(module, _ConvNd) else None


@cache
def _adopted_class(kind: type[nn.Module]) -> type[VideoModel]:
    """The class of a module of the user's with what is missing in it; what it has itself comes first."""
    return type(kind.__name__, (kind, _AdoptedModel), {"__module__": kind.__module__})


def _clip_channels(model: nn.Module) -> int:
    """How many channels the clips of a network of the user's have; see `adopt`."""
    first = next((each for each in model.modules() if isinstance(each, nn.Conv2d | nn.Conv3d)), None)
    told = first is not None and (isinstance(first, nn.Conv3d) or getattr(model, "in_channels", 0) == first.in_channels)
    return first.in_channels if told else _COMMON["in_channels"]


def _check_num_classes(num_classes: int) -> None:
    if not isinstance(num_classes, int) or num_classes < 1:
        raise ModelError(f"num_classes={num_classes!r}: a whole number above 0 is needed")


def _checked(name: str, defaults: dict[str, Scalar], option: str, value: Scalar) -> Scalar:
    """The value, an int made float where the option is one. Raises for an unknown option or another type."""
    if option not in defaults:
        own = [each for each in defaults if each not in _COMMON]
        everything = f"allowed are {', '.join(own)}" if own else f"{name} has no options"
        raise ModelError(f"{name} has no option {option!r}{_hint(option, own, everything)}")
    kind = type(defaults[option])
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
    near = did_you_mean(wrong, names)
    return f"{near} ({everything})" if near else f"; {everything}"


def _natural_order(name: str) -> list[tuple[int, str]]:
    """Sort key: runs of digits compare as numbers."""
    digits = "".join(c if c.isdigit() else f" {c} " for c in name).split()
    return [(int(part), "") if part.isdigit() else (-1, part) for part in digits]
