"""Result files as the reference codebases write and read them, and the video accuracy over them by each one's rule.

A result file (`val.json`) is `{"results": {video_id: [{"label": …, "score": …}, …]}}`, the best classes of each video
in any order. 3D-ResNets-PyTorch (both branches), Efficient-3DCNNs and notebook 04 write it: ten entries a video at
3D-ResNets-PyTorch of 2018, Efficient-3DCNNs and here, five at later 3D-ResNets-PyTorch. The true labels stand in an
annotation file, `{"labels": […], "database": {video_id: {"subset": …, "annotations": {"label": …}}}}`; that of
Efficient-3DCNNs' Kinetics has the subsets as one more level, and ActivityNet's has a list of annotations a video.

The rules, by the names that the codebases give them:

- `hit_at_k` (Efficient-3DCNNs, 3D-ResNets-PyTorch of 2018): hits by all videos of the subset. Of equal scores the one
  listed last counts as the better.
- `accuracy` (3D-ResNets-PyTorch, master): the same division. Of equal scores the one listed first is the better.
- `accuracy_ignoring_missing` (the same with `--ignore`): hits by the videos of the subset that have a result.

A video with several labels is hit if one of them is. Results of videos outside the subset have no effect. Labels that
differ from a class in case, blanks, underscores or hyphens alone are that class (see `datasets.same_class`).
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from actlib.analysis.results.scores import SCORES, Scores, save_scores
from actlib.datasets.errors import DataError
from actlib.datasets.same_class import ClassNames, in_words, respelled, spelled_twice
from actlib.datasets.vocabulary import SUBSETS
from actlib.files import read_mapping, write_csv, write_json
from actlib.messages import Problem, cut, listed, misfit, problems_in_words, shown

RULES = {
    "hit_at_k": "Efficient-3DCNNs, 3D-ResNets-PyTorch 2018: by all videos",
    "accuracy": "3D-ResNets-PyTorch master: by all videos",
    "accuracy_ignoring_missing": "3D-ResNets-PyTorch master, --ignore: by the videos with a result",
}
# Both codebases cut `_000001_000011`, 14 characters, from Kinetics' names before they write results. Where names end in
# .mp4 (Efficient-3DCNNs), that leaves the first digits of the start.
KINETICS_TAIL = 14
_LARGEST = float(np.finfo(np.float32).max)  # that a score can be


class ResultError(ValueError):
    """A result or annotation file that cannot be used. Names file, field and value, all problems at once."""


@dataclass(frozen=True)
class Results:
    """`videos`: by video id the (label, score) entries in the file's order."""

    path: str
    videos: dict[str, list[tuple[str, float]]]


@dataclass(frozen=True)
class Truth:
    """`videos`: by video id the true labels, of one subset. `classes`: their names in index order."""

    path: str
    subset: str
    classes: list[str]
    videos: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Accuracy:
    """`hits` of `videos` (the divisor), of which `expected` were asked for. NaN percent where there are none."""

    rule: str
    k: int
    hits: int
    videos: int
    expected: int

    @property
    def percent(self) -> float:
        return 100 * self.hits / self.videos if self.videos else float("nan")


@dataclass(frozen=True)
class Matched:
    """The videos of a result file beside those of the annotation file.

    `truth`: the true labels by the id that the results use; `ids`: that id by the annotation's; `missing`: the ids
    without a result; `extra`: how many results are of no video of the subset; `how`: what was cut from the
    annotation's ids, empty if nothing.
    """

    truth: dict[str, tuple[str, ...]]
    ids: dict[str, str]
    missing: list[str] = field(default_factory=list)
    extra: int = 0
    how: str = ""


# --- reading --------------------------------------------------------------------------------------------------


