"""What starting costs: each notebook's import cell as a multiple of `import torch`, and a batch forked or started anew.

Printed and never asserted as times: `make bench`. CPU seconds of the process and its children, medians of rounds in
turns, with the range behind them.
"""

import ast
import json
import resource
import statistics
import subprocess
import sys
import time

import yaml
from conftest import ROOT

ROUNDS = 3
NOTEBOOKS = [path for folder in (".", "lessons") for path in sorted((ROOT / "notebooks" / folder).glob("*.ipynb"))]


def imports_of(path) -> str:
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    nodes = [node for cell in cells for node in ast.parse("".join(cell["source"])).body]
    return "\n".join(ast.unparse(node) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom))


def seconds_of(command: list[str]) -> tuple[float, float]:
    """CPU and wall seconds of a command that ends well."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - begin
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def in_turns(commands: dict[str, list[str]]) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            found[name].append(seconds_of(command))
    return found


def told(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def test_import_cells():
    code = {"import torch": "import torch"} | {path.stem: imports_of(path) for path in NOTEBOOKS}
    commands = {name: [sys.executable, "-c", each] for name, each in code.items()}
    for command in commands.values():  # bytecode written, files read
        seconds_of(command)
    found = in_turns(commands)
    print()
    for name, values in found.items():
        ratios = [mine[0] / torch[0] for mine, torch in zip(values, found["import torch"])]
        print(f"{name:<20} {told([cpu for cpu, _ in values])} CPU s, {told(ratios)} times import torch")


def test_a_batch_forked_or_started_anew(tmp_path, motion_table):
    """Two trainings of an epoch, their video accuracies, the fusion and the comparison, two runs at a time."""
    common = {"table": str(motion_table), "num_workers": 0, "precision": "float32", "memory_format": "contiguous"}
    steps = []
    for name, model in (("a", "resnet10 widen_factor=0.25 conv1_t_size=3"), ("b", "tsn_resnet18 width_mult=0.25")):
        steps.append({"name": name, "notebook": "02_train", "set": common | {"model": model, "epochs": 1}})
    for name in "ab":
        of = {"checkpoint": f"{{{name}}}/checkpoints/best.pt", "batch_size": 4}
        steps.append({"name": f"accuracy_{name}", "notebook": "04_video_accuracy", "set": common | of})
    fused = {"runs": ["{accuracy_a}", "{accuracy_b}"]}
    steps.append({"name": "fusion", "notebook": "09_fusion", "set": fused})
    compared = {"runs": [f"{tmp_path}/out/*"]}
    steps.append({"name": "compare", "notebook": "06_compare", "set": compared, "after": "all"})
    path = tmp_path / "batch.yaml"
    path.write_text(yaml.safe_dump({"run_dir": str(tmp_path / "out"), "workers": 2, "steps": steps}))
    command = [sys.executable, "-m", "actlib", "batch", str(path), "--force"]
    found = in_turns({"forked": command, "started anew": [*command, "--cold"]})
    print()
    for name, values in found.items():
        cpu, wall = ([pair[number] for pair in values] for number in (0, 1))
        print(f"6 runs {name:<12} {told(cpu)} CPU s, {told(wall)} s")
    ratios = [one[0] / other[0] for one, other in zip(found["forked"], found["started anew"])]
    print(f"forked / started anew: {told(ratios)} of the CPU seconds")
