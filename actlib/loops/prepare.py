"""A run's data, network, loss and optimiser, made from its parameters, and where it stopped last time.

All that can be wrong with the parameters is found here, before any long work.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.data import Dataset

from actlib.compute.dropout import Noise
from actlib.compute.dropout import over_all_processes as share_dropout
from actlib.compute.execution import Execution
from actlib.compute.processes import ALONE, Ranks
from actlib.compute.sync_norm import over_all_processes
from actlib.datasets.clips.loaders import EpochBatches, TrainingClips, start_workers, training_loader
from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.clips.streams import stream
from actlib.datasets.clips.transforms import train_transform
from actlib.datasets.clips.views import EvaluationViews, evaluation_loader
from actlib.datasets.dataset_info import DatasetInfo
from actlib.datasets.errors import DataError
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
from actlib.loops.losses import balance_in_words, class_counts, make_loss
from actlib.loops.optim import make_optimizer, make_schedule, steps_per_epoch
from actlib.loops.prepare_evaluation import prepare_evaluation
from actlib.loops.running import chosen_execution, devices_of, over_processes
from actlib.loops.travel import made_by_prepare
from actlib.loops.videos import read_videos
from actlib.messages import listed
from actlib.models import VideoModel, create_model
from actlib.models.registry import adopt
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
    ranks: Ranks = ALONE,
    execution: Execution | None = None,
) -> Job | Evaluation:
    """Everything that a run with parameters `p` consists of; a `Job` for notebooks 02 and 03, an `Evaluation` for 04.
    A run that was stopped goes on: the job then holds the network, optimiser and history of its last checkpoint.

    What is given takes the place of ours: `model`, any module from (B, C, T, H, W) to (B, classes); `train_data`, a
    map-style dataset of (clip, label), the label an index into the table's classes; `transform`, from uint8
    (T, C, H, W) as decoded to (T, C, crop_size, crop_size), uint8, or float on the 0-1 scale; `loss`, see `Job`;
    `optimizer`, made already, or a function of parameter groups (`functools.partial(torch.optim.RMSprop, lr=…)`).
    `ranks`: which of the processes of a run this is (see `compute.processes.join`), on a GPU of its own. `execution`:
    how the network runs, where that was chosen already.

    Raises DataError, CheckpointError, WeightsError, ModelError or ValueError, before any long work.
    """
    if isinstance(p, VideoAccuracyParams):
        if any(each is not None for each in (train_data, transform, loss, optimizer)):
            raise ValueError("an evaluation takes a model alone: the rest belongs to training")
        return prepare_evaluation(p, model, ranks, execution)
    if loss is not None and p.class_weights != "none":
        raise ValueError(f"class_weights: {p.class_weights} is for the loss made here; yours weighs clips itself: none")
    given = {"model": model, "train_data": train_data, "transform": transform, "loss": loss, "optimizer": optimizer}
    device, devices = devices_of(p, ranks)
    subsets = ["validation", *(["training"] if train_data is None else [])]
    with told_if_slow(f"reading {p.table}"):
        info, videos, table = read_videos(p.table, subsets, ranks)
    mirrored = _mirrored_index(p, info)
    with told_if_slow("reading the checkpoint to go on from"):
        last = resume.find_checkpoint(p)
    torch.manual_seed(p.seed)
    with told_if_slow("opening the network"):
        model, p = _training_network(p, model, info.classes, last)
    if last:
        resume.require_same(p, info.classes, last)
    if p.sync_bn and ranks.size > 1:
        model = over_all_processes(model, device)
    frozen = freeze(model, p) if isinstance(p, FinetuneParams) else []
    parameter_groups(model, p)  # wrong lr_factors are refused before anything is measured
    train_data = _training_data(p, videos[-1], info, train_data, transform, model)
    val_data = EvaluationViews(
        table, info.classes, {"clip": validation_protocol(p)}, rows=videos[0],
        modality=p.modality, timeout=p.timeout, backend=p.video_backend,
    )  # fmt: skip
    counts = class_counts(p, train_data, info.classes)
    batches = EpochBatches(
        len(train_data), p.batch_size, seed=p.seed, last_batch=p.last_batch, share=ranks.share,
        counts=counts, class_sampling=p.class_sampling,
    )  # fmt: skip
    workers = ranks.share_of_workers(p.num_workers)
    val_loader = evaluation_loader(val_data, num_workers=workers, part=(ranks.rank, ranks.size))
    loader = training_loader(train_data, batches, num_workers=workers, pin_memory=device.type == "cuda")
    # Forked before the device is touched, and before a thread pins memory for it. Who only starts others needs none.
    if device.type == "cuda" and devices == ranks.size:
        with told_if_slow("starting the processes that decode"):
            start_workers(val_loader)
            batches.first = len(batches.sizes)  # no batch yet: which epoch comes first is not known here
            start_workers(loader)
    speeds: dict[str, float] = {}
    if execution is None:
        size, steps = -(-max(batches.sizes) // devices), len(batches.sizes)
        execution, speeds = ranks.of_first(
            _execution(p, model, size, steps, device, last) if ranks.first else None
        )
    if device.type == "cuda" and ranks.size > 1:
        torch.cuda.set_device(device)  # NCCL asks which one is the process's
    with told_if_slow(f"moving the network to {device}"):
        execution.apply_to(model.to(device))
    if p.lr_per != "batch" and optimizer is None and ranks.first:
        print(f"lr: {p.lr:g} for {p.lr_per} clips, {p.base_lr:g} for a step of {p.batch_size * p.accumulate}")
    optimizer = _optimizer(p, model, optimizer, execution)
    if counts is not None and ranks.first:
        print(balance_in_words(p, counts, info.classes))
    loss = loss or make_loss(p, counts)
    schedule, plateau = make_schedule(p, optimizer, steps_per_epoch(p, batches.sizes))
    noise = None
    if ranks.size > 1:
        noise = Noise(ranks, device, p.seed)
        share_dropout(model, noise)
        if ranks.rank:  # weights and dropout are drawn alike, what else a network draws by each for itself
            torch.manual_seed(int(stream(p.seed, "rank", ranks.rank).integers(2**62)))
    job = Job(
        p=p, device=device, devices=devices, ranks=ranks, info=info, classes=info.classes, model=model,
        train_data=train_data, val_data=val_data,
        preprocessing={name: getattr(p, name) for name in PREPROCESSING}, execution=execution, speeds=speeds,
        loss=loss.to(device) if isinstance(loss, nn.Module) else loss, optimizer=optimizer, schedule=schedule,
        plateau=plateau, batches=batches, loader=loader, val_loader=val_loader, frozen=frozen,
        mirrored=None if mirrored is None else mirrored.to(device),
        scaler=execution.scaler(device), parallel=over_processes(model, device, ranks), noise=noise,
    )  # fmt: skip
    if last:
        resume.pick_up(job, last)
    job.made = made_by_prepare(job, given)
    return job


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


def _execution(
    p: TrainingParams, model: VideoModel, batch_size: int, batches: int, device: torch.device, last
) -> tuple[Execution, dict[str, float]]:
    """How the network runs on `batches` an epoch of `batch_size` clips: as it did before, unless that was on another
    kind of device."""
    before = resume.execution_of(last, device) if last else None
    if before:
        before.check(device)
        return before, {}
    return chosen_execution(p, model, batch_size, p.epochs * batches, device, training=True)


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
