"""What is right whatever happens: uneven groups and batches, the best network, kills inside an epoch, other devices."""

import os
import signal
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from training import assert_same_weights, content, params, run, weights

from actlib.compute.device import to_float
from actlib.compute.execution import Execution
from actlib.loops import TrainingError, prepare, train
from actlib.loops.optim import rate
from actlib.loops.train import CHECK_EVERY
from actlib.models.weights.checkpoint import CheckpointError, read_checkpoint, save_checkpoint
from actlib.params import FinetuneParams


class Linear(nn.Module):
    """Logits from the mean of each channel; no batch norm, so that a step does not depend on how clips are grouped."""

    def __init__(self, num_classes=8):
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(3, num_classes)

    def forward(self, clips):
        return self.fc(clips.mean(dim=(2, 3, 4)))


class OneClip(nn.Module):
    """A batch norm over maps of one pixel, as at the end of many networks: it needs two clips."""

    def __init__(self):
        super().__init__()
        self.norm, self.fc = nn.BatchNorm1d(3), nn.Linear(3, 8)

    def forward(self, clips):
        return self.fc(self.norm(clips.mean(dim=(2, 3, 4))))


# --- accumulation and the last batch --------------------------------------------------------------------------


@pytest.mark.parametrize(("batch_size", "accumulate"), [(23, 2), (10, 3), (12, 2), (5, 5)])
def test_an_accumulated_step_is_that_of_one_batch(motion_table, tmp_path, batch_size, accumulate):
    """23 and 1, or 10, 10 and 4 clips: the mean over all 24, not the mean of the batches' means."""
    found = []
    for name, size, several in (("whole", 24, 1), ("parts", batch_size, accumulate)):
        p = params(motion_table, tmp_path / name, batch_size=size, accumulate=several, last_batch="keep", epochs=1,
                   lr=1.0, momentum=0, weight_decay=0, schedule="constant")  # fmt: skip
        model = Linear()
        start = model.fc.weight.detach().clone()
        run(p, model=model)
        found.append(model.fc.weight.detach() - start)
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)
    assert found[0].norm() > 1e-3


def test_a_last_batch_of_one_clip(motion_table, tmp_path):
    small = {"batch_size": 23, "epochs": 1}
    with pytest.raises(TrainingError, match="batch 2 has 1 clip, too few for .* batch norm.*: spread or drop"):
        run(params(motion_table, tmp_path / "keep", last_batch="keep", **small), model=OneClip())
    for last_batch, sizes in (("spread", [12, 12]), ("drop", [23])):
        job = prepare(params(motion_table, tmp_path / last_batch, last_batch=last_batch, **small), model=OneClip())
        assert job.batches.sizes == sizes and job.steps_per_epoch == len(sizes)
        assert len(list(train(job))) == 1


# --- the best network -----------------------------------------------------------------------------------------


def validated(monkeypatch, *accuracies):
    """Let the validation of each epoch give these accuracies."""
    told = iter(accuracies)
    row = {"val_loss": 1.0, "val_top5": 100.0, "val_videos": 16}

    def answer(job, progress):
        return row | {"val_top1": next(told)}

    monkeypatch.setattr(sys.modules["actlib.loops.train"], "_validate", answer)


def test_the_first_of_equal_epochs_is_the_best(motion_table, tmp_path, monkeypatch):
    validated(monkeypatch, 25.0, 50.0, 50.0, 25.0)
    job = prepare(params(motion_table, tmp_path, epochs=4))
    rows = list(train(job))
    best = content(tmp_path / "checkpoints" / "best.pt")
    assert best["epoch"] == job.best_epoch == job.best["epoch"] == 2 and best["history"] == rows[:2]


def test_best_is_never_of_an_abandoned_course(motion_table, tmp_path, monkeypatch):
    validated(monkeypatch, 50.0, 60.0, 75.0, 30.0, 40.0)
    run(params(motion_table, tmp_path, epochs=3, checkpoint_every=1))
    assert content(tmp_path / "checkpoints" / "best.pt")["epoch"] == 3
    earlier = params(motion_table, tmp_path, epochs=3, checkpoint_every=1,
                     resume=str(tmp_path / "checkpoints" / "epoch_0001.pt"))  # fmt: skip
    job = prepare(earlier)  # the network of 75 % is none of this course
    rows = list(train(job))
    best = content(tmp_path / "checkpoints" / "best.pt")
    assert [row["val_top1"] for row in rows] == [50.0, 30.0, 40.0]
    assert best["epoch"] == job.best["epoch"] == 1 and job.best["val_top1"] == 50.0 and best["history"] == rows[:1]
    assert_same_weights(weights(tmp_path, "best.pt"), weights(tmp_path, "epoch_0001.pt"))


