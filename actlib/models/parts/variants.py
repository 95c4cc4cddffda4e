"""Networks that differ in one number or name only, such as their depth: written once, registered once each. And those
that a library of an extra builds."""

from collections.abc import Callable, Iterable
from functools import partial
from importlib.util import find_spec
from inspect import Parameter, Signature

from actlib.models.parts.options import ModelError
from actlib.models.registry import Scalar, VideoModel, register_model


def register_variants(name: str, variants: Iterable[int | str]) -> Callable[[Callable[..., VideoModel]], Callable]:
    """Decorator: register `build(variant, num_classes, *, option=default, …)` once for each variant.

    `@register_variants("resnet{}", (10, 18))` makes resnet10 and resnet18, each with the options of the function.
    """

    def register(build: Callable[..., VideoModel]) -> Callable[..., VideoModel]:
        for variant in variants:
            entry = partial(build, variant)
            entry.__name__ = entry.__qualname__ = name.format(variant)
            entry.__module__, entry.__doc__ = build.__module__, build.__doc__
            register_model(entry)
        return build

    return register


def register_of_library(
    library: str, extra: str, name: str, options: dict[str, Scalar], build: Callable[..., VideoModel]
) -> None:
    """Register `build(num_classes, **options)`, which imports `library` when it is called, with `options` and their
    defaults for its signature. Where the library is not installed the network says so, naming the extra."""

    def entry(num_classes: int, **given: Scalar) -> VideoModel:
        if find_spec(library) is None:
            raise ModelError(f"it is built by {library}: pip install -e '.[{extra}]'")
        return build(num_classes, **given)

    parameters = [Parameter("num_classes", Parameter.POSITIONAL_OR_KEYWORD)]
    parameters += [Parameter(option, Parameter.KEYWORD_ONLY, default=value) for option, value in options.items()]
    entry.__signature__ = Signature(parameters)
    entry.__name__ = entry.__qualname__ = name
    entry.needs = library
    register_model(entry)
