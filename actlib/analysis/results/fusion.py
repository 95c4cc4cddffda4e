"""Several runs' scores of the same videos, put together: a weighted mean of their softmax scores, a row a video.

Runs are aligned by video id and class name. What does not fit (another subset, other classes, other labels, other
videos) is an error that says what; videos that only some of the runs have may be left out when asked for, and are then
counted. A video for which only some runs have scores (the others could not decode it) gets the mean of those; one
without any counts as wrong.
"""

import os
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from actlib.analysis.results.scores import SCORES, Scores, ScoresError, load_scores
from actlib.analysis.results.val_json import Truth, read_results, scores_of
from actlib.datasets.same_class import respelled
from actlib.messages import listed, problems_in_words, shown

# --- reading --------------------------------------------------------------------------------------------------


def read_scores(runs: list[str], truth: Truth | None = None) -> list[Scores]:
    """The scores of run folders of notebook 04 (their scores.npz) and of result files of any codebase (`….json`).

    truth: the true labels, which result files do not hold. Raises ScoresError with all that cannot be read.
    """
    found, problems = [], []
    for run, name in zip(runs, short_names(runs)):
        try:
            found.append(_read_run(run, name, truth))
        except (ValueError, FileNotFoundError) as error:
            problems.append(" ".join(each.strip() for each in str(error).splitlines()))
    if problems:
        raise ScoresError(problems_in_words("runs", problems))
    return found


def _read_run(run: str, name: str, truth: Truth | None) -> Scores:
    path = Path(run)
    if path.suffix == ".json":
        if truth is None:
            raise ScoresError(f"{run}: a result file holds no true labels; name the annotation JSON (ground_truth)")
        return scores_of(read_results(path), truth, name)
    if not os.path.isdir(path):
        raise ScoresError(f"{run}: no such run folder")
    if not (path / SCORES).is_file():
        raise ScoresError(
            f"{run}: no {SCORES} in it; notebook 04_video_accuracy writes one (run it again if it is an older run), or "
            "name its val.json and a ground_truth"
        )
    return load_scores(path / SCORES, name)


def short_names(runs: list[str]) -> list[str]:
    """The names of the folders; as much of the path as is needed where two are alike."""
    paths = [Path(os.path.abspath(run)) for run in runs]
    parts = [(path.parent if path.suffix == ".json" else path).parts for path in paths]
    names = [each[-1] for each in parts]
    for depth in range(2, max(map(len, parts)) + 1):
        alike = Counter(names)
        names = ["/".join(each[-depth:]) if alike[name] > 1 else name for each, name in zip(parts, names)]
    alike = Counter(names)
    return [run if alike[name] > 1 else name for run, name in zip(runs, names)]


# --- putting together -----------------------------------------------------------------------------------------


def align(runs: list[Scores], videos: str = "same") -> tuple[list[Scores], dict[str, int]]:
    """The runs with their videos and classes in the order of the first one and spelled as it spells them, and how many
    videos of each were left out.

    videos: `same` refuses runs over different videos, `common` keeps those that all have. Raises ScoresError with all
    that does not fit, DataError where two spellings of a class leave a choice.
    """
    first, problems = runs[0], []
    runs = [first, *(_spelled_as(first, run) for run in runs[1:])]
    for run in runs:
        if len(runs) > 1:
            problems += _not_softmax(run)
        doubled = [video for video, count in Counter(run.video_ids).items() if count > 1]
        if doubled:
            problems.append(f"{run.name}: {len(doubled):,} video ids stand twice, {shown(doubled[0])} first")
    for run in runs[1:]:
        problems += _differences(first, run, videos)
    if problems:
        raise ScoresError(problems_in_words("runs that do not belong together", problems))
    common = set(first.video_ids).intersection(*(run.video_ids for run in runs[1:]))
    kept = [video for video in first.video_ids if video in common]
    if not kept:
        raise ScoresError(f"no video is in all of {', '.join(run.name for run in runs)}")
    left_out = {run.name: len(run.video_ids) - len(kept) for run in runs}
    return [run.reordered(kept, first.classes) for run in runs], left_out


def _spelled_as(first: Scores, run: Scores) -> Scores:
    names = respelled(run.classes, first.classes, run.name, first.name)
    spelled = dict(zip(run.classes, names))
    return replace(run, classes=names, labels=[spelled.get(label, label) for label in run.labels])


def _not_softmax(run: Scores) -> list[str]:
    known = run.scores[run.known]
    if not len(known) or (known.min() >= 0 and known.sum(axis=1).max() <= 1.01):
        return []
    return [
        f"{run.name}: scores from {known.min():.3g} to {known.max():.3g} are no softmax scores, which lie between "
        "0 and 1 and sum to 1; means of them with others' would have no meaning"
    ]