def test_a_kill_between_the_two_writes_leaves_no_better_network_behind(motion_table, tmp_path, monkeypatch):
    """best.pt is written first: where last.pt does not follow, it is ahead of the history."""
    validated(monkeypatch, 25.0, 50.0, 30.0, 30.0)
    job = prepare(params(motion_table, tmp_path, epochs=3))
    rows, folder = train(job), tmp_path / "checkpoints"
    next(rows)
    last, best = (folder / "last.pt").read_bytes(), folder / "best.pt"
    next(rows)
    (folder / "last.pt").write_bytes(last)  # as if the second epoch's last.pt had not been written
    assert content(best)["epoch"] == 2
    again = prepare(params(motion_table, tmp_path, epochs=3))
    assert again.best_epoch == 1 and content(best)["epoch"] == 1
    list(train(again))
    assert content(best)["epoch"] == again.best["epoch"] == 2 and again.best["val_top1"] == 30.0


def test_best_that_is_missing_is_made_again(motion_table, tmp_path):
    run(params(motion_table, tmp_path, epochs=1))
    (tmp_path / "checkpoints" / "best.pt").unlink()
    job = prepare(params(motion_table, tmp_path, epochs=1))
    assert content(tmp_path / "checkpoints" / "best.pt")["history"] == [job.best]


def test_fewer_epochs_than_are_done_are_refused(motion_table, tmp_path):
    run(params(motion_table, tmp_path, epochs=2))
    with pytest.raises(CheckpointError, match="epochs is 1, and 2 are done"):
        prepare(params(motion_table, tmp_path, epochs=1))


# --- losses and rates -----------------------------------------------------------------------------------------


class Sure(nn.Module):
    """Answers the first class with a logit of 60, whatever it is shown."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 8)

    def forward(self, clips):
        return 0 * self.fc(clips.mean(dim=(2, 3, 4))) + F.one_hot(torch.zeros(len(clips), dtype=int), 8) * 60.0


def test_the_validation_loss_does_not_saturate(motion_table, tmp_path):
    """An answer that is surely wrong costs 60, as in torch's own cross-entropy, not -log(1e-12)."""
    row = run(params(motion_table, tmp_path, epochs=1), model=Sure())[0]
    assert row["val_loss"] == pytest.approx(60 * 14 / 16, abs=1e-3) and row["loss"] == pytest.approx(52.5, abs=1e-3)


def test_a_longer_cosine_says_where_the_rate_goes_on(motion_table, tmp_path, capsys):
    run(params(motion_table, tmp_path, epochs=4, lr=0.05))
    assert "cosine" not in capsys.readouterr().out
    job = prepare(params(motion_table, tmp_path, epochs=8, lr=0.05))
    said = capsys.readouterr().out
    assert "epochs is 8, was 4: the cosine is drawn over all of them, and the learning rate goes on at 0.025" in said
    assert f"where the last step had {job.history[-1]['lr']:.3g}" in said
    assert rate(job.optimizer) == pytest.approx(0.025)
    rows = list(train(job))
    assert rows[4]["lr"] < 0.025 and rows[4]["lr"] == pytest.approx(job.learning_rates()[14])


def test_a_plateau_goes_on(motion_table, tmp_path, monkeypatch):
    row = {"val_loss": 1.0, "val_top1": 0.0, "val_top5": 100.0, "val_videos": 16}  # never better than the first
    monkeypatch.setattr(sys.modules["actlib.loops.train"], "_validate", lambda job, progress: dict(row))
    plateau = {"schedule": "plateau", "patience": 1, "gamma": 0.5, "lr": 0.08, "warmup_epochs": 0.5}
    whole = run(params(motion_table, tmp_path / "a", epochs=6, **plateau))
    run(params(motion_table, tmp_path / "b", epochs=3, **plateau))
    parts = run(params(motion_table, tmp_path / "b", epochs=6, **plateau))
    assert [row["lr"] for row in parts] == [row["lr"] for row in whole] == [0.08, 0.08, 0.08, 0.04, 0.04, 0.02]
    assert_same_weights(weights(tmp_path / "a"), weights(tmp_path / "b"))


class Breaks(Linear):
    """Its logits are no numbers from the fourth batch on."""

    calls = 0

    def forward(self, clips):
        self.calls += self.training
        return super().forward(clips) * (float("nan") if self.training and self.calls > 3 else 1)


