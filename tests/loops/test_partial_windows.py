"""A last window that is mostly a repetition: what it does to an answer, and that it can be left out."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from videofiles import write_video

from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.clips.views import EvaluationViews
from actlib.datasets.dataset_info import DatasetInfo
from actlib.datasets.own_videos import table_of
from actlib.datasets.prepare.probe import probe_table
from actlib.loops.evaluate import score_views
from actlib.loops.prepare_evaluation import evaluation_protocols
from actlib.models import create_model
from actlib.params import VideoAccuracyParams, load_yaml

# A folder of genuine clips, lists and weights, which are not ours to hand out: videos/<id>.mp4, labels.csv,
# classInd.txt, the weights, and reference_scores.json, what their own code says of the clips.
JESTER = os.environ.get("ACTLIB_JESTER", "")
CPU = torch.device("cpu")


class Moves(nn.Module):
    """Class 1 where the frames of a clip differ, 0 where few of them are repeated."""

    def forward(self, clips):
        places = nn.functional.adaptive_avg_pool3d(clips, (clips.shape[2], 16, 16)).mean(dim=1).round(decimals=1)
        share = torch.tensor([len(each.flatten(1).unique(dim=0)) / len(each) for each in places])
        return 20 * torch.stack([1 - share, share], dim=1)


def probed(paths: list[Path], labels: list[str], root: Path):
    table, unread = probe_table(table_of(paths, labels, ["validation"] * len(paths), root), workers=1)
    assert not len(unread)
    return table


def test_dropping_the_repetition_keeps_the_answer(tmp_path):
    """36 frames, clips of 16 with stride 2: the second window has four frames eight times, and outvotes the first."""
    paths = [write_video(tmp_path / f"{n}.mp4", n, width=64, height=64) for n in (36, 20)]  # frames show their numbers
    table, classes = probed(paths, ["moves"] * 2, tmp_path), ["still", "moves"]
    how = {"num_frames": 16, "frame_stride": 2, "short_side": 64, "crop_size": 64, "loop": "span"}
    protocols = {name: Protocol("video", **how, partial_windows=name) for name in ("keep", "drop")}
    data = EvaluationViews(table, classes, protocols)
    found = score_views(Moves(), data, mean=[0.5] * 3, std=[0.5] * 3, device=CPU)
    assert {name: scores.views.tolist() for name, scores in found.items()} == {"keep": [2, 1], "drop": [1, 1]}
    assert found["keep"].scores[0, 1] < 0.6 and found["drop"].scores[0, 1] > 0.99
    assert np.array_equal(found["keep"].scores[1], found["drop"].scores[1])  # its only window, repeated or not
    assert found["drop"].protocol == found["keep"].protocol + ", last window left out if mostly repeated"


def test_genuine_weights_on_genuine_clips(root):
    """The published ShuffleNet of Jester by the recipes: 14 of 14 validation clips are right, and all 16 have the
    scores of its own code; where the second window of a clip is kept, 9 of 14."""
    if not JESTER:
        pytest.skip("ACTLIB_JESTER names no folder of genuine clips and weights of Jester")
    folder = Path(JESTER)
    with open(folder / "labels.csv", encoding="utf-8") as file:
        listed = list(csv.DictReader(file, delimiter=";"))
    labels = [each["label"].replace(" ", "_") for each in listed]  # as the weights' list spells them
    table = probed([folder / "videos" / f"{each['video_id']}.mp4" for each in listed], labels, folder / "videos")
    classes = [line.split(maxsplit=1)[1] for line in (folder / "classInd.txt").read_text("utf-8").splitlines()]
    protocols = {}
    for name, recipe, changed in (
        ("clip", "efficient_validation", {}),
        ("drop", "efficient_downsample", {}),
        ("keep", "efficient_downsample", {"partial_windows": "keep"}),
    ):
        values = load_yaml(root / "params" / "video_accuracy" / f"{recipe}.yaml") | changed
        p = VideoAccuracyParams.build(values, recipe)
        protocols[name] = list(evaluation_protocols(p, DatasetInfo("jester", "Jester", classes)).values())[-1]
    model = create_model(pretrained=folder / "jester_shufflenet_0.5x_G3_RGB_16_best.pth").eval()
    told = {name: model.preprocessing[name] for name in ("mean", "std", "channel_order")}
    found = score_views(model, EvaluationViews(table, classes, protocols), **told, device=CPU)
    right = {name: scores.table["correct"].to_numpy(dtype=bool) for name, scores in found.items()}
    validation = np.array([each["subset"] == "validation" for each in listed])
    assert {name: each[validation].sum() for name, each in right.items()} == {"clip": 14, "drop": 14, "keep": 9}
    assert right["clip"].all() and right["drop"].all() and validation.sum() == 14
    theirs = json.loads((folder / "reference_scores.json").read_text("utf-8"))["clips"]
    for each, scores in zip(listed, found["clip"].scores):
        for name, score in theirs[each["video_id"]]["top5"]:
            assert scores[classes.index(name)] == pytest.approx(score, abs=0.005)
