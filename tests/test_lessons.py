"""The lessons: short, one idea, a guess first, what to change last; and each runs, at its smallest."""

import ast
import json
from pathlib import Path

import pytest

from actlib import save_network
from actlib.datasets.table import class_names, read_table
from actlib.models import create_model

LESSONS = sorted(
    path for path in (Path(__file__).resolve().parents[1] / "notebooks" / "lessons").glob("[0-9]*.ipynb")
)


def sources(path: Path, kind: str) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_is_short(path):
    code, text = sources(path, "code"), sources(path, "markdown")
    assert len(code) + len(text) < 10
    assert all(len(cell.splitlines()) <= 15 and max(map(len, cell.splitlines())) <= 120 for cell in code[1:])
    nodes = [node for cell in code for node in ast.walk(ast.parse(cell))]
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    assert 1 <= len(imports) <= 4 and not any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in nodes)


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_asks_before_it_shows(path):
    text, code = sources(path, "markdown"), "\n".join(sources(path, "code"))
    for words in ("**Question.**", "**Needs**", "**Takes**"):
        assert words in text[0]
    assert "**What to change.**" in text[-1]
    guess, answer = code.index("Guess("), code.index(".compare(")
    assert guess < code.index("run.show(") and guess < answer
    answers = (path.parents[1] / "answers.md").read_text(encoding="utf-8")
    _, found, answer = answers.partition(f"## Lesson {int(path.stem.partition('_')[0])} ·")
    assert found and len(answer.partition("\n## ")[0].split()) > 30


# What makes a lesson small enough for a test; `{motion}` and `{network}` are of `stand_ins`.
SMALLEST: dict[str, dict] = {
    "01_what_a_3d_kernel_sees": {
        "network": "resnet10 widen_factor:0.25 conv1_t_size:3", "frame_by_frame": "tsn_resnet18 width_mult:0.25",
    },
    "02_order_matters": {"table": "{motion}", "tsn_pooled": "", "tam": "", "tsm": "", "epochs": 1},
    "03_how_far_in_time": {
        "by_clip": ["resnet10"], "by_frame": ["tsm_resnet18"], "width": 0.125, "num_frames": 32, "crop_size": 16,
    },
    "04_which_frames": {"table": "{motion}", "checkpoint": "{network}", "another": "", "num_frames": 4, "draws": 2}
    | {"shown_frames": [4, 8], "shown_strides": [2, 4]},
    "05_one_view_or_thirty": {"table": "{motion}", "checkpoint": "{network}", "num_clips": 3, "num_frames": 4},
    "06_the_mirror": {"table": "{motion}", "training_videos": 2, "validation_videos": 1, "epochs": 2},
    "07_flops_and_the_clock": {
        "heavy": "resnet10", "others": [], "look_into": ["resnet10", "mobilenetv2"], "num_frames": 8, "crop_size": 32,
    },
    "08_from_few_videos": {"table": "{motion}", "pretrained": "", "imagenet": "", "videos": [2, 3], "clips": 16}
    | {"validation_videos": 1, "epochs": 1, "model": "resnet10 widen_factor=0.0625"},
    "09_does_it_know_or_remember": {"table": "{motion}", "training_videos": 2, "validation_videos": 1, "epochs": 2}
    | {"model": "resnet10 widen_factor=0.0625"},
    "10_pictures_or_motion": {"training_videos": 2, "validation_videos": 1, "epochs": 1}
    | {"model": "resnet10 widen_factor=0.0625"},
    "11_what_the_number_hides": {"table": "{motion}", "training_videos": [3, 1], "validation_videos": 2}
    | {"epochs": 2},
}  # fmt: skip


@pytest.fixture(scope="session")
def stand_ins(motion_table, tmp_path_factory) -> dict[str, str]:
    """What the words in SMALLEST stand for: the small table, and a checkpoint of a narrow, untrained network."""
    classes = class_names(read_table(motion_table))
    sizes = {"num_frames": 4, "frame_stride": 2, "short_side": 32, "crop_size": 32}
    network = tmp_path_factory.mktemp("network") / "untrained.pt"
    model = create_model("resnet10", len(classes), widen_factor=0.0625)
    save_network(model, network, classes=classes, preprocessing={**sizes, "mean": [0.5], "std": [0.25]})
    return {"{motion}": str(motion_table), "{network}": str(network)}


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_headless(path, tmp_path, stand_ins, run_notebook):
    given = {name: stand_ins.get(str(value), value) for name, value in SMALLEST[path.stem].items()}
    run_notebook(path, given | {"run_dir": str(tmp_path / "run")})
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "done"
    assert [each for each in (tmp_path / "run").glob("*.png") if each.with_suffix(".csv").is_file()]
