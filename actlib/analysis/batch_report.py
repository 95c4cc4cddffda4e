"""`batch_report.html` in a batch's folder: all runs with their numbers, curves overlaid, accuracy against MACs.

One file that can be mailed: its pictures are in it, and it needs nothing from elsewhere.
"""

import glob
from collections.abc import Callable, Mapping
from pathlib import Path

from actlib.analysis.report_page import esc, legend, new_axes, page, picture, table
from actlib.analysis.results import batch_runs, metrics, run_files
from actlib.analysis.results.batch_runs import ReportedRun
from actlib.analysis.results.runs import describe_accuracy, labels_of, read_runs
from actlib.batch_progress import REPORT, BatchProgress, count_states, when
from actlib.files import write_text
from actlib.messages import cut, listed
from actlib.run_progress import clock

NAMED = 20  # curves that have a colour each; of more runs the best BEST have one
BEST = 10
FAILURES = 20  # told of with the end of their log; the others by their reason
PARAMETERS = 12  # columns of parameters
LABELS = 25  # points of the accuracy plot with their names; of more those of the Pareto fronts
SHOWN = 70  # characters of a parameter


def write_report(folder: str | Path, outcomes: Mapping[str, tuple[str, float, str]] | None = None) -> Path:
    """Write the report of the batch in `folder`, with what there is, and return its path.

    `outcomes`: what became of each run, by its name: state, seconds, why; without them what the folders tell. A part
    that cannot be made says why in its place. Raises OSError.
    """
    folder = Path(folder)
    batch, runs = batch_runs.read_batch_runs(folder, outcomes)
    sections = [_failures, _curves, _accuracy, _runs, _environment]
    parts = [_head(folder, batch, runs), *(_made(section, runs) for section in sections)]
    return write_text(folder / REPORT, page(f"Batch {folder.name}", [part for part in parts if part]))


def _made(section: Callable[[list[ReportedRun]], str], runs: list[ReportedRun]) -> str:
    try:
        return section(runs)
    except Exception as error:  # the other parts are worth having
        return f'<p class="failed">{esc(f"A part is missing here: {type(error).__name__}: {cut(str(error), 300)}")}</p>'


def _head(folder: Path, batch: BatchProgress | None, runs: list[ReportedRun]) -> str:
    lines, title = [], f"<h1>Batch {esc(folder.name)}</h1>"
    if batch is not None:
        end = batch.ended or batch.heard
        lasted = f" to {when(end)}, {clock(end - batch.begun)}" if end and batch.begun else ""
        lines.append(f"{when(batch.begun)}{lasted}, on {batch.host}" if batch.begun else f"on {batch.host}")
        lines.append(f"{batch.file}, run folders in {folder}")
    left = [run for run in runs if run.state in ("waiting", "stopped")]
    if left:
        lines.append(f"Not complete (stopped, or not begun: {len(left):,}). The same command goes on.")
    command = f"<p><code>{esc(batch.command)}</code></p>" if batch is not None else ""
    counts = "".join(f"<span>{esc(each)}</span>" for each in count_states([run.row for run in runs]).split(" · "))
    told = "".join(f'<p class="dim">{esc(line)}</p>' for line in lines)
    counts = f'<div class="counts"><span>runs: {len(runs):,}</span>{counts}</div>'
    return f"<header>{title}{told}{command}{counts}</header>"


# --- failures -------------------------------------------------------------------------------------------------


def _failures(runs: list[ReportedRun]) -> str:
    bad = [run for run in runs if run.state in ("failed", "damaged", "stopped")]
    blocked = [run.name for run in runs if run.state == "blocked"]
    if not bad and not blocked:
        return ""
    parts = ["<h2>Failures</h2>"]
    for run in bad[:FAILURES]:
        log = "\n".join(batch_runs.end_of_log(run.folder))
        why = f"<p>{esc(cut(run.why, 1000))}</p>" if run.why else ""
        shown = f'<p class="dim">the end of {esc(run.folder.name)}/log.txt</p><pre>{esc(log)}</pre>' if log else ""
        parts.append(f'<div class="failure"><h3>{esc(run.name)} {_state(run)}</h3>{why}{shown}</div>')
    if more := bad[FAILURES:]:
        rows = [[esc(run.name), _state(run), esc(cut(run.why, 300))] for run in more]
        parts.append(table(["run", "state", "why"], rows, ["name", "", ""]))
    if blocked:
        parts.append(f"<p>Blocked by a run that failed ({len(blocked):,}): {esc(listed(blocked, 20))}</p>")
    return "\n".join(parts)


def _state(run: ReportedRun) -> str:
    return f'<span class="state {esc(run.state)}">{esc(run.state)}</span>'


# --- all runs -------------------------------------------------------------------------------------------------


def _runs(runs: list[ReportedRun]) -> str:
    groups = batch_runs.by_kind(runs)
    parts = ["<h2>All runs</h2>"]
    parts += [_runs_of(kind.replace("_", " ") or "others", group) for kind, group in groups.items()]
    return "\n".join(parts)


