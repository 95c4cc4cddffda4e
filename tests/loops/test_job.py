"""What a training run is made of: the card's classes, its protocol, mirrored labels, mixed batches, old checkpoints."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import training
from torch.nn import functional as F

from actlib.datasets.clips.loaders import Batch
from actlib.datasets.dataset_info import DatasetInfo, mirrored_names, write_dataset_info
from actlib.datasets.errors import DataError
from actlib.datasets.table import read_table, write_table
from actlib.datasets.vocabulary import SAMPLINGS
from actlib.loops import evaluate, prepare, train
from actlib.loops.prepare import validation_protocol
from actlib.loops.train import _augmented, _flips, _train_epoch
from actlib.models.weights.checkpoint import CheckpointError, read_checkpoint, save_checkpoint
from actlib.params import FinetuneParams, TrainParams, VideoAccuracyParams
from actlib.params.same_run import BEFORE


def params(table, run_dir, **more):
    return training.params(table, run_dir, **{"epochs": 1, **more})


@pytest.fixture
def carded(motion_table, tmp_path):
    """The motion table with a card beside it: `carded(**card)` writes both and returns the table's path."""

    def write(classes, **card):
        path = write_table(read_table(motion_table), tmp_path / "data" / "table.csv")
        videos = {"training": {"listed": 30}, "validation": {"published": 50, "listed": 40}}
        write_dataset_info(DatasetInfo("motion", "Motion", classes, videos, **card), path.parent)
        return path

    return write


CLASSES = sorted(["left", "right", "up", "down", "clockwise", "counterclockwise", "grow", "shrink"])


def test_classes_and_expected_videos_are_the_cards(carded, tmp_path):
    classes = [*reversed(CLASSES), "a class without a video"]
    p = params(carded(classes), tmp_path / "run")
    job = prepare(p)
    assert job.classes == job.info.classes == classes and job.expected == 40 and len(job.val_data) == 16
    assert [classes[label] for label in job.train_data.labels] == read_table(p.table).query("subset == 'training'")[
        "label"
    ].tolist()
    list(train(job))
    content = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt").content
    assert content["classes"] == classes and content["model"]["num_classes"] == 9
    with pytest.raises(CheckpointError, match="the table has 8 classes, the checkpoint 9 or others"):
        prepare(params(carded(CLASSES), tmp_path / "run"))


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({"sampling": "segments"}, "uniform"),
        ({"sampling": "dense", "loop": "span"}, "dense"),
        ({"sampling": "begin"}, "begin"),
        ({}, "clip"),
    ],
)
def test_validation_follows_the_sampling(motion_table, tmp_path, more, kind):
    job = prepare(params(motion_table, tmp_path, **more))
    assert job.val_protocol.kind == kind and job.val_protocol.loop == job.p.loop
    assert (job.train_data.sampling, job.train_data.loop) == (job.p.sampling, job.p.loop)
    assert 0 <= evaluate(job)["clip"].top(1) <= 100


def test_validation_follows_the_sampling_of_training():
    kinds = {}
    for name in SAMPLINGS:
        protocol = validation_protocol(TrainParams(sampling=name, num_frames=4, loop="span"))
        assert (protocol.num_frames, protocol.loop, protocol.num_clips, protocol.num_crops) == (4, "span", 1, 1)
        kinds[name] = protocol.kind
    assert kinds == {
        "random": "clip", "center": "clip", "begin": "begin", "dense": "dense", "segments": "uniform",
        "segments_regular": "uniform",
    }  # fmt: skip
    p = TrainParams(sampling="dense", num_frames=8, frame_stride=4, short_side=64, crop_size=48)
    assert str(validation_protocol(p)) == "dense clip × centre crop @ 48, 8 frames, stride 4"


def test_a_file_of_weights_is_read_once(motion_table, finetune_table, tmp_path, monkeypatch):
    training.run(params(motion_table, tmp_path / "start"))
    asked, load = [], torch.load
    monkeypatch.setattr(torch, "load", lambda path, **how: asked.append(path) or load(path, **how))
    start = str(tmp_path / "start" / "checkpoints" / "best.pt")
    quick = {"num_workers": 0, "precision": "float32", "run_dir": str(tmp_path / "run")}
    for p in (
        FinetuneParams.build({**quick, "pretrained": start, "table": str(finetune_table)}, "test"),
        VideoAccuracyParams.build({**quick, "checkpoint": start, "table": str(motion_table)}, "test"),
        params(motion_table, tmp_path / "goes_on", epochs=2, resume=start.replace("best", "last")),
    ):
        asked.clear()
        assert prepare(p).model.preprocessing["num_frames"] == 4
        assert len(asked) == len(set(asked)) == 1


def test_every_augmentation_reaches_the_clips(motion_table, tmp_path):
    plain = prepare(params(motion_table, tmp_path, crop="center")).train_data[3][0]
    assert plain.shape == (4, 3, 32, 32)
    for more in (
        {"crop": "multi_scale_corner", "crop_scales": [0.6]},
        {"crop": "random", "short_side_max": 64},
        {"crop": "random_resized", "scale_min": 0.1},
        {"crop": "center", "color_jitter": 0.8},
        {"crop": "center", "rand_augment": 20},
        {"crop": "center", "random_erasing": 1.0},
        {"crop": "center", "sampling": "segments"},
    ):
        p = params(motion_table, tmp_path, **more)
        found = prepare(p).train_data[3][0]
        assert found.shape == plain.shape and not torch.equal(found, plain), more
        assert torch.equal(found, prepare(p).train_data[3][0]), more


# --- mirrored classes -----------------------------------------------------------------------------------------


