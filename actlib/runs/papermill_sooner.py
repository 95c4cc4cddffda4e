"""papermill's command line, there two seconds of computing sooner: `python -m actlib.runs.papermill_sooner …`.

It ends with the process that started it (see `lifeline`), and its kernel with it: that watches its parent by itself.

papermill imports jsonschema, which checks internationalised web addresses by `rfc3987_syntax` where it is installed,
as JupyterLab has it. Importing that compiles a grammar, which takes longer than all the rest; no notebook needs it.
"""

import sys

from actlib import lifeline

if __name__ == "__main__":
    lifeline.end_with_parent()  # before the import, which takes a second

_SLOW = "rfc3987_syntax"
sys.modules.setdefault(_SLOW, None)  # an import of it fails, and jsonschema does without

from papermill.cli import papermill  # noqa: E402

if sys.modules[_SLOW] is None:
    del sys.modules[_SLOW]  # who asks for it later has it

if __name__ == "__main__":
    papermill(prog_name="papermill")
