"""Lesson 6: three trainings that differ in nothing but what a mirrored clip is called."""

from collections.abc import Callable, Iterable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes

from actlib.analysis.plots import film_strip
from actlib.analysis.results.metrics import confusion
from actlib.datasets.clips.show import pictures
from actlib.datasets.clips.transforms import mirror, train_transform
from actlib.datasets.errors import DataError
from actlib.lessons.chosen_videos import SMALL
from actlib.loops import evaluate, prepare, train
from actlib.params import TrainParams

PLAIN, KEPT, SWAPPED = WAYS = ("no clip mirrored", "mirrored, label kept", "mirrored, label swapped")


def params(way: str, values: dict, run_dir: str) -> TrainParams:
    """The parameters of one of `WAYS`, `values` put over them; `KEPT` is not in the workbook's power."""
    more = {"flip": True, "flip_labels": "swap"} if way == SWAPPED else {}
    name = way.replace(",", "").replace(" ", "_")
    return TrainParams.build({**SMALL, **more, **values, "run_dir": f"{run_dir}/{name}"}, "this lesson")


def refusal(values: dict, run_dir: str) -> str:
    """What the workbook says to flipped clips whose labels stay."""
    try:
        prepare(params(KEPT, {**values, "flip": True}, run_dir))
    except DataError as refused:
        return str(refused)
    return "nothing: no class of these is another one's mirror image"


class HalfMirrored:
    """The usual crops of `p`, every second clip mirrored: as a transform that knows no labels would do it."""

    def __init__(self, p: TrainParams):
        self.crop = train_transform(p.crop, p.short_side, p.crop_size, p.scale_min)

    def __call__(self, clip: torch.Tensor) -> torch.Tensor:
        clip = self.crop(clip)
        return mirror(clip) if torch.rand(()) < 0.5 else clip


def trained(way: str, values: dict, run_dir: str, progress: Callable[..., Iterable]) -> pd.DataFrame:
    """Train in one of `WAYS`, and print the last training loss; the predictions of the validation videos, one clip each
    (see `Scores.table`)."""
    p = params(way, values, run_dir)
    job = prepare(p, transform=HalfMirrored(p) if way == KEPT else None)
    for row in progress(train(job), total=p.epochs, desc=way):
        loss = row["loss"]
    print(f"{way}: training loss {loss:.3f}")
    return evaluate(job)["clip"].table


def beside_its_mirror(values: dict, label: str, run_dir: str) -> tuple[list[np.ndarray], list[str]]:
    """A training clip of class `label` and its mirror image, uint8 (T, H, W, 3) each, and what to call them."""
    job = prepare(params(PLAIN, values, run_dir))
    index = next(number for number, each in enumerate(job.train_data.labels) if job.classes[each] == label)
    clip, _ = job.train_data[index]
    shown = [pictures(each.permute(0, 2, 3, 1).numpy()) for each in (clip, mirror(clip))]
    return shown, [label, f"{label},\nmirrored"]


def pair_accuracy(predictions: pd.DataFrame, pair: list[str]) -> float:
    """Percent right of the videos whose class is one of `pair`."""
    return 100 * float(predictions.loc[predictions["label"].isin(pair), "correct"].mean())


def picture(
    films: tuple[list[np.ndarray], list[str]], predictions: dict[str, pd.DataFrame], pair: list[str]
) -> tuple[Axes, pd.DataFrame]:
    """A clip and its mirror image, and below them what is taken for what in each way; with the counts as a table of the
    columns way, label, prediction and videos."""
    ways = list(predictions)
    figure, axes = plt.subplot_mosaic([["film"] * len(ways), ways], figsize=(10.5, 6.4), height_ratios=[1.25, 2],
                                      layout="constrained")  # fmt: skip
    film_strip(*films, ax=axes["film"])
    rows = []
    for way, table in predictions.items():
        others = sorted(set(table["label"]) - set(pair))
        counts = confusion(table, [*pair, *others])
        _small_confusion(counts, axes[way])
        axes[way].set_title(f"{way}\n{' and '.join(pair)}: {pair_accuracy(table, pair):.0f} % right", fontsize=10,
                            parse_math=False)  # fmt: skip
        long = counts.rename_axis("label").reset_index().melt("label", var_name="prediction", value_name="videos")
        rows.append(long.assign(way=way))
    axes[ways[0]].set_ylabel("true class")
    return axes["film"], pd.concat(rows)[["way", "label", "prediction", "videos"]]


def _small_confusion(counts: pd.DataFrame, ax: Axes) -> None:
    numbers = counts.to_numpy()
    share = numbers / np.maximum(1, numbers.sum(axis=1, keepdims=True))
    right = np.eye(*numbers.shape, dtype=bool)[..., None]
    colours = np.where(right, plt.get_cmap("Blues")(share), plt.get_cmap("Reds")(share))
    colours[numbers == 0] = 1
    ax.imshow(colours)
    for (row, column), number in np.ndenumerate(numbers):
        colour = "white" if share[row, column] > 0.55 else "black" if number else "0.8"
        ax.text(column, row, number, ha="center", va="center", color=colour)
    ax.set_xticks(range(counts.shape[1]), counts.columns, parse_math=False, rotation=30)
    ax.set_yticks(range(counts.shape[0]), counts.index, parse_math=False)
    ax.set_xlabel("predicted class")
    ax.tick_params(length=0)
