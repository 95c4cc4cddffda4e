"""The loss of a training, and how uneven classes count in it."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from actlib.datasets.clips.class_balance import Counts, class_weights, count, quotas
from actlib.datasets.errors import DataError
from actlib.params import TrainingParams


class ClassWeightedLoss(nn.CrossEntropyLoss):
    """Cross-entropy in which the clips of a class count by its weight: their mean over the clips of a batch.

    It is torch's own for shares of classes (mixup, CutMix), and for labels its sum (reduction="sum") over the clips:
    torch's mean for labels divides by the sum of the batch's weights instead. Here the whole is a sum over clips, so
    that several processes and accumulated batches, each with a part, have exactly the gradient of all clips together;
    and with weights whose mean over the training videos is 1, `lr` keeps its meaning. `weight`: float32 (classes).
    """

    def __init__(self, weight: torch.Tensor, label_smoothing: float = 0.0):
        super().__init__(weight, label_smoothing=label_smoothing)

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """logits: (B, classes); target: int64 (B), or shares (B, classes)."""
        how = {"weight": self.weight.to(logits.dtype), "label_smoothing": self.label_smoothing}
        return F.cross_entropy(logits, target, reduction="sum", **how) / len(logits)


def make_loss(p: TrainingParams, counts: Counts | None) -> nn.Module:
    """Cross-entropy with `label_smoothing`, and with the weights that `class_weights` says."""
    if p.class_weights == "none":
        return nn.CrossEntropyLoss(label_smoothing=p.label_smoothing)
    weights = torch.from_numpy(class_weights(counts.videos, p.class_weights)).float()
    return ClassWeightedLoss(weights, p.label_smoothing)


def class_counts(p: TrainingParams, data: Dataset, classes: Sequence[str]) -> Counts | None:
    """How many training videos each class has, where `class_sampling` or `class_weights` asks. Raises DataError where
    the user's own data do not tell, in `labels`."""
    asks = {"class_sampling": p.class_sampling, "class_weights": p.class_weights}
    asked = {name: value for name, value in asks.items() if value not in ("natural", "none")}
    if not asked:
        return None
    name, value = next(iter(asked.items()))
    labels = getattr(data, "labels", None)
    if labels is None or len(labels) != len(data):
        raise DataError(
            f"{name}: {value} needs the class of each clip, and train_data does not tell: give it `labels`, the class "
            f"indices of its {len(data):,} clips, or set {name}: {'natural' if name == 'class_sampling' else 'none'}"
        )
    return count(labels, len(classes))


def balance_in_words(p: TrainingParams, counts: Counts, classes: Sequence[str]) -> str:
    """What `class_sampling` or `class_weights` makes of the rarest and of the most frequent class."""
    videos, drawn = counts.videos, quotas(counts.videos, p.class_sampling)
    weights, there = class_weights(videos, p.class_weights), np.flatnonzero(videos)
    told = [
        f"{classes[place]} ({videos[place]:,} videos): "
        + (f"weight {weights[place]:.3g}" if p.class_weights != "none" else f"{drawn[place]:,} clips an epoch")
        for place in (there[videos[there].argmin()], videos.argmax())
    ]
    name = "class_weights" if p.class_weights != "none" else "class_sampling"
    return f"{name} {getattr(p, name)}: {' to '.join(told)}"
