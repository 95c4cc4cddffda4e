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

A video with several labels is hit if one of them is. Results of videos outside the subset have no effect.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

RULES = {
    "hit_at_k": "Efficient-3DCNNs, 3D-ResNets-PyTorch 2018: by all videos",
    "accuracy": "3D-ResNets-PyTorch master: by all videos",
    "accuracy_ignoring_missing": "3D-ResNets-PyTorch master, --ignore: by the videos with a result",
}
SUBSETS = ("training", "validation", "testing")
PROBLEMS_SHOWN = 20
# Both codebases cut `_000001_000011`, 14 characters, from Kinetics' names before they write results. Where names end in
# .mp4 (Efficient-3DCNNs), that leaves the first digits of the start.
KINETICS_TAIL = 14


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
        raise ResultError(f"{path}: results: expected a mapping of video ids, found {_kind(found)}")
    problems, videos = [], {}
    for video, entries in found.items():
        if not isinstance(entries, list):
            problems.append(f"results.{video}: expected a list of labels with scores, found {_kind(entries)}")
        elif any(isinstance(entry, dict) and "segment" in entry for entry in entries):
            problems.append(f"results.{video}: one result a segment, not averaged; write the file with averaging on")
        else:
            videos[video] = [_entry(entry, f"results.{video}[{n}]", problems) for n, entry in enumerate(entries)]
            doubled = [label for label, count in Counter(label for label, _ in videos[video]).items() if count > 1]
            problems += [f"results.{video}: label {label!r} stands there more than once" for label in doubled if label]
    _raise(path, problems)
    if not videos:
        raise ResultError(f"{path}: results: no video in it")
    return Results(str(path), videos)


def _entry(entry, where: str, problems: list[str]) -> tuple[str, float]:
    if not isinstance(entry, dict):
        problems.append(f"{where}: expected a label and a score, found {_kind(entry)}")
        return "", 0.0
    label, score = entry.get("label"), entry.get("score")
    if not isinstance(label, str) or not label:
        problems.append(f"{where}.label: expected a class name, found {label!r}")
        label = ""
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        problems.append(f"{where}.score: expected a number, found {score!r}")
        score = 0.0
    return label, float(score)


def read_truth(path: str | Path, subset: str = "validation") -> Truth:
    """Read the true labels of one subset from an annotation file. Raises ResultError with all problems,
    FileNotFoundError."""
    content = _read_json(path)
    database = content.get("database")
    if not isinstance(database, dict):
        raise ResultError(f"{path}: database: expected a mapping of video ids, found {_kind(database)}")
    if database and set(database) <= set(SUBSETS):  # Efficient-3DCNNs' Kinetics
        parts = [part for part in database.values() if isinstance(part, dict)]
        database = {video: entry for part in parts for video, entry in part.items()}
    problems, videos = [], {}
    for video, entry in database.items():
        if not isinstance(entry, dict) or "subset" not in entry:
            problems.append(f"database.{video}.subset: not there")
        elif entry["subset"] == subset:
            labels = _labels(entry.get("annotations"))
            if not labels:
                problems.append(f"database.{video}.annotations: no label in it")
            videos[video] = labels
    classes = content.get("labels")
    if classes is None:
        classes = list(dict.fromkeys(label for labels in videos.values() for label in labels))
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ResultError(f"{path}: labels: expected a list of class names, found {_kind(classes)}")
    known = set(classes)
    for video, labels in videos.items():
        problems += [f"database.{video}: label {each!r} is not among labels" for each in labels if each not in known]
    _raise(path, problems)
    if not videos:
        counts = Counter(entry["subset"] for entry in database.values())
        has = ", ".join(f"{name} ({count:,})" for name, count in counts.items()) or "no videos"
        raise ResultError(f"{path}: database: no video of subset {subset!r}; it has {has}")
    return Truth(str(path), subset, classes, videos)


def _labels(annotations) -> tuple[str, ...]:
    entries = annotations if isinstance(annotations, list) else [annotations]
    found = [entry.get("label") for entry in entries if isinstance(entry, dict)]
    return tuple(dict.fromkeys(label for label in found if isinstance(label, str) and label))


