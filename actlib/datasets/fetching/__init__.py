"""Published data sets, fetched from where their authors hand them out: `fetching.dataset` and its parts, imported when
they are asked for."""

import importlib


def __getattr__(name: str):
    try:
        return importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        raise AttributeError(f"{__name__} has no module {name!r}") from error