def test_flipped_clips_alone_change_their_labels(motion_table, tmp_path):
    job = prepare(params(motion_table, tmp_path, flip=True, flip_labels="swap", batch_size=24, mean=[0.0], std=[1.0]))
    batch, order = next(iter(job.loader)), list(job.batches)
    flip = _flips(job, 0, order)[0]
    clips, targets = _augmented(job, 0, order[0], batch, flip)
    original = batch.clips.transpose(1, 2).float() / 255
    flipped = [torch.allclose(one, other.flip(-1)) for one, other in zip(clips, original)]
    kept = [torch.allclose(one, other) for one, other in zip(clips, original)]
    assert all(one != other for one, other in zip(flipped, kept)) and 5 < sum(flipped) < 19
    pairs = mirrored_names(job.classes)
    assert len(pairs) == 4
    before, after = ([job.classes[label] for label in each] for each in (batch.labels, targets.labels))
    assert after == [pairs.get(name, name) if flip else name for name, flip in zip(before, flipped)]
    assert before != after
    assert flip.tolist() == flipped
    assert _flips(job, 0, [order[0][::-1]])[0].tolist() == flipped[::-1]  # a video's, wherever it stands
    assert torch.equal(torch.cat(_flips(job, 0, [order[0][:5], order[0][5:]])), flip)
    assert not torch.equal(_flips(job, 1, order)[0], flip)


def test_what_a_mirror_does_is_the_cards_to_say(carded, tmp_path):
    none = params(carded(CLASSES), tmp_path, flip=True)  # a card without pairs: every clip may be mirrored
    assert prepare(none).mirrored is None
    up = carded(CLASSES, mirrored={"up": "down", "down": "up"})
    with pytest.raises(DataError, match=r"'up' into 'down', another class; set flip: false, or flip_labels: swap"):
        prepare(params(up, tmp_path, flip=True))
    assert prepare(params(up, tmp_path)).mirrored is None  # nothing is flipped
    index = prepare(params(up, tmp_path, flip=True, flip_labels="swap")).mirrored.tolist()
    assert [CLASSES[place] for place in index] == [{"up": "down", "down": "up"}.get(name, name) for name in CLASSES]
    gone = carded(CLASSES, mirrored={"up": "away"})
    with pytest.raises(DataError, match="'away' of the mirrored classes in dataset.json is not among the 8 classes"):
        prepare(params(gone, tmp_path, flip=True, flip_labels="swap"))


# --- mixed batches --------------------------------------------------------------------------------------------


def test_the_loss_and_accuracy_of_mixed_batches(motion_table, tmp_path):
    """By hand: the epoch's loss and accuracy with a network that does not learn."""
    p = params(motion_table, tmp_path, mixup=0.5, cutmix=1.0, lr=1e-12, optimizer="sgd", label_smoothing=0.1)
    job = prepare(p)
    job.set_training_mode()
    losses, hits = [], []
    for videos, batch in zip(job.batches, job.loader):
        clips, targets = _augmented(job, 0, videos, batch, None)
        assert not torch.equal(clips, _augmented(job, 1, videos, batch, None)[0])
        with torch.no_grad():
            logits = job.model(clips)
        shares = F.one_hot(targets.labels, 8) * targets.share + F.one_hot(targets.partners, 8) * (1 - targets.share)
        losses.append(-((shares * 0.9 + 0.1 / 8) * logits.log_softmax(1)).sum(1).mean().item())
        hits += (logits.argmax(1) == shares.argmax(1)).tolist()
    row = _train_epoch(job, 0, None)
    assert row["loss"] == pytest.approx(np.mean(losses), abs=1e-4)
    assert row["top1"] == pytest.approx(100 * np.mean(hits), abs=1e-2)


def test_a_batch_without_mixing_is_as_it_was(motion_table, tmp_path):
    job = prepare(params(motion_table, tmp_path))
    batch = Batch(torch.zeros(2, 4, 3, 32, 32, dtype=torch.uint8), torch.tensor([3, 5]), [])
    clips, targets = _augmented(job, 0, [0, 1], batch, None)
    assert targets.share == 1 and targets.labels.tolist() == [3, 5] and (clips[0] == clips[1]).all()


# --- going on -------------------------------------------------------------------------------------------------

NEW = {"mixup": 0.2, "cutmix": 1.0, "sampling": "segments", "color_jitter": 0.1, "loop": "span", "random_erasing": 0.5}


def test_a_checkpoint_from_before_these_parameters_goes_on(motion_table, tmp_path):
    list(train(prepare(params(motion_table, tmp_path))))
    path = tmp_path / "checkpoints" / "last.pt"
    last = read_checkpoint(path)
    content = {**last.content, "state_dict": last.state}
    for name in {*BEFORE, *NEW, "timeout", "crop_scales", "modality"} & set(content["params"]):
        del content["params"][name]
    del content["preprocessing"]["modality"], content["model"]["options"]
    save_checkpoint(path, content)
    rows = list(train(prepare(params(motion_table, tmp_path, epochs=2, timeout=30))))
    assert [row["epoch"] for row in rows] == [1, 2]
    save_checkpoint(path, content)
    for name, value in NEW.items():
        with pytest.raises(CheckpointError, match=f"{name} is {value!r}, was {BEFORE[name]!r}"):
            prepare(params(motion_table, tmp_path, epochs=2, **{name: value}))


def test_failures_of_a_carded_table_are_told_with_the_path(carded, tmp_path):
    path = carded(CLASSES)
    (path.parent / "dataset.json").write_text(json.dumps({"name": "x"}))
    with pytest.raises(DataError, match="does not describe a data set"):
        prepare(params(path, tmp_path))
    assert len(pd.read_csv(path)) == 40
