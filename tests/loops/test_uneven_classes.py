"""Uneven classes: what an epoch draws of each, what a clip of each counts in the loss, and which epoch is the best."""

import pickle
import sys

import numpy as np
import pytest
import torch
from processes import on_ranks
from torch.nn import functional as F
from torch.utils.data import Subset
from training import Double, assert_same_weights, content, params, run, weights

from actlib.datasets.clips import class_balance
from actlib.datasets.clips.class_balance import Again, times_before
from actlib.datasets.clips.loaders import EpochBatches
from actlib.datasets.errors import DataError
from actlib.datasets.table import read_table, write_table
from actlib.loops import prepare, train
from actlib.loops.losses import ClassWeightedLoss
from actlib.params import ParamsError

VIDEOS = [20, 5, 0, 3]  # of each class; one has none
LABELS = np.random.default_rng(1).permutation(np.repeat(np.arange(4), VIDEOS))


def batches_of(how: str, **more) -> EpochBatches:
    counts = class_balance.count(LABELS, len(VIDEOS))
    return EpochBatches(len(LABELS), 8, seed=3, counts=counts, class_sampling=how, **more)


@pytest.mark.parametrize(
    ("how", "drawn"),
    [("natural", [20, 5, 0, 3]), ("balanced", [9, 10, 0, 9]), ("square_root", [15, 7, 0, 6])],
)
def test_an_epoch_draws_each_class_as_often_as_is_said(how, drawn):
    """28 clips of three classes: 9 1/3 of each; or in proportion to 4.47, 2.24 and 1.73, that is 14.8, 7.4 and 5.7."""
    batches, seen = batches_of(how), []
    for epoch in range(6):
        batches.epoch = epoch
        videos = [video for batch in batches for video in batch]
        assert np.bincount(LABELS[videos], minlength=4).tolist() == drawn
        times = np.bincount(videos, minlength=len(LABELS))
        for label in (0, 1, 3):  # all videos of a class alike, to one
            assert np.ptp(times[label == LABELS]) <= 1
        again = [(int(video), times_before(video)) for video in videos]
        assert sorted(again) == [(video, before) for video in range(len(LABELS)) for before in range(times[video])]
        seen.append(again)
    assert len({tuple(each) for each in seen}) == 6
    batches.epoch = 0  # the same again, from another object, in shares and from the middle
    assert [(int(video), times_before(video)) for batch in batches_of(how) for video in batch] == seen[0]
    halves = [batches_of(how, share=share) for share in (lambda n: slice(n // 2), lambda n: slice(n // 2, n))]
    assert [one + other for one, other in zip(*halves)] == list(batches)
    batches.first = 2
    assert list(batches) == list(batches_of(how))[2:]


def test_a_video_that_comes_again_shows_another_clip(motion_table, tmp_path):
    job = prepare(params(uneven(motion_table, tmp_path), tmp_path / "run", class_sampling="balanced"))
    assert [times_before(pickle.loads(pickle.dumps(each))) for each in (7, Again(7, 2))] == [0, 2]
    first, again = job.train_data[3][0], job.train_data[Again(3, 1)][0]
    assert not torch.equal(first, again) and torch.equal(again, job.train_data[Again(3, 1)][0])
    assert job.train_data[Again(3, 1)][1] == job.train_data[3][1]
    drawn = [video for batch in job.batches for video in batch]
    counts = np.bincount(job.train_data.labels[drawn])
    assert counts.tolist() == [2] * 8 and len(drawn) == 16 and max(map(times_before, drawn)) == 1


def test_weights_are_scikit_learns_and_their_mean_over_the_videos_is_1():
    for how, expected in (
        ("none", [1, 1, 1, 1]),
        ("balanced", [28 / (3 * 20), 28 / (3 * 5), 1, 28 / (3 * 3)]),
        ("square_root", np.array([20**-0.5, 5**-0.5, np.nan, 3**-0.5]) * 28 / (20**0.5 + 5**0.5 + 3**0.5)),
    ):
        found = class_balance.class_weights(np.array(VIDEOS), how)
        np.testing.assert_allclose(found, np.where(np.isnan(expected), 1, expected))
        assert found[LABELS].mean() == pytest.approx(1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_weighted_loss_is_torchs_and_a_sum_over_clips(smoothing):
    torch.manual_seed(0)
    weight, logits, labels = torch.tensor([0.5, 1.9, 1.0, 3.1]), torch.randn(12, 4), torch.randint(4, (12,))
    shares = torch.softmax(torch.randn(12, 4), dim=1)
    loss, how = ClassWeightedLoss(weight, smoothing), {"weight": weight, "label_smoothing": smoothing}
    torch.testing.assert_close(loss(logits, labels), F.cross_entropy(logits, labels, reduction="sum", **how) / 12)
    torch.testing.assert_close(loss(logits, shares), F.cross_entropy(logits, shares, **how))  # with mixup and CutMix
    torch.testing.assert_close(loss(logits, labels), loss(logits, F.one_hot(labels, 4).float()))
    torch.testing.assert_close(loss(logits.double(), labels), loss(logits, labels).double())  # a network in float64
    for target in (labels, shares):  # in parts: of several processes, of accumulated batches
        parts = 5 / 12 * loss(logits[:5], target[:5]) + 7 / 12 * loss(logits[5:], target[5:])
        torch.testing.assert_close(parts, loss(logits, target))


def uneven(motion_table, folder) -> str:
    """Four classes of three training videos, four of one."""
    table = read_table(motion_table)
    place = table.groupby(["subset", "label"]).cumcount()
    few = table["label"].isin(sorted(set(table["label"]))[4:]) & (table["subset"] == "training")
    folder.mkdir(exist_ok=True)
    return str(write_table(table[~few | (place == 0)], folder / "table.csv"))


def trained(ranks, *runs) -> list[dict]:
    found = []
    for p in runs:
        job = prepare(p, model=Double(), ranks=ranks)
        list(train(job))
        found.append({name: value.numpy() for name, value in job.model.state_dict().items()})
    return found


def test_two_processes_and_a_stop_end_with_the_weights_of_one(motion_table, tmp_path, capfd):
    table = uneven(motion_table, tmp_path)
    more = {"batch_size": 6, "accumulate": 2, "last_batch": "keep", "sync_bn": True, "label_smoothing": 0.1}
    more |= {"mixup": 0.4, "cutmix": 1.0, "flip": True, "flip_labels": "swap", "crop_size": 16, "short_side": 16}
    kinds = {"class_sampling": "balanced"}, {"class_weights": "balanced"}, {}
    [alone], two = (
        on_ranks(
            size,
            trained,
            tmp_path / f"ranks{size}",
            *(params(table, tmp_path / f"{size}-{number}", **more, **kind) for number, kind in enumerate(kinds)),
        )
        for size in (1, 2)
    )
    for its in two:
        for found, expected in zip(its, alone):
            for name, value in expected.items():
                np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-10, err_msg=name)
    assert len({found["network.conv1.weight"].tobytes() for found in alone}) == 3
    said = capfd.readouterr().out
    assert "class_sampling balanced: counterclockwise" not in said and said.count("1 videos): 2 clips an epoch") == 2
    assert said.count("weight 2") == said.count("weight 0.667") == 2

    stopped = params(table, tmp_path / "stopped", **more, **kinds[0])
    job = prepare(stopped, model=Double())
    for _ in train(job):
        job.stop.ask()
        break
    run(stopped, model=Double())
    assert_same_weights(weights(tmp_path / "stopped"), weights(tmp_path / "1-0"))


def test_what_cannot_be_meant_is_refused(motion_table, tmp_path):
    with pytest.raises(ParamsError, match="class_weights: 'balanced': class_sampling balanced evens the classes alrea"):
        params(motion_table, tmp_path, class_weights="balanced", class_sampling="balanced")
    p = params(motion_table, tmp_path, class_weights="balanced")
    with pytest.raises(ValueError, match="class_weights: balanced is for the loss made here"):
        prepare(p, loss=torch.nn.CrossEntropyLoss())
    own = Subset(prepare(params(motion_table, tmp_path)).train_data, range(4))
    with pytest.raises(DataError, match="class_weights: balanced needs the class of each clip, .* give it `labels`"):
        prepare(p, train_data=own)
    own.labels = [0, 0, 0, 1]
    assert prepare(p, train_data=own).loss.weight.tolist() == pytest.approx([4 / 6, 2, *[1] * 6])


def test_the_best_epoch_is_chosen_by_what_is_asked(motion_table, tmp_path, monkeypatch):
    """Top-1 and macro-F1 name different epochs; the rows hold both."""
    values = iter([(50.0, 20.0), (40.0, 30.0), (30.0, 10.0)] * 2)

    def validate(job, progress):
        top1, macro_f1 = next(values)
        row = {"val_loss": 1.0, "val_top1": top1, "val_top5": 100.0, "val_macro_f1": macro_f1, "val_videos": 16}
        return row

    real = run(params(motion_table, tmp_path / "real", epochs=1))[0]
    assert 0 <= real["val_macro_f1"] <= 100
    monkeypatch.setattr(sys.modules["actlib.loops.train"], "_validate", validate)
    for by, epoch in (("top1", 1), ("macro_f1", 2)):
        run(params(motion_table, tmp_path / by, epochs=3, best_by=by))
        assert content(tmp_path / by / "checkpoints/best.pt")["epoch"] == epoch
