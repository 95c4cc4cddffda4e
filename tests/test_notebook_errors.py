"""Errors in a real kernel, as a notebook shows them."""

import re

import nbformat
import pytest
from nbclient import NotebookClient


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """The outputs of cells that are run one after another in one kernel, errors passed over."""
    cells = [
        "from actlib.params import CompareParams\nfrom actlib.runs.folder import RunFolder",
        "accuracy = 'video_top3'\np = CompareParams.from_notebook(globals())",
        "%tb",
        "def deep(n):\n    return 1 / n\ndeep(0)",
        "accuracy = 'video_top1'\np = CompareParams.from_notebook(globals())\nrun_dir = '.'\n"
        "RunFolder.start(p.model_copy(update={'run_dir': '.'}))",
        "raise RuntimeError('of the user')",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    folder = tmp_path_factory.mktemp("lab")
    NotebookClient(notebook, allow_errors=True, resources={"metadata": {"path": str(folder)}}).execute()
    said = [
        ["\n".join(each.get("traceback", [])) or each.get("text", "") for each in cell.outputs]
        for cell in notebook.cells
    ]
    return [[re.sub(r"\x1b\[[0-9;]*m", "", each) for each in outputs] for outputs in said]


def test_an_error_of_ours_is_its_sentence_alone(outputs):
    (said,) = outputs[1]
    assert "ParamsError" in said and "accuracy: 'video_top3': Input should be" in said
    assert "from_notebook" not in said and "base.py" not in said and said.count("\n") < 5
    (said,) = outputs[4]
    assert "run_dir: '.' holds the project itself; choose a folder of its own" in said and "ours.py" not in said


def test_its_traceback_is_there_when_it_is_asked_for(outputs):
    assert "Traceback" in outputs[2][0] and "base.py" in outputs[2][0]


def test_any_other_error_keeps_its_traceback(outputs):
    assert "Traceback" in outputs[3][0] and "deep(0)" in outputs[3][0] and "return 1 / n" in outputs[3][0]
    assert "Traceback" in outputs[5][0] and "run_code" not in outputs[5][0]
