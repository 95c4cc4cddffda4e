"""What a checkpoint may hold besides what is written today; what it may not is tried in `hostile`."""

import pytest
import torch

from actlib.models import CheckpointError, create_model, read_checkpoint
from actlib.models.weights.checkpoint import network_content, save_checkpoint

HOW = {"num_frames": 4, "frame_stride": 1, "short_side": 8, "crop_size": 8, "mean": [0.4], "std": [0.2]}
CLASSES = ["a", "b", "c"]


@pytest.fixture
def saved(tmp_path):
    """Writes the checkpoint of a small network with more fields; returns its path."""
    content = network_content(create_model("resnet10 widen_factor=0.0625", 3), CLASSES, HOW)
    return lambda **more: save_checkpoint(tmp_path / "a.pt", content | more)


def whole(epochs=1) -> dict:
    """What going on takes."""
    groups = [{"params": [0, 1], "lr": 0.1, "initial_lr": 0.1}]
    return {
        "execution": {"precision": "float32", "memory_format": "contiguous"},
        "epoch": epochs,
        "history": [{"epoch": each, "val_top1": 50.0} for each in range(1, epochs + 1)],
        "params": {"epochs": 3},
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": groups},
        "schedule": {"last_epoch": 3, "base_lrs": [0.1], "_last_lr": [0.1], "lr_lambdas": [None]},
        "plateau": None,
        "rng": {"torch": torch.get_rng_state(), "cuda": []},
        "failures": [["training", "a.mp4", "broken", 2]],
    }


def test_a_loop_of_ones_own_may_keep_more(saved):
    rows = [{"epoch": 1, "loss": 0.5, "val_top1": 50, "note": "lower lr", "rates": [0.1, 0.2]}]
    content = read_checkpoint(saved(epoch=1, history=rows, mine={"a": None})).content
    assert content["history"] == rows and content["mine"] == {"a": None}
    for wrong in (["x"], [{"epoch": "1"}], [{"epoch": 2}], [{"epoch": 1, "loss": None}], {"epoch": 1}):
        with pytest.raises(CheckpointError, match="(?s)a.pt: damaged.*history"):
            read_checkpoint(saved(epoch=1, history=wrong))


def test_an_optimiser_of_ones_own_may_keep_more(saved):
    """Rates that are tensors, and what it keeps besides its parameters."""
    own, rate = whole(), torch.tensor(0.1)
    own["optimizer"]["state"] |= {"shared": [1, 2], 1: {"rows": torch.zeros(7)}}
    own["optimizer"]["param_groups"][0] |= {"lr": rate, "betas": (0.9, 0.99), "kind": "x"}
    own["schedule"] |= {"base_lrs": [rate], "_last_lr": [rate]}
    assert read_checkpoint(saved(**own)).content["optimizer"]["state"]["shared"] == [1, 2]


def test_the_schedule_as_it_was_before(saved):
    before = {"step_count": 3, "best_loss": float("inf"), "bad_epochs": 0, "plateau": 1.0}
    content = whole() | {"schedule": before}
    del content["plateau"]
    assert read_checkpoint(saved(**content)).content["schedule"] == before


@pytest.mark.parametrize("field", ["execution", "history", "params", "schedule", "plateau", "rng", "failures"])
def test_what_going_on_takes_must_be_there(saved, field):
    content = whole()
    read_checkpoint(saved(**content))
    del content[field]
    with pytest.raises(CheckpointError, match=f"(?s)a.pt: damaged.*{field} is missing"):
        read_checkpoint(saved(**content))
