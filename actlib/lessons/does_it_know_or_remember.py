"""Lesson 9: the batches that mixup and CutMix make, as pictures, and learning curves beside each other."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from actlib.compute.device import to_float
from actlib.datasets.clips.streams import stream
from actlib.loops.job import Job
from actlib.loops.mixing import mix


def mixed_clips(job: Job, count: int = 4) -> tuple[list[np.ndarray], list[str]]:
    """The first clips of the first batch as `loops.train` shows it to the network, mixed by `job.p.mixup` and `cutmix`
    from the same random numbers: pictures uint8 (T, H, W, 3) before normalising, and what each is to be called."""
    job.set_epoch(0)
    first, batch = next(iter(job.batches))[0], next(iter(job.loader))
    clips = to_float(batch.clips, job.device, mean=[0.0], std=[1.0], execution=job.execution)
    rng = stream(job.p.seed, "mix", 0, first)
    targets = mix(clips, batch.labels.to(job.device), mixup=job.p.mixup, cutmix=job.p.cutmix, rng=rng)
    shown = (clips[:count].float() * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 4, 1).cpu().numpy()
    names, shares = [], (100 * targets.share, 100 - 100 * targets.share)
    for one, other in zip(targets.labels[:count].tolist(), targets.partners[:count].tolist()):
        parts = [f"{share:.0f} % {job.classes[each]}" for share, each in zip(shares, (one, other))]
        names.append(job.classes[one] if one == other else "\n".join(parts))
    return list(shown), names


def joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """The rows of several trainings, one below the other: run, epoch, loss, top1, val_loss, val_top1."""
    return pd.concat(tables, ignore_index=True)[["run", "epoch", "loss", "top1", "val_loss", "val_top1"]]


def curves_beside(table: pd.DataFrame, chance: float) -> Axes:
    """A panel a run: training and validation accuracy by epoch, the gap between them shaded, and chance as a line.

    table: run, epoch, top1, val_top1 (percent); the panels are in its order. Returns the first panel's axes.
    """
    runs = list(dict.fromkeys(table["run"]))
    figure, panels = plt.subplots(1, len(runs), figsize=(3.6 * len(runs), 3.5), sharey=True, layout="constrained",
                                  squeeze=False)  # fmt: skip
    for ax, name in zip(panels[0], runs):
        rows = table[table["run"] == name]
        ax.fill_between(rows["epoch"], rows["val_top1"], rows["top1"], color="C3", alpha=0.12, linewidth=0)
        ax.plot(rows["epoch"], rows["top1"], color="C0", marker="o", markersize=3, label="the training videos")
        ax.plot(rows["epoch"], rows["val_top1"], color="C1", marker="o", markersize=3, label="videos never seen")
        ax.axhline(chance, color="0.45", linewidth=0.9, linestyle=":", label=f"chance: {chance:.3g} %")
        ax.set_title(name, fontsize=10, parse_math=False)
        ax.set_ylim(0, 104)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel("epoch")
        ax.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylabel("top-1 accuracy, %")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncol=3, frameon=False)
    return panels[0][0]
