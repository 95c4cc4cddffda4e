"""What lessons 8 to 10 do behind their cells: few videos, small trainings, mixed clips, the parts of a class."""

import numpy as np
import pandas as pd
import pytest
import torch

from actlib.analysis.results.scores import Scores
from actlib.compute.device import on_device
from actlib.datasets.errors import DataError
from actlib.datasets.table import read_table
from actlib.lessons import does_it_know_or_remember, from_few_videos, pictures_or_motion, small_runs
from actlib.loops.train import _augmented
from actlib.models import WeightsError

TINY = {"model": "resnet10 widen_factor=0.0625", "num_frames": 4, "epochs": 2, "precision": "float32"}


def test_few_videos_and_labels_dealt_anew(motion_table, tmp_path):
    whole = read_table(motion_table)
    true = read_table(small_runs.few_videos(motion_table, tmp_path / "true", training=2, validation=1, clips=48))
    assert true["subset"].value_counts().to_dict() == {"training": 48, "validation": 8}  # 16 videos, three times each
    assert true["path"].nunique() == 24 and set(true["path"]) <= set(whole["path"])
    label_of = dict(zip(whole["path"], whole["label"]))
    assert [label_of[path] for path in true["path"]] == true["label"].tolist()

    dealt = small_runs.few_videos(motion_table, tmp_path / "dealt", training=2, validation=1, clips=48, shuffled=True)
    dealt = read_table(dealt)
    learnt = dealt[dealt["subset"] == "training"]
    assert learnt["label"].value_counts().unique().tolist() == [6]
    assert learnt.groupby("path")["label"].nunique().eq(1).all()  # a video is called the same each time
    assert np.mean([label_of[path] == label for path, label in zip(learnt["path"], learnt["label"])]) < 0.5
    held_out = dealt[dealt["subset"] == "validation"]
    assert [label_of[path] for path in held_out["path"]] == held_out["label"].tolist()
    with pytest.raises(DataError, match="3 training videos, 4 are asked for"):
        small_runs.few_videos(motion_table, tmp_path / "more", training=4, validation=1)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_the_pictures_are_what_the_network_is_shown(motion_table, kind):
    job = small_runs.prepare_small({**TINY, "table": str(motion_table), "crop": "center", kind: 1.0})
    pictures, names = does_it_know_or_remember.mixed_clips(job, 3)
    job.set_epoch(0)
    videos, batch = next(iter(job.batches)), next(iter(on_device(job.loader, job.device)))
    clips, targets = _augmented(job, 0, videos, batch, None)
    mean, std = (torch.tensor(job.normalisation[name]).view(3, 1, 1, 1) for name in ("mean", "std"))
    for clip, picture in zip(clips, pictures, strict=False):
        shown = (clip * std + mean).permute(1, 2, 3, 0) * 255
        assert np.abs(shown.numpy() - picture).max() <= 0.51
    assert len(pictures) == 3 and f"{100 * targets.share:.0f} % {job.classes[targets.labels[0]]}" in names[0]
    assert not np.array_equal(pictures[0], (batch.clips[0].permute(0, 2, 3, 1)).numpy())


def test_fine_tuning_from_few_videos(motion_table, finetune_table, tmp_path, monkeypatch, capsys):
    scratch = {**TINY, "lr": 0.01}
    first = small_runs.prepare_small({**scratch, "table": str(motion_table)}, "first", tmp_path)
    from actlib.loops import train

    assert len(list(train(first))) == 2
    starts = {"from scratch": scratch, "known": {"pretrained": str(tmp_path / "first" / "checkpoints" / "best.pt")}}
    how = {"clips": 8, "epochs": 1, "validation": 1, "progress": lambda items, desc: items}
    found = from_few_videos.accuracies(starts, str(finetune_table), [1, 2], tmp_path / "tables", **how)
    assert found["start"].tolist() == ["from scratch"] * 2 + ["known"] * 2 and found["videos"].tolist() == [1, 2] * 2
    assert found["top1"].between(0, 100).all() and "fresh head" not in capsys.readouterr().out
    axes = from_few_videos.few_videos_curves(found, 25)
    assert [each.get_text() for each in axes.get_xticklabels()] == ["1", "2"]

    def unreachable(name):
        raise WeightsError(f"{name}: not fetched")

    monkeypatch.setattr(from_few_videos, "fetch_weights", unreachable)
    assert from_few_videos.image_weights("resnet18.pth") == "" and "leaves out" in capsys.readouterr().out


def test_how_many_videos_are_needed():
    rows = [("a", 2, 30.0), ("a", 4, 50.0), ("a", 8, 70.0), ("b", 2, 45.0), ("b", 4, 90.0), ("b", 8, 20.0)]
    table = pd.DataFrame(rows, columns=["start", "videos", "top1"])
    assert from_few_videos.videos_needed(table, "a", "b") == "4"
    assert from_few_videos.videos_needed(table[table["videos"] < 4], "a", "b") == "more"
    assert from_few_videos.videos_needed(table[:3], "a", "b").startswith("not measured")


def test_two_halves_make_a_class():
    """One run knows the colours and leans to the left, the other knows the directions and leans to orange."""
    classes = ["orange left", "orange right", "blue left", "blue right"]
    colours = np.array([[0.6, 0.4, 0, 0]] * 2 + [[0, 0, 0.6, 0.4]] * 2, dtype=np.float32)
    motions = np.array([[0.6, 0, 0.4, 0], [0, 0.6, 0, 0.4]] * 2, dtype=np.float32)
    videos = [f"video {number}" for number in range(4)]
    runs = [
        Scores(name, videos, classes, classes, scores, "one clip")
        for name, scores in (("frame", colours), ("flow", motions))
    ]
    fused = pictures_or_motion.both(*runs, "both")
    table = pictures_or_motion.parts_right([*runs, fused]).set_index("run")
    assert table.loc["frame"].tolist() == [100, 50, 50] and table.loc["flow"].tolist() == [50, 100, 50]
    assert table.loc["both"].tolist() == [100, 100, 100]


def test_flow_is_left_out_in_words_without_opencv(tmp_path, monkeypatch, capsys):
    def missing():
        raise DataError("computing optical flow needs OpenCV")

    monkeypatch.setattr(pictures_or_motion.compute_flow, "opencv", missing)
    assert pictures_or_motion.flow_of(tmp_path / "table.csv", tmp_path) is None
    assert "leaves out optical flow" in capsys.readouterr().out
