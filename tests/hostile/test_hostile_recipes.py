"""Recipes and batch files, spoilt as pens and editors spoil them."""

import json
import random
import shutil
from pathlib import Path

import pytest
import yaml

from actlib.params import NOTEBOOKS, ParamsError, load_yaml, notebook_of
from actlib.params.yaml_files import dump_yaml
from actlib.runs.batch import read_batch

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted(path for path in (ROOT / "params").glob("*/*.yaml") if path.parent.name != "batch")
BATCH = {
    "run_dir": "outputs/b",
    "workers": 2,
    "steps": [
        {"name": "data", "notebook": "01_data_prep", "set": {"source": "synthetic", "seed": 3}},
        {"name": "train", "notebook": "02_train", "set": {"table": "{data}/table.csv"}, "grid": {"lr": [0.1, 0.01]}},
        {"name": "plot", "notebook": "06_compare", "set": {"runs": ["outputs/b"]}, "after": "all"},
    ],
}
# Of no number, text or list that a parameter has.
NONSENSE = [".inf", "-.inf", ".nan", "{a: 1}", "~", "[[1]]", "1e999", '"a\\0b"', "²", "-1e30", "!!set {a, b}"]
KEYS = ["1", "on", "~", "[a]", "1.5", "true", "{a: b}", "''", "2026-01-01"]


def lines_of(values: dict) -> list[str]:
    return [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]


def spoil(rng: random.Random, values: dict, fields: dict) -> tuple[bytes, list[str] | None]:
    """(the bytes of a spoilt file with `values`, what its refusal must say; None if it means the same)."""
    lines, name = lines_of(values), rng.choice(list(values))
    at = list(values).index(name)
    kind = rng.choice(["typo", "doubled", "value", "key", "syntax", "coding", "same"])
    if kind == "typo":
        place = rng.randrange(len(name))
        wrong = rng.choice(
            [name[:place] + name[place + 1 :], name + rng.choice("sz_9"), name[:place] + "q" + name[place:]]
        )
        wrong = wrong if wrong and wrong not in fields else f"{name}_"
        lines[at] = lines[at].replace(name, wrong, 1)
        return "\n".join(lines).encode(), [wrong, "no such parameter"]
    if kind == "doubled":
        lines.insert(rng.randint(0, len(lines)), lines[at])
        return "\n".join(lines).encode(), [repr(name), "stands in line", "and in line"]
    if kind == "value":
        kinds = [each for each in NONSENSE if each != "²" or not isinstance(values[name], str)]
        lines[at] = f"{name}: {rng.choice(kinds)}"
        return "\n".join(lines).encode(), []
    if kind == "key":
        lines.insert(at, f"? {rng.choice(KEYS)}\n: 5")
        return "\n".join(lines).encode(), []
    if kind == "syntax":
        lines.insert(
            at, rng.choice(["[", '"', "a: b: c", "\t- x", "@x", "%x", "- a", "&a", "*a", "a: *b", "? [", "x", "\x07"])
        )
        return "\n".join(lines).encode(), []
    if kind == "coding":
        coding = rng.choice(["latin-1", "cp1252", "utf-16-le", "utf-32"])
        return ("# größer\n" + "\n".join(lines)).encode(coding, errors="replace"), ["save it as UTF-8"]
    text = "\n".join([f"{line}  # größer" for line in rng.sample(lines, len(lines))])
    numbers = {line: line.replace(": ", ": +") for line in lines if line.split(": ")[1][0] in "123456789"}
    for line, other in numbers.items():
        text = text.replace(line + "  #", other + "  #")
    ending, coding = rng.choice(["\n", "\r\n", "\n\n"]), rng.choice(["utf-8", "utf-8-sig", "utf-16"])
    return (text + "\n").replace("\n", ending).encode(coding), None


