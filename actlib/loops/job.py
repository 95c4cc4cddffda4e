"""What a training run needs before its first epoch: data, network, optimiser, and where it stopped last time.

All that can be wrong with the parameters is found here, before any long work.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch
from torch.utils.data import DataLoader

from actlib.compute.device import CHANNELS, pick_device
from actlib.compute.execution import Execution, choose
from actlib.datasets.clips.loaders import TrainingClips, training_loader
from actlib.datasets.clips.protocol import Protocol, validation_protocol
from actlib.datasets.clips.transforms import train_transform
from actlib.datasets.dataset_info import Card, read_card
from actlib.datasets.errors import DataError
from actlib.datasets.table import read_table, rows_of
from actlib.files import put_aside, write_with
from actlib.loops.finetune import PREPROCESSING, freeze, inherit_preprocessing, parameter_groups, pretrained_model
from actlib.loops.optim import Schedule, make_optimizer
from actlib.models import VideoModel, create_from_spec
from actlib.models.weights.checkpoint import (
    CheckpointError,
    describe,
    random_states,
    read_checkpoint,
    restore_random_states,
)

# Parameters that may differ between a checkpoint and the run that goes on from it.
FREE_ON_RESUME = {
    "run_dir", "table", "pretrained", "epochs", "resume", "checkpoint_every", "device", "num_workers", "timeout",
}  # fmt: skip
# What a checkpoint without them was trained with.
BEFORE = {"channel_order": "rgb", "lr_factors": [], "head_dropout": -1.0, "modality": "rgb", "sampling": "random"}
BEFORE |= {"loop": "taken", "short_side_max": 0, "flip_labels": "refuse", "color_jitter": 0.0, "rand_augment": 0}
BEFORE |= {"random_erasing": 0.0, "mixup": 0.0, "cutmix": 0.0}


@dataclass
class Job:
    """A training run in progress. `mirrored`: the index of the class that each class is in a mirror, int64 (classes) on
    the device; None where that is always the class itself."""

    p: object
    device: torch.device
    classes: list[str]
    mirrored: torch.Tensor | None
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


def training_data(p) -> tuple[TrainingClips, pd.DataFrame, Card]:
    """The training clips, the validation videos and the card of `p.table`, all checked; `p` complete
    (see `finetune.inherit_preprocessing`)."""
    _check_channels(p)
    table = read_table(p.table)
    card = read_card(p.table, table)
    if p.flip:
        _check_mirrored(p, card)
    clips = TrainingClips(
        rows_of(table, "training", p.table),
        card.classes,
        num_frames=p.num_frames,
        frame_stride=p.frame_stride,
        transform=train_transform(
            p.crop,
            p.short_side,
            p.crop_size,
            p.scale_min,
            crop_scales=p.crop_scales,
            short_side_max=p.short_side_max,
            color_jitter=p.color_jitter,
            rand_augment=p.rand_augment,
            random_erasing=p.random_erasing,
        ),
        sampling=p.sampling,
        loop=p.loop,
        modality=p.modality,
        timeout=p.timeout,
        seed=p.seed,
        max_replacements=p.max_replacements,
    )
    return clips, rows_of(table, "validation", p.table), card


def prepare(p) -> Job:
    """Read the table, build the network (from `p.pretrained` if there is one), and pick up a checkpoint if any."""
    p = inherit_preprocessing(p)
    clips, val_table, card = training_data(p)
    classes, device = card.classes, pick_device(p.device)

    torch.manual_seed(p.seed)
    pretrained = getattr(p, "pretrained", "")
    model = pretrained_model(p, classes) if pretrained else new_model(p, classes)
    frozen = freeze(model, p) if pretrained else []
    groups = parameter_groups(model, p)
    resume_from = _resume_path(p)
    content = read_checkpoint(resume_from) if resume_from else None
    if content:
        _require_same(p, classes, content, resume_from)
        execution, speeds = Execution(**content["execution"]), content["execution_clips_per_s"]
    else:
        shape = (min(p.batch_size, len(clips)), model.in_channels, p.num_frames, p.crop_size, p.crop_size)
        execution, speeds = choose(
            model, shape, device=device, training=True, precision=p.precision, memory_format=p.memory_format
        )
    execution.apply_to(model.to(device))

    cuda = device.type == "cuda"
    loader = training_loader(clips, batch_size=p.batch_size, num_workers=p.num_workers, pin_memory=cuda)
    optimizer = make_optimizer(p, groups)
    schedule = Schedule(p, optimizer, steps_per_epoch=-(-len(loader) // p.accumulate))
    job = Job(
        p, device, classes, _mirrored_index(p, card, device), loader, val_table, validation_protocol(p), model, frozen,
        optimizer, schedule, execution, speeds,
    )  # fmt: skip
    if content:
        _pick_up(job, content)
    return job


def new_model(p, classes: list[str]) -> VideoModel:
    """The network that `p.model` names, for clips of `p.modality`, randomly initialised. Raises ModelError."""
    return create_from_spec(p.model, len(classes), in_channels=CHANNELS[p.modality])


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


def _check_channels(p) -> None:
    """What `p` says of a clip's channels must go together; what a checkpoint adds to `p` is known only now."""
    channels, problems = CHANNELS[p.modality], []
    for name in ("mean", "std"):
        value = getattr(p, name)
        if len(value) not in (1, channels):
            problems.append(f"{name} is {value}, one number for all channels is needed")
    if p.modality == "flow" and p.channel_order != "rgb":
        problems.append(f"channel_order is {p.channel_order}, which is of colours; set rgb")
    if problems:
        raise DataError(f"modality {p.modality} has clips of {channels} channels: {'; '.join(problems)}")


def _check_mirrored(p, card: Card) -> None:
    """A mirrored `left` is a `right`: flipping would teach wrong labels where both are classes."""
    if card.mirrored and p.flip_labels == "refuse":
        one, other = next(iter(card.mirrored.items()))
        more = f" (as would {len(card.mirrored) - 2} of the others)" if len(card.mirrored) > 2 else ""
        raise DataError(
            f"flip: true would turn {one!r} into {other!r}, another class{more}; set flip: false, "
            "or flip_labels: swap to call the mirrored clips by the other name"
        )
    unknown = sorted({*card.mirrored, *card.mirrored.values()} - set(card.classes))
    if unknown:
        raise DataError(
            f"flip_labels: swap: {', '.join(map(repr, unknown[:5]))} of the mirrored classes in dataset.json "
            f"{'is' if len(unknown) == 1 else 'are'} not among the {len(card.classes)} classes; set flip: false"
        )


def _mirrored_index(p, card: Card, device: torch.device) -> torch.Tensor | None:
    if not (p.flip and card.mirrored):
        return None
    places = {name: place for place, name in enumerate(card.classes)}
    return torch.tensor([places[card.mirrored.get(name, name)] for name in card.classes], device=device)
