"""The runs of a batch as its report tells of them: state and why, numbers, parameters that differ, environment."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from actlib.analysis.results.runs import guess_kind, read_parameters
from actlib.batch_progress import BatchProgress, Follower
from actlib.files import read_mapping
from actlib.messages import cut
from actlib.run_progress import ACCURACIES, Row, measured_on

LOG_LINES, LOG_BYTES, LOG_WIDTH = 25, 16_384, 240  # of the end of a log
_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # what colours a terminal's text
_NOISE = re.compile(r"(Executing|Ending) Cell \d+-*$")


@dataclass
class ReportedRun:
    """One run: `numbers` by name as result.json has them, `parameters` as they are written; both empty where nothing
    is known. `seconds` is the time it took, None if unknown."""

    row: Row
    folder: Path
    why: str = ""
    kind: str = ""
    seconds: float | None = None
    numbers: dict[str, dict] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    environment: dict = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.row.run

    @property
    def state(self) -> str:
        return self.row.state

    @property
    def accuracy(self) -> float | None:
        """The first accuracy of the run, percent."""
        return next((self.numbers[name]["value"] for name in ACCURACIES if name in self.numbers), None)

    def parameter(self, name: str) -> str:
        """One parameter, with `…` for the batch's folder."""
        here = self.parameters.get("run_dir", "").removesuffix(self.name)
        value = self.parameters.get(name, "")
        return value.replace(here, "…/") if len(here) > 1 else value


def read_batch_runs(
    folder: str | Path, outcomes: Mapping[str, tuple[str, float, str]] | None = None
) -> tuple[BatchProgress | None, list[ReportedRun]]:
    """(batch, runs) of the batch in `folder`, as its runner tells of it and its run folders do. `outcomes`: what became
    of each run, by its name: state, seconds, why."""
    follower = Follower(folder)
    batch, rows = follower.look()
    return batch, [_read(row, follower.folder / row.run, (outcomes or {}).get(row.run)) for row in rows]


def _read(row: Row, folder: Path, outcome: tuple[str, float, str] | None) -> ReportedRun:
    _, seconds, why = outcome or ("", 0.0, "")
    run = ReportedRun(row, folder, why or row.why, seconds=seconds or None)
    if row.state in ("waiting", "blocked"):  # what lies in the folder is of an earlier run
        return run
    try:
        run.parameters = read_parameters(folder)
        run.environment = _mapping(folder / "environment.json")
        result = _mapping(folder / "result.json")
        run.kind = str(result.get("kind") or guess_kind(run.parameters))
        numbers = (result.get("numbers") or {}).items()
        run.numbers = {name: each | {"value": float(each["value"])} for name, each in numbers}
        run.seconds = run.seconds or _mapping(folder / "batch.json").get("seconds")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        run.numbers, run.why = {}, run.why or f"its folder is damaged: {cut(str(error), 200)}"
    return run


def _mapping(path: Path) -> dict:
    try:
        return read_mapping(path)
    except FileNotFoundError:
        return {}


def by_kind(runs: list[ReportedRun]) -> dict[str, list[ReportedRun]]:
    """The runs of each kind; those that told of none come last, under the empty one."""
    found: dict[str, list[ReportedRun]] = {}
    for run in sorted(runs, key=lambda run: not run.kind):
        found.setdefault(run.kind, []).append(run)
    return found


def differing(runs: list[ReportedRun]) -> list[str]:
    """The parameters that these runs do not all have alike, in their order. That each has a folder of its own is left
    out."""
    values: dict[str, set] = {}
    told = [run.parameters for run in runs if run.parameters]
    for each in told:
        for name, value in each.items():
            values.setdefault(name, set()).add(value)
    lacking = {name for name in values if any(name not in each for each in told)}
    return [name for name, found in values.items() if name != "run_dir" and (len(found) > 1 or name in lacking)]


def by_measure(numbers: dict[str, dict]) -> list[tuple[dict[str, float], str]]:
    """The numbers that were measured on the same together, with what that was; accuracies of whole videos first."""
    order = sorted(numbers, key=lambda name: ACCURACIES.index(name) if name in ACCURACIES else len(ACCURACIES))
    found: dict[str, dict[str, float]] = {}
    for name in order:
        found.setdefault(measured_on(numbers[name]), {})[name] = numbers[name]["value"]
    return [(values, on) for on, values in found.items()]


def end_of_log(folder: Path) -> list[str]:
    """The last lines of a run's log, without a terminal's codes."""
    try:
        with open(folder / "log.txt", "rb") as log:
            log.seek(0, 2)
            log.seek(max(0, log.tell() - LOG_BYTES))
            text = log.read().decode(errors="replace")
    except OSError:
        return []
    lines = [_CODES.sub("", line).rstrip() for line in text.split("\n")]
    lines = ["".join(each if each.isprintable() else " " for each in line) for line in lines]
    return [cut(line, LOG_WIDTH) for line in lines if line and not _NOISE.match(line)][-LOG_LINES:]


def environments(runs: list[ReportedRun]) -> list[tuple[str, list[tuple[str, int]]]]:
    """What the runs ran on: by the name of a fact its values, each with the number of runs that it is of."""
    counts: dict[str, Counter] = {}
    for run in runs:
        told = run.environment
        packages = told.get("packages") if isinstance(told.get("packages"), dict) else {}
        facts = {name: told.get(name) for name in ("device", "platform", "python", "git")} | packages
        for name, value in (facts | {"ran on": run.row.where}).items():
            if value:
                counts.setdefault(name, Counter())[str(value)] += 1
    return [(name, found.most_common()) for name, found in counts.items()]