def read_results(path: str | Path) -> Results:
    """Read a result file of any of the codebases. Raises ResultError with all problems, FileNotFoundError."""
    content = _read_json(path)
    found = content.get("results")
    if found == {} and len(content) > 1:  # some versions of 3D-ResNets-PyTorch put the videos beside it
        found = {name: value for name, value in content.items() if name != "results"}
    if not isinstance(found, dict):
        raise ResultError(f"{path}: {misfit('results', 'a mapping of video ids', found)}")
    problems, videos = [], {}
    for video, entries in found.items():
        where = f"results.{video}"
        if not isinstance(entries, list):
            problems.append(misfit(where, "a list of labels with scores", entries))
        elif any(isinstance(entry, dict) and "segment" in entry for entry in entries):
            problems.append(f"{where}: one result a segment, not averaged; write the file with averaging on")
        else:
            videos[video] = [_entry(entry, f"{where}[{n}]", problems) for n, entry in enumerate(entries)]
            doubled = [label for label, count in Counter(label for label, _ in videos[video]).items() if count > 1]
            problems += [f"{where}: label {shown(label)} stands there more than once" for label in doubled if label]
    _raise(path, problems)
    if not videos:
        raise ResultError(f"{path}: results: no video in it")
    return Results(str(path), videos)


def _entry(entry, where: str, problems: list[Problem]) -> tuple[str, float]:
    if not isinstance(entry, dict):
        problems.append(misfit(where, "a label and a score", entry))
        return "", 0.0
    label, score = entry.get("label"), entry.get("score")
    if not isinstance(label, str) or not label:
        problems.append(misfit(f"{where}.label", "a class name", label))
        label = ""
    if type(score) not in (int, float) or not abs(score) <= _LARGEST:  # NaN too
        problems.append(misfit(f"{where}.score", "a number", score))
        score = 0.0
    return label, float(score)


def read_truth(path: str | Path, subset: str = "validation") -> Truth:
    """Read the true labels of one subset from an annotation file. Raises ResultError with all problems,
    FileNotFoundError."""
    content = _read_json(path)
    database, classes = content.get("database"), content.get("labels")
    if not isinstance(database, dict):
        raise ResultError(f"{path}: {misfit('database', 'a mapping of video ids', database)}")
    if not isinstance(classes, list | None):
        raise ResultError(f"{path}: {misfit('labels', 'a list of class names', classes)}")
    problems, videos, others = [], {}, Counter()
    if database and set(database) <= set(SUBSETS):  # Efficient-3DCNNs' Kinetics
        problems += [misfit(f"database.{name}", "a mapping of video ids", part)
                     for name, part in database.items() if not isinstance(part, dict)]  # fmt: skip
        parts = [part for part in database.values() if isinstance(part, dict)]
        database = {video: entry for part in parts for video, entry in part.items()}
    for number, name in enumerate(classes or ()):
        if not isinstance(name, str) or not name:
            problems.append(misfit(f"labels[{number}]", "a class name", name))
    for video, entry in database.items():
        where = f"database.{video}"
        if not isinstance(entry, dict):
            problems.append(misfit(where, "subset and annotations", entry))
        elif not isinstance(entry.get("subset"), str):
            problems.append(misfit(f"{where}.subset", "a name", entry.get("subset")))
        elif entry["subset"] == subset:
            labels = videos[video] = _labels(entry.get("annotations"), f"{where}.annotations", problems)
            if not labels:
                problems.append(f"{where}.annotations: no label in it")
        if isinstance(entry, dict) and isinstance(entry.get("subset"), str):
            others[entry["subset"]] += 1
    if classes is None:
        classes = list(dict.fromkeys(label for labels in videos.values() for label in labels))
    known = Counter(name for name in classes if isinstance(name, str))
    problems += [f"labels: {shown(name)} stands there more than once" for name, count in known.items() if count > 1]
    if twice := spelled_twice(known):
        _raise(path, [*problems, *(f"labels: {in_words(*pair)}" for pair in twice)])
    names = ClassNames(known)
    for video, labels in videos.items():
        found = [names.find(label) for label in labels]
        unknown = [label for label, name in zip(labels, found) if name is None]
        problems += [f"database.{video}: label {shown(each)} is not among labels" for each in unknown]
        videos[video] = tuple(dict.fromkeys(found))
    _raise(path, problems)
    if not videos:
        has = listed([f"{name} ({count:,})" for name, count in others.items()]) or "no videos"
        raise ResultError(f"{path}: database: no video of subset {shown(subset)}; it has {has}")
    return Truth(str(path), subset, classes, videos)


