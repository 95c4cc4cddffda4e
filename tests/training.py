"""What tests of training share: parameters of a run of seconds, running it, and what it left."""

import torch
from torch import nn

from actlib.loops import prepare, train
from actlib.models.registry import create_from_spec
from actlib.models.weights.checkpoint import read_checkpoint
from actlib.params import TrainParams

TINY = {
    "model": "resnet10 widen_factor=0.0625 conv1_t_size=3",
    "num_frames": 4,
    "frame_stride": 4,
    "short_side": 32,
    "crop_size": 32,
    "batch_size": 8,
    "epochs": 2,
    "optimizer": "sgd",
    "lr": 0.01,
    "num_workers": 0,
    "precision": "float32",
    "memory_format": "contiguous",
}


class Double(nn.Module):
    """A network in float64."""

    def __init__(self, seed: int = 0):
        super().__init__()
        torch.manual_seed(seed)
        self.network = create_from_spec(TINY["model"], 8).double()
        for module in self.network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.5

    def forward(self, clips):
        return self.network(clips.double())


def params(motion_table, run_dir, **more) -> TrainParams:
    return TrainParams.build({**TINY, "table": str(motion_table), "run_dir": str(run_dir), **more}, "test")


def run(p, **given) -> list[dict]:
    """The rows of a whole run."""
    return list(train(prepare(p, **given)))


def content(path) -> dict:
    """What a checkpoint holds besides its weights."""
    return read_checkpoint(path).content


def weights(run_dir, name="last.pt"):
    return read_checkpoint(run_dir / "checkpoints" / name).state


def assert_same_weights(one, other):
    assert list(one) == list(other)
    for name in one:
        assert one[name].equal(other[name]), name
