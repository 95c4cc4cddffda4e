"""Batch runs: a YAML file of steps, each a notebook executed by papermill in a process and a run folder of its own.

    run_dir: outputs/demo            # the steps' run folders lie in it
    workers: 2                       # optional: so many runs at a time, sharing the cores; 1 if not given
    steps:
      - name: data
        notebook: 01_data_prep
        params: params/data_prep/synthetic.yaml      # optional
        set: {training_videos: 24}                   # optional: put over the file
      - name: train
        notebook: 02_train
        set: {table: "{data}/table.csv"}             # {data}: the run folder of the step data
        grid: {lr: [0.1, 0.01], seed: [0, 1]}        # optional: one run for each combination
        after: [other]                               # optional: run later than, and again after, these steps

`read_batch` checks everything, all parameters of all runs included, before anything starts. A run that is done
with the same parameters and notebook, and whose inputs are, is skipped. A failure stops only the steps that name
the failed one in braces. All state is in the run folders.
"""

import hashlib
import itertools
import json
import os
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from actlib.files import digest
from actlib.messages import listed, problems_in_words, shown
from actlib.params import NOTEBOOKS, Params, ParamsError, load_yaml

STEP_KEYS = ("name", "notebook", "params", "set", "grid", "after")
REFERENCE = re.compile(r"\{([^{}]*)\}")


@dataclass
class Run:
    """One notebook execution: `needs` are the steps whose folders its parameters name, `after` those it waits for."""

    name: str
    step: str
    notebook: str
    params: Params
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return Path(self.params.run_dir)


@dataclass
class Batch:
    path: Path
    workers: int = 1
    runs: list[Run] = field(default_factory=list)

    def steps(self) -> dict[str, list[Run]]:
        """The runs of each step, in order."""
        found: dict[str, list[Run]] = {}
        for run in self.runs:
            found.setdefault(run.step, []).append(run)
        return found

    def fingerprints(self, root: Path) -> dict[str, str]:
        """A digest a run of its notebook, parameters and network's code, and of the digests of what it builds on."""
        found: dict[str, str] = {}
        source = cache(lambda notebook: (root / "notebooks" / f"{notebook}.ipynb").read_bytes())
        code, steps = cache(lambda file: digest(root / file)), self.steps()
        for run in self.runs:  # steps refer to earlier ones only
            builds_on = {*run.needs, *run.after}
            inputs = [found[other.name] for name, runs in steps.items() if name in builds_on for other in runs]
            content = [run.params.model_dump(), inputs, *map(code, run.params.code_files())]
            text = json.dumps(content, sort_keys=True).encode()
            found[run.name] = hashlib.sha256(source(run.notebook) + text).hexdigest()[:16]
        return found


def read_batch(path: str | Path, root: Path) -> Batch:
    """Read and check a batch file; relative paths are below `root`, the project's folder.

    Raises ParamsError that lists every problem: unknown keys, notebooks, steps in braces, parameters out of
    bounds, files that do not exist and that no step writes.
    """
    path = Path(path)
    content = load_yaml(path)
    problems: list[str] = []
    unknown = sorted(set(content) - {"run_dir", "workers", "steps"})
    if unknown:
        problems.append(f"{', '.join(unknown)}: no such key; known: run_dir, workers, steps")
    steps = content.get("steps")
    if not isinstance(steps, list) or not steps:
        raise ParamsError(f"{path}: steps: expected a list of at least one step")
    base = str(content.get("run_dir") or f"outputs/{path.stem}")
    workers = content.get("workers", 1)
    if not isinstance(workers, int) or workers < 1:
        problems.append(f"workers: {shown(workers)}: expected a whole number from 1")
    batch = Batch(path, workers)
    folders: dict[str, str | None] = {}  # step -> its run folder; None where a grid gives it several
    for number, step in enumerate(steps, start=1):
        where = f"step {number}"
        try:
            if not isinstance(step, dict):
                raise ParamsError(f"expected name: …, notebook: …, found {shown(step)}")
            where += f" ({step.get('name')})"
            batch.runs += _runs_of(step, base, folders, root)
        except (ParamsError, ValueError) as error:
            problems += [f"{where}: {line}" for line in str(error).splitlines()]
            if isinstance(step, dict) and step.get("name"):  # later steps may refer to it all the same
                folders.setdefault(str(step["name"]), f"{base}/{step['name']}")
    problems += _doubled_names(batch) + _missing_files(batch, root)
    if problems:
        raise ParamsError(problems_in_words(f"{path}: nothing was started", problems))
    return batch


