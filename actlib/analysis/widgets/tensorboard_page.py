"""TensorBoard's own page in a notebook."""

import os
import shlex
import sys
from pathlib import Path

from actlib.progress import is_interactive


def tensorboard(logdir: str | Path, interactive: bool | None = None) -> None:
    """Show TensorBoard of all runs below a folder, as `%tensorboard --logdir …` does; headless the command for it. A
    server that is at work on the folder already is used again. Needs `pip install -e '.[tensorboard]'`."""
    arguments = f"--logdir {shlex.quote(str(logdir))}"
    if not (is_interactive() if interactive is None else interactive):
        print(f"the curves of all runs there: tensorboard {arguments}")
        return
    from tensorboard import notebook

    # It is looked for on the PATH, where that of an environment which is not activated does not stand.
    os.environ.setdefault("TENSORBOARD_BINARY", str(Path(sys.executable).with_name("tensorboard")))
    notebook.start(arguments)
