"""Errors of ours in a notebook: the sentence alone, in place of forty lines of traceback above it.

They name the file, the field, the value and the fix, which is all that a user needs; `%tb` shows where in the code. Any
other error keeps its traceback. Nobody else of the package is known here; everybody may use it.
"""

import sys


def tell_in_words() -> None:
    """From now on, in this notebook. Does nothing elsewhere."""
    try:
        shell = get_ipython()
    except NameError:
        return
    shell.set_custom_exc((Exception,), _tell)


def _tell(shell, kind, error, traceback, tb_offset=None) -> None:
    if kind.__module__.split(".")[0] != __name__.split(".")[0]:
        shell.showtraceback((kind, error, traceback), tb_offset=1 if tb_offset is None else tb_offset)
        return
    sys.last_type, sys.last_value, sys.last_traceback = kind, error, traceback  # what %tb shows
    shell._showtraceback(kind, error, [f"\x1b[31m{kind.__name__}\x1b[0m: {error}", "\x1b[2m(%tb shows where)\x1b[0m"])
