"""Mixup and CutMix: two clips of a batch in one, and a target that says how much of each.

Both work on whole normalised batches on the device. torchvision's own take (B, C, H, W) alone and pair neighbours; here
partners are drawn from the whole batch, and every choice comes from the given generator, so that a resumed run mixes
what an uninterrupted one does.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from actlib.compute.device import to_device


@dataclass(frozen=True)
class Targets:
    """What a batch should be called. `labels` and `partners`: int64 (B), the classes of each clip and of what was mixed
    into it; `share`: how much of the clip is its own, 0 to 1."""

    labels: torch.Tensor
    partners: torch.Tensor
    share: float = 1.0

    @property
    def dominant(self) -> torch.Tensor:
        """The class with the larger share in each clip: int64 (B). Training accuracy is measured against it."""
        return self.labels if self.share >= 0.5 else self.partners

    def of(self, num_classes: int) -> torch.Tensor:
        """The target of a loss such as torch's cross-entropy: the labels, int64 (B), where nothing is mixed, else the
        shares of the classes in each clip: float32 (B, num_classes), a row sums to 1."""
        if self.share == 1:
            return self.labels
        labels, partners = (F.one_hot(each, num_classes).float() for each in (self.labels, self.partners))
        return labels.mul_(self.share).add_(partners, alpha=1 - self.share)


def mix(clips: torch.Tensor, labels: torch.Tensor, *, mixup: float, cutmix: float, rng: np.random.Generator) -> Targets:
    """Mix float clips (B, C, T, H, W) in place with each other, if `mixup` or `cutmix` is above 0; labels: int64 (B).

    Both are the alpha of a Beta(alpha, alpha) distribution, from which a batch draws one share λ. Mixup (Zhang et al.,
    2018) takes λ of a clip and 1 − λ of its partner. CutMix (Yun et al., 2019) puts a box of 1 − λ of the partner's
    picture into it, the same in all frames, at a random place, cut off at the border; its true area counts. Where both
    are above 0, each batch takes one of them, with even chances.
    """
    mixture = draw(len(labels), mixup=mixup, cutmix=cutmix, rng=rng)
    if mixture is None:
        return Targets(labels, labels)
    partner = to_device(mixture.partner, clips.device)
    return mixture.apply(clips, labels, clips[partner], labels[partner])


@dataclass(frozen=True)
class Mixture:
    """How a whole batch is mixed. `partner`: of each clip the one that is mixed into it, int64 (B); `share`: λ; `rng`:
    draws where CutMix's box lies. Each process of a run draws the same, and applies it to its part."""

    partner: torch.Tensor
    share: float
    rng: np.random.Generator
    is_cutmix: bool

    def apply(
        self, clips: torch.Tensor, labels: torch.Tensor, others: torch.Tensor, other_labels: torch.Tensor
    ) -> Targets:
        """Mix the partners' clips `others` into `clips`, in place, both float (B, C, T, H, W)."""
        share = (_cutmix if self.is_cutmix else _mixup)(clips, others, self.share, self.rng)
        return Targets(labels, other_labels, share)


def draw(count: int, *, mixup: float, cutmix: float, rng: np.random.Generator) -> Mixture | None:
    """How a batch of `count` clips is mixed: see `mix`. None where it is not."""
    kinds = [alpha for alpha in (mixup, cutmix) if alpha > 0]
    if not kinds:
        return None
    number = int(rng.integers(len(kinds)))
    share = float(rng.beta(kinds[number], kinds[number]))
    return Mixture(torch.from_numpy(rng.permutation(count)), share, rng, mixup <= 0 or number == 1)


def _mixup(clips: torch.Tensor, others: torch.Tensor, share: float, rng: np.random.Generator) -> float:
    clips.mul_(share).add_(others, alpha=1 - share)
    return share


def _cutmix(clips: torch.Tensor, others: torch.Tensor, share: float, rng: np.random.Generator) -> float:
    height, width = clips.shape[-2:]
    box_height, box_width = (int(side * (1 - share) ** 0.5) for side in (height, width))
    y, x = int(rng.integers(height)), int(rng.integers(width))  # the middle of the box
    top, bottom = (min(max(y + each, 0), height) for each in (-(box_height // 2), box_height - box_height // 2))
    left, right = (min(max(x + each, 0), width) for each in (-(box_width // 2), box_width - box_width // 2))
    clips[..., top:bottom, left:right] = others[..., top:bottom, left:right]
    return 1 - (bottom - top) * (right - left) / (height * width)
