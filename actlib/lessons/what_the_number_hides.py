"""Lesson 11: a network trained on frequent and rare classes, what its accuracy hides, and how sure it is."""

from collections.abc import Callable, Iterable

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from actlib.analysis.plots import reliability_diagram
from actlib.analysis.results import calibration, metrics
from actlib.analysis.results.scores import Scores
from actlib.datasets.table import read_table
from actlib.lessons.chosen_videos import SMALL, choose
from actlib.loops import evaluate, prepare, train
from actlib.params import TrainParams


def uneven(table: str, folder: str, frequent: list[str], rare: list[str], training: list[int], validation: int) -> str:
    """A table of training[0] videos of each of `frequent`, training[1] of each of `rare`, and as many validation videos
    of all; its path."""
    learnt = dict.fromkeys(frequent, training[0]) | dict.fromkeys(rare, training[1])
    return str(choose(table, folder, learnt, dict.fromkeys(learnt, validation)))


def trained(table: str, epochs: int, run_dir: str, progress: Callable[..., Iterable]) -> Scores:
    """The scores of the validation videos, one clip each, of a network trained on a table."""
    p = TrainParams.build({**SMALL, "table": table, "epochs": epochs, "run_dir": run_dir}, "this lesson")
    job = prepare(p)
    for _ in progress(train(job), total=epochs, desc="epochs"):
        pass
    return evaluate(job)["clip"]


def as_learnt(scores: Scores, table: str) -> Scores:
    """The scores of the first videos of each class, as many as make the classes as uneven as those that were learnt:
    all of the most frequent ones, and at least one of each."""
    learnt = training_counts(table)
    place = pd.Series(scores.labels).groupby(scores.labels).cumcount()
    most = pd.Series(scores.labels).value_counts().max()
    wanted = [max(1, round(most * learnt[label] / learnt.max())) for label in scores.labels]
    kept = [video for video, number, count in zip(scores.video_ids, place, wanted) if number < count]
    return scores.reordered(kept, scores.classes)


def training_counts(table: str) -> pd.Series:
    """The training videos of each class of a table, the most frequent first: `training`, by label."""
    rows = read_table(table)
    return rows[rows["subset"] == "training"]["label"].value_counts().rename("training")


def by_class(scores: Scores, table: str) -> pd.DataFrame:
    """A row a class, the most frequent first: label, learnt (training videos), and of `metrics.per_class` videos,
    recall, precision, f1 (percent) and what the class is mostly taken for."""
    found = metrics.per_class(scores.table)
    found.insert(1, "learnt", found["label"].map(training_counts(table)))
    return found.sort_values(["learnt", "label"], ascending=[False, True], ignore_index=True)


def three_numbers(scores: Scores, table: str) -> dict[str, float]:
    """What can be said of the network, in percent: its accuracy where the classes are as uneven as it learnt them, its
    accuracy where all have as many videos, and its macro-F1 where they are uneven."""
    uneven = as_learnt(scores, table).table
    return {
        "accuracy, uneven classes": metrics.top_k(uneven, 1),
        "accuracy, even classes": scores.top(1),
        "macro-F1, uneven classes": metrics.macro_f1(uneven),
    }


def halves(scores: Scores) -> tuple[Scores, Scores]:
    """Every second video of each class for the temperature, the others to measure on."""
    place = pd.Series(scores.labels).groupby(scores.labels).cumcount()
    parts = [[video for video, each in zip(scores.video_ids, place % 2) if each == number] for number in (0, 1)]
    return scores.reordered(parts[0], scores.classes), scores.reordered(parts[1], scores.classes)


def panels(named: dict[str, Scores]) -> tuple[Axes, pd.DataFrame]:
    """The reliability of several scores side by side, and the bins of all."""
    figure, axes = plt.subplots(1, len(named), figsize=(4.2 * len(named), 4.6), sharey=True, layout="constrained")
    tables = []
    for ax, (name, scores) in zip(axes, named.items()):
        bins = calibration.reliability(scores.table)
        reliability_diagram(bins, ax=ax)
        sure, error = 100 * scores.table["score"].mean(), calibration.calibration_error(bins)
        words = f"{name}\n{sure:.0f} % sure, {scores.top(1):.0f} % right: calibration error {error:.0f} %"
        ax.set_title(words, fontsize=10)
        ax.set_ylabel(ax.get_ylabel() if ax is axes[0] else "")
        tables.append(bins.assign(scores=name))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncol=3, frameon=False)
    return axes[0], pd.concat(tables, ignore_index=True)
