"""Networks that differ in one number or name only, such as their depth: written once, registered once each."""

from collections.abc import Callable, Iterable
from functools import partial

from actlib.models.registry import VideoModel, register_model


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
