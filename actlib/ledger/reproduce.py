"""Measuring published figures: notebook 04 for each, in a run folder of its own, and what such a folder tells."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from actlib.files import digest
from actlib.ledger.book import COVERED, PATH, Ours
from actlib.ledger.data import published_videos
from actlib.ledger.figures import Figure, same_recipe
from actlib.messages import cut
from actlib.params import ParamsError, VideoAccuracyParams
from actlib.runs.batch import Batch, Run
from actlib.runs.execute import Outcome, run_batch
from actlib.runs.folder import RunFolder
from actlib.runs.ours import clear

RUN_DIR = "outputs/ledger"
NOTEBOOK = "04_video_accuracy"
# How an evaluation is run, not what it measures.
FREE = {"run_dir", "checkpoint", "table", "batch_size", *VideoAccuracyParams.groups()["run"]}
_SOFTWARE = ("torch", "torchvision", "av")


def measure(
    figures: Sequence[Figure], run_dir: str, root: Path, *, more: Mapping = {}, workers: int = 1, force: bool = False
) -> list[Outcome]:
    """Run notebook 04 for each of `figures`, `workers` at a time, with the parameters `more` of FREE. What another
    table's videos gave is put aside first; `force`: everything. Raises ParamsError before the first one starts."""
    runs = [Run(each.name, each.name, NOTEBOOK, each.params(run_dir, dict(more))) for each in figures]
    for figure, run in zip(figures, runs):
        folder = root / run.folder
        if RunFolder(folder).is_done() and not is_measured(figure, run_dir, root):
            clear(folder)
    return run_batch(Batch(Path(PATH), workers, runs), root, force=force, fork=True)


def is_measured(figure: Figure, run_dir: str, root: Path) -> bool:
    """Whether its run folder holds its result on the videos that its table has now."""
    table = RunFolder(root / run_dir / figure.name).read("environment.json").get("table", {})
    done = isinstance(read_result(figure, run_dir, root), Ours)
    return done and table.get("sha256") == digest(root / figure.table.path)


def read_result(figure: Figure, run_dir: str, root: Path) -> Ours | str:
    """What the run folder of a figure says: its result; why it failed; "" where there is none by this recipe."""
    if figure.accuracy is None:
        return ""
    run = RunFolder(root / run_dir / figure.name)
    try:
        p = VideoAccuracyParams.from_file(run.path("params.yaml"))
    except ParamsError:
        return ""
    measured = {name: value for name, value in p if name not in FREE}
    if Path(p.checkpoint).name != figure.row.file or not same_recipe(measured, figure.recipe):
        return ""
    if not run.is_done():
        status = run.read("status.json")
        return f"failed: {cut(status.get('why', ''), 150)}" if status.get("state") == "failed" else ""
    numbers = run.read("result.json").get("numbers", {})
    top1, top5 = (numbers.get(f"video_top{k}") or numbers.get(f"clip_top{k}") for k in (1, 5))
    state, videos = coverage(figure.row.dataset, top1["videos"], top1.get("expected", top1["videos"]))
    return Ours(
        top1=round(top1["value"], 2),
        top5=round(top5["value"], 2) if figure.row.num_classes > 5 else None,
        difference=round(top1["value"] - figure.accuracy.top1, 2),
        videos=videos,
        state=state,
        protocol=top1["protocol"],
        date=run.read("status.json")["time"][:10],
        table=p.table,
        run=f"{run_dir}/{figure.name}",
        versions=_versions(run),
    )


def coverage(dataset: str, decoded: int, listed: int) -> tuple[str, str]:
    """(measured or partial, "14 of 14,787") for so many `decoded` videos of the `listed` ones of a data set.

    A list with less than COVERED of the published videos does not say how many there should be.
    """
    published = published_videos(dataset) or listed
    of = listed if listed >= COVERED * published else published
    return "measured" if decoded >= COVERED * max(published, listed) else "partial", f"{decoded:,} of {of:,}"


def _versions(run: RunFolder) -> str:
    told, result = run.read("environment.json"), run.read("result.json")
    packages = told.get("packages", {})
    parts = [f"{name} {packages[name]}" for name in _SOFTWARE if packages.get(name)]
    parts += [f"actlib {told['git']}"] if told.get("git") else []
    return ", ".join([*parts, f"{result.get('execution')} on {result.get('device')}"])
