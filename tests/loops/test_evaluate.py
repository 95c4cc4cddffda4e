"""Evaluation: every video in the result, all of its views averaged, failures wrong and named."""

import itertools
import json
import os

import numpy as np
import pandas as pd
import pytest
import torch
from atonce import all_views
from PIL import Image
from torch import nn
from videofiles import frame_image, truncate, write_missing_frames, write_video

from actlib.analysis.results import val_json
from actlib.compute.device import pick_device, to_float
from actlib.compute.execution import Execution
from actlib.datasets.clips import views as making
from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.clips.show import pictures
from actlib.datasets.clips.views import EvaluationViews, evaluation_loader
from actlib.datasets.dataset_info import DatasetInfo
from actlib.datasets.errors import DataError
from actlib.datasets.table import COLUMNS, class_names, read_table, rows_of
from actlib.datasets.video import reader
from actlib.datasets.video.reader import read_frames
from actlib.loops.evaluate import NOT_FINITE, score_views
from actlib.loops.prepare_evaluation import evaluation_network, evaluation_protocols
from actlib.models import WeightsError, create_model
from actlib.models.weights.checkpoint import CheckpointError
from actlib.models.weights.convert import convert
from actlib.params import VideoAccuracyParams

SIZE = {"num_frames": 8, "frame_stride": 2, "short_side": 32, "crop_size": 32}
CLIP, VIDEO = Protocol("clip", **SIZE), Protocol("video", **SIZE)
HOW = {"mean": [0.5] * 3, "std": [0.25] * 3, "device": torch.device("cpu")}


def evaluate(model, videos, classes, protocols, *, modality="rgb", **how):
    return score_views(model, EvaluationViews(videos, classes, protocols, modality=modality), **how)


def network_of(checkpoint, info, class_list=""):
    p = VideoAccuracyParams.build({"checkpoint": str(checkpoint), "class_list": str(class_list)}, "test")
    return evaluation_network(p, info)


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
    views = EvaluationViews(videos, classes, {"video": VIDEO})[3].clips
    scores = model(to_float(views, torch.device("cpu"), mean=HOW["mean"], std=HOW["std"], execution=Execution()))
    np.testing.assert_allclose(found["video"].scores[3], scores.softmax(1).mean(0).numpy(), atol=1e-6)


PROTOCOLS = {
    "clip": CLIP,
    "video": Protocol("video", **SIZE, step=5),
    "views": Protocol("views", **SIZE, num_clips=10, num_crops=3, average="logits"),
    "dense": Protocol("dense", **SIZE, num_clips=3, num_crops=10),
    "uniform": Protocol("uniform", **SIZE, num_clips=2, num_crops=5),
}


def scores_at_once(model, data) -> dict[str, np.ndarray]:
    """The plainest rule: all views of a video at once through the network as it is, and their mean."""
    found = {name: [] for name in data.protocols}
    for index in range(len(data)):
        for (name, protocol), views in zip(data.protocols.items(), all_views(data, index)):
            clips = to_float(views, HOW["device"], mean=HOW["mean"], std=HOW["std"], execution=Execution())
            logits = model(clips).double()
            means = logits.mean(0).softmax(0) if protocol.average == "logits" else logits.softmax(1).mean(0)
            found[name].append(means.numpy())
    return {name: np.stack(each) for name, each in found.items()}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_scores_are_those_of_all_views_at_once(videos, monkeypatch, num_workers):
    """Whatever share a batch or a chunk, in whichever process they are made."""
    monkeypatch.setattr(making, "IN_FLIGHT", 300_000)  # some views
    data = EvaluationViews(videos.head(3), class_names(videos), PROTOCOLS)
    wanted, counts = scores_at_once(Brightness(), data), map(len, all_views(data, 2))
    found = score_views(Brightness(), data, batch_size=7, num_workers=num_workers, **HOW)
    for name, count in zip(PROTOCOLS, counts):
        np.testing.assert_allclose(found[name].scores, wanted[name], atol=1e-6, err_msg=name)
        assert found[name].table["views"][2] == count, name


