"""What a run consists of: `Job` for training and fine-tuning, `Evaluation` for video accuracy. `loops.prepare` makes
them, `loops.train` and `loops.evaluate` work on these very objects; any of them can be looked at or changed."""

import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from torch.utils.data import DataLoader, Dataset

from actlib.analysis.results.scores import Scores
from actlib.compute.dropout import Noise
from actlib.compute.execution import Execution
from actlib.compute.processes import ALONE, Ranks
from actlib.datasets.clips.loaders import EpochBatches
from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.clips.views import EvaluationViews
from actlib.datasets.dataset_info import DatasetInfo
from actlib.datasets.table import dataset_name
from actlib.files import digest, write_csv
from actlib.loops.optim import learning_rates, steps_per_epoch
from actlib.loops.stop import Stop
from actlib.models import VideoModel
from actlib.params import TrainingParams, VideoAccuracyParams


def random_states() -> dict:
    """The states of torch's global generators; all other randomness of a run is seeded by epoch and video."""
    return {"torch": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}


@dataclass(kw_only=True)
class Evaluation:
    """A network and the videos it is evaluated on. `info`: of the data set. `preprocessing`: how the network's clips
    are made. `speeds`: clips/s of each way to run the network that was measured, the fastest first. `devices`: how many
    processes the run is meant for, and `ranks` which of them this is; a notebook's own, which starts them, is none.
    `made`: the parts that `prepare` made (see `travel`)."""

    p: TrainingParams | VideoAccuracyParams
    device: torch.device
    info: DatasetInfo
    classes: list[str]
    model: VideoModel
    val_data: EvaluationViews
    val_loader: DataLoader
    preprocessing: dict
    execution: Execution
    speeds: dict[str, float] = field(default_factory=dict)
    devices: int = 1
    ranks: Ranks = ALONE
    made: dict[str, object] = field(default_factory=dict)

    def processes(self) -> dict:
        """What computes the run, for environment.json; of several ranks, which all call this, for the first one."""
        ranks, host = self.ranks, socket.gethostname()
        if ranks.size == self.devices:
            told = ranks.gathered((host, ranks.share_of_workers(self.p.num_workers)))
        else:  # they are still to be started, on this machine
            each = [Ranks(rank, self.devices, rank, self.devices) for rank in range(self.devices)]
            told = [(host, rank.share_of_workers(self.p.num_workers)) for rank in each]
        if told is None:
            return {}
        hosts, decoding = zip(*told)
        backend = ("nccl" if self.device.type == "cuda" else "gloo") if len(told) > 1 else None
        machines = max(1, ranks.size // ranks.local_size)
        found = {"number": len(told), "machines": machines, "hosts": sorted(set(hosts)), "backend": backend}
        return found | {"decoding_processes": list(decoding)}

    @property
    def normalisation(self) -> dict:
        """The arguments of `compute.device.to_float` that the network was or will be trained with."""
        return {name: self.preprocessing[name] for name in ("mean", "std", "channel_order")}

    @property
    def run_name(self) -> str:
        return Path(self.p.run_dir).name

    @property
    def dataset(self) -> str:
        """What plots call the videos: the name of the table's folder."""
        return dataset_name(self.p.table)

    @property
    def subset(self) -> str:
        return self.p.subset if isinstance(self.p, VideoAccuracyParams) else "validation"

    @property
    def expected(self) -> int:
        """How many videos there should be."""
        return self.info.expected(self.subset) or len(self.val_data)

    @cached_property
    def table_digest(self) -> str:
        return digest(self.p.table)

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """(C, T, H, W) of a clip."""
        return self.model.in_channels, self.p.num_frames, self.p.crop_size, self.p.crop_size


@dataclass(kw_only=True)
class Job(Evaluation):
    """A training run. `train_data[i]` is (uint8 clip (T, C, H, W), label); `loss(logits, target)` the mean over a batch
    of logits (B, classes) and labels int64 (B), or, where clips are mixed, shares (B, classes).

    `schedule` is stepped after each step of `optimizer`, `plateau` (None but for that schedule) after each epoch.
    `frozen`: modules kept in evaluation mode. `mirrored`: the index of the class that each class is in a mirror, int64
    (classes) on the device; None where that is always the class itself. `within`: where to go on inside an epoch.
    `val_scores`: of the last validation, every video's. `stop.ask()` ends the training after the present epoch.
    `parallel`: `model` as it trains where several processes share a batch: their gradients become one; `noise`: what
    its dropouts draw from there.
    """

    train_data: Dataset
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    optimizer: torch.optim.Optimizer
    schedule: LambdaLR
    plateau: ReduceLROnPlateau | None
    batches: EpochBatches
    loader: DataLoader
    frozen: list[nn.Module] = field(default_factory=list)
    mirrored: torch.Tensor | None = None
    scaler: torch.amp.GradScaler
    history: list[dict] = field(default_factory=list)
    best_epoch: int = 0  # 0: none yet
    within: dict | None = None
    failures: Counter = field(default_factory=Counter)
    val_scores: Scores | None = None
    parallel: DistributedDataParallel | None = None
    noise: Noise | None = None
    random_states: dict = field(default_factory=random_states)

    @property
    def steps_per_epoch(self) -> int:
        return steps_per_epoch(self.p, self.batches.sizes)

    @property
    def val_protocol(self) -> Protocol:
        return self.val_data.protocols["clip"]

    @property
    def best(self) -> dict:
        """The row of the epoch whose network is best.pt: the first of those with the highest `best_measure`."""
        return self.history[self.best_epoch - 1]

    @property
    def best_measure(self) -> str:
        """The number of an epoch by which the best is chosen: val_top1 or val_macro_f1."""
        return f"val_{self.p.best_by}"

    @property
    def best_accuracies(self) -> dict[str, float]:
        """The validation accuracies of the best epoch, in percent."""
        return {name: self.best[name] for name in ("val_top1", "val_macro_f1") if name in self.best}

    @cached_property
    def stop(self) -> Stop:
        return Stop(self.p.run_dir)

    @property
    def stopped(self) -> str:
        """In words, that epochs are missing which another start would train; empty once all are done."""
        done = len(self.history)
        return f"stopped after {done} of {self.p.epochs} epochs" if done < self.p.epochs else ""

    @property
    def checkpoints(self) -> dict[str, dict]:
        """What a finished run leaves for others, by its name in the run folder, each with the epoch that it is of."""
        return {
            "checkpoints/best.pt": {"epoch": self.best_epoch},
            "checkpoints/last.pt": {"epoch": len(self.history)},
        }

    def learning_rates(self) -> np.ndarray:
        """The rate of every step, float64 (epochs · steps_per_epoch,); `plateau` may lower it on the way."""
        return learning_rates(self.p, self.steps_per_epoch)

    def set_training_mode(self) -> None:
        """Training mode, but for frozen modules whose batch norm keeps its statistics."""
        self.model.train()
        for module in self.frozen:
            module.eval()

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        """Let data and loader draw epoch `epoch`, counted from 0, from batch `first` on."""
        self.batches.epoch, self.batches.first = epoch, first
        data = self.train_data
        while data is not None:  # a Subset, say, keeps the set behind it in `dataset`
            if hasattr(data, "set_epoch"):
                data.set_epoch(epoch)
            data = getattr(data, "dataset", None)

    def note_failures(self, failures: list[tuple[str, str]], subset: str) -> int:
        """Count undecodable clips by name in the run folder's decode_failures.csv; returns how many are new."""
        if failures:
            self.failures.update((subset, *each) for each in failures)
            rows = [(*key, count) for key, count in self.failures.most_common()]
            table = pd.DataFrame(rows, columns=["subset", "path", "reason", "clips"])
            write_csv(Path(self.p.run_dir) / "decode_failures.csv", table)
        return len(failures)
