"""What an evaluation consists of: the network of a checkpoint with its classes, the videos and their views."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from actlib.compute.execution import Execution
from actlib.compute.processes import Ranks
from actlib.datasets.clips.loaders import start_workers
from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.clips.views import EvaluationViews, evaluation_loader
from actlib.datasets.dataset_info import DatasetInfo
from actlib.datasets.errors import DataError
from actlib.loops.finetune import inherit_preprocessing
from actlib.loops.job import Evaluation
from actlib.loops.running import chosen_execution, devices_of
from actlib.loops.travel import made_by_prepare
from actlib.loops.videos import read_videos
from actlib.models import VideoModel, create_model
from actlib.models.registry import adopt
from actlib.models.weights.checkpoint import UNSAID, CheckpointError
from actlib.models.weights.convert import read_classes, unnamed
from actlib.params import VideoAccuracyParams
from actlib.progress import told_if_slow


def prepare_evaluation(
    p: VideoAccuracyParams, model: nn.Module | None, ranks: Ranks, execution: Execution | None
) -> Evaluation:
    given = {"model": model}
    device, devices = devices_of(p, ranks)
    with told_if_slow(f"reading {p.table}"):
        info, (rows,), table = read_videos(p.table, [p.subset], ranks)
    _require_no_mirror(p, info)
    with told_if_slow("opening the network"):
        model, classes = evaluation_network(p, info, model)
    p = inherit_preprocessing(p, model, p.checkpoint)
    protocols = evaluation_protocols(p, info)
    data = EvaluationViews(
        table, classes, protocols, rows=rows,
        modality=model.preprocessing["modality"], timeout=p.timeout, backend=p.video_backend,
    )  # fmt: skip
    workers = ranks.share_of_workers(p.num_workers)
    loader = evaluation_loader(data, num_workers=workers, part=(ranks.rank, ranks.size))
    if device.type == "cuda" and devices == ranks.size:  # see above
        with told_if_slow("starting the processes that decode"):
            start_workers(loader)
    length = int(np.median((rows.ends - rows.begins).numpy()))
    views = len(rows) * sum(len(each.windows(length)) * each.num_crops for each in protocols.values())
    size, steps = -(-p.batch_size // devices), views // p.batch_size
    speeds: dict[str, float] = {}
    if execution is None:
        execution, speeds = ranks.of_first(
            chosen_execution(p, model.eval(), size, steps, device, training=False) if ranks.first else None
        )
    execution.apply_to(model.to(device))
    job = Evaluation(
        p=p, device=device, devices=devices, ranks=ranks, info=info, classes=classes, model=model.eval(),
        val_data=data, val_loader=loader,
        preprocessing=model.preprocessing, execution=execution, speeds=speeds,
    )  # fmt: skip
    job.made = made_by_prepare(job, given)
    return job


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
        windows = {"step": p.window_step, "partial_windows": p.partial_windows}
        protocols["video"] = Protocol(p.protocol, **size, **views, **windows, average=p.average)
    last = protocols.get("video", protocols["clip"])
    return protocols | {order: replace(last, order=order) for order in p.order_check}


def _require_no_mirror(p: VideoAccuracyParams, info: DatasetInfo) -> None:
    if p.num_crops == 10 and info.mirrored:
        raise DataError(
            f"num_crops: 10: five of them are mirrored, and a mirrored {sorted(info.mirrored)[0]!r} is another class "
            f"({len(info.mirrored)} classes are); take num_crops: 5"
        )
