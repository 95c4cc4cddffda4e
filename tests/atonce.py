"""The views of evaluation by the plainest rule, all at once in memory: what the package's must be equal to."""

import numpy as np
import torch

from actlib.datasets.clips.crops import eval_boxes
from actlib.datasets.clips.transforms import as_clip, cut, mirror, resize_short_side
from actlib.datasets.video.reader import read_frames


def eval_crops(clip, short_side, crop_size, num_crops, position="center", *, grid=False) -> torch.Tensor:
    """Resize the short side and cut the views: (T, C, H, W) -> (num_crops, T, C, crop_size, crop_size)."""
    clip = resize_short_side(clip, short_side)
    boxes = eval_boxes(*clip.shape[-2:], crop_size, num_crops, position, grid=grid)
    return torch.stack([mirror(cut(clip, box)) if mirrored else cut(clip, box) for box, mirrored in boxes])


def all_views(data, index) -> list[torch.Tensor]:
    """Of each protocol of an `EvaluationViews` the views of a video, clip by clip: uint8 (V, T, C, size, size)."""
    begin, end = data.segment(index)
    found = []
    for protocol in data.protocols.values():
        how = protocol.short_side, protocol.crop_size, protocol.num_crops, protocol.crop_position
        windows = begin + protocol.windows(end - begin, index)
        needed, places = np.unique(windows, return_inverse=True)
        frames = as_clip(read_frames(data.paths[index], needed, modality=data.modality, backend=data.backend))
        crops = eval_crops(frames, *how, grid=protocol.kind in ("dense", "uniform"))
        found.append(crops[:, torch.from_numpy(places.reshape(windows.shape))].transpose(0, 1).flatten(0, 1))
    return found
