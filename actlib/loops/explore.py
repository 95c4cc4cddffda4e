"""What a network says of each view of one video, where an evaluation says it of whole videos alone."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch

from actlib.compute.device import to_float
from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.clips.views import EvaluationViews
from actlib.datasets.dataset_info import DatasetInfo, read_dataset_info
from actlib.datasets.errors import VideoError
from actlib.datasets.table import read_table, rows_of
from actlib.loops.job import Evaluation
from actlib.loops.prepare import prepare
from actlib.params import ExploreParams


def view_logits(job: Evaluation, data: EvaluationViews, index: int) -> torch.Tensor:
    """What `job.model` answers to every view of video `index` of `data`: logits float32 (views, classes), in the order
    of `Views`. Raises VideoError where the video cannot be decoded."""
    found, device = None, job.device
    job.model.eval()
    with torch.inference_mode(), job.execution.switched():
        for chunk in data.chunks(index):
            if chunk.error:
                raise VideoError(data.paths[index], chunk.error)
            if found is None:
                found = torch.empty(sum(chunk.counts), len(job.classes))
            for clips, places in zip(chunk.clips.split(job.p.batch_size), _parts(chunk.places, job.p.batch_size)):
                clips = to_float(clips, device, **job.normalisation, execution=job.execution)
                with job.execution.autocast(device):
                    logits = job.model(clips).float().cpu()
                for row, where in zip(logits, places):
                    found[where] = row
    return found


def _parts(places: list, size: int) -> list[list]:
    return [places[begin : begin + size] for begin in range(0, len(places), size)]


@dataclass
class Looking:
    """What the views of a table's videos are shown with. `score(data, index)`: see `view_logits`; None without a
    checkpoint."""

    protocol: Protocol
    classes: list[str]
    modality: str
    score: Callable[[EvaluationViews, int], torch.Tensor] | None


def open_videos(p: ExploreParams) -> tuple[pd.DataFrame, DatasetInfo]:
    """The rows of `p.subset` in `p.table`, and what is known of the data set. Raises DataError."""
    table = read_table(p.table)
    info = read_dataset_info(p.table, table)
    return (table if p.subset == "all" else rows_of(table, p.subset, p.table)), info


def looking(p: ExploreParams, videos: pd.DataFrame, info: DatasetInfo) -> Looking:
    """The network of `p.checkpoint` and the views that it is asked for, with its frames and size; without a checkpoint
    the views alone, with those of the training clips. `videos`, `info`: of `open_videos`. Raises as `prepare`."""
    if p.checkpoint:
        job = prepare(p.evaluation(videos["subset"].iloc[0]))
        protocol = list(job.val_data.protocols.values())[-1]
        return Looking(protocol, job.classes, job.preprocessing["modality"], partial(view_logits, job))
    size = p.num_frames, p.frame_stride, p.short_side, p.crop_size
    views = {"num_clips": p.num_clips, "num_crops": p.num_crops, "crop_position": p.crop_position}
    return Looking(Protocol(p.protocol, *size, **views, loop=p.loop), info.classes, p.modality, None)
