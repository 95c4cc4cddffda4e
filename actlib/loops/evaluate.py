"""Evaluation: every video's prediction from all its views, each needed frame decoded once.

A video that cannot be decoded is in the result all the same, named, with its reason, and counts as wrong: an
accuracy over fewer videos than were asked for is a different number.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from actlib.datasets.clips import EvaluationViews, Views, evaluation_loader
from actlib.datasets.protocol import Protocol
from actlib.loops.device import to_float
from actlib.models.execution import Execution
from actlib.models.folding import fold_batch_norm

COLUMNS = ("video_id", "path", "label", "prediction", "score", "rank", "correct", "views", "error")


@dataclass
class Predictions:
    """The result of one protocol.

    `table`: a row a video. `score` is the softmax score of the prediction, 0 to 1; `rank` the place of the true
    label among the scores, 1 is right, empty where the video could not be decoded (`error` says why); `views` how
    many were averaged. `scores`: float32 (videos, classes), NaN for undecodable videos.
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

    def val_json(self, k: int = 5) -> dict:
        """The k best classes of every decoded video in the layout that the reference codebases exchange:
        {"results": {video_id: [{"label", "score"}, …]}}."""
        best = np.argsort(-self.scores, axis=1, kind="stable")[:, :k]
        results = {}
        for row, (video, error) in enumerate(zip(self.table["video_id"], self.table["error"])):
            if not error:
                entries = [(self.classes[index], float(self.scores[row, index])) for index in best[row]]
                results[video] = [{"label": label, "score": round(score, 6)} for label, score in entries]
        return {"results": results}


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
    execution: Execution | None = None,
    batch_size: int = 16,
    num_workers: int = 0,
    progress: Callable[..., Iterable] | None = None,
) -> dict[str, Predictions]:
    """Run `model` over every video of `table` under each of `protocols`, in one pass over the files.

    `mean`, `std` and `channel_order` are the network's (see `device.to_float`).
    The views of successive videos share batches of `batch_size`, whatever their number a video, so memory does
    not grow with it. `progress(iterable, total=…, desc=…)` wraps the videos. A copy of the model in evaluation mode
    does the work, its batch norms folded into its convolutions (see `models.folding`).
    """
    dataset = EvaluationViews(table, classes, list(protocols.values()))
    loader = evaluation_loader(dataset, num_workers=num_workers)
    videos = progress(loader, total=len(dataset), desc="videos") if progress else loader
    execution = execution or Execution()
    shape = (len(protocols), len(table))
    sums = np.zeros((*shape, len(classes)), dtype=np.float64)
    views = np.zeros(shape, dtype=np.int64)
    errors = [""] * len(table)
    folded = None
    with torch.inference_mode():
        for clips, owners in _batches(videos, batch_size, errors):
            clips = to_float(clips, device, mean=mean, std=std, channel_order=channel_order, execution=execution)
            if folded is None:
                folded = fold_batch_norm(model, clips[:1])
            with execution.autocast(device):
                logits = folded(clips)
            scores = logits.float().softmax(dim=1).cpu().numpy()
            places = tuple(np.array(owners).T)  # (protocol, video) of each view
            np.add.at(sums, places, scores)
            np.add.at(views, places, 1)
    with np.errstate(invalid="ignore"):
        means = (sums / views[..., None]).astype(np.float32)  # 0 / 0 = NaN: no view, no score
    return {
        name: _predictions(table, list(classes), protocol, means[each], views[each], errors)
        for each, (name, protocol) in enumerate(protocols.items())
    }


def protocols_of(p) -> dict[str, Protocol]:
    """The protocols that `params.VideoAccuracyParams` name: `clip` always, `video` unless they name clip alone."""
    size = {name: getattr(p, name) for name in ("num_frames", "frame_stride", "short_side", "crop_size")}
    protocols = {"clip": Protocol("clip", **size)}
    if p.protocol != "clip":
        protocols["video"] = Protocol(p.protocol, **size, num_clips=p.num_clips, num_crops=p.num_crops)
    return protocols


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
    decoded = np.array([not error for error in errors])
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