def test_the_clip_accuracy_costs_no_view_that_the_video_has(videos):
    """Counted in the network: the middle one of three clips and crops is the clip's."""
    seen = []

    class Counting(Brightness):
        def forward(self, clips):
            seen.append(len(clips))
            return super().forward(clips)

    def views_of(**protocols) -> int:
        seen.clear()
        data = EvaluationViews(videos.head(4), class_names(videos), protocols)
        found = score_views(Counting(), data, batch_size=8, **HOW)
        assert {name: sorted(set(each.table["views"])) for name, each in found.items()} == {
            name: [protocol.num_clips * protocol.num_crops] for name, protocol in protocols.items()
        }
        for name, wanted in scores_at_once(Brightness(), data).items():
            np.testing.assert_allclose(found[name].scores, wanted, atol=1e-6)
        return sum(seen[2:])  # the first two are folding's

    size = SIZE | {"short_side": 40}
    clip, three = Protocol("clip", **size), Protocol("views", **size, num_clips=3, num_crops=3, average="logits")
    assert (views_of(clip=clip), views_of(views=three), views_of(clip=clip, views=three)) == (4, 36, 36)
    even = Protocol("views", **size, num_clips=2)  # without a clip in the middle
    assert views_of(clip=clip, views=even) == 12
    square = Protocol("views", **SIZE, num_clips=1, num_crops=3)  # three times the same box
    assert views_of(views=square) == 4


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_video_that_breaks_off_in_the_middle_is_wrong_whole(videos, tmp_path, monkeypatch, num_workers):
    """Some of its views are scored before the damage is met: none of them counts, and none of other videos is lost."""
    monkeypatch.setattr(making, "IN_FLIGHT", 1)
    monkeypatch.setattr(reader, "PIECE_BYTES", 1)
    protocols, classes = {"clip": CLIP, "video": VIDEO}, class_names(videos)
    whole = evaluate(Brightness(), videos, classes, protocols, batch_size=3, **HOW)
    damaged = write_missing_frames(tmp_path / "damaged.avi", num_frames=40, num_missing=30)
    cut = write_video(tmp_path / "whole.mp4", 64, container_options={"movflags": "faststart"})
    cut = truncate(cut, tmp_path / "cut.mp4", 0.6)
    videos.loc[[2, 9], ["path", "num_frames", "end"]] = [[str(damaged), 70, 70], [str(cut), 64, 64]]
    found = evaluate(Brightness(), videos, classes, protocols, batch_size=3, num_workers=num_workers, **HOW)
    for name in protocols:
        table, good = found[name].table, whole[name].table
        assert table.drop([2, 9]).equals(good.drop([2, 9]))
        assert "cannot be decoded" in table["error"][2] and "does not exist" in table["error"][9]
        assert not table["correct"][[2, 9]].any() and (table["views"][[2, 9]] == 0).all()
        assert np.isnan(found[name].scores[[2, 9]]).all() and found[name].num_scored == 14


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_video_that_hangs_in_the_middle_costs_itself(videos, tmp_path, monkeypatch, num_workers):
    monkeypatch.setattr(reader, "PIECE_BYTES", 1)
    monkeypatch.setattr(making, "IN_FLIGHT", 1)
    for number in range(1, 33):
        if number != 21:
            Image.fromarray(frame_image(number, 64, 48)).save(tmp_path / f"{number:05d}.jpg")
    os.mkfifo(tmp_path / "00021.jpg")  # opening it waits for ever, as on a disk that is gone
    videos.loc[3, ["path", "num_frames"]] = [str(tmp_path), 32]
    data = EvaluationViews(videos, class_names(videos), {"video": VIDEO}, timeout=3)
    found = score_views(Brightness(), data, num_workers=num_workers, **HOW)["video"]
    assert "no answer within 3 s" in found.table["error"][3] and found.table["views"][3] == 0
    assert found.num_scored == 15
    if num_workers == 0:
        os.close(os.open(tmp_path / "00021.jpg", os.O_WRONLY))  # lets the waiting thread go


def test_progress_counts_videos_and_a_loader_can_be_kept(videos):
    data = EvaluationViews(videos, class_names(videos), {"clip": CLIP, "video": VIDEO})
    counted = []

    def progress(iterable, *, total, desc):
        counted.append((total, desc, 0))
        for _ in iterable:
            counted[-1] = total, desc, counted[-1][2] + 1
            yield _

    loader = evaluation_loader(data, num_workers=2)
    first, second = (score_views(Brightness(), data, loader=loader, progress=progress, **HOW) for _ in range(2))
    assert counted == [(16, "videos", 16)] * 2
    assert np.array_equal(first["video"].scores, second["video"].scores)  # bit for bit


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
    assert result.num_scored == 15 and len(result.table) == 16
    assert result.top(5) == pytest.approx(whole.top(5) - 100 / 16)
    assert result.table.drop(right).equals(whole.table.drop(right))


def test_val_json_has_the_references_layout(videos, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"")
    videos.loc[0, "path"] = str(tmp_path / "broken.mp4")
    classes = class_names(videos)
    result = evaluate(Brightness(), videos, classes, {"video": VIDEO}, **HOW)["video"]
    content = json.loads(json.dumps(val_json.content_of(result)))
    assert set(content) == {"results"} and set(content["results"]) == set(videos["video_id"][1:])
    entries = content["results"][videos["video_id"][1]]
    assert len(entries) == 8 and entries[0]["label"] == result.table["prediction"][1]
    assert entries == sorted(entries, key=lambda entry: -entry["score"])
    (tmp_path / "val.json").write_text(json.dumps(content))
    read, truth = val_json.read_results(tmp_path / "val.json"), val_json.truth_of(result)
    for k in (1, 5):  # counted by the references' rule it is the same number
        found = val_json.video_accuracy(read, truth, "hit_at_k", k)
        assert found.percent == result.top(k) and (found.videos, found.expected) == (16, 16)


