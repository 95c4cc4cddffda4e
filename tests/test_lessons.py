"""The lessons: short, one idea, a guess first, what to change last; and each runs, at its smallest."""

import ast
import json
from pathlib import Path

import papermill
import pytest

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


# What makes a lesson small enough for a test; `{motion}` stands for a table of five videos a class.
SMALLEST: dict[str, dict] = {
    "08_from_few_videos": {"table": "{motion}", "pretrained": "", "imagenet": "", "videos": [2, 3], "clips": 16}
    | {"validation_videos": 1, "epochs": 1, "model": "resnet10 widen_factor=0.0625"},
    "09_does_it_know_or_remember": {"table": "{motion}", "training_videos": 2, "validation_videos": 1, "epochs": 2}
    | {"model": "resnet10 widen_factor=0.0625"},
    "10_pictures_or_motion": {"training_videos": 2, "validation_videos": 1, "epochs": 1}
    | {"model": "resnet10 widen_factor=0.0625"},
}


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_headless(path, tmp_path, motion_table):
    given = {name: str(motion_table) if value == "{motion}" else value for name, value in SMALLEST[path.stem].items()}
    given |= {"run_dir": str(tmp_path / "run")}
    how = {"cwd": path.parent, "kernel_name": "python3"}
    papermill.execute_notebook(path, tmp_path / "lesson.ipynb", given, **how)
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "done"
    assert [each for each in (tmp_path / "run").glob("*.png") if each.with_suffix(".csv").is_file()]
