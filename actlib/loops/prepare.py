"""A run's data, network, loss and optimiser, made from its parameters, and where it stopped last time.

All that can be wrong with the parameters is found here, before any long work.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Dataset

from actlib.compute.choose import choose
from actlib.compute.device import pick_device
from actlib.compute.execution import Execution
from actlib.compute.vocabulary import PRECISIONS
from actlib.datasets.clips.loaders import EpochBatches, TrainingClips, start_workers, training_loader
from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.clips.transforms import train_transform
from actlib.datasets.clips.views import EvaluationViews, evaluation_loader
from actlib.datasets.dataset_info import DatasetInfo, read_dataset_info
from actlib.datasets.errors import DataError
from actlib.datasets.table import read_table, rows_of
from actlib.datasets.vocabulary import CHANNELS
from actlib.loops import resume
from actlib.loops.finetune import (
    PREPROCESSING,
    fit_to_data,
    freeze,
    inherit_preprocessing,
    open_pretrained,
    parameter_groups,
)
from actlib.loops.job import Evaluation, Job
from actlib.loops.optim import make_optimizer, make_schedule, steps_per_epoch
from actlib.messages import listed
from actlib.models import VideoModel, create_model
from actlib.models.registry import adopt
from actlib.models.weights.checkpoint import UNSAID, CheckpointError
from actlib.models.weights.convert import read_classes, unnamed
from actlib.params import FinetuneParams, TrainingParams, VideoAccuracyParams
from actlib.progress import told_if_slow

# The protocol that a training with this sampling is validated with; the centre clip after all others.
VALIDATION = {"segments": "uniform", "segments_regular": "uniform", "dense": "dense", "begin": "begin"}


def prepare(
    p: TrainingParams | VideoAccuracyParams,
    *,
    model: nn.Module | None = None,
    train_data: Dataset | None = None,
    transform: Callable[[torch.Tensor], torch.Tensor] | None = None,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    optimizer: torch.optim.Optimizer | Callable[[list[dict]], torch.optim.Optimizer] | None = None,
) -> Job | Evaluation:
    """Everything that a run with parameters `p` consists of; a `Job` for notebooks 02 and 03, an `Evaluation` for 04.
    A run that was stopped goes on: the job then holds the network, optimiser and history of its last checkpoint.

    What is given takes the place of ours: `model`, any module from (B, C, T, H, W) to (B, classes); `train_data`, a
    map-style dataset of (clip, label), the label an index into the table's classes; `transform`, from uint8
    (T, C, H, W) as decoded to (T, C, crop_size, crop_size), uint8, or float on the 0-1 scale; `loss`, see `Job`;
    `optimizer`, made already, or a function of parameter groups (`functools.partial(torch.optim.RMSprop, lr=…)`).

    Raises DataError, CheckpointError, WeightsError, ModelError or ValueError, before any long work.
    """
    if isinstance(p, VideoAccuracyParams):
        if any(each is not None for each in (train_data, transform, loss, optimizer)):
            raise ValueError("an evaluation takes a model alone: the rest belongs to training")
        return _prepare_evaluation(p, model)
    device = pick_device(p.device)
    _require_possible(p, device)
    with told_if_slow(f"reading {p.table}"):
        table = read_table(p.table)
    info = read_dataset_info(p.table, table)
    mirrored = _mirrored_index(p, info)
    videos = rows_of(table, "validation", p.table), rows_of(table, "training", p.table) if train_data is None else None
    with told_if_slow("reading the checkpoint to go on from"):
        last = resume.find_checkpoint(p)
    torch.manual_seed(p.seed)
    with told_if_slow("opening the network"):
        model, p = _training_network(p, model, info.classes, last)
    if last:
        resume.require_same(p, info.classes, last)
    frozen = freeze(model, p) if isinstance(p, FinetuneParams) else []
    parameter_groups(model, p)  # wrong lr_factors are refused before anything is measured
    train_data = _training_data(p, videos[1], info, train_data, transform, model)
    val_data = EvaluationViews(
        videos[0], info.classes, {"clip": validation_protocol(p)},
        modality=p.modality, timeout=p.timeout, backend=p.video_backend,
    )  # fmt: skip
    batches = EpochBatches(len(train_data), p.batch_size, seed=p.seed, last_batch=p.last_batch)
    val_loader = evaluation_loader(val_data, num_workers=p.num_workers)
    loader = training_loader(train_data, batches, num_workers=p.num_workers, pin_memory=device.type == "cuda")
    if device.type == "cuda":  # forked before the device is touched, and before a thread pins memory for it
        with told_if_slow("starting the processes that decode"):
            start_workers(val_loader)
            batches.first = len(batches.sizes)  # no batch yet: which epoch comes first is not known here
            start_workers(loader)
    execution, speeds = _execution(p, model, batches, device, last)
    with told_if_slow(f"moving the network to {device}"):
        execution.apply_to(model.to(device))
    optimizer = _optimizer(p, model, optimizer, execution)
    loss = loss or nn.CrossEntropyLoss(label_smoothing=p.label_smoothing)
    schedule, plateau = make_schedule(p, optimizer, steps_per_epoch(p, batches.sizes))
    job = Job(
        p=p, device=device, info=info, classes=info.classes, model=model, train_data=train_data, val_data=val_data,
        preprocessing={name: getattr(p, name) for name in PREPROCESSING}, execution=execution, speeds=speeds,
        loss=loss.to(device) if isinstance(loss, nn.Module) else loss, optimizer=optimizer, schedule=schedule,
        plateau=plateau, batches=batches, loader=loader, val_loader=val_loader, frozen=frozen,
        mirrored=None if mirrored is None else mirrored.to(device),
        scaler=execution.scaler(device),
    )  # fmt: skip
    if last:
        resume.pick_up(job, last)
    return job


def _require_possible(p: TrainingParams | VideoAccuracyParams, device: torch.device) -> None:
    """Raise ValueError for what `device` cannot do, as far as that is known without a touch of it: worker processes are
    forked before."""
    ask = device.type == "cuda" and p.precision == "tf32"
    precision = p.precision if p.precision in PRECISIONS and not ask else "float32"
    Execution(precision, compile=p.compile).check(device)


# --- training -------------------------------------------------------------------------------------------------


def _training_network(p: TrainingParams, given, classes: list[str], last) -> tuple[VideoModel, TrainingParams]:
    """The network, and the parameters completed by what its weights tell. One that goes on needs nothing but its
    checkpoint `last`; `given` is the user's own, and stays as it is."""
    finetuning = isinstance(p, FinetuneParams)
    if given is not None:
        model = adopt(given, len(classes))
        if model.num_classes != len(classes):
            raise ValueError(f"model: it answers {model.num_classes} classes, the table has {len(classes)}")
        if last:
            resume.load_state(model, last)
    elif last:
        model = create_model(p.model or None, pretrained=last)
    elif finetuning:
        model = open_pretrained(p, classes)
    else:
        model = create_model(p.model, len(classes), in_channels=CHANNELS[p.modality])
    if finetuning:
        p = inherit_preprocessing(p, model, p.pretrained if given is None else "model")
    _check_channels(p)
    if finetuning and given is None:  # a checkpoint tells all of this but the dropout
        fit_to_data(model, p, classes)
    return model, p