def test_logits_are_averaged_where_the_protocol_says_so(videos):
    """A view that is surer than another counts for more among logits: the two means differ."""
    videos, classes, model = videos.iloc[[0, 7]].reset_index(drop=True), class_names(videos), Brightness()
    protocols = {"clip": CLIP, "softmax": VIDEO, "logits": Protocol("video", **SIZE, average="logits")}
    found = evaluate(model, videos, classes, protocols, batch_size=3, **HOW)
    for row in range(2):
        views = EvaluationViews(videos, classes, {"video": VIDEO})[row].clips
        logits = model(to_float(views, torch.device("cpu"), mean=HOW["mean"], std=HOW["std"], execution=Execution()))
        np.testing.assert_allclose(found["logits"].scores[row], logits.mean(0).softmax(0).numpy(), atol=1e-6)
        np.testing.assert_allclose(found["softmax"].scores[row], logits.softmax(1).mean(0).numpy(), atol=1e-6)
    assert np.abs(found["logits"].scores - found["softmax"].scores).max() > 1e-5
    one = evaluate(model, videos, classes, {"clip": Protocol("clip", **SIZE, average="logits")}, **HOW)["clip"]
    np.testing.assert_allclose(one.scores, found["clip"].scores, atol=1e-6)  # of one view it is the same


def test_scores_that_are_no_numbers_are_wrong_and_named(videos):
    class Diverged(nn.Module):
        def forward(self, clips):
            return Brightness()(clips) + torch.where(clips[:, 0].mean(dim=(1, 2, 3)) > -0.5, torch.nan, 0.0)[:, None]

    result = evaluate(Diverged(), videos, class_names(videos), {"clip": CLIP}, **HOW)["clip"]
    lost = result.table["error"] == NOT_FINITE
    assert 0 < lost.sum() < 16 and result.num_scored == 16 - lost.sum()
    assert not result.table["correct"][lost].any() and result.table["rank"][lost].isna().all()
    assert result.top(8) == 100 * (1 - lost.mean()) and np.isnan(result.scores[lost]).all()


def test_optical_flow_is_evaluated_with_its_ten_channels(tmp_path):
    rng, rows = np.random.default_rng(0), []
    for label in ("left", "right"):
        folder = tmp_path / label
        folder.mkdir()
        for number, axis in itertools.product(range(1, 13), "xy"):
            Image.fromarray(rng.integers(0, 256, (32, 40), dtype=np.uint8)).save(folder / f"{number:05d}_{axis}.jpg")
        rows.append((label, str(folder), label, "validation", np.nan, np.nan, 12, 25.0, 40, 32))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    seen = []

    class Channels(nn.Module):
        def forward(self, clips):
            seen.append(tuple(clips.shape))
            return clips.mean(dim=(2, 3, 4))[:, :2]

    how = {**HOW, "mean": [0.5], "std": [0.226], "modality": "flow"}
    result = evaluate(Channels(), table, ["left", "right"], {"video": VIDEO}, **how)["video"]
    assert result.num_scored == 2 and {shape[1:] for shape in seen} == {(10, 8, 32, 32)}
    shown = EvaluationViews(
        table.assign(start=2, end=10), ["left", "right"], {"video": VIDEO}, modality="flow"
    ).pictures(["left", "right"], 4)
    segment = pictures(read_frames(tmp_path / "left", [2, 4, 6, 8], modality="flow"))
    assert len(shown) == 2 and np.array_equal(shown[0], segment)  # of the segment, evenly spread


def test_the_models_mode_is_put_back(videos):
    model = nn.Sequential(Brightness(), nn.Dropout(0.5)).train()
    first, second = (evaluate(model, videos, class_names(videos), {"clip": CLIP}, **HOW)["clip"] for _ in range(2))
    assert model.training and np.array_equal(first.scores, second.scores)


NOTHING_MIRRORED = DatasetInfo("two", "Two", ["a", "b"])


def asked(**values) -> dict[str, str]:
    p = VideoAccuracyParams.build({**SIZE, **values}, "test")
    return {name: str(protocol) for name, protocol in evaluation_protocols(p, NOTHING_MIRRORED).items()}


