"""Batch runs: a YAML file of steps, each a notebook executed by papermill in a process and a run folder of its own.

    run_dir: outputs/demo            # the steps' run folders lie in it
    workers: 2                       # optional: so many runs at a time, sharing the cores; 1 if not given
    scheduler: tcp://host:8786       # optional: on the workers of this Dask scheduler instead (see `cluster`)
    inputs: {videos/list.csv: …}     # optional: where to get a file that no step writes, said where it is missing
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
import math
import os
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator

from actlib.batch_progress import named_folder
from actlib.files import digest
from actlib.messages import listed, problems_in_words, shorter, shown
from actlib.params import NOTEBOOKS, Params, ParamsError, load_yaml
from actlib.params.base import Checked
from actlib.runs.ours import occupied, reserved

NAME = re.compile(r"(?!\.+$)[\w.-]{1,100}")
MOST_RUNS = 200_000  # of one step
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
    scheduler: str = ""

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
    file = _File.build(load_yaml(path), path)
    base, problems = named_folder(path, file.run_dir), []
    batch = Batch(path, file.workers, scheduler=file.scheduler)
    folders: dict[str, str | None] = {}  # step -> its run folder; None where a grid gives it several
    for number, step in enumerate(file.steps, start=1):
        name = str(step.get("name"))
        try:
            batch.runs += _runs_of(_Step.build(step, "it is"), base, folders, root)
        except ValueError as error:
            problems += [f"step {number} ({shorter(name, 100)}): {line}" for line in str(error).splitlines()]
            if NAME.fullmatch(name):  # later steps may refer to it all the same
                folders.setdefault(name, f"{base}/{name}")
    problems += _doubled_names(batch) + _occupied(batch, base, root)
    problems += _missing_files(batch, root, [f"{base}/{name}" for name in folders], file.inputs)
    if problems:
        raise ParamsError(problems_in_words(f"{path}: nothing was started", problems))
    return batch


class _File(Checked):
    """What a batch file may hold."""

    model_config = ConfigDict(title="a batch file")

    run_dir: str = ""
    workers: Annotated[int, Field(ge=1, strict=True)] = 1
    scheduler: str = ""
    inputs: dict[str, str] = {}
    steps: Annotated[list[dict[str, Any]], Field(min_length=1)]


class _Step(Checked):
    """What a step of it may hold."""

    model_config = ConfigDict(title="a step of a batch", coerce_numbers_to_str=True)

    name: str
    notebook: Literal[*NOTEBOOKS]
    params: str | None = None
    set: dict[str, Any] | None = None
    grid: dict[str, Annotated[list, Field(min_length=1)]] | None = None
    after: list[str] | Literal["all"] = []

    @field_validator("name")
    @classmethod
    def _is_a_folders(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError("1 to 100 letters, digits, '_', '-' and '.', not dots alone, make a folder's name")
        return name


def _runs_of(step: _Step, base: str, folders: dict[str, str | None], root: Path) -> list[Run]:
    """The runs of one step, more than one where it has a grid; adds the step to `folders`."""
    name, notebook, grid = step.name, step.notebook, step.grid or {}
    if name in folders:
        raise ParamsError(f"name: {name!r} stands twice")
    if not (root / "notebooks" / f"{notebook}.ipynb").is_file():
        raise ParamsError(f"notebook: no file notebooks/{notebook}.ipynb")
    after = tuple(folders) if step.after == "all" else tuple(step.after)
    for each in after:
        _require_step(each, folders, f"after: {shown(each)}")
    count = math.prod(map(len, grid.values()))
    if count > MOST_RUNS:
        raise ParamsError(f"grid: {count:,} combinations; a step may have {MOST_RUNS:,}")
    values = (load_yaml(root / step.params) if step.params else {}) | (step.set or {})
    fixed = {key: _filled(value, folders) for key, value in values.items()}
    choices = [[(key, *_filled(value, folders), _slug(value)) for value in grid[key]] for key in grid]
    source, runs = step.params or "set", []
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


def _occupied(batch: Batch, base: str, root: Path) -> list[str]:
    """Run folders that hold what a run reads."""
    folder, held, problems = os.path.realpath(root / base), {}, []
    for run in batch.runs:
        reads = getattr(run.params, "data_root", ""), getattr(run.params, "table", "")
        if reads not in held:
            held[reads] = reserved(run.params, root)
        if why := occupied(run.params, f"{folder}/{run.name}", held[reads]):
            problems.append(f"{run.name}: {why}")
    return problems


def _missing_files(batch: Batch, root: Path, others: list[str], told: dict[str, str]) -> list[str]:
    """Input files that neither exist nor lie in a run folder of this batch, or in `others`: those of faulty steps; with
    what the batch file tells of where to get them."""
    known, written = {}, {os.path.normpath(each) for each in (*(run.params.run_dir for run in batch.runs), *others)}
    return [
        f"{run.name}: {name}: {shown(getattr(run.params, name))}: {reason}; no earlier step writes it"
        + "".join(f". {each}" for each in [told.get(str(getattr(run.params, name)), "").strip()] if each)
        for run in batch.runs
        for name, reason in run.params.missing_inputs(root, written, known).items()
    ]
