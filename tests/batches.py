"""What the tests of batches share: a project of one notebook that starts in seconds."""

import json
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from actlib.params import CompareParams

NOTEBOOK = """
import time
from actlib.params import CompareParams
from actlib.runs.folder import RunFolder

p = CompareParams.from_notebook(globals())
run = RunFolder.start(p)
"""
BODY = """
if "fail" in p.runs:
    raise RuntimeError("asked to fail")
if "sleep" in p.runs:
    print("sleeping", flush=True)
    time.sleep(300)
print(f"epoch of {p.accuracy}")
run.finish(kind="test", runs=p.runs, numbers=run.numbers({"answer": 42}, protocol="by hand"))
"""


def make_project(tmp_path, monkeypatch) -> Path:
    """A project whose notebook 06 does next to nothing; the working folder from now on."""
    cells = [new_code_cell(CompareParams.cell()), new_code_cell(NOTEBOOK), new_code_cell(BODY)]
    cells[0].metadata["tags"] = ["parameters"]
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "params").mkdir()
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), tmp_path / "notebooks" / "06_compare.ipynb")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def batch_of(project, steps, **more) -> Path:
    path = project / "params" / "b.yaml"
    steps = [{"notebook": "06_compare", **step} for step in steps]
    path.write_text(json.dumps({"run_dir": "outputs/b", "steps": steps, **more}))  # JSON is YAML
    return path


def status(folder):
    return json.loads((folder / "status.json").read_text())