def test_a_loss_that_is_no_number_is_noticed_early_and_its_batch_named(motion_table, tmp_path):
    assert CHECK_EVERY <= 50

    class Many(torch.utils.data.Dataset):
        asked = 0

        def __len__(self):
            return 400

        def __getitem__(self, index):
            Many.asked += 1
            return torch.zeros(4, 3, 32, 32, dtype=torch.uint8), index % 8

    with pytest.raises(TrainingError, match="the loss is nan at batch 4 of 400 in epoch 1"):
        run(params(motion_table, tmp_path, batch_size=1, epochs=1), model=Breaks(), train_data=Many())
    assert Many.asked <= CHECK_EVERY + 1 and not (tmp_path / "checkpoints").exists()


# --- inside an epoch ------------------------------------------------------------------------------------------

SCRIPT = """
import sys, json
from actlib.loops import prepare, resume, train
from actlib.params import TrainParams
module = sys.modules["actlib.loops.train"]
save = resume.save_within
def saved(job, within):
    save(job, within)
    print("within", len(job.history), within["batches"], flush=True)
    import time; time.sleep(0.2)
resume.save_within = saved
for row in train(prepare(TrainParams.build(json.loads(sys.argv[1]), "test"))):
    pass
"""


@pytest.mark.parametrize("stop", ["within 0 4", "within 1 2"])
def test_a_run_killed_inside_an_epoch_ends_with_the_same_weights(motion_table, tmp_path, warmed, stop):
    more = {"epochs": 2, "batch_size": 4, "accumulate": 2, "flip": True, "flip_labels": "swap", "mixup": 0.4}
    more |= {"model": "mobilenetv2 width_mult=0.2", "checkpoint_minutes": 1e-6, "warmup_epochs": 0.5, "momentum": 0.9}
    whole, broken = params(motion_table, tmp_path / "whole", **more), params(motion_table, tmp_path / "broken", **more)
    process = warmed.start(SCRIPT, broken.model_dump_json())
    for line in process.stdout:
        if line.strip() == stop:
            os.killpg(process.pid, signal.SIGKILL)
            break
    process.wait()
    _, epochs, batches = stop.split()
    job = prepare(broken)
    assert len(job.history) == int(epochs) and job.within["batches"] == int(batches)
    resumed, uninterrupted = list(train(job)), run(whole.model_copy(update={"checkpoint_minutes": 0.0}))
    assert_same_weights(weights(tmp_path / "whole"), weights(tmp_path / "broken"))
    same = ("epoch", "loss", "top1", "top5", "val_loss", "val_top1", "lr", "replaced")
    assert [[row[name] for name in same] for row in resumed] == [[row[name] for name in same] for row in uninterrupted]
    assert content(tmp_path / "broken" / "checkpoints" / "last.pt")["within"] is None


def test_looking_at_things_does_not_change_the_run(motion_table, tmp_path):
    more = {"model": "mobilenetv2 width_mult=0.2", "epochs": 1}
    run(params(motion_table, tmp_path / "a", **more))
    job = prepare(params(motion_table, tmp_path / "b", **more))
    assert job.train_data[3][0].shape == (4, 3, 32, 32) and job.learning_rates().shape == (3,)
    torch.manual_seed(99)
    list(train(job))
    assert_same_weights(weights(tmp_path / "a"), weights(tmp_path / "b"))


# --- elsewhere ------------------------------------------------------------------------------------------------