# --- comparing ------------------------------------------------------------------------------------------------


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
            f"{results.path}: none of its {len(results.videos):,} videos ({next(iter(results.videos))!r}, …) is of "
            f"subset {truth.subset!r} of {truth.path} ({next(iter(truth.videos))!r}, …)"
        )
    ids = {video: forms[how](video) for video in truth.videos}
    labels: dict[str, tuple[str, ...]] = {}
    for video, each in truth.videos.items():
        labels[ids[video]] = tuple(dict.fromkeys((*labels.get(ids[video], ()), *each)))
    known = set(truth.classes)
    _raise(
        results.path,
        [
            f"results.{video}[{number}].label: {label!r} is not among the {len(known)} classes of {truth.path}"
            for video in labels
            for number, (label, _) in enumerate(results.videos.get(video, ()))
            if label not in known
        ],
    )
    missing = [video for video in labels if video not in results.videos]
    return Matched(labels, ids, missing, sum(video not in labels for video in results.videos), how)


def video_accuracy(results: Results, truth: Truth, rule: str, k: int) -> Accuracy:
    """The accuracy at `k` by one of RULES. Raises ValueError for another rule or k below 1, and as `match`."""
    if rule not in RULES or k < 1:
        raise ValueError(f"rule {rule!r}, k {k}: expected one of {', '.join(RULES)}, and k from 1 on")
    return _accuracy(results, match(results, truth), rule, k)


def accuracies(results: Results, truth: Truth, ks: Iterable[int] = (1, 3, 5)) -> pd.DataFrame:
    """All RULES side by side: columns rule, k, percent, hits, videos (the divisor), expected, missing. A k beyond the
    entries that the videos have is left out, since their other classes are not known."""
    matched = match(results, truth)
    listed = [len(results.videos[video]) for video in matched.truth if video in results.videos]
    whole = min(len(truth.classes), max(listed))
    rows = []
    for rule in RULES:
        for k in ks:
            if k <= whole:
                found = _accuracy(results, matched, rule, k)
                rows.append((rule, k, found.percent, found.hits, found.videos, found.expected, len(matched.missing)))
    return pd.DataFrame(rows, columns=["rule", "k", "percent", "hits", "videos", "expected", "missing"])


def _accuracy(results: Results, matched: Matched, rule: str, k: int) -> Accuracy:
    hits = 0
    for video, labels in matched.truth.items():
        best = best_labels(results.videos.get(video, []), k, last_first=rule == "hit_at_k")
        hits += any(label in best for label in labels)
    expected = len(matched.truth)
    videos = expected - len(matched.missing) if rule == "accuracy_ignoring_missing" else expected
    return Accuracy(rule, k, hits, videos, expected)


def best_labels(entries: list[tuple[str, float]], k: int, *, last_first: bool = False) -> list[str]:
    """The labels of the k highest scores, best first; of equal scores the one listed first, or last."""
    ordered = entries[::-1] if last_first else entries
    return [label for label, _ in sorted(ordered, key=lambda entry: -entry[1])[:k]]


# --- files ----------------------------------------------------------------------------------------------------


def _read_json(path: str | Path) -> dict:
    doubled: list[str] = []

    def pairs(items: list[tuple]) -> dict:
        found = dict(items)
        if len(found) < len(items):
            doubled.extend(name for name, count in Counter(name for name, _ in items).items() if count > 1)
        return found

    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=pairs)
    except ValueError as error:
        raise ResultError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise ResultError(f"{path}: expected a mapping, found {_kind(content)}")
    _raise(path, [f"{name}: stands there more than once" for name in doubled])
    return content


def _kind(value) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _raise(path: str | Path, problems: list[str]) -> None:
    if problems:
        shown = "\n".join(f"  - {problem}" for problem in problems[:PROBLEMS_SHOWN])
        more = len(problems) - PROBLEMS_SHOWN
        count = f"{len(problems):,} problem{'s' if len(problems) > 1 else ''}"
        raise ResultError(f"{path}: {count}\n{shown}" + (f"\n  … and {more:,} more" if more > 0 else ""))