def _labels(annotations, where: str, problems: list[Problem]) -> tuple[str, ...]:
    """The labels of a video: of its annotation, or of each in its list of them."""
    entries, found = annotations if isinstance(annotations, list) else [annotations], []
    for entry in entries:
        if not isinstance(entry, dict):
            problems.append(misfit(where, "a mapping with a label", entry))
        elif not isinstance(label := entry.get("label", ""), str):
            problems.append(misfit(f"{where}.label", "a class name", label))
        elif label:
            found.append(label)
    return tuple(dict.fromkeys(found))


# --- comparing ------------------------------------------------------------------------------------------------


def _spelled_as(truth: Truth, results: Results) -> Results:
    """The results with their labels as the annotation file spells them."""
    labels = dict.fromkeys(label for entries in results.videos.values() for label, _ in entries)
    if labels.keys() <= set(truth.classes):
        return results
    try:
        names = dict(zip(labels, respelled(list(labels), truth.classes, "its results", truth.path)))
    except DataError as error:
        raise ResultError(f"{results.path}: {error}") from None
    videos = {video: [(names[label], score) for label, score in each] for video, each in results.videos.items()}
    return Results(results.path, videos)


def match(results: Results, truth: Truth) -> Matched:
    """Find the videos of the annotation file among the results, by the form of the ids that finds most.

    Raises ResultError where none is found, and for labels of results that are not among the classes.
    """
    forms = {
        "": lambda video: video,
        "without .mp4": lambda video: video.removesuffix(".mp4"),
        f"without their last {KINETICS_TAIL} characters": lambda video: video[:-KINETICS_TAIL],
    }
    found = {how: sum(form(video) in results.videos for video in truth.videos) for how, form in forms.items()}
    how = max(found, key=found.get)
    if not found[how]:
        raise ResultError(
            f"{results.path}: none of its {len(results.videos):,} videos ({shown(next(iter(results.videos)))}, …) is "
            f"of subset {truth.subset!r} of {truth.path} ({shown(next(iter(truth.videos)))}, …)"
        )
    ids = {video: forms[how](video) for video in truth.videos}
    labels: dict[str, tuple[str, ...]] = {}
    for video, each in truth.videos.items():
        labels[ids[video]] = tuple(dict.fromkeys((*labels.get(ids[video], ()), *each)))
    known, spelled = set(truth.classes), _spelled_as(truth, results)
    _raise(
        results.path,
        [
            f"results.{video}[{number}].label: {shown(label)} is not among the {len(known)} classes of {truth.path}"
            for video in labels
            for number, (label, _) in enumerate(spelled.videos.get(video, ()))
            if label not in known
        ],
    )
    missing = [video for video in labels if video not in results.videos]
    return Matched(labels, ids, missing, sum(video not in labels for video in results.videos), how)


def video_accuracy(results: Results, truth: Truth, rule: str, k: int) -> Accuracy:
    """The accuracy at `k` by one of RULES. Raises ValueError for another rule or k below 1, and as `match`."""
    if rule not in RULES or k < 1:
        raise ValueError(f"rule {rule!r}, k {k}: expected one of {', '.join(RULES)}, and k from 1 on")
    results = _spelled_as(truth, results)
    matched, hits = match(results, truth), 0
    for video, labels in matched.truth.items():
        best = best_labels(results.videos.get(video, []), k, last_first=rule == "hit_at_k")
        hits += any(label in best for label in labels)
    expected = len(matched.truth)
    videos = expected - len(matched.missing) if rule == "accuracy_ignoring_missing" else expected
    return Accuracy(rule, k, hits, videos, expected)


