"""What a training run needs before its first epoch: data, network, optimiser, and where it stopped last time.

All that can be wrong with the parameters is found here, before any long work.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch
from torch.utils.data import DataLoader

from actlib.datasets.clips import TrainingClips, training_loader
from actlib.datasets.protocol import Protocol
from actlib.datasets.table import DataError, class_names, read_table, rows_of
from actlib.datasets.transforms import train_transform
from actlib.files import put_aside, write_with
from actlib.loops.checkpoint import CheckpointError, describe, random_states, read_checkpoint, restore_random_states
from actlib.loops.device import pick_device
from actlib.loops.finetune import PREPROCESSING, freeze, inherit_preprocessing, parameter_groups, pretrained_model
from actlib.loops.optim import Schedule, make_optimizer
from actlib.models import VideoModel, create_from_spec
from actlib.models.execution import Execution, choose

# Parameters that may differ between a checkpoint and the run that goes on from it.
FREE_ON_RESUME = {"run_dir", "table", "pretrained", "epochs", "resume", "checkpoint_every", "device", "num_workers"}
# What a checkpoint without them was trained with.
BEFORE = {"channel_order": "rgb", "lr_factors": [], "head_dropout": -1.0}
MIRRORED = (("left", "right"), ("counterclockwise", "clockwise"))


@dataclass
class Job:
    """A training run in progress."""

    p: object
    device: torch.device
    classes: list[str]
    loader: DataLoader
    val_table: pd.DataFrame
    val_protocol: Protocol
    model: VideoModel
    frozen: list[torch.nn.Module]
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    execution: Execution
    speeds: dict[str, float]
    history: list[dict] = field(default_factory=list)
    failures: Counter = field(default_factory=Counter)

    @property
    def normalisation(self) -> dict:
        """The arguments of `device.to_float` that the network was or will be trained with."""
        return {name: getattr(self.p, name) for name in ("mean", "std", "channel_order")}

    def set_training_mode(self) -> None:
        """Training mode, but for frozen modules whose batch norm keeps its statistics."""
        self.model.train()
        for module in self.frozen:
            module.eval()

    def note_failures(self, failures: list[tuple[str, str]], subset: str) -> int:
        """Count undecodable clips by name in the run folder's decode_failures.csv; returns how many are new."""
        if failures:
            self.failures.update((subset, *each) for each in failures)
            rows = [(*key, count) for key, count in self.failures.most_common()]
            table = pd.DataFrame(rows, columns=["subset", "path", "reason", "clips"])
            target = Path(self.p.run_dir) / "decode_failures.csv"
            write_with(target, lambda temporary: table.to_csv(temporary, index=False))
        return len(failures)

    def content(self) -> dict:
        """What inference needs (see `checkpoint`)."""
        model = self.model
        return {
            "model": describe(model),
            "state_dict": model.state_dict(),
            "classes": self.classes,
            "preprocessing": {name: getattr(self.p, name) for name in PREPROCESSING},
            "execution": {"precision": self.execution.precision, "memory_format": self.execution.memory_format},
            "execution_clips_per_s": self.speeds,
            "epoch": len(self.history),
            "history": self.history,
            "params": self.p.model_dump(),
        }

    def training_state(self) -> dict:
        """What going on exactly needs besides."""
        failures = [[*key, count] for key, count in self.failures.items()]
        return {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "rng": random_states(),
            "failures": failures,
        }


def training_data(p) -> tuple[TrainingClips, pd.DataFrame, list[str]]:
    """The training clips, the validation videos and the class names of `p.table`, all checked; `p` complete
    (see `finetune.inherit_preprocessing`)."""
    table = read_table(p.table)
    classes = class_names(table)
    if p.flip:
        _refuse_mirrored(classes)
    clips = TrainingClips(
        rows_of(table, "training", p.table),
        classes,
        num_frames=p.num_frames,
        frame_stride=p.frame_stride,
        transform=train_transform(p.crop, p.short_side, p.crop_size, p.scale_min),
        seed=p.seed,
        max_replacements=p.max_replacements,
    )
    return clips, rows_of(table, "validation", p.table), classes


