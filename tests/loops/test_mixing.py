"""Mixup and CutMix: the clips and the targets are what the papers say, and mirrored clips get the mirrored label."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from actlib.compute.device import to_float
from actlib.compute.execution import Execution
from actlib.datasets.clips.transforms import mirror
from actlib.loops.mixing import Targets, mix


def batch(size=6, height=12, width=16):
    """Clips (B, C, T, H, W) that hold their own number everywhere, and their classes."""
    numbers = torch.arange(size, dtype=torch.float32)
    return numbers.view(-1, 1, 1, 1, 1).expand(size, 3, 4, height, width).clone(), torch.arange(size) + 10


def test_without_either_nothing_happens():
    clips, labels = batch()
    targets = mix(clips, labels, mixup=0, cutmix=0, rng=np.random.default_rng(0))
    assert torch.equal(clips, batch()[0]) and targets == Targets(labels, labels) and targets.share == 1
    logits = torch.randn(6, 20)
    found = F.cross_entropy(logits, targets.of(20), label_smoothing=0.1)
    assert torch.equal(found, F.cross_entropy(logits, labels, label_smoothing=0.1))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_mixup_is_a_weighted_sum_with_the_target_of_it(memory_format):
    shares = []
    for seed in range(40):
        clips, labels = batch()
        clips = clips.contiguous(memory_format=memory_format)
        targets = mix(clips, labels, mixup=0.4, cutmix=0, rng=np.random.default_rng(seed))
        assert clips.is_contiguous(memory_format=memory_format)
        own, other = labels - 10, targets.partners - 10
        expected = targets.share * own + (1 - targets.share) * other
        torch.testing.assert_close(clips, expected.float().view(-1, 1, 1, 1, 1).expand_as(clips))
        assert sorted(targets.partners.tolist()) == labels.tolist()
        shares.append(targets.share)
    # Beta(0.4, 0.4) has mean 1/2 and variance 1 / (4 · (2 · 0.4 + 1)) = 0.139
    assert abs(np.mean(shares) - 0.5) < 0.15 and abs(np.var(shares) - 0.139) < 0.05
    assert not torch.equal(targets.partners, labels)


def test_cutmix_puts_one_box_into_all_frames_and_counts_its_area():
    areas, cut_off = [], 0
    for seed in range(60):
        clips, labels = batch()
        targets = mix(clips, labels, mixup=0, cutmix=1.0, rng=np.random.default_rng(seed))
        replaced = (clips != (labels - 10).view(-1, 1, 1, 1, 1)) & (targets.partners != labels).view(-1, 1, 1, 1, 1)
        clip = next(i for i in range(6) if targets.partners[i] != labels[i])
        box = replaced[clip, 0, 0]
        assert (replaced[clip] == box).all()  # the same in all channels and frames
        assert (clips[clip][replaced[clip]] == targets.partners[clip] - 10).all()
        assert targets.share == pytest.approx(1 - box.float().mean().item(), abs=1e-6)
        if box.any():
            rows, columns = box.any(1).nonzero()[:, 0], box.any(0).nonzero()[:, 0]
            filled = box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert filled.all() and filled.sum() == box.sum()  # a box, without holes
            cut_off += bool(rows[0] == 0 or columns[0] == 0)
        areas.append(1 - targets.share)
    assert 0 < np.mean(areas) < 0.5 and cut_off  # λ is uniform; boxes at the border lose some of it


class Fixed:
    """A generator whose draws are told, to see where the box lies."""

    def __init__(self, share, y, x, order):
        self.share, self.draws, self.order = share, [0, y, x], order

    def beta(self, one, other):
        return self.share

    def integers(self, high):
        return self.draws.pop(0)

    def permutation(self, size):
        return np.array(self.order)


@pytest.mark.parametrize(
    ("y", "x", "rows", "columns"),
    [(6, 8, (3, 9), (4, 12)), (0, 0, (0, 3), (0, 4)), (11, 15, (8, 12), (11, 16))],
)
def test_the_box_has_sides_of_the_root_of_its_share_and_is_cut_off_at_the_border(y, x, rows, columns):
    clips, labels = batch()
    targets = mix(clips, labels, mixup=0, cutmix=1, rng=Fixed(0.75, y, x, [1, 0, 3, 2, 5, 4]))  # half of each side
    expected = torch.zeros(12, 16)
    expected[rows[0] : rows[1], columns[0] : columns[1]] = 1
    assert torch.equal(clips[0], expected.expand(3, 4, 12, 16))  # clip 0 holds 0, its partner 1
    assert targets.share == pytest.approx(1 - expected.mean().item())


def test_with_both_each_batch_takes_one_by_its_seed_alone():
    kinds = []
    for seed in range(60):
        first, labels = batch()
        second = first.clone()
        for clips in (first, second):
            targets = mix(clips, labels, mixup=1.0, cutmix=1.0, rng=np.random.default_rng(seed))
        assert torch.equal(first, second)
        whole = (first == first.round()).all()  # CutMix leaves whole numbers
        kinds.append(bool(whole))
        assert 0 <= targets.share <= 1
    assert 18 < sum(kinds) < 42


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_soft_targets(smoothing):
    labels, partners = torch.tensor([0, 1, 2]), torch.tensor([2, 1, 0])
    targets = Targets(labels, partners, 0.3)
    soft = targets.of(4)
    assert soft.tolist() == [pytest.approx(row) for row in ([0.3, 0, 0.7, 0], [0, 1, 0, 0], [0.7, 0, 0.3, 0])]
    assert torch.equal(targets.dominant, partners) and torch.equal(Targets(labels, partners, 0.5).dominant, labels)
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    losses = [F.cross_entropy(logits, each, label_smoothing=smoothing) for each in (labels, partners)]
    found = F.cross_entropy(logits, targets.of(4), label_smoothing=smoothing)
    torch.testing.assert_close(found, 0.3 * losses[0] + 0.7 * losses[1])


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_a_mirrored_clip_of_flow_moves_the_other_way(memory_format):
    clips = torch.randint(0, 256, (2, 4, 10, 6, 5), dtype=torch.uint8)
    kept = clips.clone()
    how = {"mean": [0.5], "std": [0.226], "execution": Execution("float32", memory_format)}
    cpu, flip = torch.device("cpu"), torch.tensor([False, True]).view(-1, 1, 1, 1, 1)
    found = to_float(torch.where(flip, mirror(clips), clips), cpu, **how)
    assert torch.equal(clips, kept)
    turned = clips[1].flip(-1)
    turned[:, ::2] = 255 - turned[:, ::2]
    expected = torch.stack([clips[0], turned]).transpose(1, 2).float() / 255
    torch.testing.assert_close(found, (expected - 0.5) / 0.226, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mirror(clips.float() / 255), mirror(clips).float() / 255, rtol=1e-5, atol=1e-6)
    rgb = to_float(mirror(clips[:, :, :3]), cpu, **how)
    torch.testing.assert_close(rgb[1], ((clips[1, :, :3].transpose(0, 1).flip(-1) / 255) - 0.5) / 0.226)