def accuracies(results: Results, truth: Truth, ks: Iterable[int] = (1, 3, 5)) -> pd.DataFrame:
    """All RULES side by side: columns rule, k, percent, hits, videos (the divisor), expected, missing. A k beyond the
    entries that the videos have is left out, since their other classes are not known."""
    matched = match(results, truth)
    listed = max(len(results.videos.get(video, ())) for video in matched.truth)
    ks = [k for k in ks if k <= min(len(truth.classes), listed)]
    found = [video_accuracy(results, truth, rule, k) for rule in RULES for k in ks]
    rows = [(a.rule, a.k, a.percent, a.hits, a.videos, a.expected, len(matched.missing)) for a in found]
    return pd.DataFrame(rows, columns=["rule", "k", "percent", "hits", "videos", "expected", "missing"])


def best_labels(entries: list[tuple[str, float]], k: int, *, last_first: bool = False) -> list[str]:
    """The labels of the k highest scores, best first; of equal scores the one listed first, or last."""
    ordered = entries[::-1] if last_first else entries
    return [label for label, _ in sorted(ordered, key=lambda entry: -entry[1])[:k]]


# --- scores ---------------------------------------------------------------------------------------------------


def write_results(folder: str | Path, scores: Scores, table: pd.DataFrame | None = None) -> dict[str, dict]:
    """What a run keeps of its scores: predictions.csv (`table`, or the scores' own), scores.npz and val.json. Returns
    their names, for `RunFolder.finish(files=…)`."""
    folder, table = Path(folder), scores.table if table is None else table
    write_csv(folder / "predictions.csv", table)
    save_scores(folder / SCORES, scores)
    write_json(folder / "val.json", content_of(scores))
    return {"predictions.csv": {}, SCORES: {}, "val.json": {}}


def content_of(scores: Scores, k: int = 10) -> dict:
    """The content of a result file: the k best classes of every video that has scores. Ten as Efficient-3DCNNs and
    3D-ResNets-PyTorch of 2018 write, if there are as many classes; later 3D-ResNets-PyTorch writes five unless told
    otherwise."""
    order, results = scores.order()[:, :k], {}
    for row in np.flatnonzero(scores.known):
        # Nine digits tell any two float32 apart: fewer would make ties, which the references break each their own way.
        entries = [(scores.classes[place], float(f"{scores.scores[row, place]:.9g}")) for place in order[row]]
        results[scores.video_ids[row]] = [{"label": label, "score": score} for label, score in entries]
    return {"results": results}


def scores_of(results: Results, truth: Truth, name: str) -> Scores:
    """A result file as scores: classes that are not among a video's entries get 0, or where a file of logits has
    negative ones, less than those. Raises ResultError as `match`, and for several labels a video.
    """
    several = [video for video, labels in truth.videos.items() if len(labels) > 1]
    if several:
        raise ResultError(f"{truth.path}: {listed(several, 3, quote=True)}: several labels a video; fusion needs one")
    results = _spelled_as(truth, results)
    ids = match(results, truth).ids
    places = {label: place for place, label in enumerate(truth.classes)}
    scores = np.full((len(ids), len(places)), np.nan, dtype=np.float32)
    for row, short in enumerate(ids.values()):
        if entries := results.videos.get(short):
            lowest = min(score for _, score in entries)
            scores[row] = 0 if lowest >= 0 else lowest - 1
            scores[row, [places[label] for label, _ in entries]] = [score for _, score in entries]
    most = max(len(results.videos.get(short, ())) for short in ids.values())
    protocol = "result file" + (f", the {most} best classes" if most < len(places) else "")
    labels = [each[0] for each in truth.videos.values()]
    return Scores(name, list(ids), labels, truth.classes, scores, protocol, truth.subset, expected=len(ids))


def truth_of(scores: Scores) -> Truth:
    """The true labels that a run's scores come with."""
    videos = {video: (label,) for video, label in zip(scores.video_ids, scores.labels)}
    return Truth(scores.name, scores.subset, scores.classes, videos)


# --- files ----------------------------------------------------------------------------------------------------


def _read_json(path: str | Path) -> dict:
    try:
        return read_mapping(path)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise ResultError(f"{cut(str(path), 500)}: {getattr(error, 'strerror', None) or error}") from error


def _raise(path: str | Path, problems: list[Problem]) -> None:
    if problems:
        raise ResultError(problems_in_words(path, problems))
