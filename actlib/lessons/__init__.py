"""What the lessons do behind their four import lines: one module a lesson, for what no other room has a use for."""

import os
from pathlib import Path

from actlib.files import project_root
from actlib.notebook_errors import tell_in_words
from actlib.params import Params, ParamsError
from actlib.runs.folder import RunFolder


def start(run_dir: str, *needs: str) -> RunFolder:
    """The run folder of a lesson, and the project's root as working folder. Raises ParamsError where one of `needs`,
    files or folders that the demo leaves behind, is not there."""
    tell_in_words()
    os.chdir(project_root())
    missing = [path for path in needs if not Path(path).exists()]
    if missing:
        raise ParamsError(f"this lesson needs {', '.join(missing)}: run `make demo` once, which takes some minutes")
    return RunFolder.start(Params.build({"run_dir": run_dir}, "this lesson"))
