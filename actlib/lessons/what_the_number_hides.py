"""Lesson 11: a network trained on frequent and rare classes, what its accuracy hides, and how sure it is."""

from collections.abc import Callable, Iterable

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from actlib.analysis.plots import reliability_diagram
from actlib.analysis.plots.drawing import bar_axes, write_beside
from actlib.analysis.results import calibration, metrics
from actlib.analysis.results.scores import Scores
from actlib.datasets.dataset_info import read_dataset_info
from actlib.datasets.table import read_table
from actlib.lessons.chosen_videos import choose
from actlib.loops import evaluate, prepare, train
from actlib.params import TrainParams

SMALL = {"model": "resnet10 widen_factor=0.25 conv1_t_size=3", "short_side": 32, "crop_size": 32, "num_workers": 0}
SMALL |= {"resume": "never", "warmup_epochs": 1.0, "lr": 0.008}


def uneven(table: str, folder: str, rare: list[str], training: list[int], validation: list[int]) -> str:
    """A table of training[0] and validation[0] videos of each class, and of training[1] and validation[1] of each of
    `rare`; its path."""
    classes = read_dataset_info(table, read_table(table)).classes
    numbers = [{name: each[name in rare] for name in classes} for each in (training, validation)]
    return str(choose(table, folder, *numbers))


def trained(table: str, epochs: int, run_dir: str, progress: Callable[..., Iterable]) -> Scores:
    """The scores of the validation videos, one clip each, of a network trained on a table."""
    p = TrainParams.build({**SMALL, "table": table, "epochs": epochs, "run_dir": run_dir}, "this lesson")
    job = prepare(p)
    for _ in progress(train(job), total=epochs, desc="epochs"):
        pass
    return evaluate(job)["clip"]


def by_class(predictions: pd.DataFrame, table: str) -> pd.DataFrame:
    """A row a class, the most frequent first: learnt (training videos), videos (validated), right, top1 (percent) and
    what the class is mostly taken for."""
    rows = read_table(table)
    learnt = rows[rows["subset"] == "training"]["label"].value_counts()
    found = metrics.per_class(predictions)
    found.insert(1, "learnt", found["label"].map(learnt))
    return found.sort_values(["learnt", "label"], ascending=[False, True], ignore_index=True)


def three_numbers(predictions: pd.DataFrame) -> dict[str, float]:
    """Accuracy, the mean of the classes' accuracies, and macro-F1, in percent."""
    classes = metrics.per_class(predictions)["top1"]
    return {
        "accuracy": metrics.top_k(predictions, 1),
        "mean of the classes": float(classes.mean()),
        "macro-F1": metrics.macro_f1(predictions),
    }


def bars(classes: pd.DataFrame, numbers: dict[str, float]) -> Axes:
    """The accuracy of each class, the learnt videos beside its name, and the `numbers` as lines across all."""
    names = [f"{row.label}\n{row.learnt} learnt" for row in classes.itertuples()]
    ax, places = bar_axes(names, row=0.46, width=9, more=1.6), range(len(classes))
    rare = classes["learnt"] < classes["learnt"].max()
    ax.barh(places, classes["top1"], 0.66, color=["C1" if each else "C0" for each in rare])
    ends = [f"{row.top1:.0f} % of {row.videos}" + (f" → {row.mostly_taken_for}" if row.mostly_taken_for else "")
            for row in classes.itertuples()]  # fmt: skip
    write_beside(ax, classes["top1"], places, ends, fontsize=9)
    for number, (name, value) in enumerate(numbers.items()):
        style = ("-", "--", ":")[number % 3]
        ax.axvline(value, color="black", linestyle=style, linewidth=1.6, label=f"{name}: {value:.0f} %", zorder=3)
    ax.set_xlim(0, 128)
    ax.set_xticks(range(0, 101, 20))
    ax.set_xlabel("right, % of the class's videos (→ what the wrong ones are mostly taken for)")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncol=3, frameon=False)
    return ax


def halves(scores: Scores) -> tuple[Scores, Scores]:
    """Every second video of each class for the temperature, the others to measure on."""
    place = pd.Series(scores.labels).groupby(scores.labels).cumcount()
    parts = [[video for video, each in zip(scores.video_ids, place % 2) if each == number] for number in (0, 1)]
    return scores.reordered(parts[0], scores.classes), scores.reordered(parts[1], scores.classes)


def before_and_after(scores: Scores, temperature: float) -> tuple[Axes, pd.DataFrame]:
    """The reliability of the scores as they are and at a temperature, side by side, and the bins of both."""
    figure, panels = plt.subplots(1, 2, figsize=(9.4, 4.6), sharey=True, layout="constrained")
    cooled = calibration.with_temperature(scores, temperature)
    tables = []
    for ax, name, each in zip(panels, ("as trained", f"temperature {temperature:.2f}"), (scores, cooled)):
        bins = calibration.reliability(each.table)
        reliability_diagram(bins, ax=ax)
        sure, right = 100 * each.table["score"].mean(), each.top(1)
        ax.set_title(f"{name}: {sure:.0f} % sure, {right:.0f} % right\ncalibration error "
                     f"{calibration.calibration_error(bins):.1f} %", fontsize=10)  # fmt: skip
        tables.append(bins.assign(scores=name))
    panels[1].set_ylabel("")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncol=3, frameon=False)
    return panels[0], pd.concat(tables, ignore_index=True)
