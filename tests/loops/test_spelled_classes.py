"""Networks whose checkpoints spell the classes otherwise than the table does."""

import pytest
import torch
from training import TINY

from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.clips.views import EvaluationViews
from actlib.datasets.dataset_info import DatasetInfo
from actlib.datasets.errors import DataError
from actlib.datasets.table import read_table, rows_of
from actlib.loops import finetune, predict, resume
from actlib.loops.prepare_evaluation import evaluation_network
from actlib.models import create_model
from actlib.models.weights.checkpoint import CheckpointError
from actlib.models.weights.convert import convert
from actlib.models.weights.file import read_weights
from actlib.params import FinetuneParams, PredictParams, TrainParams, VideoAccuracyParams

SPEC = "resnet10 widen_factor=0.125"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Of a network of two classes, "Go_Left" and "go-right"."""
    folder = tmp_path_factory.mktemp("spelled")
    torch.save(create_model(SPEC, 2).state_dict(), folder / "mine.pth")
    (folder / "names.txt").write_text("Go_Left\ngo-right\n")
    convert(folder / "mine.pth", folder / "ours.pt", spec=SPEC, classes=folder / "names.txt", say=lambda _: None)
    return folder / "ours.pt"


def test_an_evaluation_is_in_the_tables_spelling(checkpoint, motion_table, tmp_path):
    table = rows_of(read_table(motion_table), "validation")
    table = table[table["label"].isin(["left", "right"])].replace({"left": "go left", "right": "Go Right"})
    info = DatasetInfo("mine", "Mine", ["Go Right", "another", "go left"])
    p = VideoAccuracyParams.build({"checkpoint": str(checkpoint)}, "test")
    _, classes = evaluation_network(p, info)
    assert classes == ["go left", "Go Right"]  # in the network's order
    clip = Protocol("clip", num_frames=4, frame_stride=1, short_side=32, crop_size=32)
    data = EvaluationViews(table, classes, {"clip": clip})
    assert [classes[place] for place in data.labels] == table["label"].tolist()
    (tmp_path / "names.txt").write_text("GO RIGHT\nGO LEFT\n")
    listed = p.model_copy(update={"class_list": str(tmp_path / "names.txt")})
    assert evaluation_network(listed, info)[1] == ["Go Right", "go left"]
    with pytest.raises(DataError, match="'go left' and 'go-left' of mine differ in case"):
        evaluation_network(p, DatasetInfo("mine", "Mine", ["go left", "go-left"]))


def test_a_head_is_kept_and_a_run_goes_on_in_any_spelling(checkpoint, capsys):
    model = create_model(pretrained=str(checkpoint))
    head = model.get_submodule(model.classifier_name)
    p = FinetuneParams.build({"pretrained": str(checkpoint), "modality": "rgb"}, "test")
    finetune.fit_to_data(model, p, ["go left", "Go Right"])
    assert model.get_submodule(model.classifier_name) is head and "fresh head" not in capsys.readouterr().out
    finetune.fit_to_data(model, p, ["Go Right", "go left"])
    assert model.get_submodule(model.classifier_name) is not head  # another order is another head
    last = read_weights(checkpoint)
    p = TrainParams.build(TINY, "test")
    last.content["params"] = p.model_dump()
    resume.require_same(p, ["go left", "Go Right"], last)
    with pytest.raises(CheckpointError, match="the table has 2 classes, the checkpoint 2 or others"):
        resume.require_same(p, ["go left", "go wrong"], last)


def test_networks_answer_side_by_side_in_the_spelling_of_the_first(checkpoint, motion_table, tmp_path):
    (tmp_path / "names.txt").write_text("GO RIGHT\nGO LEFT\n")
    source = checkpoint.with_name("mine.pth")
    convert(source, tmp_path / "b.pt", spec=SPEC, classes=tmp_path / "names.txt", say=lambda _: None)
    videos = [read_table(motion_table)["path"].iloc[0]]
    given = {"networks": [str(checkpoint), str(tmp_path / "b.pt")], "videos": videos, "run_dir": str(tmp_path / "run")}
    p = PredictParams.build(given | {"device": "cpu", "num_frames": 4}, "test")
    first, second = predict.open_networks(p, *predict.find_videos(p)).networks
    assert first.classes == ["Go_Left", "go-right"] and second.classes == ["go-right", "Go_Left"]
