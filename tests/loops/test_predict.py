"""Predictions: the windows of an evaluation, one by one; the same scores, tables that say when, features that fit."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from videofiles import write_missing_frames, write_video

from actlib.datasets.clips.views import EvaluationViews
from actlib.datasets.errors import DataError
from actlib.datasets.table import read_table, rows_of
from actlib.loops import evaluate, predict, prepare
from actlib.models import create_model, save_network
from actlib.models.registry import adopt
from actlib.models.weights.checkpoint import CheckpointError
from actlib.params import ParamsError, PredictParams, VideoAccuracyParams

SIZES = {"num_frames": 4, "frame_stride": 2, "short_side": 32, "crop_size": 32}
PREPROCESSING = SIZES | {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]}
CLASSES = ["left", "right", "up", "down", "clockwise", "counterclockwise", "grow", "shrink"]
PLAIN = {"num_workers": 0, "precision": "float32", "memory_format": "contiguous"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A network of random weights that tells its classes and clips, in a run folder."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("run") / "trained" / "checkpoints" / "best.pt"
    model = create_model("resnet10 widen_factor=0.0625", 8)
    return save_network(model, path, classes=CLASSES, preprocessing=PREPROCESSING)


def opened(videos, networks, **values):
    p = PredictParams.build({"videos": [str(each) for each in videos], "networks": list(map(str, networks))}
                            | PLAIN | values, "this test")  # fmt: skip
    return predict.open_networks(p, *predict.find_videos(p))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_mean_of_the_windows_is_notebook_04s_score(motion_table, checkpoint, tmp_path, num_workers):
    values = {"checkpoint": str(checkpoint), "table": str(motion_table), "run_dir": str(tmp_path), "batch_size": 5}
    for step, partial_windows in ((0, "keep"), (3, "keep"), (6, "drop")):
        windows = {"window_step": step, "partial_windows": partial_windows}
        job = prepare(VideoAccuracyParams.build(values | PLAIN | windows, "test"))
        scores = evaluate(job)["video"]
        ours = opened(scores.paths, [checkpoint.parents[1]], batch_size=5, **windows, num_workers=num_workers)
        answers = ours.score()
        assert [each.path for each in answers] == scores.paths
        assert [len(each.scores) for each in answers] == scores.views.tolist()
        np.testing.assert_allclose([each.mean for each in answers], scores.scores, atol=2e-7)
        assert [each.best(1)["class"][0] for each in answers] == scores.table["prediction"].tolist()


class Bright(nn.Module):
    """Two classes: whether the upper left corner is bright, in the middle of the clip."""

    def __init__(self, num_classes: int = 2):
        super().__init__()
        self.pick = nn.Conv3d(3, 2, 1, bias=False)
        self.pick.weight.data = torch.tensor([1.0, -1.0])[:, None, None, None, None].repeat(1, 3, 1, 1, 1) * 20

    def forward(self, x):
        return self.pick(x[..., :2, :2].mean(dim=(2, 3, 4), keepdim=True)).flatten(1)


def test_a_network_of_known_answer_over_time(tmp_path):
    """Frames of `write_video` carry their numbers in bits: the upper left corner is the lowest."""
    path = write_video(tmp_path / "numbers.mp4", 100, width=64, height=64, fps=20)
    p = PredictParams.build({"videos": [str(path)], "networks": [str(path)], "window_step": 1} | PLAIN
                            | SIZES | {"num_frames": 1, "frame_stride": 1}, "test")  # fmt: skip
    model = adopt(Bright(), 2)
    model.preprocessing = PREPROCESSING | {"mean": [0.5] * 3, "std": [1.0] * 3, "channel_order": "rgb"}
    network = predict.OpenNetwork(name="odd", p=p, model=model, classes=["odd", "even"], device=torch.device("cpu"))
    (answer,) = network.score(predict.find_videos(p)[0])
    assert (answer.scores[:, 0] > 0.5).tolist() == [number % 2 == 1 for number in range(100)]
    over_time = answer.over_time()
    rows = over_time[over_time["class"] == "odd"].reset_index(drop=True)
    assert rows["start"].tolist() == list(range(100)) and rows["end"].tolist() == list(range(1, 101))
    assert rows["start_s"][30] == 1.5 and rows["end_s"][30] == 1.55
    best = answer.best_of_each(1)
    assert best["class"].tolist() == ["even", "odd"] * 50 and answer.strongest(0) % 2 == 1
    clip = network.clip(predict.find_videos(p)[0].iloc[0], 7)
    assert clip.shape == (1, 3, 32, 32) and clip[0, :, :2, :2].float().mean() > 200  # 7 is odd


def test_features_are_what_the_last_layer_gets(tmp_path, motion_table):
    table = rows_of(read_table(motion_table), "validation").head(3)
    for spec in ("resnet10 widen_factor=0.0625", "tam_resnet18 width_mult=0.125", "squeezenet width_mult=0.25"):
        torch.manual_seed(1)
        path = save_network(create_model(spec, 8), tmp_path / "net.pt", classes=CLASSES, preprocessing=PREPROCESSING)
        job = opened(table["path"], [path], features=True, window_step=0, batch_size=3)
        answers = job.score()
        (network,) = job.networks
        views = EvaluationViews(table, CLASSES, {"video": network.protocol})[0].clips
        with torch.no_grad():
            maps = network.model.forward_features(network.as_float(views))
        wanted = maps.mean(dim=(2, 3, 4)).numpy()
        np.testing.assert_allclose(answers[0].features, wanted, atol=1e-4 * np.abs(wanted).max())
        (written,) = predict.write_features(tmp_path, answers)
        with np.load(written) as file:
            assert file["features"].shape == (sum(len(each.scores) for each in answers), wanted.shape[1])
            assert len(file["video_id"]) == len(file["start"]) == len(file["end"]) == len(file["features"])
            np.testing.assert_array_equal(file["start"][: len(views)], answers[0].starts)


def test_a_video_that_breaks_off_keeps_what_was_seen_and_says_so(tmp_path, checkpoint, monkeypatch):
    monkeypatch.setattr("actlib.datasets.clips.views.IN_FLIGHT", 1)
    monkeypatch.setattr("actlib.datasets.video.reader.PIECE_BYTES", 1)
    damaged = write_missing_frames(tmp_path / "damaged.avi", num_frames=40, num_missing=30)
    whole = write_video(tmp_path / "whole.mp4", 64)
    job = opened([whole], [checkpoint], window_step=0)
    table = job.videos.iloc[[0, 0]].assign(path=[str(damaged), str(whole)], num_frames=[70, 64])
    answer, good = job.networks[0].score(table)
    assert answer.error and 0 < len(answer.scores) < 9 and not np.isnan(answer.scores).any()
    assert len(answer.starts) == len(answer.ends) == len(answer.scores)
    assert good.error == "" and len(good.scores) == 8


def test_what_is_wrong_is_said_before_any_video_is_scored(tmp_path, checkpoint, motion_table):
    videos = read_table(motion_table)["path"].head(1)
    (tmp_path / "bare").mkdir()
    with pytest.raises(CheckpointError, match="bare: no checkpoints/best.pt"):
        opened(videos, [tmp_path / "bare"])
    with pytest.raises(ParamsError, match="networks: gone.pt: neither a file, nor in"):
        opened(["http://127.0.0.1:9/a.mp4"], ["gone.pt"])
    with pytest.raises(DataError, match="crop_size 64 is larger than short_side 32"):
        opened(videos, [checkpoint], crop_size=64)
    unnamed = [f"class_{number:04d}" for number in range(8)]
    path = save_network(create_model("resnet10 widen_factor=0.0625", 8), tmp_path / "net.pt", classes=unnamed,
                        preprocessing=PREPROCESSING)  # fmt: skip
    (tmp_path / "names.txt").write_text("\n".join(CLASSES))
    assert opened(videos, [path], class_list=str(tmp_path / "names.txt")).networks[0].classes == CLASSES
    (tmp_path / "names.txt").write_text("one\ntwo\n")
    with pytest.raises(CheckpointError, match="2 names, and .* is of 8 classes"):
        opened(videos, [path], class_list=str(tmp_path / "names.txt"))
    assert opened(videos, [path]).networks[0].classes == unnamed
    flow = create_model("resnet10 widen_factor=0.0625", 8, in_channels=10)
    told = PREPROCESSING | {"mean": [0.5], "std": [0.2], "modality": "flow"}
    path = save_network(flow, tmp_path / "flow.pt", classes=CLASSES, preprocessing=told)
    with pytest.raises(DataError, match="a network of optical flow"):
        opened(videos, [path])


def test_networks_side_by_side_and_one_more_video(motion_table, checkpoint, tmp_path):
    paths = read_table(motion_table)["path"]
    other = save_network(create_model("tam_resnet18 width_mult=0.125", 8), tmp_path / "other.pt", classes=CLASSES,
                         preprocessing=PREPROCESSING)  # fmt: skip
    job = opened(paths.head(2), [checkpoint.parents[1], other], run_dir=str(tmp_path))
    best = pd.concat([each.best() for each in job.score()])
    assert list(dict.fromkeys(best["network"])) == ["trained", "other"] and len(best) == 2 * 2 * 5
    row, answers = job.score_named(paths[5])
    assert row["path"] == paths[5] and [each.network for each in answers] == ["trained", "other"]
    with pytest.raises(DataError, match="one at a time here"):
        job.score_named(str(motion_table.parent / "videos"))
