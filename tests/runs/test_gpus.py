"""Runs side by side on one machine do not take each other's GPUs."""

import nbformat
from batches import batch_of, make_project

from actlib.runs import gpus
from actlib.runs.batch import read_batch
from actlib.runs.execute import run_batch

# Says which GPUs it sees, and waits until another run is at work with it.
MEETS = """
import os
from pathlib import Path

Path(p.run_dir, "gpus.txt").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
for _ in range(600):
    if len(list(Path(p.run_dir).parent.glob("*/gpus.txt"))) >= 2:
        break
    time.sleep(0.1)
"""


def test_gpus_are_shared_out(monkeypatch):
    def found(visible, workers):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        return [each.get("CUDA_VISIBLE_DEVICES") for each in gpus.shared_out(workers)]

    assert found("0,1,2,3", 1) == [None]  # one run at a time has them all
    assert found("0,1,2,3", 2) == ["0,2", "1,3"]
    assert found("GPU-a, GPU-b", 3) == ["GPU-a", "GPU-b", "GPU-a"]
    assert found("", 2) == [None, None]


def test_runs_at_work_together_have_gpus_of_their_own(tmp_path, monkeypatch):
    project = make_project(tmp_path, monkeypatch)
    path = project / "notebooks" / "06_compare.ipynb"
    notebook = nbformat.read(path, 4)
    notebook.cells.insert(2, nbformat.v4.new_code_cell(MEETS))
    nbformat.write(notebook, path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    batch = read_batch(batch_of(project, [{"name": name} for name in "abc"], workers=2), project)
    assert [each.state for each in run_batch(batch, project)] == ["done"] * 3
    seen = [(project / "outputs" / "b" / name / "gpus.txt").read_text() for name in "abc"]
    assert sorted(seen[:2]) == ["3", "5"] and seen[2] in seen[:2]