@pytest.fixture(scope="module", autouse=True)
def imported():
    """Networks are known once torch is there, which takes seconds that no recipe is to blame for."""
    for recipe in RECIPES:
        NOTEBOOKS[notebook_of(recipe)].from_file(recipe)


@pytest.mark.seeds(60, 3000)
def test_a_spoilt_recipe(judge, tmp_path, seed):
    rng = random.Random(seed)
    recipe = rng.choice(RECIPES)
    path, model = tmp_path / recipe.parent.name / "my.yaml", NOTEBOOKS[notebook_of(recipe)]
    path.parent.mkdir()
    values, whole = load_yaml(recipe), model.from_file(recipe)
    data, words = spoil(rng, values, model.model_fields)
    path.write_bytes(data)
    judge(
        lambda: model.from_file(path),
        kind="recipe",
        errors=ParamsError,
        names=[str(path), *(words or [])],
        same=lambda found: found == whole,
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    project = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "notebooks", project / "notebooks")
    (project / "params").mkdir()
    return project


def set_at(value, place: list, new):
    for key in place[:-1]:
        value = value[key]
    value[place[-1]] = new


@pytest.mark.seeds(60, 2000)
def test_a_spoilt_batch(judge, project, seed):
    rng = random.Random(seed)
    batch, step = json.loads(json.dumps(BATCH)), rng.randrange(3)
    name = BATCH["steps"][step]["name"]
    nonsense = rng.choice(
        [5, None, [], {}, "", "x", [1], -1, True, 1.5, {"a": 1}, [[]], "é\n", "x" * 10**6, [None] * 10**4]
    )
    kind = rng.choice(["value", "key", "doubled name", "reference", "grid", "dots", "same"])
    words, path = [], project / "params" / "b.yaml"
    if kind == "value":
        key = rng.choice(["notebook", "set", "grid", "after", "params", "name"])
        fine = {
            "set": (None, {}),
            "grid": (None, {}),
            "after": ([],),
            "params": (None, ""),
            "name": (5, "x", True, -1, 1.5),
        }
        nonsense = nonsense if nonsense not in fine.get(key, ()) else 1j.__repr__() + "?"
        set_at(batch, ["steps", step, key], nonsense)
        words = [f"step {step + 1}", key if key != "params" else "step"]
    elif kind == "key":
        batch["steps"][step][rng.choice(["sett", "Grid", "aftr", "x" * 1000])] = nonsense
        words = [f"step {step + 1}", "no such parameter"]
    elif kind == "doubled name":
        batch["steps"].append({"name": rng.choice([name, "train-0.1"]), "notebook": "06_compare"})
        words = ["train-0.1"] if batch["steps"][-1]["name"] == "train-0.1" else [name, "stands twice"]
    elif kind == "reference":
        batch["steps"][step]["set"] = {"run_dir": "{later}/x"} if step else {"data_root": "{plot}"}
        words = [f"step {step + 1}", "no earlier step"]
    elif kind == "grid":
        wrong = rng.choice([5, [], "x", {}, [None], [{}], [".inf"], ["a"] * 3, [0.1, 0.1], [float("inf")]])
        batch["steps"][1]["grid"]["lr"] = wrong
        words = ["train"]
    elif kind == "dots":
        batch["steps"][step]["name"] = rng.choice([".", "..", "...", "a/b", "/", "", " ", "a\n", "x" * 5000, "~"])
        words = [f"step {step + 1}", "name"]
    text = json.dumps(batch, ensure_ascii=False) if kind != "same" else rng.choice([dump_yaml, yaml.safe_dump])(batch)
    path.write_text(text.replace("Infinity", ".inf"), encoding="utf-8")
    same = (
        (lambda found: [run.name for run in found.runs] == ["data", "train-0.1", "train-0.01", "plot"])
        if kind == "same"
        else None
    )
    judge(
        lambda: read_batch(path, project), kind="batch file", errors=ParamsError, names=[str(path), *words], same=same
    )
