"""Cropping and resizing of uint8 clips, the one place where pixels are interpolated on the CPU."""

import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F


def crop_resize(
    clip: torch.Tensor, top: int, left: int, height: int, width: int, size: tuple[int, int]
) -> torch.Tensor:
    """The box of `height` × `width` pixels at (`top`, `left`) of each frame, resized to `size` (H, W), bilinear with
    antialiasing: uint8 (T, C, H, W) of any strides -> uint8 (T, C, *size), in memory ordered as `clip` is.

    Decoded frames have the channels last in memory. For these torch's kernel is three times as fast as for contiguous
    clips, so nothing before this call should make a clip contiguous.
    """
    return F.resized_crop(clip, top, left, height, width, list(size), InterpolationMode.BILINEAR, antialias=True)