def test_protocols_come_from_the_parameters():
    clip = "centre clip × centre crop @ 32, 8 frames, stride 2"
    views = asked(protocol="views", num_clips=10, num_crops=3)
    assert views == {"clip": clip, "video": "10 clips × 3 crops @ 32, 8 frames, stride 2"}
    assert asked(protocol="clip") == {"clip": clip}
    assert asked(protocol="clip", num_crops=3)["video"].startswith("centre clip × 3 crops")
    assert asked(protocol="begin", crop_position="top_left")["video"].startswith("first clip × top left crop")
    strided = asked(protocol="video", window_step=8, loop="span", average="logits")
    assert strided["clip"] == f"{clip}, short videos looped before the stride"
    assert strided["video"].startswith("all clips in steps of 8 frames") and "logits averaged" in strided["video"]
    dropped = asked(protocol="video", partial_windows="drop")
    assert dropped["video"].endswith("8 frames, stride 2, last window left out if mostly repeated")
    orders = asked(protocol="begin", order_check=["shuffled", "reversed"])
    assert list(orders) == ["clip", "video", "shuffled", "reversed"]
    assert orders["reversed"] == orders["video"] + ", frames reversed"
    assert asked(protocol="clip", order_check=["frozen"])["frozen"] == f"{clip}, one frame repeated"
    ten = VideoAccuracyParams.build({**SIZE, "num_crops": 10}, "test")
    assert evaluation_protocols(ten, NOTHING_MIRRORED)["video"].num_crops == 10
    with pytest.raises(DataError, match="five of them are mirrored, and a mirrored 'left' is another class"):
        mirrored = {"left": "right", "right": "left"}
        evaluation_protocols(ten, DatasetInfo("two", "Two", ["left", "right"], mirrored=mirrored))


def test_published_weights_take_the_classes_of_the_table(tmp_path, capsys):
    """Files of the reference codebases hold no names: those of the card, or of a list, in index order."""
    path = tmp_path / "jester_shufflenetv2_0.25x_RGB_16_best.pth"
    torch.manual_seed(0)
    source = create_model("shufflenetv2", 27, width_mult=0.25).eval()
    torch.save({"state_dict": {f"module.{key}": value for key, value in source.state_dict().items()}}, path)
    names = [f"gesture {number}" for number in range(27)][::-1]  # not in the order of the alphabet
    model, classes = network_of(path, DatasetInfo("jester", "Jester", names))
    assert classes == names
    model.eval()
    assert "0 'gesture 26' to 26 'gesture 0'" in capsys.readouterr().out
    assert model.preprocessing["modality"] == "rgb" and model.preprocessing["frame_stride"] == 2
    clips = torch.randn(1, 3, 16, 64, 64)
    torch.testing.assert_close(model(clips), source(clips))
    assert network_of(str(path), DatasetInfo("jester", "Jester", names), "sorted")[1] == sorted(names)
    few = DatasetInfo("few", "Few", names[:3])
    with pytest.raises(CheckpointError, match="a network of 27 classes, and few has 3; their names are not known"):
        network_of(str(path), few)
    (tmp_path / "classes.txt").write_text("\n".join(f"{n} {name}" for n, name in enumerate(names)))
    assert network_of(str(path), few, tmp_path / "classes.txt")[1] == names
    with pytest.raises(WeightsError, match="neither a file, nor in"):
        network_of(str(tmp_path / "none.pth"), few)


def test_weights_of_nobody_and_a_converted_checkpoint_without_names(tmp_path):
    spec = "resnet10 widen_factor=0.125"
    torch.save(create_model("resnet10", 5, widen_factor=0.125).state_dict(), tmp_path / "mine.pth")
    card = DatasetInfo("five", "Five", list("abcde"))
    with pytest.raises(CheckpointError, match="nothing tells the mean and std.*weights convert"):
        network_of(str(tmp_path / "mine.pth"), card)
    (tmp_path / "names.txt").write_text("v\nw\nx\ny\nz\n")
    for options, classes in (({}, "abcde"), ({"classes": tmp_path / "names.txt"}, "vwxyz")):
        convert(tmp_path / "mine.pth", tmp_path / "ours.pt", spec=spec, say=lambda _: None, **options)
        assert network_of(str(tmp_path / "ours.pt"), card)[1] == list(classes)  # its own are its own


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_clips_become_float_on_the_device(memory_format):
    clips = torch.randint(0, 256, (3, 4, 3, 6, 5), dtype=torch.uint8)
    how = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.25, 1.0]}
    execution = Execution("float32", memory_format)
    found = to_float(clips, torch.device("cpu"), **how, execution=execution)
    want = clips.permute(0, 2, 1, 3, 4).float() / 255
    want = (want - torch.tensor(how["mean"]).view(3, 1, 1, 1)) / torch.tensor(how["std"]).view(3, 1, 1, 1)
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
