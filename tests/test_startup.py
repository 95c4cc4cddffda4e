"""What starting a notebook imports: the heavy libraries where they are used, and not before."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "torchvision", "torch._dynamo", "sympy", "rfc3987_syntax", "transformers", "timm")
WITHOUT_TORCH = ("00_start", "01_data_prep", "06_compare", "09_fusion")
NOTEBOOKS = [path for folder in (".", "lessons") for path in sorted((ROOT / "notebooks" / folder).glob("*.ipynb"))]


def imports_of(path) -> str:
    """The import statements of a notebook."""
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    nodes = [node for cell in cells for node in ast.parse("".join(cell["source"])).body]
    return "\n".join(ast.unparse(node) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom))


def heavy_after(code: str) -> set[str]:
    """Which of the heavy modules are there after `code` has run in a process of its own."""
    code += f"\nimport json, sys\nprint(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


WARM = f"""
import builtins, json, os, sys, traceback
import av, ipywidgets, matplotlib.pyplot, pandas, pydantic.main, torch, yaml

before = [name for name in {HEAVY} if name in sys.modules]
real, asked = builtins.__import__, set()


def noting(name, *arguments, **more):
    asked.add(name.partition(".")[0])
    return real(name, *arguments, **more)


for line in sys.stdin:
    if child := os.fork():
        os.waitpid(child, 0)
        continue
    answers = os.dup(1)
    os.dup2(2, 1)
    builtins.__import__, error = noting, ""
    try:
        exec(json.loads(line), {{"__name__": "__main__"}})
    except BaseException:
        error = traceback.format_exc()
    there = [name for name in {HEAVY} if name in sys.modules and (name not in before or name in asked)]
    os.write(answers, (json.dumps([before, there, error]) + chr(10)).encode())
    os._exit(0)
"""


@pytest.fixture(scope="module")
def heavy_after_fork():
    """As `heavy_after`, in a fork of a process that has torch and what draws: importing those for each notebook would
    take seconds. An import of torch is noted all the same."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", WARM], cwd=ROOT, **pipes)

    def heavy(code: str) -> set[str]:
        process.stdin.write(json.dumps(code) + "\n")
        process.stdin.flush()
        before, there, error = json.loads(process.stdout.readline())
        assert before == ["torch"] and not error, error
        return set(there)

    yield heavy
    process.communicate()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebooks_imports_bring_torch_at_most(path, heavy_after_fork):
    """torchvision, whose import takes as long as torch's, waits until a network, weights or an augmentation of its own
    are asked for; what only lists, reads and draws does without torch."""
    assert heavy_after_fork(imports_of(path)) == (set() if path.stem in WITHOUT_TORCH else {"torch"})


def test_a_batch_starts_without_what_jupyter_alone_needs():
    """Which costs two thirds of papermill's import; who asks for it later has it."""
    code = f"import sys, actlib.runs.warm\nassert not {set(HEAVY)} & set(sys.modules)\nimport rfc3987_syntax"
    assert heavy_after(code) == {"rfc3987_syntax"}


def test_torchvision_comes_with_what_is_made_of_it(heavy_after_fork):
    code = "from actlib.models import create_model, find_published, list_models\n"
    code += "from actlib.datasets.clips.transforms import train_transform\n"
    code += "assert {'tv_r3d_18', 'hf_videomae', 'tsn_timm'} <= {*list_models()}\n"
    code += "assert find_published('best.pt') is None\n"
    code += "create_model('resnet10 widen_factor=0.25', 4), train_transform('random_resized', 40, 32)\n"
    assert heavy_after_fork(code) == {"torch"}
    jittered = "train_transform('center', 40, 32, color_jitter=0.1)"
    for asked in ("create_model('i3d', 4)", "find_published('tv_r3d_18')", jittered):
        assert "torchvision" in heavy_after_fork(code + asked), asked


TRAINING = """
from actlib.loops import prepare, train
from actlib.params import TrainParams

values = {"epochs": 1, "num_workers": 0, "precision": "float32", "memory_format": "contiguous"}
for optimizer in ("adamw", "sgd"):
    places = {"table": table, "run_dir": f"{folder}/{optimizer}"}
    p = TrainParams.build(values | places | {"optimizer": optimizer}, "this test")
    print(*train(prepare(p)))
"""


def test_a_whole_training_is_without_the_compiler(motion_table, tmp_path, heavy_after_fork):
    """torch._dynamo, torch.compile's front end, takes two thirds of torch's import; constructing an optimiser of
    torch's imports it, and so does torchvision."""
    places = f"table, folder = {str(motion_table)!r}, {str(tmp_path)!r}\n"
    assert heavy_after_fork(places + TRAINING) == {"torch"}
    assert (tmp_path / "sgd" / "checkpoints" / "best.pt").is_file()
