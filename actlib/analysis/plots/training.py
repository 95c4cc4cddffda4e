"""Plots of a training run: the rate before it, the curves during and after it."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from actlib.analysis.plots.drawing import new_axes


def learning_rates(rates: Sequence[float], steps_per_epoch: int, *, ax: Axes | None = None) -> Axes:
    """The learning rate over the epochs; `rates` has one a step, and each holds until the next step."""
    ax = ax or new_axes(7, 3)
    ax.stairs(rates, np.arange(len(rates) + 1) / steps_per_epoch, baseline=None, color="C0", linewidth=1.6)
    ax.set_xlim(0, len(rates) / steps_per_epoch)
    ax.set_ylim(0, 1.08 * max(rates))
    ax.set_xlabel("epochs")
    ax.set_ylabel("learning rate")
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def training_curves(history: pd.DataFrame, *, epochs: int | None = None, best_epoch: int | None = None) -> Axes:
    """Loss, beside it top-1 accuracy of training and validation with the validation's macro-F1, and the learning rate
    where `history` has these, a point an epoch. Returns the loss's axes.

    epochs: as many as the axes have room for; without it those of `history`. A thin line marks `best_epoch`. Each line
    has the name of its column as its gid.
    """
    kinds = [("loss", "loss", None), ("top1", "top-1 accuracy, %", 102)]
    kinds += [("lr", "learning rate", None)] if "lr" in history else []
    widths = [4.5, 4.5, 3][: len(kinds)]
    how = {"figsize": (sum(widths), 3.6), "width_ratios": widths, "layout": "constrained"}
    figure, panels = plt.subplots(1, len(kinds), **how)
    last = epochs or max(2, int(history["epoch"].max()))
    for ax, (column, label, top) in zip(panels, kinds):
        lines = [(column, "training", "C0"), (f"val_{column}", "validation", "C1")]
        if column == "top1" and "val_macro_f1" in history:
            lines.append(("val_macro_f1", "validation, macro-F1", "C3"))
        for name, label_of, color in lines if column != "lr" else [("lr", None, "C2")]:
            ax.plot(history["epoch"], history[name], marker="o", markersize=3.5, color=color, label=label_of, gid=name)
        if best_epoch is not None and column != "lr":
            ax.axvline(best_epoch, color="0.5", linewidth=0.9, linestyle=":", zorder=0)
            ax.text(best_epoch, 1.01, f"best: {best_epoch}", color="0.4", fontsize=8, ha="center",
                    transform=ax.get_xaxis_transform())  # fmt: skip
        margin = max(0.2, 0.02 * last)
        ax.set_xlim(1 - margin, last + margin)
        ax.set_ylim(0, top)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel("epoch")
        ax.set_ylabel(label)
        ax.spines[["top", "right"]].set_visible(False)
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside upper center", ncol=3, frameon=False)
    return panels[0]


def curves_of_runs(histories: pd.DataFrame, *, colours: dict[str, str] | None = None) -> Axes:
    """Loss and, beside it, top-1 accuracy of several trainings (see `run_files.read_histories`), a colour a run:
    validation in full lines, training in thin dashed ones. `colours` by run; matplotlib's without. Returns the loss's
    axes."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    runs = list(dict.fromkeys(histories["run"]))
    colours = {run: f"C{number}" for number, run in enumerate(runs)} | (colours or {})
    for ax, column, label, top in zip(panels, ("loss", "top1"), ("loss", "top-1 accuracy, %"), (None, 102)):
        for run, history in histories.groupby("run", sort=False):
            look = {"color": colours[run], "marker": "o", "markersize": 3}
            ax.plot(history["epoch"], history[f"val_{column}"], **look)
            ax.plot(history["epoch"], history[column], **look | {"linestyle": "--", "linewidth": 0.9, "markersize": 0})
        ax.set_ylim(0, top)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel("epoch (full: validation, dashed: training)")
        ax.set_ylabel(label)
        ax.spines[["top", "right"]].set_visible(False)
    handles = [Line2D([], [], color=colours[run], marker="o", markersize=4) for run in runs]
    legend = figure.legend(handles, runs, loc="outside upper center", ncol=min(3, len(runs)), frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name may have dollar signs
    return panels[0]


def validation_curves(histories: pd.DataFrame, column: str, colours: dict[str, str], *, ax: Axes | None = None) -> Axes:
    """`column` (val_top1 or val_loss) of many trainings over the epochs (see `run_files.read_histories`): the runs of
    `colours` in theirs, the others in thin grey lines behind them. The names stand where the colours are explained."""
    ax = ax or new_axes(6, 4)
    known = histories["run"].isin(list(colours))
    others = histories[~known]
    gaps = pd.DataFrame({"run": others["run"].unique()})  # rows of no numbers: one line for all of thousands
    others = pd.concat([others, gaps]).sort_values("run", kind="stable")
    ax.plot(others["epoch"], others[column], color="0.8", linewidth=0.7, zorder=1)
    for run, history in histories[known].groupby("run", sort=False):
        marker = "o" if len(history) <= 30 else None
        ax.plot(history["epoch"], history[column], color=colours[run], linewidth=1.6, marker=marker, markersize=3.5)
    ax.set_ylim(0, 102 if column == "val_top1" else None)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("epoch")
    ax.set_ylabel({"val_top1": "validation top-1 accuracy, %", "val_loss": "validation loss"}[column])
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