def _differences(first: Scores, run: Scores, videos: str) -> list[str]:
    found, names = [], f"{first.name} and {run.name}"
    if first.subset != run.subset:
        found.append(f"{names}: subset {first.subset} and {run.subset}")
    if only := _only_in(first, run, "classes"):
        found.append(f"{names}: {len(first.classes)} and {len(run.classes)} classes; {only}")
    if videos == "same" and (only := _only_in(first, run, "video_ids")):
        counts = f"{len(first.video_ids):,} and {len(run.video_ids):,} videos"
        found.append(f"{names}: {counts}; {only}; videos: common fuses those that all have")
    labels = dict(zip(first.video_ids, first.labels))
    other = [v for v, label in zip(run.video_ids, run.labels) if labels.get(v, label) != label]
    if other:
        found.append(f"{names}: other labels for {listed(other, 3, quote=True)}")
    return found


def _only_in(first: Scores, second: Scores, field: str) -> str:
    """`only in one: …; only in two: …` of the names in `field`; empty where both have the same."""
    pairs = ((first, second), (second, first))
    only = [(one.name, sorted({*getattr(one, field)} - {*getattr(other, field)})) for one, other in pairs]
    return "; ".join(f"only in {name}: {listed(found, 3, quote=True)}" for name, found in only if found)


def fuse(runs: list[Scores], weights: list[float] | None = None) -> Scores:
    """The weighted mean of aligned runs' scores (`align`), each video's over the runs that have scores of it.

    Raises ValueError for weights that are not as many as the runs, or not above 0.
    """
    weights = list(weights or [1.0] * len(runs))
    if len(weights) != len(runs) or min(weights) <= 0:
        raise ValueError(f"weights: {weights}: one above 0 is needed for each of the {len(runs)} runs")
    total = np.zeros(runs[0].scores.shape, dtype=np.float64)
    weight = np.zeros((len(total), 1))
    for run, share in zip(runs, np.array(weights) / sum(weights)):
        known = run.known
        total[known] += share * run.scores[known]
        weight[known] += share
    with np.errstate(invalid="ignore"):
        mean = (total / weight).astype(np.float32)
    first, tables = runs[0], {run.table_digest for run in runs}
    return Scores(
        "fusion", first.video_ids, first.labels, first.classes, mean, fused_protocol(runs, weights), first.subset,
        expected=max((run.expected for run in runs if run.expected is not None), default=None),
        table_digest=tables.pop() if len(tables) == 1 else "",
    )  # fmt: skip


def fused_protocol(runs: list[Scores], weights: list[float]) -> str:
    """The words for a fused number: the parts, each with its weight where they differ and its own protocol. Of one run
    it is that run's."""
    if len(runs) == 1:
        return runs[0].protocol
    alike = len(set(weights)) == 1
    parts = [run.name if alike else f"{weight:g} × {run.name}" for run, weight in zip(runs, weights)]
    protocols = {run.protocol for run in runs}
    if len(protocols) == 1:
        return f"scores of {' + '.join(parts)}, each {protocols.pop()}"
    return f"scores of {' + '.join(f'{part} ({run.protocol})' for part, run in zip(parts, runs))}"


# --- tables ---------------------------------------------------------------------------------------------------


def predictions(fused: Scores, runs: list[Scores]) -> pd.DataFrame:
    """The table of the fused scores, with the column `runs`: how many of `runs` have scores of each video."""
    table = fused.table.copy()
    table.insert(table.columns.get_loc("error"), "runs", sum(run.known.astype(int) for run in runs))
    return table


def summary(runs: list[Scores]) -> pd.DataFrame:
    """A row a run, the fusion being one too: run, top1, top5 (percent of all its videos), videos (with scores), of (all
    of its videos), expected (as many as there should be), protocol."""
    rows = []
    for run in runs:
        counts = (run.num_scored, len(run.labels), run.expected or len(run.labels))
        rows.append((run.name, run.top(1), run.top(5), *counts, run.protocol))
    return pd.DataFrame(rows, columns=["run", "top1", "top5", "videos", "of", "expected", "protocol"])


def agreement(runs: list[Scores]) -> pd.DataFrame:
    """A row a pair of runs over the same videos: first, second, both_right, only_first, only_second, none_right,
    videos (counts), and same_answer (percent of the videos with the same prediction)."""
    rows = []
    for one, two in combinations(runs, 2):
        right, other = one.table["correct"], two.table["correct"]
        counts = [right & other, right & ~other, ~right & other, ~right & ~other]
        same = (one.table["prediction"] == two.table["prediction"]) & (one.table["prediction"] != "")
        rows.append((one.name, two.name, *(int(each.sum()) for each in counts), len(right), 100 * float(same.mean())))
    columns = ["first", "second", "both_right", "only_first", "only_second", "none_right", "videos", "same_answer"]
    return pd.DataFrame(rows, columns=columns)


def by_runs_right(runs: list[Scores], fused: Scores) -> pd.DataFrame:
    """How many videos so many of the runs are right about, and of those how many the fusion: columns runs_right,
    videos, fusion_right."""
    right, chosen = sum(run.table["correct"].astype(int) for run in runs), fused.table["correct"]
    rows = [(n, int((right == n).sum()), int(chosen[right == n].sum())) for n in range(len(runs), -1, -1)]
    return pd.DataFrame(rows, columns=["runs_right", "videos", "fusion_right"])
