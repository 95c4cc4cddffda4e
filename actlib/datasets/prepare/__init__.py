"""Videos checked, converted and measured, in processes that can be killed. `prepare.probe` and the other modules are
imported when they are asked for: the worker processes start a second sooner without pandas."""

import importlib


def __getattr__(name: str):
    try:
        return importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        raise AttributeError(f"{__name__} has no module {name!r}") from error
