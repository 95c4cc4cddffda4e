"""Spatial transforms of a clip: uint8 (T, C, H, W) in, uint8 (T, C, size, size) out.

One random choice holds for the whole clip: a crop that jumped from frame to frame would be motion that is not there.
Pixels stay uint8 here; the device makes them float, normalises, flips and mixes whole batches (`loops`), which is
faster and moves 4 times less. C is 3, or twice the number of stacked pairs of optical flow (x1, y1, x2, y2, …), where
what is made for colours is refused.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from actlib.datasets.clips import crops
from actlib.datasets.vocabulary import CROPS

CROP_SCALES = (1.0, 0.8409, 0.7071, 0.5946, 0.5)  # 2^(-i/4): 3D-ResNets-PyTorch's and Efficient-3DCNNs'
GREY = 128  # what erased boxes show; in optical flow it means no motion

Transform = Callable[[torch.Tensor], torch.Tensor]


def as_clip(frames) -> torch.Tensor:
    """Decoder output uint8 (T, H, W, C) -> tensor (T, C, H, W), without copying."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


def mirror(clip: torch.Tensor) -> torch.Tensor:
    """Left and right change places: uint8 or float (..., C, H, W), the same shape.

    In optical flow (C other than 3) the x components, the even channels, change their sign too: 255 − x, and 1 − x in
    a float clip.
    """
    clip = clip.flip(-1)
    if clip.shape[-3] != 3:
        clip[..., ::2, :, :] = (1 if clip.is_floating_point() else 255) - clip[..., ::2, :, :]
    return clip


def train_transform(
    crop: str,
    short_side: int,
    crop_size: int,
    scale_min: float = 0.25,
    *,
    crop_scales: Sequence[float] = CROP_SCALES,
    short_side_max: int = 0,
    color_jitter: float = 0.0,
    rand_augment: int = 0,
    random_erasing: float = 0.0,
) -> "TrainTransform":
    """The spatial augmentation of training; every random choice is drawn from torch's global generator.

    How the crop of crop_size × crop_size pixels comes about:

    - `random_resized`: a box of `scale_min` to 1 of the frame's area and an aspect ratio of 3/4 to 4/3, resized.
    - `random`: the frame resized to `short_side` (or a side drawn from there to `short_side_max`), then a crop
      anywhere. action-recognition-pytorch's and pytorch-resnet3d's training.
    - `center`: the frame resized to `short_side`, then a crop in the centre: no augmentation.
    - `multi_scale_random`, `multi_scale_corner`, `multi_scale_center`: a square of one of `crop_scales` times the short
      side of the frame as it is: anywhere, in a corner or the centre, or in the centre (see `crops.multi_scale_box`).
    - `multi_scale_fixed`: a box with sides from `crop_scales` at one of 13 places (see `crops.multi_scale_fixed_box`).

    Then, where asked for: `color_jitter`, brightness, contrast and saturation changed by up to this share and hue by a
    quarter of it (hue takes longer than the three others); `rand_augment`, two operations of that magnitude (1 to 30);
    `random_erasing`, for this share of the clips, a grey box of 2 to 33 % of the area. All three are torchvision's.
    Raises ValueError for numbers that cannot be; a clip of optical flow raises it for the first two.
    """
    if crop not in CROPS:
        raise ValueError(f"crop {crop!r}: expected one of {', '.join(CROPS)}")
    if crop in ("random", "center") and short_side < crop_size:
        raise ValueError(f"crop_size {crop_size} is larger than short_side {short_side}")
    if short_side_max and short_side_max < short_side:
        raise ValueError(f"short_side_max {short_side_max} is smaller than short_side {short_side}")
    if not crop_scales or not all(0 < scale <= 1 for scale in crop_scales):
        raise ValueError(f"crop_scales {list(crop_scales)}: at least one, each above 0 and at most 1")
    color, erase = _of_torchvision(color_jitter, rand_augment, random_erasing)
    longest = max(short_side, short_side_max)
    return TrainTransform(crop, (short_side, longest), crop_size, scale_min, tuple(crop_scales), color, erase)


