"""Checks of the options that several families have, and the error that names what can be used."""

import math


class ModelError(ValueError):
    """A model name, an option, an input or a spec that cannot be used; the message says what can."""


def check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ModelError(f"{option}={value!r}: use one of {', '.join(choices)}")


def check_positive(option: str, value: int | float) -> None:
    if not 0 < value < math.inf:
        raise ModelError(f"{option}={value!r}: a number above 0 is needed")


def check_release(release: int) -> None:
    """Of kenshohara/3D-ResNets-PyTorch: 2018 is branch CVPR2018, 2020 is master. Raises ModelError for another."""
    if release not in (2018, 2020):
        raise ModelError(f"release={release!r}: use 2018 (branch CVPR2018) or 2020 (master)")


def scale_width(channels: int, option: str, factor: float) -> int:
    """Channels times a width factor, truncated as the references do it. Raises ModelError where none are left."""
    check_positive(option, factor)
    width = int(channels * factor)
    if width < 1:
        raise ModelError(f"{option}={factor!r}: leaves a layer of {channels} channels without any; use a larger factor")
    return width
