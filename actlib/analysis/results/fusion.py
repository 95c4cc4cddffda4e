"""Several runs' scores of the same videos, put together: a weighted mean of their softmax scores, a row a video.

Runs are aligned by video id and class name. What does not fit (another subset, other classes, other labels, other
videos) is an error that says what; videos that only some of the runs have may be left out when asked for, and are then
counted. A video for which only some runs have scores (the others could not decode it) gets the mean of those; one
without any counts as wrong.
"""

import zipfile
from collections import Counter
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from actlib.analysis.results.metrics import top_k
from actlib.analysis.results.val_json import Results, Truth, match, read_results
from actlib.files import write_with

SCORES = "scores.npz"
COLUMNS = ("video_id", "label", "prediction", "score", "rank", "correct", "runs", "error")
NO_SCORES = "no run has scores of it"


class FusionError(ValueError):
    """Scores that cannot be read, or that do not belong together. Says of which runs, and what to do."""


@dataclass(frozen=True)
class Scores:
    """One run's scores.

    `scores`: float32 (videos, classes), softmax scores, NaN rows where there are none. `labels`: the true class of each
    video. `expected`: how many videos there should be (None if unknown). `table`: digest of the annotation table.
    """

    name: str
    video_ids: list[str]
    labels: list[str]
    classes: list[str]
    scores: np.ndarray
    protocol: str
    subset: str
    expected: int | None = None
    table: str = ""

    @property
    def num_scored(self) -> int:
        return int((~np.isnan(self.scores).any(axis=1)).sum())


# --- files ----------------------------------------------------------------------------------------------------


def save_scores(path: str | Path, scores: Scores) -> Path:
    """Write `scores.npz`: arrays of text and float32, nothing that would need unpickling. Its name is not written."""
    arrays = {
        "video_id": np.array(scores.video_ids, dtype=str),
        "label": np.array(scores.labels, dtype=str),
        "classes": np.array(scores.classes, dtype=str),
        "scores": np.asarray(scores.scores, dtype=np.float32),
        "protocol": np.array(scores.protocol),
        "subset": np.array(scores.subset),
        "expected": np.array(-1 if scores.expected is None else scores.expected),
        "table": np.array(scores.table),
    }
    return write_with(path, lambda temporary: np.savez(temporary, **arrays))


