"""Evaluation: every video in the result, all of its views averaged, failures wrong and named."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from actlib.datasets.protocol import Protocol
from actlib.datasets.table import class_names, read_table, rows_of
from actlib.loops.device import pick_device, to_float
from actlib.loops.evaluate import evaluate, protocols_of
from actlib.models.execution import Execution
from actlib.params import VideoAccuracyParams

SIZE = {"num_frames": 8, "frame_stride": 2, "short_side": 32, "crop_size": 32}
CLIP, VIDEO = Protocol("clip", **SIZE), Protocol("video", **SIZE)
HOW = {"mean": [0.5] * 3, "std": [0.25] * 3, "device": torch.device("cpu")}


class Brightness(nn.Module):
    """Scores that depend on the view: the mean of each channel, spread over 8 classes."""

    def forward(self, clips):
        means = clips.mean(dim=(2, 3, 4))
        return torch.cat([means, means * 2, means[:, :2] - 1], dim=1) * 3


@pytest.fixture
def videos(motion_table):
    return rows_of(read_table(motion_table), "validation")


def test_a_prediction_is_the_mean_over_its_views(videos):
    classes = class_names(videos)
    model = Brightness()
    found = evaluate(model, videos, classes, {"clip": CLIP, "video": VIDEO}, batch_size=5, **HOW)
    assert found["video"].table["views"].tolist() == [2] * 16 and found["clip"].table["views"].tolist() == [1] * 16
    alone = evaluate(model, videos, classes, {"video": VIDEO}, batch_size=64, num_workers=1, **HOW)["video"]
    np.testing.assert_allclose(alone.scores, found["video"].scores, atol=1e-6)  # whatever shares a batch
    from actlib.datasets.clips import EvaluationViews

    views = EvaluationViews(videos, classes, [VIDEO])[3].clips
    scores = model(to_float(views, torch.device("cpu"), mean=HOW["mean"], std=HOW["std"], execution=Execution()))
    np.testing.assert_allclose(found["video"].scores[3], scores.softmax(1).mean(0).numpy(), atol=1e-6)


def test_ranks_accuracies_and_loss_agree(videos):
    result = evaluate(Brightness(), videos, class_names(videos), {"video": VIDEO}, **HOW)["video"]
    true = [class_names(videos).index(label) for label in videos["label"]]
    for row, label in enumerate(true):
        better = (result.scores[row] > result.scores[row, label]).sum()
        assert result.table["rank"][row] == better + 1
    assert result.top(1) == 100 * result.table["correct"].mean()
    assert result.top(1) <= result.top(5) <= result.top(8) == 100
    expected = -np.log(result.scores[np.arange(16), true]).mean()
    assert result.loss() == pytest.approx(expected, rel=1e-5)
    assert (result.table["prediction"] == result.table["label"]).tolist() == result.table["correct"].tolist()


def test_an_undecodable_video_is_wrong_and_listed(videos, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"")
    whole = evaluate(Brightness(), videos, class_names(videos), {"video": VIDEO}, **HOW)["video"]
    right = int(np.flatnonzero(whole.table["rank"] <= 5)[0])
    videos.loc[right, "path"] = str(tmp_path / "broken.mp4")
    result = evaluate(Brightness(), videos, class_names(videos), {"video": VIDEO}, **HOW)["video"]
    row = result.table.iloc[right]
    assert "0 bytes" in row["error"] and row["prediction"] == "" and not row["correct"] and row["views"] == 0
    assert result.table["rank"].isna().sum() == 1 and np.isnan(result.scores[right]).all()
    assert result.num_decoded == 15 and len(result.table) == 16
    assert result.top(5) == pytest.approx(whole.top(5) - 100 / 16)
    assert result.table.drop(right).equals(whole.table.drop(right))


def test_val_json_has_the_references_layout(videos, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"")
    videos.loc[0, "path"] = str(tmp_path / "broken.mp4")
    result = evaluate(Brightness(), videos, class_names(videos), {"video": VIDEO}, **HOW)["video"]
    content = json.loads(json.dumps(result.val_json()))
    assert set(content) == {"results"} and set(content["results"]) == set(videos["video_id"][1:])
    entries = content["results"][videos["video_id"][1]]
    assert len(entries) == 5 and entries[0]["label"] == result.table["prediction"][1]
    assert entries == sorted(entries, key=lambda entry: -entry["score"])


def test_the_models_mode_is_put_back(videos):
    model = nn.Sequential(Brightness(), nn.Dropout(0.5)).train()
    first, second = (evaluate(model, videos, class_names(videos), {"clip": CLIP}, **HOW)["clip"] for _ in range(2))
    assert model.training and np.array_equal(first.scores, second.scores)


def test_protocols_come_from_the_parameters():
    p = VideoAccuracyParams.build({**SIZE, "protocol": "views", "num_clips": 10, "num_crops": 3}, "test")
    assert {name: str(each) for name, each in protocols_of(p).items()} == {
        "clip": "centre clip × centre crop @ 32, 8 frames, stride 2",
        "video": "10 clips × 3 crops @ 32, 8 frames, stride 2",
    }
    assert list(protocols_of(VideoAccuracyParams.build({**SIZE, "protocol": "clip"}, "test"))) == ["clip"]


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_clips_become_float_on_the_device(memory_format):
    clips = torch.randint(0, 256, (3, 4, 3, 6, 5), dtype=torch.uint8)
    flip = torch.tensor([False, True, False])
    how = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.25, 1.0]}
    execution = Execution("float32", memory_format)
    found = to_float(clips, torch.device("cpu"), **how, execution=execution, flip=flip)
    want = clips.permute(0, 2, 1, 3, 4).float() / 255
    want = (want - torch.tensor(how["mean"]).view(3, 1, 1, 1)) / torch.tensor(how["std"]).view(3, 1, 1, 1)
    want[1] = want[1].flip(-1)
    torch.testing.assert_close(found, want, rtol=1e-5, atol=1e-6)
    layout = torch.channels_last_3d if memory_format == "channels_last" else torch.contiguous_format
    assert found.is_contiguous(memory_format=layout)


def test_devices():
    assert pick_device("cpu").type == "cpu" and pick_device("auto").type in ("cpu", "cuda")
    with pytest.raises(ValueError, match="device 'gpu' cannot be used"):
        pick_device("gpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_cpus_scores(videos):
    classes = class_names(videos)
    here = evaluate(Brightness(), videos, classes, {"video": VIDEO}, **HOW)["video"]
    there = evaluate(Brightness(), videos, classes, {"video": VIDEO}, **{**HOW, "device": pick_device("cuda")})["video"]
    np.testing.assert_allclose(there.scores, here.scores, atol=1e-4)
