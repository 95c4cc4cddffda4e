"""The notebooks as people get them, and the whole demo, at its smallest, as people run it."""

import ast
import csv
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import papermill
import pytest
import yaml

from actlib.params import NOTEBOOKS

ROOT = Path(__file__).resolve().parents[1]
SMALLEST = {
    "01_data_prep": {"training_videos": 3, "validation_videos": 2},
    "02_train": {
        "epochs": 2,
        "num_workers": 0,
        "warmup_epochs": 0,
        "precision": "float32",
        "memory_format": "contiguous",
    },
    "03_finetune": {"epochs": 1, "num_workers": 0, "precision": "float32", "memory_format": "contiguous"},
    "04_video_accuracy": {
        "precision": "float32",
        "memory_format": "contiguous",
        "batch_size": 4,
        "num_workers": 0,
        "worst": 2,
    },
    "05_flops": {
        "batch_sizes": [2],
        "precision": "float32",
        "models": ["resnet10 widen_factor=0.25"],
        "published_dataset": "Jester",
    },
    "06_compare": {},
    "07_explore": {},
    "09_fusion": {},
}


def cells_of(root, name):
    return json.loads((root / "notebooks" / f"{name}.ipynb").read_text())["cells"]


def test_every_notebook_has_parameters(root):
    found = sorted(path.stem for path in (root / "notebooks").glob("*.ipynb"))
    assert found == ["00_start", *sorted(NOTEBOOKS)]  # the start page has nothing to set


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_papermill_knows_every_parameter(root, name):
    """It passes over lines with two equals signs, and then warns of an unknown parameter."""
    seen = papermill.inspect_notebook(str(root / "notebooks" / f"{name}.ipynb"))
    assert set(seen) == set(NOTEBOOKS[name].model_fields) and all(each["help"] for each in seen.values())


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_keeps_the_conventions(root, name):
    cells = cells_of(root, name)
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    first, last = "".join(cells[0]["source"]), "".join(cells[-1]["source"])
    for words in ("**Question.**", "**Reads**", "**Writes**", "**Takes**"):
        assert words in first
    assert "## Summary" in last and "**Exercises.**" in last
    for cell in code:
        lines = "".join(cell["source"]).splitlines()
        tree = ast.parse("\n".join(lines))
        assert len(lines) <= 15 or "parameters" in cell["metadata"].get("tags", []), lines[:2]
        assert not any(isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno > 10 for node in tree.body)
    for cell in code:
        if "parameters" not in cell["metadata"].get("tags", []):
            nodes = list(ast.walk(ast.parse("".join(cell["source"]))))
            set_here = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
            set_here |= {(node.asname or node.name).split(".")[0] for node in nodes if isinstance(node, ast.alias)}
            # Otherwise the cell that reads the parameters could not be run again after an edit.
            assert not set_here & set(NOTEBOOKS[name].model_fields), cell["id"]
    assert any("run.finish(" in "".join(cell["source"]) for cell in code)




@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_imports_little_and_in_one_cell(root, name):
    trees = [ast.parse("".join(cell["source"])) for cell in cells_of(root, name) if cell["cell_type"] == "code"]
    imports = [[node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)] for tree in trees]
    (lines,) = filter(None, imports)
    assert len(lines) <= 6 and all(node.lineno == node.end_lineno for node in lines)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_sections_are_short_and_plumbing_is_behind_the_run(root, name):
    cells = cells_of(root, name)
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert not [word for word in ("savefig", "to_csv", "set_status", "result.json", "number(") if word in code]
    sections = ["".join(cell["source"]) for cell in cells[1:-1] if cell["cell_type"] == "markdown"]
    for section in sections:
        words = re.sub(r"`[^`]*`|\([^)]*\)", "", section.partition("\n\n")[2] if section.startswith("#") else section)
        assert 1 <= len(re.findall(r"[.?!](?=\s|$)", words)) <= 4, section


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").rglob("*.ipynb")), ids=lambda path: path.stem)
def test_what_a_notebook_uses_of_a_module_is_there(path):
    """Of every module that it imports; without running it. Git holds it without outputs, the lessons too."""
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    tree = ast.parse("\n".join("".join(cell["source"]) for cell in cells))
    names: dict[str, object] = {}
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            exec(compile(ast.Module([node], []), path.name, "exec"), names)
    used = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    modules = {name: value for name, value in names.items() if inspect.ismodule(value)}
    asked = {(node.value.id, node.attr) for node in used if node.value.id in modules}
    assert asked and not [each for each in asked if not hasattr(modules[each[0]], each[1])]


