"""What is wrong is said in a notebook's first cell, before videos or a network are opened and anything is written."""

import json
import os
import sys

import pytest
from training import TINY, params, run

from actlib.loops import prepare
from actlib.models import ModelError
from actlib.models.weights.checkpoint import read_checkpoint, read_header
from actlib.params import FinetuneParams, ParamsError, TrainParams, VideoAccuracyParams
from actlib.runs.folder import RunFolder


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The working folder, a project of its own; a run's lock goes with the test."""
    for name in ("notebooks", "params"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    if RunFolder._at_work is not None:
        RunFolder._at_work.release()
        RunFolder._at_work = None


def test_a_changed_rate_is_found_before_anything_is_touched(motion_table, project):
    p = params(motion_table, "outputs/x", epochs=2)
    RunFolder.start(p)
    run(p)
    before = {path: path.read_bytes() for path in (project / "outputs" / "x").iterdir() if path.is_file()}
    words = r"outputs/x/checkpoints/last.pt is of a run with other parameters: lr is 0.02, was 0.01\. Use another"
    with pytest.raises(ParamsError, match=words):
        RunFolder.start(params(motion_table, "outputs/x", epochs=2, lr=0.02))
    with pytest.raises(ParamsError, match="epochs is 1, and 2 are done"):
        RunFolder.start(params(motion_table, "outputs/x", epochs=1))
    assert all(path.read_bytes() == content for path, content in before.items() if path.name != ".lock")
    for more in ({"resume": "never", "lr": 0.02}, {"epochs": 9, "num_workers": 1, "timeout": 30.0}):
        assert params(motion_table, "outputs/x", **{"epochs": 2, **more}).problems(project) == []
    assert "no such checkpoint" in params(motion_table, "outputs/x", resume="gone.pt").problems(project)[0]


def test_a_header_tells_without_the_weights(motion_table, project):
    run(params(motion_table, "outputs/x", epochs=1))
    path = project / "outputs" / "x" / "checkpoints" / "last.pt"
    header, whole = read_header(path), read_checkpoint(path).content
    assert header["params"] == whole["params"] and header["history"] == whole["history"] and "state_dict" not in header
    path.write_bytes(path.read_bytes()[:5000])
    assert read_header(path) == {} and params(motion_table, "outputs/x").problems(project) == []  # said when it is read


def test_what_a_fine_tuning_leaves_to_the_checkpoint_is_no_difference(motion_table, finetune_table, project):
    run(params(motion_table, "outputs/start", epochs=1))
    best = "outputs/start/checkpoints/best.pt"
    small = {name: TINY[name] for name in ("batch_size", "num_workers", "precision", "memory_format")}
    small |= {"table": str(finetune_table), "run_dir": "outputs/f", "pretrained": best, "epochs": 1}
    run(FinetuneParams.build(small, "test"))
    assert FinetuneParams.build(small, "test").problems(project) == []
    (found,) = FinetuneParams.build(small | {"num_frames": 8, "train_from": "head"}, "test").problems(project)
    assert "num_frames is 8, was 4" in found and "train_from is 'head', was 'all'" in found
    missing = FinetuneParams.build(small | {"run_dir": "outputs/g", "pretrained": "gone.pt"}, "test")
    with pytest.raises(ParamsError, match="pretrained: 'gone.pt': "):
        RunFolder.start(missing)
    assert not (project / "outputs" / "g").exists()
    with pytest.raises(ModelError, match="lr_factors 'layer9': no such module"):
        prepare(FinetuneParams.build(small | {"run_dir": "outputs/g", "lr_factors": ["layer9=2"]}, "test"))


def test_files_that_are_not_there_are_named_together(project):
    given = {"checkpoint": "gone.pt", "table": "gone.csv", "class_list": "gone.txt"}
    with pytest.raises(ParamsError, match="this notebook: 3 problems") as found:
        RunFolder.start(VideoAccuracyParams.build(given, "test"))
    assert all(name in str(found.value) for name in ("checkpoint: ", "gone.csv", "class_list: "))
    assert sorted(os.listdir(project)) == ["notebooks", "params"]


def test_a_run_that_a_batch_has_queued_says_why_it_failed(project):
    run = RunFolder("outputs/x")
    run.folder.mkdir(parents=True)
    run.set_status("queued")
    with pytest.raises(ParamsError):
        RunFolder.start(TrainParams.build({"run_dir": "outputs/x", "table": "gone.csv"}, "test"))
    status = json.loads((run.folder / "status.json").read_text())
    assert status["state"] == "failed" and status["why"] == "ParamsError: table: 'gone.csv': no such file"


@pytest.mark.parametrize(("more", "words"), [
    ({"precision": "tf32"}, "tf32: only CUDA"),
    ({"device": "cuda:7"}, "cuda"),
    ({"flip": True}, "flip: true would turn"),
])  # fmt: skip
def test_what_the_device_or_the_labels_forbid_is_found_before_the_network(
    motion_table, tmp_path, monkeypatch, more, words
):
    def opened(*given, **how):
        raise AssertionError("the network was opened")

    monkeypatch.setattr(sys.modules["actlib.loops.prepare"], "create_model", opened)
    with pytest.raises(ValueError, match=words):
        prepare(params(motion_table, tmp_path, **more))


def test_a_stopped_run_is_not_done_and_says_so(project):
    run = RunFolder.start(TrainParams.build({"run_dir": "outputs/x", "table": __file__}, "test"))
    run.finish(kind="train", stopped="stopped after 3 of 8 epochs")
    assert run.read("status.json")["state"] == "stopped" and not run.is_done()
    assert run.read("result.json") == {"kind": "train", "stopped": "stopped after 3 of 8 epochs"}