def _of_torchvision(
    color_jitter: float, rand_augment: int, random_erasing: float
) -> tuple[list[Transform], Transform | None]:
    """What changes colours, in order, and what erases: torchvision's, which is imported for them alone, since
    that takes as long as torch's import."""
    if not (color_jitter or rand_augment or random_erasing):
        return [], None
    from torchvision.transforms import InterpolationMode, v2

    jitter, hue = color_jitter, color_jitter / 4
    color: list[Transform] = [v2.ColorJitter(jitter, jitter, jitter, hue)] if color_jitter else []
    if rand_augment:
        interpolation = InterpolationMode.BILINEAR
        color.append(v2.RandAugment(num_ops=2, magnitude=rand_augment, interpolation=interpolation, fill=GREY))
    return color, v2.RandomErasing(random_erasing, value=GREY) if random_erasing else None


class TrainTransform:
    """What `train_transform` returns: called with a clip, it answers the augmented one.

    `last_crop`: of the clip before, for people to look at: the (height, width) that its frames were resized to, and
    the box of these that was cut out.
    """

    last_crop: tuple[tuple[int, int], crops.Box] | None = None

    def __init__(self, crop, short_sides, crop_size, scale_min, crop_scales, color, erase):
        self.crop, self.short_sides, self.crop_size = crop, short_sides, crop_size
        self.scale_min, self.crop_scales, self.color, self.erase = scale_min, crop_scales, color, erase

    def __call__(self, clip: torch.Tensor) -> torch.Tensor:
        if self.color and clip.shape[-3] != 3:
            raise ValueError(
                f"color_jitter and rand_augment are made for 3 colour channels, not {clip.shape[-3]} of optical flow: "
                "set both to 0"
            )
        clip = self._cut(clip)
        for each in self.color:
            clip = each(clip)
        return self.erase(clip) if self.erase else clip

    def _cut(self, clip: torch.Tensor) -> torch.Tensor:
        if self.crop in ("random", "center"):
            shortest, longest = self.short_sides
            clip = resize_short_side(clip, shortest + crops.draw(longest - shortest + 1))
            box = self._square(*clip.shape[-2:])
            self.last_crop = tuple(clip.shape[-2:]), box
            return cut(clip, box)
        box = self._box(*clip.shape[-2:])
        self.last_crop = tuple(clip.shape[-2:]), box
        return crop_resize(clip, *box, (self.crop_size, self.crop_size))

    def _square(self, height: int, width: int) -> crops.Box:
        if self.crop == "random":
            return crops.random_box(height, width, self.crop_size)
        return crops.box_at("center", height, width, self.crop_size)

    def _box(self, height: int, width: int) -> crops.Box:
        if self.crop == "random_resized":
            return crops.random_resized_box(height, width, self.scale_min)
        if self.crop == "multi_scale_fixed":
            return crops.multi_scale_fixed_box(height, width, self.crop_scales, self.crop_size)
        return crops.multi_scale_box(height, width, self.crop_scales, self.crop.removeprefix("multi_scale_"))


def crop_resize(
    clip: torch.Tensor, top: int, left: int, height: int, width: int, size: tuple[int, int]
) -> torch.Tensor:
    """The box of `height` × `width` pixels at (`top`, `left`) of each frame, resized to `size` (H, W), bilinear with
    antialiasing: uint8 (T, C, H, W) of any strides -> uint8 (T, C, *size), in memory ordered as `clip` is.

    Decoded frames have the channels last in memory. For these torch's kernel is three times as fast as for contiguous
    clips, so nothing before this call should make a clip contiguous. The pixels are those of torchvision's
    `v2.functional.resized_crop`, by a test.
    """
    box = cut(clip, (top, left, height, width))
    if (height, width) == tuple(size):
        return box
    return F.interpolate(box, size, mode="bilinear", antialias=True)


def resize_short_side(clip: torch.Tensor, short_side: int) -> torch.Tensor:
    """Frames with a short side of `short_side` pixels and their aspect ratio: uint8 (T, C, H, W) likewise."""
    height, width = clip.shape[-2:]
    return crop_resize(clip, 0, 0, height, width, crops.scaled(height, width, short_side))


def cut(clip: torch.Tensor, box: crops.Box) -> torch.Tensor:
    """The box (top, left, height, width) of every frame, a view."""
    top, left, height, width = box
    return clip[..., top : top + height, left : left + width]