def _runs_of(step: dict, base: str, folders: dict[str, str | None], root: Path) -> list[Run]:
    """The runs of one step, more than one where it has a grid; adds the step to `folders`."""
    for key in step:
        if key not in STEP_KEYS:
            raise ParamsError(f"{key}: no such key; known: {', '.join(STEP_KEYS)}")
    name, notebook = str(step.get("name", "")), step.get("notebook")
    if not re.fullmatch(r"[\w.-]{1,100}", name) or not name.strip("."):
        raise ParamsError(f"name: {shown(name)}: 1 to 100 letters, digits, '_', '-' and '.' make a folder's name")
    if name in folders:
        raise ParamsError(f"name: {name!r} stands twice")
    if notebook not in NOTEBOOKS:
        raise ParamsError(f"notebook: {shown(notebook)}: expected one of {', '.join(NOTEBOOKS)}")
    if not (root / "notebooks" / f"{notebook}.ipynb").is_file():
        raise ParamsError(f"notebook: no file notebooks/{notebook}.ipynb")
    after = _names(step.get("after", []), folders)
    values = load_yaml(root / step["params"]) if step.get("params") else {}
    values |= _mapping(step, "set")
    grid = _mapping(step, "grid")
    for key, choices in grid.items():
        if not isinstance(choices, list) or not choices:
            raise ParamsError(f"grid: {key}: {shown(choices)}: expected a list of values")
    fixed = {key: _filled(value, folders) for key, value in values.items()}
    choices = [[(key, *_filled(value, folders), _slug(value)) for value in grid[key]] for key in grid]
    source, runs = step.get("params") or "set", []
    for combination in itertools.product(*choices):
        chosen = {key: value for key, value, _, _ in combination}
        run_name = "-".join([name, *(slug for *_, slug in combination)])
        full = {key: value for key, (value, _) in fixed.items()} | chosen | {"run_dir": f"{base}/{run_name}"}
        try:
            params = NOTEBOOKS[notebook].build(full, source)
        except ParamsError as error:
            raise ParamsError(f"{shown(chosen)}: {error}" if chosen else str(error)) from None
        needs = [each for _, named in fixed.values() for each in named]
        needs += [each for _, _, named, _ in combination for each in named]
        runs.append(Run(run_name, name, notebook, params, tuple(dict.fromkeys(needs)), after))
    folders[name] = None if grid else runs[0].params.run_dir
    return runs


def _mapping(step: dict, key: str) -> dict:
    value = step.get(key) or {}
    if not isinstance(value, dict):
        raise ParamsError(f"{key}: {shown(value)}: expected names with values")
    return value


def _names(after, folders: dict) -> tuple[str, ...]:
    after = list(folders) if after == "all" else after
    if not isinstance(after, list):
        raise ParamsError(f"after: {shown(after)}: expected a list of earlier steps, or all")
    for name in after:
        _require_step(name, folders, f"after: {name!r}")
    return tuple(after)


def _require_step(name: str, folders: dict, where: str) -> None:
    if name not in folders:
        raise ParamsError(f"{where}: no earlier step {name!r}; there are {listed(list(folders)) or 'none'}")


def _filled(value, folders: dict[str, str | None]) -> tuple[object, list[str]]:
    """(`value` with run folders in the place of {step}, these steps)."""
    if isinstance(value, list):
        filled = [_filled(each, folders) for each in value]
        return [each for each, _ in filled], [step for _, steps in filled for step in steps]
    if not isinstance(value, str):
        return value, []
    needs = REFERENCE.findall(value)
    for name in needs:
        _require_step(name, folders, shown(value))
        if folders[name] is None:
            raise ParamsError(f"{shown(value)}: step {name!r} is a grid and has several run folders")
    return REFERENCE.sub(lambda match: folders[match.group(1)], value), needs


def _slug(value) -> str:
    slug = re.sub(r"[^\w.+]+", "_", str(value)).strip("_") or "empty"
    return slug if len(slug) <= 60 else f"{slug[:50]}_{hashlib.sha256(slug.encode()).hexdigest()[:8]}"


def _doubled_names(batch: Batch) -> list[str]:
    """Runs that would share a folder, be it those of one grid or of two steps."""
    if len({run.name for run in batch.runs}) == len(batch.runs):
        return []
    alike: dict[str, list[str]] = {}
    for run in batch.runs:
        alike.setdefault(run.name, []).append(run.step)
    return [
        f"{name}: {len(steps)} runs have this name and folder, of step {' and '.join(dict.fromkeys(steps))}; "
        "rename a step, or leave one of the values out"
        for name, steps in alike.items()
        if len(steps) > 1
    ]


def _missing_files(batch: Batch, root: Path) -> list[str]:
    """Input files that neither exist nor lie in a run folder of this batch."""
    written, known = {os.path.normpath(run.params.run_dir) for run in batch.runs}, {}
    return [
        f"{run.name}: {name}: {shown(getattr(run.params, name))}: {reason}; no earlier step writes it"
        for run in batch.runs
        for name, reason in run.params.missing_inputs(root, written, known).items()
    ]