def load_scores(path: str | Path, name: str = "") -> Scores:
    """Read what `save_scores` wrote. Raises FusionError for a file that is damaged or is none of these."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        text = {key: arrays[key].tolist() for key in ("video_id", "label", "classes")}
        told = {key: str(arrays[key]) for key in ("protocol", "subset", "table")}
        scores, expected = arrays["scores"], int(arrays["expected"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise FusionError(f"{path}: not a file of scores of notebook 04 ({error}); run it again") from error
    shape = (len(text["video_id"]), len(text["classes"]))
    if scores.shape != shape or len(text["label"]) != shape[0]:
        raise FusionError(f"{path}: scores of shape {scores.shape} for {shape[0]:,} videos and {shape[1]:,} classes")
    return Scores(
        name or Path(path).resolve().parent.name,
        text["video_id"], text["label"], text["classes"], scores,
        expected=None if expected < 0 else expected, **told,
    )  # fmt: skip


def read_runs(runs: list[str], truth: Truth | None = None) -> list[Scores]:
    """The scores of run folders of notebook 04 (their scores.npz) and of result files of any codebase (`….json`).

    truth: the true labels, which result files do not hold. Raises FusionError with all that cannot be read.
    """
    found, problems = [], []
    for run, name in zip(runs, short_names(runs)):
        try:
            found.append(_read_run(run, name, truth))
        except (ValueError, FileNotFoundError) as error:
            problems.append(str(error))
    if problems:
        raise FusionError("\n".join(problems) if len(problems) == 1 else "\n  - ".join(["runs:", *problems]))
    return found


def _read_run(run: str, name: str, truth: Truth | None) -> Scores:
    path = Path(run)
    if path.suffix == ".json":
        if truth is None:
            raise FusionError(f"{run}: a result file holds no true labels; name the annotation JSON (ground_truth)")
        return scores_of(read_results(path), truth, name)
    if not path.is_dir():
        raise FusionError(f"{run}: no such run folder")
    if not (path / SCORES).is_file():
        raise FusionError(
            f"{run}: no {SCORES} in it; notebook 04_video_accuracy writes one (run it again if it is an older run), or "
            "name its val.json and a ground_truth"
        )
    return load_scores(path / SCORES, name)


def short_names(runs: list[str]) -> list[str]:
    """The names of the folders; as much of the path as is needed where two are alike."""
    paths = [Path(run).resolve() for run in runs]
    parts = [(path.parent if path.suffix == ".json" else path).parts for path in paths]
    names = [each[-1] for each in parts]
    for depth in range(2, max(map(len, parts)) + 1):
        alike = Counter(names)
        names = ["/".join(each[-depth:]) if alike[name] > 1 else name for each, name in zip(parts, names)]
    alike = Counter(names)
    return [run if alike[name] > 1 else name for run, name in zip(runs, names)]


def scores_of(results: Results, truth: Truth, name: str) -> Scores:
    """A result file as scores: classes that are not among a video's entries get 0, or where a file of logits has
    negative ones, less than those. Raises ResultError (see `val_json.match`), FusionError for several labels a video.
    """
    several = [video for video, labels in truth.videos.items() if len(labels) > 1]
    if several:
        raise FusionError(f"{truth.path}: {_some(several)}: several labels a video; fusion needs one")
    ids = match(results, truth).ids
    places = {label: place for place, label in enumerate(truth.classes)}
    scores = np.zeros((len(ids), len(places)), dtype=np.float32)
    for row, short in enumerate(ids.values()):
        if entries := results.videos.get(short):
            lowest = min(score for _, score in entries)
            scores[row] = 0 if lowest >= 0 else lowest - 1
            scores[row, [places[label] for label, _ in entries]] = [score for _, score in entries]
        else:
            scores[row] = np.nan
    listed = max(len(results.videos.get(short, ())) for short in ids.values())
    best = f", the {listed} best classes" if listed < len(places) else ""
    return Scores(
        name, list(ids), [labels[0] for labels in truth.videos.values()], truth.classes, scores,
        f"result file{best}", truth.subset, len(ids),
    )  # fmt: skip


def truth_of(scores: Scores) -> Truth:
    """The true labels that a run's scores come with."""
    videos = {video: (label,) for video, label in zip(scores.video_ids, scores.labels)}
    return Truth(scores.name, scores.subset, scores.classes, videos)


# --- putting together -----------------------------------------------------------------------------------------


def align(runs: list[Scores], videos: str = "same") -> tuple[list[Scores], dict[str, int]]:
    """The runs with their videos and classes in the order of the first one, and how many videos of each were left out.

    videos: `same` refuses runs over different videos, `common` keeps those that all have. Raises FusionError with all
    that does not fit.
    """
    first, problems = runs[0], []
    for run in runs:
        if len(runs) > 1:
            _check_softmax(run)
        doubled = [video for video, count in Counter(run.video_ids).items() if count > 1]
        if doubled:
            problems.append(f"{run.name}: {len(doubled):,} video ids stand twice, {doubled[0]!r} first")
    for run in runs[1:]:
        problems += _differences(first, run, videos)
    if problems:
        raise FusionError("\n  - ".join(["runs that do not belong together:", *problems]))
    common = set(first.video_ids).intersection(*(run.video_ids for run in runs[1:]))
    kept = [video for video in first.video_ids if video in common]
    if not kept:
        raise FusionError(f"no video is in all of {', '.join(run.name for run in runs)}")
    left_out = {run.name: len(run.video_ids) - len(kept) for run in runs}
    return [_reordered(run, kept, first.classes) for run in runs], left_out