def _training_data(p: TrainingParams, videos, info: DatasetInfo, data, transform, model: VideoModel) -> Dataset:
    if data is None:
        return TrainingClips(
            videos, info.classes, num_frames=p.num_frames, frame_stride=p.frame_stride,
            transform=transform or train_transform(
                p.crop, p.short_side, p.crop_size, p.scale_min, crop_scales=p.crop_scales,
                short_side_max=p.short_side_max, color_jitter=p.color_jitter, rand_augment=p.rand_augment,
                random_erasing=p.random_erasing,
            ),
            sampling=p.sampling, loop=p.loop, modality=p.modality, timeout=p.timeout, backend=p.video_backend,
            seed=p.seed, max_replacements=p.max_replacements,
        )  # fmt: skip
    if transform is not None:
        raise ValueError("transform belongs to the clips of the table; train_data makes its own")
    if len(data) == 0:
        raise DataError("train_data is empty")
    clip, label = data[0]
    if not isinstance(clip, torch.Tensor) or clip.ndim != 4 or clip.shape[1] != model.in_channels:
        raise DataError(
            f"train_data[0]: the clip is {tuple(getattr(clip, 'shape', ())) or type(clip).__name__}; expected a tensor "
            f"(T, {model.in_channels}, H, W)"
        )
    if not 0 <= int(label) < len(info.classes):
        raise DataError(f"train_data[0]: label {label!r}: expected an index from 0 to {len(info.classes) - 1}")
    return data


def _execution(p: TrainingParams, model: VideoModel, batches, device, last) -> tuple[Execution, dict[str, float]]:
    """How the network runs: as it did before, unless that was on another kind of device."""
    before = resume.execution_of(last, device) if last else None
    if before:
        before.check(device)
        return before, {}
    return chosen_execution(p, model, max(batches.sizes), p.epochs * len(batches.sizes), device, training=True)