def _runs_of(kind: str, runs: list[ReportedRun]) -> str:
    """The runs of one kind, the most accurate first, with the parameters in which they differ."""
    differing = batch_runs.differing(runs)
    columns = differing[:PARAMETERS]
    heads = ["run", "state", *columns, "numbers", "time"]
    classes = ["name", "", *[""] * len(columns), "numbers", "number"]
    rows = sorted(runs, key=lambda run: (run.accuracy is None, -(run.accuracy or 0.0)))
    cells = [
        [
            esc(run.name), _state(run), *(esc(cut(run.parameter(name), SHOWN)) for name in columns),
            _numbers(run) or esc(cut(run.why, 200)), clock(run.seconds) if run.seconds else "",
        ]
        for run in rows
    ]  # fmt: skip
    words = f"{len(runs):,} runs" if len(runs) > 1 else "1 run"
    if len(runs) > 1:
        alike = "the parameters in which they differ" if columns else "all parameters alike"
        words += f", the most accurate first, with {alike}"
    if more := differing[PARAMETERS:]:
        words += f"; they differ in {len(more)} others too: {listed(more)}"
    return f'<h3>{esc(kind)}</h3><p class="dim">{esc(words)}</p>{table(heads, cells, classes)}'


def _numbers(run: ReportedRun) -> str:
    """The numbers with what they were measured on; of a run with many protocols the first, the others folded."""
    told = [
        f"<b>{esc(', '.join(f'{name} {value:.4g}' for name, value in values.items()))}</b>"
        + (f' <span class="dim">({esc(on)})</span>' if on else "")
        for values, on in batch_runs.by_measure(run.numbers)
    ]
    if len(told) <= 2:
        return "<br>".join(told)
    return f"{told[0]}<details><summary>{len(told) - 1} more protocols</summary>{'<br>'.join(told[1:])}</details>"


# --- pictures -------------------------------------------------------------------------------------------------


def _curves(runs: list[ReportedRun]) -> str:
    """Validation accuracy and loss of all trainings, a colour a run; of very many the best alone are named."""
    trained = {run.name: str(run.folder) for run in runs if run.kind in ("train", "finetune")}
    histories, problems = run_files.read_histories(trained)
    if histories.empty:
        return ""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    from actlib.analysis.plots.training import validation_curves

    best = histories.sort_values("val_top1", ascending=False, kind="stable").drop_duplicates("run").set_index("run")
    named = list(best.index) if len(best) <= NAMED else list(best.index[:BEST])
    shades = colormaps["tab10" if len(named) <= 10 else "tab20"]
    colours = {run: to_hex(shades(number)) for number, run in enumerate(named)}
    words = {run: f"best {row.val_top1:.1f} % in epoch {row.epoch:.0f}" for run, row in best.loc[named].iterrows()}
    note = f"{len(best):,} trainings; centre clip × centre crop of the validation videos, the best first."
    if len(named) < len(best):
        note += f" The {len(named)} best are named, the others grey."
    told = {"val_top1": "validation accuracy", "val_loss": "validation loss"}
    drawn = [
        picture(validation_curves(histories, column, colours, ax=new_axes(6, 4)), f"{word} over the epochs")
        for column, word in told.items()
        if histories[column].notna().any()
    ]
    more = "".join(f'<p class="dim">{esc(each)}</p>' for each in problems[:5])
    return (
        f'<h2>Training curves</h2><p class="dim">{esc(note)}</p><div class="figures">{"".join(drawn)}</div>'
        f"{legend(colours, words)}{more}"
    )


def _accuracy(runs: list[ReportedRun]) -> str:
    """Video accuracy against MACs, as notebook 06 draws it."""
    folders = [glob.escape(str(run.folder)) for run in runs if "video_top1" in run.numbers]
    if not folders:
        return ""
    points = read_runs(folders)
    points = points[points["gmacs"].notna()].reset_index(drop=True)
    if points.empty:
        return ""
    from actlib.analysis.plots.costs import tradeoff

    front = metrics.pareto_front(points["gmacs"], points["video_top1"], points["dataset"])
    points["label"] = labels_of(points)
    if len(points) > LABELS:
        kept = points[front].sort_values("video_top1", ascending=False).index[:LABELS]
        points["label"] = points["label"].where(points.index.isin(kept), "")
    ylabel, note = describe_accuracy(points, "video_top1")
    note = note.replace("see runs.csv", "see the table")
    how = {"groups": "dataset", "ylabel": ylabel, "note": note, "ax": new_axes(7, 5)}
    drawn = picture(tradeoff(points, "gmacs", "video_top1", front, **how), "video accuracy against GMACs")
    words = "A line joins the runs that no other of the same data set beats in both: the Pareto front."
    return f'<h2>Accuracy against MACs</h2><p class="dim">{words}</p><div class="figures">{drawn}</div>'


def _environment(runs: list[ReportedRun]) -> str:
    found = batch_runs.environments(runs)
    if not found:
        return ""
    rows = []
    for name, values in found:
        shown = [value if len(values) == 1 else f"{value} (runs: {count:,})" for value, count in values[:8]]
        rows.append([esc(name), "<br>".join(map(esc, shown)) + ("<br>…" if len(values) > 8 else "")])
    return "<h2>Environment</h2>" + table(["", ""], rows, ["name", ""], "facts")