def test_the_lesson_of_ones_own_network(root, tmp_path, motion_table, run_notebook):
    """At its smallest: trained, evaluated and put into the plot, all from the notebook."""
    values = {"table": str(motion_table), "run_dir": str(tmp_path / "run"), "epochs": 1, "width": 4}
    run_notebook(root / "notebooks" / "lessons" / "own_network.ipynb", values | {"compare_with": []})
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["model"] == "small3d width=4" and result["numbers"]["video_top1"]["videos"] == 16
    assert {"curves.png", "accuracy_vs_macs.png", "checkpoints"} <= {each.name for each in (tmp_path / "run").iterdir()}


@pytest.mark.slow
def test_the_demo_at_its_smallest(root, tmp_path):
    """Without TSN and without fine-tuning TAM: the same notebooks with other networks."""
    batch = yaml.safe_load((root / "params" / "batch" / "demo.yaml").read_text())
    batch["run_dir"] = str(tmp_path / "demo")
    others = ("_tsn_", "finetune_tam_", "finetuned_tam_")
    batch["steps"] = [step for step in batch["steps"] if not any(name in step["name"] for name in others)]
    for step in batch["steps"]:
        step["set"] = step.get("set", {}) | SMALLEST[step["notebook"]]
        if step["name"] == "motion_finetune":
            step["set"]["measure"] = ["frames"]
        if step["notebook"] == "06_compare":
            step["set"]["runs"] = [f"{tmp_path}/demo/*"]
    (tmp_path / "demo.yaml").write_text(yaml.safe_dump(batch))
    command = [sys.executable, "-m", "actlib", "batch", str(tmp_path / "demo.yaml")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    folders = sorted(path for path in (tmp_path / "demo").iterdir() if path.is_dir())
    assert (tmp_path / "demo" / "batch_report.html").is_file()
    assert [path.name for path in folders] == sorted(step["name"] for step in batch["steps"])
    for folder in folders:
        assert json.loads((folder / "status.json").read_text())["state"] == "done"
        assert (folder / "notebook.ipynb").is_file() and not (folder / "notebook.running.ipynb").exists()
    accuracy = tmp_path / "demo" / "accuracy_tam_resnet18"
    with open(accuracy / "order.csv", encoding="utf-8") as file:
        orders = {row["order"]: float(row["top1"]) for row in csv.DictReader(file)}
    assert list(orders) == ["forward", "reversed", "shuffled", "frozen"] and (accuracy / "order.png").is_file()
    numbers = json.loads((accuracy / "result.json").read_text())["numbers"]
    assert [numbers[name]["value"] for name in ("video_top1", "reversed_top1")] == pytest.approx([*orders.values()][:2])
    assert numbers["frozen_top1"]["protocol"] == numbers["video_top1"]["protocol"] + ", one frame repeated"
    compare = tmp_path / "demo" / "compare"
    for name in ("accuracy_vs_macs", "accuracy_vs_params", "accuracy_vs_speed"):
        assert (compare / f"{name}.png").stat().st_size > 10_000
        with open(compare / f"{name}.csv", encoding="utf-8") as file:
            points = list(csv.DictReader(file))
        assert len(points) == 3 and all(float(point["gmacs"]) > 0 for point in points)
        assert {float(point["expected"]) for point in points} == {16, 8}
    again = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0 and again.stdout.count("skipped in") + again.stdout.count(": skipped") == len(folders)


@pytest.mark.slow
def test_plain_papermill_and_own_videos(root, tmp_path, motion_table):
    """A notebook under papermill alone, on a folder of class folders with a broken file in it."""
    videos = motion_table.parent / "videos"
    (tmp_path / "videos").mkdir()
    for label in ("left", "right"):
        (tmp_path / "videos" / label).symlink_to(videos / label)
    (tmp_path / "videos" / "broken").mkdir()
    (tmp_path / "videos" / "broken" / "empty.mp4").touch()
    recipe = tmp_path / "own.yaml"
    values = {"source": "folders", "data_root": str(tmp_path / "videos"), "validation": 4e-1}
    recipe.write_text(yaml.safe_dump({**values, "run_dir": str(tmp_path / "run"), "timeout": "1e1", "measure": []}))
    command = [sys.executable, "-m", "papermill", "notebooks/01_data_prep.ipynb", str(tmp_path / "out.ipynb")]
    environment = {**os.environ, "ACTLIB_HEADLESS": "1"}
    done = subprocess.run(
        [*command, "-f", str(recipe), "--no-progress-bar"], cwd=root, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with open(tmp_path / "run" / "quarantine.csv", encoding="utf-8") as file:
        quarantine = list(csv.DictReader(file))
    assert [row["video_id"] for row in quarantine] == ["empty"] and "0 bytes" in quarantine[0]["reason"]
    numbers = json.loads((tmp_path / "run" / "result.json").read_text())["numbers"]
    assert numbers["readable_videos"] == {"value": 10.0, "videos": 10, "expected": 11}