def chosen_execution(
    p, model: VideoModel, batch_size: int, steps: int, device: torch.device, *, training: bool
) -> tuple[Execution, dict[str, float]]:
    """How the network runs in a run of so many `steps`, and the clips/s of each way that was measured."""
    shape = (batch_size, model.in_channels, p.num_frames, p.crop_size, p.crop_size)
    how = {"precision": p.precision, "memory_format": p.memory_format, "compile": p.compile}
    execution, timings = choose(model, shape, device=device, training=training, steps=steps, **how)
    fastest = sorted(timings, key=lambda each: timings[each].seconds)
    return execution, {str(each): round(batch_size / timings[each].seconds, 2) for each in fastest}


def _optimizer(p: TrainingParams, model: VideoModel, given, execution: Execution) -> torch.optim.Optimizer:
    if given is None:
        return make_optimizer(p, model, scaled=execution.precision == "fp16")
    groups = parameter_groups(model, p)  # for one that is made already too: wrong lr_factors are refused
    if not isinstance(given, torch.optim.Optimizer):
        return given([{"name": group["name"], "params": group["params"]} for group in groups])
    known = {id(parameter) for parameter in model.parameters()}
    if not all(id(parameter) in known for group in given.param_groups for parameter in group["params"]):
        raise ValueError("optimizer: it holds parameters that are not the model's; give its model too (model=…)")
    return given


def validation_protocol(p: TrainingParams) -> Protocol:
    """The one view of a video that a training is validated with: as its clips are sampled, but always the same and in
    the centre."""
    kind = VALIDATION.get(p.sampling, "clip")
    return Protocol(kind, p.num_frames, p.frame_stride, p.short_side, p.crop_size, loop=p.loop)


def _check_channels(p: TrainingParams) -> None:
    """What `p` says of a clip's channels must go together; what a checkpoint adds to it is known only now."""
    channels, problems = CHANNELS[p.modality], []
    for name, value in (("mean", p.mean), ("std", p.std)):
        if len(value) not in (1, channels):
            problems.append(f"{name} is {value}, one number for all channels is needed")
    if p.modality == "flow" and p.channel_order != "rgb":
        problems.append(f"channel_order is {p.channel_order}, which is of colours; set rgb")
    if problems:
        raise DataError(f"modality {p.modality} has clips of {channels} channels: {'; '.join(problems)}")


def _mirrored_index(p: TrainingParams, info: DatasetInfo) -> torch.Tensor | None:
    """A mirrored `left` is a `right`: flipping would teach wrong labels where both are classes."""
    if not (p.flip and info.mirrored):
        return None
    if p.flip_labels == "refuse":
        one, other = next(iter(info.mirrored.items()))
        more = f" (as would {len(info.mirrored) - 2} of the others)" if len(info.mirrored) > 2 else ""
        raise DataError(
            f"flip: true would turn {one!r} into {other!r}, another class{more}; set flip: false, "
            "or flip_labels: swap to call the mirrored clips by the other name"
        )
    unknown = sorted({*info.mirrored, *info.mirrored.values()} - set(info.classes))
    if unknown:
        raise DataError(
            f"flip_labels: swap: {listed(unknown, 5, quote=True)} of the mirrored classes in dataset.json "
            f"{'is' if len(unknown) == 1 else 'are'} not among the {len(info.classes)} classes; set flip: false"
        )
    places = {name: place for place, name in enumerate(info.classes)}
    return torch.tensor([places[info.mirrored.get(name, name)] for name in info.classes])


# --- evaluation -----------------------------------------------------------------------------------------------


