"""Evaluation: every video's prediction from all its views, each needed frame decoded once.

A video that cannot be decoded is in the result all the same, named, with its reason, and counts as wrong: an
accuracy over fewer videos than were asked for is a different number.

What the reference codebases average over the views of a video: 3D-ResNets-PyTorch (both branches) and
Efficient-3DCNNs the softmax scores; action-recognition-pytorch and pytorch-resnet3d the logits. Both leave one order of
the classes for a single view, but not for several; a protocol says which it is.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from actlib.compute.device import to_float
from actlib.compute.execution import Execution
from actlib.compute.folding import fold_batch_norm
from actlib.datasets.clips.loaders import EvaluationViews, Views, evaluation_loader
from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.clips.transforms import as_clip
from actlib.datasets.dataset_info import Card
from actlib.datasets.errors import DataError
from actlib.datasets.video.flow_folders import pictures
from actlib.datasets.video.reader import read_frames
from actlib.models import VideoModel, create_model
from actlib.models.weights.checkpoint import FORMAT, UNSAID, CheckpointError, model_from_checkpoint
from actlib.models.weights.convert import content, read_classes, unnamed
from actlib.models.weights.fetch import fetch_weights
from actlib.models.weights.file import read_weights

COLUMNS = ("video_id", "path", "label", "prediction", "score", "rank", "correct", "views", "error")
NOT_FINITE = "the network's scores are not finite numbers"


@dataclass
class Predictions:
    """The result of one protocol.

    `table`: a row a video. `score` is the softmax score of the prediction, 0 to 1; `rank` the place of the true
    label among the scores, 1 is right, empty where the video could not be decoded (`error` says why); `views` how
    many were averaged. `scores`: float32 (videos, classes), each row sums to 1 (where the protocol averages logits,
    the softmax of their mean); NaN for undecodable videos.
    """

    protocol: Protocol
    classes: list[str]
    table: pd.DataFrame
    scores: np.ndarray

    def top(self, k: int) -> float:
        """Percent of all videos whose label is among the k highest scores; undecodable ones are wrong."""
        return 100 * float((self.table["rank"] <= k).fillna(False).mean())

    def loss(self) -> float:
        """Mean cross-entropy of the averaged scores over the decodable videos; NaN if there are none."""
        index = {name: number for number, name in enumerate(self.classes)}
        true = self.scores[np.arange(len(self.table)), [index[label] for label in self.table["label"]]]
        true = true[~np.isnan(true)]
        return float(-np.log(np.maximum(true, 1e-12)).mean()) if len(true) else float("nan")

    @property
    def num_decoded(self) -> int:
        return int((self.table["error"] == "").sum())


def evaluate(
    model: nn.Module,
    table: pd.DataFrame,
    classes: list[str],
    protocols: dict[str, Protocol],
    *,
    mean: list[float],
    std: list[float],
    channel_order: str = "rgb",
    device: torch.device,
    modality: str = "rgb",
    timeout: float = 60.0,
    execution: Execution | None = None,
    batch_size: int = 16,
    num_workers: int = 0,
    progress: Callable[..., Iterable] | None = None,
) -> dict[str, Predictions]:
    """Run `model` over every video of `table` under each of `protocols`, in one pass over the files.

    `mean`, `std` and `channel_order` are the network's (see `device.to_float`), and so is `modality`: rgb or flow. A
    video that is not decoded within `timeout` seconds counts as undecodable. A video whose scores are no numbers (a
    network that diverged) has an error that says so, and is wrong.
    The views of successive videos share batches of `batch_size`, whatever their number a video, so memory does
    not grow with it. `progress(iterable, total=…, desc=…)` wraps the videos. A copy of the model in evaluation mode
    does the work, its batch norms folded into its convolutions (see `models.folding`).
    """
    dataset = EvaluationViews(table, classes, list(protocols.values()), modality=modality, timeout=timeout)
    loader = evaluation_loader(dataset, num_workers=num_workers)
    videos = progress(loader, total=len(dataset), desc="videos") if progress else loader
    execution = execution or Execution()
    shape = (len(protocols), len(table))
    sums = np.zeros((*shape, len(classes)), dtype=np.float64)
    views = np.zeros(shape, dtype=np.int64)
    errors = [""] * len(table)
    raw = torch.tensor([protocol.average == "logits" for protocol in protocols.values()])
    folded = None
    with torch.inference_mode():
        for clips, owners in _batches(videos, batch_size, errors):
            clips = to_float(clips, device, mean=mean, std=std, channel_order=channel_order, execution=execution)
            if folded is None:
                folded = fold_batch_norm(model, clips[:1])
            with execution.autocast(device):
                logits = folded(clips)
            logits, places = logits.float().cpu(), tuple(np.array(owners).T)  # (protocol, video) of each view
            scores = torch.where(raw[places[0], None], logits, logits.softmax(dim=1)).numpy()
            np.add.at(sums, places, scores)
            np.add.at(views, places, 1)
    with np.errstate(invalid="ignore"):
        means = torch.from_numpy(sums / views[..., None])  # 0 / 0 = NaN: no view, no score
    means[raw] = means[raw].softmax(dim=-1)
    means = means.float().numpy()
    return {
        name: _predictions(table, list(classes), protocol, means[each], views[each], errors)
        for each, (name, protocol) in enumerate(protocols.items())
    }


def protocols_of(p, mirrored: Collection[str] = ()) -> dict[str, Protocol]:
    """The protocols that `params.VideoAccuracyParams` name: `clip` always, which is the centre clip and crop, and
    `video` unless they name no more than that.

    `mirrored`: the classes that are another class in a mirror (`Card.mirrored`). Raises DataError for ten crops, of
    which five are mirrored, where there are any.
    """
    if p.num_crops == 10 and mirrored:
        raise DataError(
            f"num_crops: 10: five of them are mirrored, and a mirrored {sorted(mirrored)[0]!r} is another class "
            f"({len(mirrored)} classes are); take num_crops: 5"
        )
    size = {name: getattr(p, name) for name in ("num_frames", "frame_stride", "short_side", "crop_size", "loop")}
    views = {name: getattr(p, name) for name in ("num_clips", "num_crops", "crop_position", "average")}
    protocols = {"clip": Protocol("clip", **size)}
    if p.protocol != "clip" or p.num_crops > 1 or p.crop_position != "center":
        protocols["video"] = Protocol(p.protocol, **size, **views, step=p.window_step)
    return protocols


def network_of(source: str, card: Card, class_list: str = "") -> tuple[VideoModel, dict]:
    """The network of `source` in evaluation mode on the CPU, and the content of its checkpoint (see `checkpoint`).

    source: a checkpoint of this project, the name of published weights, or any weights file whose network is known.
    class_list: a file of its classes in index order (see `convert.read_classes`), or `sorted`: those of the table's
    `card` by name, which is the order of video-nonlocal-net's and pytorch-resnet3d's Kinetics weights. Without it they
    are those that the checkpoint names, else those of the card, in its order, if there are as many; that is printed,
    since another order would give wrong answers. Raises WeightsError, ModelError, CheckpointError or ConvertError.
    """
    path = fetch_weights(source)
    if read_weights(path).content.get("format") == FORMAT:
        model, found = model_from_checkpoint(path)
    else:
        model = create_model(pretrained=source).eval()
        print(model.load_report)
        if model.preprocessing is None:
            raise CheckpointError(
                f"{path}: nothing tells the mean and std of its clips; `python -m actlib weights convert {source} "
                "OUT.pt` with --mean, --std and what else differs writes a checkpoint that does"
            )
        names = list(model.classes or unnamed(model.num_classes))
        found = content(model, names, UNSAID | model.preprocessing, source)
    if class_list or found["classes"] == unnamed(model.num_classes):
        if class_list in ("", "sorted"):
            names, whose = (sorted(card.classes) if class_list else list(card.classes)), card.name
        else:
            names, whose = read_classes(class_list), class_list
        if len(names) != model.num_classes:
            raise CheckpointError(
                f"{path}: a network of {model.num_classes} classes, and {whose} has {len(names)}"
                + ("" if class_list else "; their names are not known: class_list names a file with them")
            )
        found["classes"] = names
        if not class_list:
            print(f"{path.name} does not name its classes. They are taken for those of {card.name} in the same order,")
            print(f"0 {names[0]!r} to {len(names) - 1} {names[-1]!r}; where that gives mere chance, name a class_list.")
    return model, found


def frames_of(videos: pd.DataFrame, count: int, *, modality: str = "rgb", timeout: float = 60.0) -> list[np.ndarray]:
    """`count` frames of each video of a table to look at, evenly spread over its segment: uint8 (count, H, W, 3); of
    optical flow x above y (see `flow.pictures`). Raises VideoError."""
    found = []
    for row in videos.itertuples():
        begin = 0 if pd.isna(row.start) else int(row.start)
        end = int(row.num_frames if pd.isna(row.end) else row.end)
        numbers = begin + np.arange(count) * (end - begin) // count
        found.append(pictures(as_clip(read_frames(row.path, numbers, modality=modality, timeout=timeout))))
    return found


def _batches(videos: Iterable[Views], batch_size: int, errors: list[str]) -> Iterator[tuple]:
    """Regroup the views of successive videos: (uint8 (B, T, C, H, W), [(protocol, video), …]); fills in `errors`."""
    clips: list[torch.Tensor] = []
    owners: list[tuple[int, int]] = []
    for video in videos:
        errors[video.index] = video.error
        if video.clips is None:
            continue
        numbers = [number for number, count in enumerate(video.counts) for _ in range(count)]
        for clip, number in zip(video.clips, numbers):
            clips.append(clip)
            owners.append((number, video.index))
            if len(clips) == batch_size:
                yield torch.stack(clips), owners
                clips, owners = [], []
    if clips:
        yield torch.stack(clips), owners


def _predictions(table, classes, protocol, scores, views, errors) -> Predictions:
    index = {name: number for number, name in enumerate(classes)}
    labels = np.array([index[name] for name in table["label"]])
    finite = np.isfinite(scores).all(axis=1)
    errors = [error or ("" if sound else NOT_FINITE) for error, sound in zip(errors, finite)]
    decoded = np.array([not error for error in errors])
    scores = np.where(decoded[:, None], scores, np.float32("nan"))
    order = np.argsort(-np.nan_to_num(scores), axis=1, kind="stable")
    rank = np.argmax(order == labels[:, None], axis=1) + 1
    best = order[:, 0]
    rows = pd.DataFrame(
        {
            "video_id": table["video_id"].to_numpy(),
            "path": table["path"].to_numpy(),
            "label": table["label"].to_numpy(),
            "prediction": [classes[each] if ok else "" for each, ok in zip(best, decoded)],
            "score": np.where(decoded, scores[np.arange(len(best)), best], np.nan),
            "rank": pd.array(np.where(decoded, rank, 0), dtype="Int64"),
            "correct": decoded & (rank == 1),
            "views": views,
            "error": errors,
        }
    )
    rows.loc[~decoded, "rank"] = pd.NA
    return Predictions(protocol, classes, rows[list(COLUMNS)], scores)
