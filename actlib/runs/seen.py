"""What a worker of a cluster must see before it can execute a batch: the project, and what its runs read.

The process of the batch writes it down in the batch's own folder (`write`). A worker that can read that file shares the
folder, and tells what of the rest it does not see (`unseen`).
"""

import csv
import hashlib
import os
from functools import cache
from pathlib import Path

from actlib.files import digest, read_mapping, text_coding, write_json
from actlib.params import NOTEBOOKS
from actlib.runs.batch import Batch

PACKAGE = Path(__file__).resolve().parents[1]


def write(batch: Batch, root: Path, name: str) -> Path:
    """Write as the file `name` beside the run folders what the runs of `batch` need: notebooks, tables with some of
    their videos (the first, the middle and the last one), weights and other inputs that no run writes. Of what isn't
    here either nothing is said. Returns its path."""
    reads, files = {}, set()
    for run in batch.runs:
        inputs, data_root = run.params.inputs(), getattr(run.params, "data_root", "")
        reads[repr([run.notebook, inputs])] = [run.notebook, run.params.model_dump(mode="json")]
        files |= {data_root, *run.params.code_files()}
        files |= {each for table in inputs.get("table", ()) for each in _with_videos(root / table)}
    paths = [os.path.join(root, each) for each in files if each]
    told = {
        "root": str(root),
        "package": _package_digest(),
        "notebooks": {name: digest(_notebook(root, name)) for name in {run.notebook for run in batch.runs}},
        "files": {path: _size(path) for path in sorted(paths) if os.path.exists(path)},
        "reads": list(reads.values()),
        "written": sorted({os.path.normpath(run.params.run_dir) for run in batch.runs}),
    }
    return write_json(root / batch.runs[0].folder.parent / name, told)


def unseen(path: str, late: bool = False) -> list[str]:
    """What this process does not see of what was written down at `path`, in words. `late`: while the batch is at work,
    when somebody may have changed a notebook or this package, as between two runs on one machine."""
    try:
        told = read_mapping(path)
    except (OSError, ValueError):
        return [f"does not see {path}, which this batch has just written"]
    root, known = Path(told["root"]), {}
    found = [] if late or _package_digest() == told["package"] else [f"has another actlib, in {PACKAGE}"]
    for name, expected in told["notebooks"].items():
        notebook = _notebook(root, name)
        if not notebook.is_file():
            found.append(f"does not see {notebook}")
        elif not late and digest(notebook) != expected:
            found.append(f"sees another {notebook}")
    for each, size in told["files"].items():
        if not os.path.exists(each):
            found.append(f"does not see {each}")
        elif not late and _size(each) != size:
            found.append(f"sees another {each}, of {_size(each)} bytes in place of {size}")
    for notebook, values in told["reads"]:
        # Not validated: they are, and looking for networks would import torch.
        NOTEBOOKS[notebook].model_construct(**values).missing_inputs(root, told["written"], known)
    missing = {os.path.join(root, each): why for each, why in known.items() if why}
    return found + [f"does not see {each} ({why})" for each, why in missing.items() if each not in told["files"]]


@cache
def _with_videos(table: Path) -> tuple[str, ...]:
    """A table, and the first, the middle and the last video in it; one that no run has written yet is nothing."""
    try:
        with table.open(encoding=text_coding(table), newline="") as file:
            rows = csv.reader(file)
            at = next(rows, []).index("path")
            videos = [row[at] for row in rows if len(row) > at]
    except (OSError, ValueError, csv.Error):
        return ()
    some = {videos[place] for place in (0, len(videos) // 2, -1)} if videos else set()
    return (str(table), *(str(table.parent / each) for each in some))


def _package_digest() -> str:
    """What tells this package's code from another's."""
    content = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        content.update(f"{path.relative_to(PACKAGE)} {digest(path)}\n".encode())
    return content.hexdigest()[:16]


def _notebook(root: Path, name: str) -> Path:
    return root / "notebooks" / f"{name}.ipynb"


def _size(path: str) -> int | None:
    """Bytes of a file; None for a folder."""
    return os.path.getsize(path) if os.path.isfile(path) else None