def _prepare_evaluation(p: VideoAccuracyParams, model: nn.Module | None) -> Evaluation:
    device = pick_device(p.device)
    _require_possible(p, device)
    with told_if_slow(f"reading {p.table}"):
        table = read_table(p.table)
    info = read_dataset_info(p.table, table)
    videos = rows_of(table, p.subset, p.table)
    _require_no_mirror(p, info)
    with told_if_slow("opening the network"):
        model, classes = evaluation_network(p, info, model)
    p = inherit_preprocessing(p, model, p.checkpoint)
    protocols = evaluation_protocols(p, info)
    data = EvaluationViews(
        videos, classes, protocols,
        modality=model.preprocessing["modality"], timeout=p.timeout, backend=p.video_backend,
    )  # fmt: skip
    loader = evaluation_loader(data, num_workers=p.num_workers)
    if device.type == "cuda":  # see above
        with told_if_slow("starting the processes that decode"):
            start_workers(loader)
    length = int((videos["end"].fillna(videos["num_frames"]) - videos["start"].fillna(0)).median())
    views = len(videos) * sum(len(each.windows(length)) * each.num_crops for each in protocols.values())
    execution, speeds = chosen_execution(p, model.eval(), p.batch_size, views // p.batch_size, device, training=False)
    execution.apply_to(model.to(device))
    return Evaluation(
        p=p, device=device, info=info, classes=classes, model=model, val_data=data, val_loader=loader,
        preprocessing=model.preprocessing, execution=execution, speeds=speeds,
    )  # fmt: skip


def evaluation_network(
    p: VideoAccuracyParams, info: DatasetInfo, model: nn.Module | None = None
) -> tuple[VideoModel, list[str]]:
    """The network of `p.checkpoint`, or `model`, and the names of its classes.

    Those of `p.class_list`, a file, or `sorted`: the table's by name, which is the order of video-nonlocal-net's and
    pytorch-resnet3d's Kinetics weights. Else those that its checkpoint names. Else the table's in their order, which is
    printed, since another order would give wrong answers.

    Raises CheckpointError where nothing tells the preprocessing, or another number of classes is named; WeightsError,
    ModelError or ConvertError for what cannot be opened or read.
    """
    if model is None:
        model = open_checkpoint(p.checkpoint, p.model)
    else:
        model = adopt(model, len(info.classes))
        if not {"mean", "std"} <= set(model.preprocessing or {}):
            raise ValueError("model: set model.preprocessing to a dict of mean, std, num_frames, frame_stride, …")
        model.preprocessing = UNSAID | model.preprocessing
    if model.classes and model.classes != unnamed(model.num_classes) and not p.class_list:
        return model, model.classes
    if p.class_list in ("", "sorted"):
        names, whose = (sorted(info.classes) if p.class_list else info.classes), info.name
    else:
        names, whose = read_classes(p.class_list), p.class_list
    if len(names) != model.num_classes:
        raise CheckpointError(
            f"{p.checkpoint}: a network of {model.num_classes} classes, and {whose} has {len(names)}"
            + ("" if p.class_list else "; their names are not known: class_list names a file with them")
        )
    if not p.class_list:
        name, ends = Path(p.checkpoint).name, f"0 {names[0]!r} to {len(names) - 1} {names[-1]!r}"
        print(f"{name} does not name its classes. They are taken for those of {info.name} in the same order,")
        print(f"{ends}; where that gives mere chance, name a class_list.")
    return model, list(names)


def open_checkpoint(name: str, spec: str = "") -> VideoModel:
    """The network of a checkpoint, or of published weights, that is to answer as it is; `spec` where the checkpoint
    names code. Raises CheckpointError where nothing tells the preprocessing, WeightsError or ModelError."""
    model = create_model(spec or None, pretrained=name)
    if not {"mean", "std"} <= set(model.preprocessing or {}):
        raise CheckpointError(
            f"{name}: nothing tells the mean and std of its clips; `python -m actlib weights convert {name} OUT.pt` "
            "with --mean, --std and what else differs writes a checkpoint that does"
        )
    print(model.load_report)
    return model


def evaluation_protocols(p: VideoAccuracyParams, info: DatasetInfo) -> dict[str, Protocol]:
    """The protocols that `p` names: `clip` always, which is the centre clip and crop, and `video` unless they name no
    more than that; then the last of them in every order of `p.order_check`, by that name. Raises DataError for ten
    crops, of which five are mirrored, where a mirrored class is another."""
    _require_no_mirror(p, info)
    size = {"num_frames": p.num_frames, "frame_stride": p.frame_stride, "short_side": p.short_side}
    size |= {"crop_size": p.crop_size, "loop": p.loop}
    views = {"num_clips": p.num_clips, "num_crops": p.num_crops, "crop_position": p.crop_position}
    protocols = {"clip": Protocol("clip", **size)}
    if p.protocol != "clip" or p.num_crops > 1 or p.crop_position != "center":
        protocols["video"] = Protocol(p.protocol, **size, **views, average=p.average, step=p.window_step)
    last = protocols.get("video", protocols["clip"])
    return protocols | {order: replace(last, order=order) for order in p.order_check}


def _require_no_mirror(p: VideoAccuracyParams, info: DatasetInfo) -> None:
    if p.num_crops == 10 and info.mirrored:
        raise DataError(
            f"num_crops: 10: five of them are mirrored, and a mirrored {sorted(info.mirrored)[0]!r} is another class "
            f"({len(info.mirrored)} classes are); take num_crops: 5"
        )
