"""Training: it learns, its rows tell the truth, and a killed run goes on as if nothing had happened."""

import os
import signal
import time

import numpy as np
import pandas as pd
import pytest
import torch
from training import TINY, assert_same_weights, content, params, run, weights

from actlib.compute.device import to_float
from actlib.compute.execution import Execution
from actlib.datasets.errors import DataError
from actlib.datasets.table import read_table, write_table
from actlib.loops import TrainingError, evaluate, prepare
from actlib.loops.optim import learning_rates, make_optimizer, make_schedule, rate, set_rates
from actlib.models.weights.checkpoint import CheckpointError, read_checkpoint
from actlib.params import FinetuneParams, TrainParams, VideoAccuracyParams


def test_rows_and_checkpoints(motion_table, tmp_path):
    rows = run(params(motion_table, tmp_path, checkpoint_every=2, epochs=3))
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for row in rows:
        assert 0 <= row["top1"] <= row["top5"] <= 100 and 0 <= row["val_top1"] <= row["val_top5"] <= 100
        assert row["loss"] > 0 and row["val_loss"] > 0 and row["clips_per_s"] > 0 and 0 <= row["data_wait"] <= 1
        assert row["replaced"] == 0 and row["val_videos"] == 16
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["best.pt", "epoch_0002.pt", "last.pt"]
    last = content(tmp_path / "checkpoints" / "last.pt")
    assert last["epoch"] == 3 and last["history"] == rows and last["classes"][0] == "clockwise"
    assert last["preprocessing"]["crop_size"] == 32 and last["execution"]["precision"] == "float32"
    best = content(tmp_path / "checkpoints" / "best.pt")
    assert "optimizer" not in best and best["history"][-1]["val_top1"] == max(row["val_top1"] for row in rows)


def test_it_learns(motion_table, tmp_path):
    more = {"epochs": 14, "optimizer": "adamw", "lr": 0.005, "crop": "center", "model": "resnet10 widen_factor=0.125"}
    rows = run(params(motion_table, tmp_path, **more))
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"] and rows[-1]["top1"] > 60  # 24 videos by heart


SCRIPT = """
import sys, json
from actlib.loops import prepare, train
from actlib.params import TrainParams
for row in train(prepare(TrainParams.build(json.loads(sys.argv[1]), "test"))):
    print("epoch", row["epoch"], flush=True)
"""


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_killed_run_ends_with_the_same_weights(motion_table, tmp_path, warmed, num_workers):
    more = {"epochs": 4, "model": "mobilenetv2 width_mult=0.2", "num_workers": num_workers, "warmup_epochs": 1}
    more |= {"momentum": 0.9, "label_smoothing": 0.1, "accumulate": 2, "clip_grad": 1.0, "schedule": "cosine"}
    more |= {"mixup": 0.4, "cutmix": 1.0, "flip": True, "flip_labels": "swap", "color_jitter": 0.3}
    whole, broken = params(motion_table, tmp_path / "whole", **more), params(motion_table, tmp_path / "broken", **more)
    process = warmed.start(SCRIPT, broken.model_dump_json())
    for line in process.stdout:
        if line.strip() == "epoch 2":
            time.sleep(0.3)  # into the third epoch
            os.killpg(process.pid, signal.SIGKILL)
            break
    process.wait()
    done = content(tmp_path / "broken" / "checkpoints" / "last.pt")["epoch"]
    assert done in (2, 3)  # killed before the end
    uninterrupted, resumed = run(whole), run(broken)
    assert_same_weights(weights(tmp_path / "whole"), weights(tmp_path / "broken"))
    same = ("epoch", "loss", "top1", "val_loss", "val_top1", "lr")
    assert [[row[name] for name in same] for row in resumed] == [[row[name] for name in same] for row in uninterrupted]


