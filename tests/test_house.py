"""The house rules that a machine can check: who knows whom, sizes, and that there is one list of dependencies."""

import ast
import re
import tomllib

import pytest
import yaml

from actlib.files import atomic_path, write_json
from actlib.progress import progress

# Who may know whom; the modules of EVERYBODY are for all of them, and know nobody.
MAY_KNOW = {
    "models": set(),
    "datasets": set(),
    "compute": {"models"},
    "params": {"models", "datasets", "compute"},
    "loops": {"params", "models", "datasets", "compute", "analysis"},  # of analysis its type for scores, see below
    "analysis": {"models", "datasets", "compute"},
    "runs": {"params"},
    "features": {"analysis", "loops", "params", "models", "datasets", "compute"},
    "lessons": {"analysis", "loops", "params", "models", "datasets", "compute", "runs"},
    "ledger": {"analysis", "datasets", "models", "params", "runs"},
    "batch_progress": set(),
    "data_command": {"datasets", "params"},
    "downloads": set(),
    "files": set(),
    "heartbeat": set(),
    "lifeline": set(),
    "locks": {"heartbeat"},
    "messages": set(),
    "notebook_errors": set(),
    "progress": set(),
    "run_progress": set(),
    "training_command": {"analysis", "compute", "loops", "params", "runs"},
    "weights_commands": {"compute", "models"},
    "__main__": {"params", "runs", "data_command", "ledger", "training_command", "weights_commands", "analysis"},
    "__init__": {"models"},
}
EVERYBODY = {
    "batch_progress", "downloads", "files", "lifeline", "locks", "messages", "notebook_errors", "progress",
    "run_progress",
}  # fmt: skip


def imports_of(root) -> dict[str, set[str]]:
    """The modules of the package, and which of each other they import, within functions too."""
    paths = {path: path.relative_to(root).with_suffix("").as_posix().replace("/", ".")
             for path in (root / "actlib").rglob("*.py")}  # fmt: skip
    modules = {name.removesuffix(".__init__") for name in paths.values()}
    found: dict[str, set[str]] = {}
    for path, name in paths.items():
        used = found[name.removesuffix(".__init__")] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                used |= {alias.name for alias in node.names if alias.name in modules}
            elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "actlib":
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                used |= {each if each in modules else node.module for each in names}
    return found


def room(module: str) -> str:
    return [*module.split("."), "__init__"][1]


def test_nobody_knows_more_than_they_should(root):
    imports = imports_of(root)
    assert {room(module) for module in imports} == set(MAY_KNOW)
    for module, used in imports.items():
        beyond = {each for each in used if room(each) not in {room(module), *MAY_KNOW[room(module)], *EVERYBODY}}
        assert not beyond, f"{module} imports {beyond}"
        if room(module) == "loops":
            assert {each for each in used if room(each) == "analysis"} <= {"actlib.analysis.results.scores"}, module
        if room(module) == "__main__":
            assert {each for each in used if room(each) == "analysis"} == {"actlib.analysis.batch_report"}, module


def test_there_is_no_circle_of_imports(root):
    imports = imports_of(root)
    assert len(imports) > 80 and "actlib.models.registry" in imports["actlib.models"]
    settled: set[str] = set()
    while ready := {name for name, used in imports.items() if name not in settled and used - {name} <= settled}:
        settled |= ready
    assert not {name: sorted(used - settled) for name, used in imports.items() if name not in settled}


def test_files_stay_readable(root):
    for path in [*(root / "actlib").rglob("*.py"), *(root / "tests").rglob("*.py")]:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path


def test_conda_and_pip_install_the_same(root):
    environment = yaml.safe_load((root / "environment.yml").read_text())
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    plain = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    assert sorted(re.split(r"[<>=]", entry)[0] for entry in plain) == ["pip", "python"]
    assert f"python{project['requires-python']}" in plain
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert pip == ["--editable .[test]"] and "test" in project["optional-dependencies"]
    makefile = (root / "Makefile").read_text()
    assert "--editable '.[test]'" in makefile
    for package in ("torch", "torchvision", "jupyterlab", "papermill", "matplotlib", "pandas", "ipywidgets", "decord"):
        assert any(re.match(rf"{package}\b", entry) for entry in project["dependencies"]), package


def test_nothing_but_the_agreed_top_level(root):
    import subprocess

    tracked = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    tops = {name.split("/")[0] for name in tracked.stdout.splitlines() if not name.startswith(".")}
    agreed = "notebooks actlib params outputs tests environment.yml README.md pyproject.toml Makefile LICENSE"
    assert tops <= set(agreed.split())


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = write_json(tmp_path / "deep" / "x.json", {"a": 1})
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == '{\n  "a": 1\n}\n' and [each.name for each in path.parent.iterdir()] == ["x.json"]


def test_progress_without_a_screen_is_lines(monkeypatch, capsys):
    monkeypatch.setenv("ACTLIB_HEADLESS", "1")
    monkeypatch.setattr("actlib.progress.LOG_EVERY_S", 0)
    assert list(progress("abc", desc="letters")) == ["a", "b", "c"]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("letters: 1 of 3 in 0 s") and printed[-1].endswith(", done")