def test_fine_tuning_goes_on_without_the_file_it_started_from(motion_table, finetune_table, tmp_path):
    run(params(motion_table, tmp_path / "start", epochs=1))
    start = tmp_path / "start" / "checkpoints" / "best.pt"
    values = {"table": str(finetune_table), "pretrained": str(start), "batch_size": 4, "num_workers": 0, "epochs": 1}
    values |= {"precision": "float32", "memory_format": "contiguous", "train_from": "layer4"}
    values["schedule"] = "constant"

    def tuning(name, epochs):
        return FinetuneParams.build(values | {"run_dir": str(tmp_path / name), "epochs": epochs}, "test")

    run(tuning("whole", 2))
    run(tuning("parts", 1))
    start.unlink()
    assert [row["epoch"] for row in run(tuning("parts", 2))] == [1, 2]
    assert_same_weights(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_another_device_gets_its_own_precision_and_layout(motion_table, tmp_path, capsys):
    run(params(motion_table, tmp_path, epochs=1, memory_format="auto"))
    path = tmp_path / "checkpoints" / "last.pt"
    last = read_checkpoint(path)
    assert last.content["execution"]["device"] == "cpu"
    there = {"precision": "bf16", "memory_format": "channels_last", "device": "cuda"}  # what a GPU would have had
    save_checkpoint(path, {**last.content, "state_dict": last.state, "execution": there})
    job = prepare(params(motion_table, tmp_path, epochs=2, memory_format="auto"))
    assert job.execution.precision == "float32" and "chosen anew: the run was on cuda" in capsys.readouterr().out
    assert len(list(train(job))) == 2


# --- weight decay ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_norms_and_biases_can_be_spared_the_decay(motion_table, tmp_path, optimizer):
    more = {"optimizer": optimizer, "weight_decay": 0.1, "no_decay": "norms_and_biases"}
    job = prepare(params(motion_table, tmp_path / "spared", **more))
    decays = {id(each): group["weight_decay"] for group in job.optimizer.param_groups for each in group["params"]}
    assert len(decays) == len(list(job.model.parameters()))
    for name, parameter in job.model.named_parameters():
        assert decays[id(parameter)] == (0 if parameter.ndim == 1 else 0.1), name
    everything = prepare(params(motion_table, tmp_path / "all", **more | {"no_decay": "none"}))
    assert [group["weight_decay"] for group in everything.optimizer.param_groups] == [0.1]
    for parameter in job.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = {name: each.detach().clone() for name, each in job.model.named_parameters()}
    job.optimizer.step()
    moved = {name for name, each in job.model.named_parameters() if not torch.equal(each, before[name])}
    assert moved == {name for name, each in before.items() if each.ndim > 1}


# --- a user's own ---------------------------------------------------------------------------------------------


def test_a_float_clip_is_not_divided_again():
    clips = torch.randint(0, 256, (2, 4, 3, 6, 5), dtype=torch.uint8)
    how = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.25, 1.0], "device": torch.device("cpu")}
    execution = Execution()
    as_float = clips.float() / 255
    kept = as_float.clone()
    one, other = (to_float(each, execution=execution, **how) for each in (as_float, clips))
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert torch.equal(as_float, kept)  # the user's own memory


def test_every_part_can_be_the_users_own(motion_table, tmp_path):
    asked = []

    def transform(clip):
        asked.append(clip.shape)
        return clip[..., :32, :32].float() / 255

    def loss(logits, target):
        return F.multi_margin_loss(logits, target)

    p = params(motion_table, tmp_path, epochs=2)
    job = prepare(p, model=Linear(), transform=transform, loss=loss,
                  optimizer=lambda groups: torch.optim.RMSprop(groups, lr=0.02))  # fmt: skip
    assert isinstance(job.model, Linear) and job.train_data[0][0].dtype == torch.float32 and job.loss is loss
    assert isinstance(job.optimizer, torch.optim.RMSprop)
    rows = list(train(job))
    assert len(rows) == 2 and len(asked) == 1 + 2 * 24 and rows[0]["lr"] < 0.02
    again = prepare(params(motion_table, tmp_path, epochs=3), model=Linear(), transform=transform, loss=loss,
                    optimizer=lambda groups: torch.optim.RMSprop(groups, lr=0.02))  # fmt: skip
    assert torch.equal(again.model.fc.weight, job.model.fc.weight) and len(list(train(again))) == 3
    model = Linear()
    made = prepare(params(motion_table, tmp_path / "b"), model=model, optimizer=torch.optim.Adam(model.parameters()))
    assert isinstance(made.optimizer, torch.optim.Adam)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"train_data": []}, "train_data is empty"),
        ({"train_data": [(torch.zeros(3, 4, 8, 8), 0)]}, r"train_data\[0\]: the clip is \(3, 4, 8, 8\); .*T, 3, H"),
        ({"train_data": [(torch.zeros(4, 3, 8, 8), 9)]}, r"train_data\[0\]: label 9: expected an index from 0 to 7"),
        ({"train_data": [(torch.zeros(4, 3, 8, 8), 1)], "transform": torch.clone}, "transform belongs"),
        ({"model": Linear(5)}, "no linear layer or convolution of 8 outputs"),
        ({"optimizer": torch.optim.SGD(Linear().parameters())}, "optimizer: it holds parameters that are not"),
    ],
)
def test_parts_that_do_not_fit_are_named(motion_table, tmp_path, given, words):
    with pytest.raises(ValueError, match=words):
        prepare(params(motion_table, tmp_path), **given)