def test_resuming_with_other_parameters_is_refused(motion_table, tmp_path):
    run(params(motion_table, tmp_path, epochs=1))
    with pytest.raises(CheckpointError, match=r"lr is 0.02, was 0.01.*Use another run_dir, or resume: never"):
        prepare(params(motion_table, tmp_path, lr=0.02))
    rows = run(params(motion_table, tmp_path, epochs=2))  # more epochs are fine
    assert [row["epoch"] for row in rows] == [1, 2]
    run(params(motion_table, tmp_path, epochs=1, lr=0.02, resume="never"))
    assert content(tmp_path / "checkpoints~1" / "last.pt")["epoch"] == 2  # put aside, not lost
    with pytest.raises(CheckpointError, match="no optimiser state"):
        prepare(params(motion_table, tmp_path / "b", resume=str(tmp_path / "checkpoints" / "best.pt")))


def test_a_run_is_the_same_twice_and_another_with_another_seed(motion_table, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(params(motion_table, tmp_path / name, epochs=1, seed=seed))
    assert_same_weights(weights(tmp_path / "a"), weights(tmp_path / "b"))
    one, other = weights(tmp_path / "a"), weights(tmp_path / "c")
    assert not torch.equal(one["conv1.weight"], other["conv1.weight"])


def test_accumulation_is_one_large_batch(motion_table, tmp_path):
    """Without batch norm's batch statistics (frozen here) two half batches make the step of a whole one."""
    start = params(motion_table, tmp_path / "start", epochs=1)
    run(start)
    found = []
    for name, batch_size, accumulate in (("whole", 24, 1), ("halves", 12, 2)):
        values = {**TINY, "table": str(motion_table), "run_dir": str(tmp_path / name), "epochs": 1, "momentum": 0}
        values |= {"pretrained": str(tmp_path / "start/checkpoints/best.pt"), "train_from": "head", "model": ""}
        run(FinetuneParams.build({**values, "batch_size": batch_size, "accumulate": accumulate}, "test"))
        found.append(weights(tmp_path / name)["fc.weight"])
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)
    assert not torch.equal(found[0], weights(tmp_path / "start")["fc.weight"])


def test_undecodable_videos_are_counted_by_name(motion_table, tmp_path):
    table = read_table(motion_table)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    table.loc[[0, table.index[table["subset"] == "validation"][0]], "path"] = str(broken)
    write_table(table, tmp_path / "table.csv")
    row = run(params(tmp_path / "table.csv", tmp_path / "run", epochs=1))[0]
    assert row["replaced"] == 1 and row["val_videos"] == 15
    failures = pd.read_csv(tmp_path / "run" / "decode_failures.csv")
    assert set(failures["subset"]) == {"training", "validation"} and set(failures["path"]) == {str(broken)}
    assert failures["clips"].tolist() == [1, 1]


def test_a_loss_that_is_no_number_stops_the_run(motion_table, tmp_path):
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at batch \d of 3 in epoch 1: try a lower lr"):
        run(params(motion_table, tmp_path, lr=1e30))
    assert not (tmp_path / "checkpoints").exists()


def test_what_cannot_work_is_refused_at_once(motion_table, tmp_path):
    for more, error, words in (
        ({"flip": True}, DataError, "into '.*', another class .as would 2 of the others.; set flip: false, or .*swap"),
        ({"table": str(tmp_path / "none.csv")}, DataError, "no such annotation table"),
        ({"device": "cuda:99"}, ValueError, "device 'cuda:99' cannot be used"),
        ({"resume": str(tmp_path / "none.pt")}, CheckpointError, "no such checkpoint"),
    ):
        with pytest.raises(error, match=words):
            prepare(params(motion_table, tmp_path, **more))