def prepare(p) -> Job:
    """Read the table, build the network (from `p.pretrained` if there is one), and pick up a checkpoint if any."""
    p = inherit_preprocessing(p)
    clips, val_table, classes = training_data(p)
    device = pick_device(p.device)

    torch.manual_seed(p.seed)
    pretrained = getattr(p, "pretrained", "")
    model = pretrained_model(p, classes) if pretrained else create_from_spec(p.model, len(classes))
    frozen = freeze(model, p) if pretrained else []
    groups = parameter_groups(model, p)
    resume_from = _resume_path(p)
    content = read_checkpoint(resume_from) if resume_from else None
    if content:
        _require_same(p, classes, content, resume_from)
        execution, speeds = Execution(**content["execution"]), content["execution_clips_per_s"]
    else:
        shape = (min(p.batch_size, len(clips)), 3, p.num_frames, p.crop_size, p.crop_size)
        execution, speeds = choose(
            model, shape, device=device, training=True, precision=p.precision, memory_format=p.memory_format
        )
    execution.apply_to(model.to(device))

    cuda = device.type == "cuda"
    loader = training_loader(clips, batch_size=p.batch_size, num_workers=p.num_workers, pin_memory=cuda)
    optimizer = make_optimizer(p, groups)
    schedule = Schedule(p, optimizer, steps_per_epoch=-(-len(loader) // p.accumulate))
    protocol = Protocol("clip", p.num_frames, p.frame_stride, p.short_side, p.crop_size)
    job = Job(
        p, device, classes, loader, val_table, protocol, model, frozen, optimizer, schedule, execution, speeds
    )  # fmt: skip
    if content:
        _pick_up(job, content)
    return job


def _resume_path(p) -> Path | None:
    """The checkpoint to go on from. With `never`, earlier checkpoints are put aside, not overwritten."""
    folder = Path(p.run_dir) / "checkpoints"
    last = folder / "last.pt"
    if p.resume == "auto":
        return last if last.is_file() else None
    if p.resume == "never":
        if folder.exists():
            put_aside(folder)
        return None
    return Path(p.resume)


def _require_same(p, classes: list[str], content: dict, path: Path) -> None:
    """Going on with other parameters would be neither the old run nor a new one: refuse, naming them."""
    if "optimizer" not in content:
        raise CheckpointError(f"{path}: holds no optimiser state to go on from (a best.pt?); resume from last.pt")
    mine, theirs = p.model_dump(), {**BEFORE, **content["params"]}
    if "frozen_bn" in theirs:  # as it was called before
        theirs["batch_norm"] = "frozen_layers" if theirs["frozen_bn"] else "tuned"
    differ = [
        f"{name} is {mine[name]!r}, was {value!r}"
        for name, value in theirs.items()
        if name in mine and name not in FREE_ON_RESUME and mine[name] != value
    ]
    if content["classes"] != classes:
        differ.append(f"the table has {len(classes)} classes, the checkpoint {len(content['classes'])} or others")
    if differ:
        raise CheckpointError(
            f"{path} is of a run with other parameters: {'; '.join(differ)}. "
            "Use another run_dir, or resume: never to start again here (the old checkpoints are kept aside)"
        )


def _pick_up(job: Job, content: dict) -> None:
    job.model.load_state_dict(content["state_dict"])
    job.optimizer.load_state_dict(content["optimizer"])
    job.schedule.load_state_dict(content["schedule"])
    job.history = content["history"][: job.p.epochs]
    job.failures = Counter({tuple(each[:-1]): each[-1] for each in content["failures"]})
    restore_random_states(content["rng"])


def _refuse_mirrored(classes: list[str]) -> None:
    """A mirrored `left` is a `right`: flipping would teach wrong labels where both are classes."""
    for one, other in MIRRORED:
        for name in classes:
            twin = name.replace(one, "\0").replace(other, one).replace("\0", other)
            if twin != name and twin in classes:
                raise DataError(f"flip: true would turn {name!r} into {twin!r}, another class; set flip: false")