def _differences(first: Scores, run: Scores, videos: str) -> list[str]:
    found, names = [], f"{first.name} and {run.name}"
    if first.subset != run.subset:
        found.append(f"{names}: subset {first.subset} and {run.subset}")
    if set(first.classes) != set(run.classes):
        only = [sorted(set(a.classes) - set(b.classes)) for a, b in ((first, run), (run, first))]
        found.append(
            f"{names}: {len(first.classes)} and {len(run.classes)} classes; "
            + "; ".join(f"only in {each.name}: {_some(names)}" for each, names in zip((first, run), only) if names)
        )
    only = [sorted(set(a.video_ids) - set(b.video_ids)) for a, b in ((first, run), (run, first))]
    if videos == "same" and any(only):
        found.append(
            f"{names}: {len(first.video_ids):,} and {len(run.video_ids):,} videos; "
            + "; ".join(f"only in {each.name}: {_some(ids)}" for each, ids in zip((first, run), only) if ids)
            + "; videos: common fuses those that all have"
        )
    labels = dict(zip(first.video_ids, first.labels))
    other = [v for v, label in zip(run.video_ids, run.labels) if labels.get(v, label) != label]
    if other:
        found.append(f"{names}: other labels for {_some(other)}")
    return found


def _some(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more


def _check_softmax(run: Scores) -> None:
    known = run.scores[~np.isnan(run.scores).any(axis=1)]
    if len(known) and (known.min() < 0 or known.sum(axis=1).max() > 1.01):
        raise FusionError(
            f"{run.name}: scores from {known.min():.3g} to {known.max():.3g} are no softmax scores, which lie between "
            "0 and 1 and sum to 1; means of them with others' would have no meaning"
        )


def _reordered(run: Scores, videos: list[str], classes: list[str]) -> Scores:
    rows = {video: row for row, video in enumerate(run.video_ids)}
    columns = {name: column for column, name in enumerate(run.classes)}
    chosen = [rows[video] for video in videos]
    scores = run.scores[np.ix_(chosen, [columns[name] for name in classes])]
    return replace(
        run, video_ids=videos, labels=[run.labels[row] for row in chosen], classes=list(classes), scores=scores
    )


def fuse(runs: list[Scores], weights: list[float] | None = None) -> Scores:
    """The weighted mean of aligned runs' scores (`align`), each video's over the runs that have scores of it.

    Raises ValueError for weights that are not as many as the runs, or not above 0.
    """
    weights = list(weights or [1.0] * len(runs))
    if len(weights) != len(runs) or min(weights) <= 0:
        raise ValueError(f"weights: {weights}: one above 0 is needed for each of the {len(runs)} runs")
    share = np.array(weights) / sum(weights)
    total = np.zeros(runs[0].scores.shape, dtype=np.float64)
    weight = np.zeros((len(total), 1))
    for run, each in zip(runs, share):
        there = ~np.isnan(run.scores).any(axis=1)
        total[there] += each * run.scores[there]
        weight[there] += each
    with np.errstate(invalid="ignore"):
        mean = (total / weight).astype(np.float32)
    expected = [run.expected for run in runs if run.expected is not None]
    tables = {run.table for run in runs}
    return replace(
        runs[0],
        name="fusion",
        scores=mean,
        protocol=fused_protocol(runs, weights),
        expected=max(expected, default=None),
        table=tables.pop() if len(tables) == 1 else "",
    )


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


def predictions(scores: Scores, parts: list[Scores] = ()) -> pd.DataFrame:
    """A row a video with COLUMNS, as notebook 04's; `runs`: how many of `parts` have scores of it."""
    known = ~np.isnan(scores.scores).any(axis=1)
    index = {name: place for place, name in enumerate(scores.classes)}
    labels = np.array([index[label] for label in scores.labels])
    order = np.argsort(-np.nan_to_num(scores.scores), axis=1, kind="stable")
    rank = np.argmax(order == labels[:, None], axis=1) + 1
    best = order[:, 0]
    counts = sum((~np.isnan(part.scores).any(axis=1)).astype(int) for part in parts) if parts else known.astype(int)
    table = pd.DataFrame(
        {
            "video_id": scores.video_ids,
            "label": scores.labels,
            "prediction": [scores.classes[each] if ok else "" for each, ok in zip(best, known)],
            "score": np.where(known, scores.scores[np.arange(len(best)), best], np.nan),
            "rank": pd.array(np.where(known, rank, 0), dtype="Int64"),
            "correct": known & (rank == 1),
            "runs": counts,
            "error": np.where(known, "", NO_SCORES),
        }
    )
    table.loc[~known, "rank"] = pd.NA
    return table[list(COLUMNS)]


def val_json(scores: Scores, k: int = 10) -> dict:
    """The k best classes of every video that has scores, in the layout that the reference codebases exchange:
    {"results": {video_id: [{"label", "score"}, …]}}. Ten entries as Efficient-3DCNNs and 3D-ResNets-PyTorch of 2018
    write, if there are as many classes; later 3D-ResNets-PyTorch writes five unless told otherwise."""
    best = np.argsort(-scores.scores, axis=1, kind="stable")[:, :k]
    known = ~np.isnan(scores.scores).any(axis=1)
    results = {}
    for row in np.flatnonzero(known):
        # Nine digits tell any two float32 apart: fewer would make ties, which the references break each their own way.
        entries = [(scores.classes[place], float(f"{scores.scores[row, place]:.9g}")) for place in best[row]]
        results[scores.video_ids[row]] = [{"label": label, "score": score} for label, score in entries]
    return {"results": results}


def summary(runs: list[Scores], tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """A row for each of `runs` and its predictions in `tables`, by name: run, top1, top5 (percent of all videos of its
    table), videos (with scores), of (all of the table), expected (as many as there should be), protocol."""
    rows = []
    for run in runs:
        table = tables[run.name]
        counts = (run.num_scored, len(table), run.expected or len(table))
        rows.append((run.name, top_k(table, 1), top_k(table, 5), *counts, run.protocol))
    return pd.DataFrame(rows, columns=["run", "top1", "top5", "videos", "of", "expected", "protocol"])


def agreement(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """A row a pair of runs over the same videos: first, second, both_right, only_first, only_second, none_right,
    videos (counts), and same_answer (percent of the videos with the same prediction)."""
    rows = []
    for (first, a), (second, b) in combinations(tables.items(), 2):
        right, other = (each["correct"].to_numpy(dtype=bool) for each in (a, b))
        counts = [right & other, right & ~other, ~right & other, ~right & ~other]
        same = (a["prediction"].to_numpy() == b["prediction"].to_numpy()) & (a["prediction"] != "").to_numpy()
        rows.append((first, second, *(int(each.sum()) for each in counts), len(a), 100 * float(same.mean())))
    columns = ["first", "second", "both_right", "only_first", "only_second", "none_right", "videos", "same_answer"]
    return pd.DataFrame(rows, columns=columns)


def by_runs_right(tables: dict[str, pd.DataFrame], fused: pd.DataFrame) -> pd.DataFrame:
    """How many videos so many of the runs are right about, and of those how many the fusion: columns runs_right,
    videos, fusion_right."""
    right = sum(table["correct"].to_numpy(dtype=int) for table in tables.values())
    chosen = fused["correct"].to_numpy(dtype=bool)
    rows = [(n, int((right == n).sum()), int(chosen[right == n].sum())) for n in range(len(tables), -1, -1)]
    return pd.DataFrame(rows, columns=["runs_right", "videos", "fusion_right"])