def test_checkpoints_that_are_none(tmp_path):
    (tmp_path / "x.pt").write_bytes(b"nothing")
    torch.save({"weights": torch.ones(1)}, tmp_path / "y.pt")
    with pytest.raises(CheckpointError, match="z.pt: no such checkpoint; beside it lie x.pt, y.pt"):
        read_checkpoint(tmp_path / "z.pt")
    with pytest.raises(CheckpointError, match="x.pt: cannot be read"):
        read_checkpoint(tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="y.pt: not a checkpoint of this project"):
        read_checkpoint(tmp_path / "y.pt")


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_bgr_turns_the_clip_round_and_not_the_mean(memory_format):
    clips = torch.randint(0, 256, (2, 4, 3, 6, 5), dtype=torch.uint8)
    kept = clips.clone()
    how = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.25, 1.0], "execution": Execution("float32", memory_format)}
    cpu = torch.device("cpu")
    found = to_float(clips, cpu, channel_order="bgr", **how)
    assert torch.equal(clips, kept)
    blue = (clips[1, :, 2].float() / 255 - 0.1) / 0.5  # (T, H, W), now first
    torch.testing.assert_close(found[1, 0], blue, rtol=1e-5, atol=1e-6)
    assert torch.equal(found, to_float(clips[:, :, [2, 1, 0]], cpu, **how))
    assert found.stride() == to_float(clips, cpu, **how).stride()


def test_a_network_of_bgr_stays_one(motion_table, tmp_path):
    row = run(params(motion_table, tmp_path, epochs=1, lr=0.05, channel_order="bgr", mean=[0.1, 0.4, 0.9]))[0]
    values = {"protocol": "clip", "checkpoint": str(tmp_path / "checkpoints" / "best.pt"), "table": str(motion_table)}
    values |= {"num_workers": 0, "precision": "float32", "memory_format": "contiguous"}
    job = prepare(VideoAccuracyParams.build(values, "test"))
    how = job.normalisation
    assert how["channel_order"] == "bgr" and job.model.preprocessing["channel_order"] == "bgr"

    def loss(**changed):
        job.preprocessing = how | changed
        return evaluate(job)["clip"].loss()

    assert loss() == pytest.approx(row["val_loss"], abs=1e-4)
    assert abs(loss(channel_order="rgb") - row["val_loss"]) > 2e-3
    with torch.no_grad():  # the same network with its first layer turned round sees the same in RGB
        job.model.conv1.weight.copy_(job.model.conv1.weight.flip(1))
    turned = {"mean": how["mean"][::-1], "std": how["std"][::-1], "channel_order": "rgb"}
    assert loss(**turned) == pytest.approx(row["val_loss"], abs=1e-4)


class Weight(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))


def steps_of(optimizer, schedule, count) -> list[float]:
    found = []
    for _ in range(count):
        found.append(rate(optimizer))
        optimizer.step()
        schedule.step()
    return found


def rates(p, epochs, steps=10):
    optimizer = make_optimizer(p, Weight())
    found = steps_of(optimizer, make_schedule(p, optimizer, steps)[0], epochs * steps)
    np.testing.assert_allclose(found, learning_rates(p, steps)[: epochs * steps])  # as they are shown before training
    return np.array(found).reshape(epochs, steps)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_schedules(optimizer):
    def of(**more):
        base = {"lr": 1.0, "optimizer": optimizer, "epochs": 6}
        return rates(TrainParams.build({**base, **more}, "test"), 6)

    constant = of(schedule="constant", warmup_epochs=2)
    assert (np.diff(constant[:2].ravel()) > 0).all() and (constant[2:] == 1).all()
    steps = of(schedule="multistep", milestones=[2, 4], gamma=0.1)
    assert steps[:, 0].round(6).tolist() == [1, 1, 0.1, 0.1, 0.01, 0.01]
    cosine = of(schedule="cosine", warmup_epochs=1)
    assert cosine[1, 0] == 1 and (np.diff(cosine[1:].ravel()) < 0).all() and cosine[-1, -1] < 0.01


def test_plateau_waits_for_patience_and_is_part_of_the_checkpoint():
    p = TrainParams.build({"lr": 1.0, "optimizer": "sgd", "schedule": "plateau", "patience": 1, "gamma": 0.5}, "test")
    optimizer = make_optimizer(p, Weight())
    (schedule, plateau), found = make_schedule(p, optimizer, 1), []
    for loss in (1.0, 0.9, 0.95, 0.95, 0.95, 0.95, 0.8):
        found += steps_of(optimizer, schedule, 1)
        plateau.step(loss)
        set_rates(schedule)
    assert found == [1, 1, 1, 1, 0.5, 0.5, 0.25]
