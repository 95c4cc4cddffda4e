"""Spatial transforms of a clip: uint8 (T, C, H, W) in, uint8 (T, C, size, size) out.

torchvision's v2 transforms treat the leading axis as a batch, so one random choice holds for the whole clip:
a crop that jumped from frame to frame would be motion that is not there. Pixels stay uint8 here; the device
makes them float, normalises and flips whole batches (`loops.batch`), which is faster and moves 4 times less.
"""

import torch
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

BILINEAR = InterpolationMode.BILINEAR
CROPS = ("random_resized", "random", "center")
NUM_CROPS = (1, 3, 5, 10)


def as_clip(frames) -> torch.Tensor:
    """Decoder output uint8 (T, H, W, C) -> tensor (T, C, H, W), without copying."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


def train_transform(crop: str, short_side: int, crop_size: int, scale_min: float = 0.25) -> v2.Compose:
    """The spatial augmentation of training.

    `random_resized`: a crop of `scale_min` to 1 of the frame's area and an aspect ratio of 3/4 to 4/3, resized to
    `crop_size` (Szegedy et al., 2015). `random`: the frame resized to `short_side`, then a crop at a random place.
    `center`: the same, in the centre (no augmentation). Raises ValueError for another `crop`.
    """
    if crop == "random_resized":
        return v2.Compose([v2.RandomResizedCrop(crop_size, scale=(scale_min, 1.0), interpolation=BILINEAR)])
    resize = v2.Resize(short_side, interpolation=BILINEAR)
    if crop == "random":
        return v2.Compose([resize, v2.RandomCrop(crop_size)])
    if crop == "center":
        return v2.Compose([resize, v2.CenterCrop(crop_size)])
    raise ValueError(f"crop {crop!r}: expected one of {', '.join(CROPS)}")


def eval_crops(clip: torch.Tensor, short_side: int, crop_size: int, num_crops: int) -> torch.Tensor:
    """Resize the short side and cut `num_crops` views: (T, C, H, W) -> (num_crops, T, C, crop_size, crop_size).

    1: centre · 3: left, centre, right of a wide frame (top, centre, bottom of a tall one) · 5: corners and
    centre · 10: those and their mirror images. Raises ValueError for another number.
    """
    clip = F.resize(clip, [short_side], interpolation=BILINEAR)
    if num_crops == 1:
        return F.center_crop(clip, [crop_size, crop_size])[None]
    if num_crops == 3:
        return torch.stack(_three_crops(clip, crop_size))
    if num_crops == 5:
        return torch.stack(F.five_crop(clip, [crop_size, crop_size]))
    if num_crops == 10:
        return torch.stack(F.ten_crop(clip, [crop_size, crop_size]))
    raise ValueError(f"num_crops is {num_crops}: expected one of {', '.join(map(str, NUM_CROPS))}")


def _three_crops(clip: torch.Tensor, size: int) -> list[torch.Tensor]:
    height, width = clip.shape[-2:]
    if height < size or width < size:
        raise ValueError(f"crop_size {size} is larger than the resized frame of {width}×{height}; raise short_side")
    top, left = (height - size) // 2, (width - size) // 2
    if width >= height:
        corners = [(top, 0), (top, left), (top, width - size)]
    else:
        corners = [(0, left), (top, left), (height - size, left)]
    return [F.crop(clip, y, x, size, size) for y, x in corners]
