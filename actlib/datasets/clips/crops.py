"""Where crops lie: boxes (top, left, height, width) in pixels of a frame, the random ones drawn from torch's generator.

Nothing here touches pixels; `transforms` cuts the boxes out.
"""

import math

import torch

from actlib.datasets.vocabulary import NUM_CROPS, POSITIONS

Box = tuple[int, int, int, int]
ASPECT = (3 / 4, 4 / 3)
# Places of a box in quarters of the room that it leaves, (down, right): action-recognition-pytorch's, from TSN.
GRID_CORNERS = ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2))
GRID = GRID_CORNERS + ((2, 0), (2, 4), (4, 2), (0, 2), (1, 1), (1, 3), (3, 1), (3, 3))


def draw(count: int) -> int:
    """One of 0 … count − 1; where there is no choice, nothing is drawn."""
    return int(torch.randint(count, ())) if count > 1 else 0


def scaled(height: int, width: int, short_side: int) -> tuple[int, int]:
    """(height, width) of a frame whose short side is made `short_side`; the long one is rounded down, as all four
    references and torchvision do."""
    if height < width:
        return short_side, int(short_side * width / height)
    return int(short_side * height / width), short_side


def box_at(position: str, height: int, width: int, size: int) -> Box:
    """A square at one of `POSITIONS` of a frame. The CornerCrop of 3D-ResNets-PyTorch and Efficient-3DCNNs."""
    if position == "center":
        return round((height - size) / 2), round((width - size) / 2), size, size
    vertical, horizontal = position.split("_")
    return (0 if vertical == "top" else height - size), (0 if horizontal == "left" else width - size), size, size


def three_boxes(height: int, width: int, size: int) -> list[Box]:
    """Left, centre, right of a wide frame; top, centre, bottom of a tall one."""
    top, left, _, _ = middle = box_at("center", height, width, size)
    if width >= height:
        return [(top, 0, size, size), middle, (top, width - size, size, size)]
    return [(0, left, size, size), middle, (height - size, left, size, size)]


def grid_boxes(height: int, width: int, box: tuple[int, int], places=GRID) -> list[Box]:
    """A box (height, width) at `places` of a frame, in steps of a quarter of the room rounded down: the outermost may
    stop up to three pixels short of the edge. action-recognition-pytorch's fixed crops."""
    down, right = (height - box[0]) // 4, (width - box[1]) // 4
    return [(y * down, x * right, *box) for y, x in places]


def grid_three_boxes(height: int, width: int, size: int) -> list[Box]:
    """action-recognition-pytorch's three crops, in its order: left, right, centre, or top, bottom, centre."""
    places = ((0, 2), (4, 2), (2, 2)) if width < height else ((2, 0), (2, 4), (2, 2))
    return grid_boxes(height, width, (size, size), places)


def eval_boxes(
    height: int, width: int, size: int, num_crops: int, position: str = "center", *, grid: bool = False
) -> list[tuple[Box, bool]]:
    """The `num_crops` squares of `size` that evaluation shows of a resized frame, each with whether it is mirrored.

    1: the centre, or another of `POSITIONS` · 3: left, centre, right of a wide frame (top, centre, bottom of a tall
    one) · 5: corners and centre · 10: those and their mirror images. With `grid`, more than one crop lie where
    action-recognition-pytorch puts them, which may be up to three pixels from the edge. Raises ValueError for another
    number or position, and for a crop that is larger than the resized frame.
    """
    if num_crops not in NUM_CROPS:
        raise ValueError(f"num_crops is {num_crops}: expected one of {', '.join(map(str, NUM_CROPS))}")
    if position not in POSITIONS:
        raise ValueError(f"crop_position {position!r}: expected one of {', '.join(POSITIONS)}")
    if min(height, width) < size:
        raise ValueError(f"crop_size {size} is larger than the resized frame of {width}×{height}; raise short_side")
    if num_crops == 1:
        boxes = [box_at(position, height, width, size)]
    elif num_crops == 3:
        boxes = (grid_three_boxes if grid else three_boxes)(height, width, size)
    elif grid:
        boxes = grid_boxes(height, width, (size, size), GRID_CORNERS)
    else:
        boxes = [box_at(each, height, width, size) for each in (*POSITIONS[1:], "center")]
    return [(box, mirrored) for mirrored in ([False, True] if num_crops == 10 else [False]) for box in boxes]


def random_box(height: int, width: int, size: int) -> Box:
    """A square of `size` anywhere in the frame, each place equally likely, the last ones included."""
    return draw(height - size + 1), draw(width - size + 1), size, size


def random_resized_box(height: int, width: int, scale_min: float) -> Box:
    """A box of `scale_min` to 1 of the frame's area and an aspect ratio of 3/4 to 4/3 (Szegedy et al., 2015).

    The draws and boxes of torchvision's RandomResizedCrop.get_params, by a test; its import takes as long as torch's.
    """
    low, high = torch.log(torch.tensor(ASPECT)).tolist()
    for _ in range(10):
        area = height * width * torch.empty(1).uniform_(scale_min, 1).item()
        aspect = torch.empty(1).uniform_(low, high).exp().item()
        h, w = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < h <= height and 0 < w <= width:
            return int(torch.randint(height - h + 1, (1,))), int(torch.randint(width - w + 1, (1,))), h, w
    # the largest in the middle
    h, w = min(height, round(width / ASPECT[0])), min(width, round(height * ASPECT[1]))
    return (height - h) // 2, (width - w) // 2, h, w


def multi_scale_box(height: int, width: int, scales: tuple[float, ...], positions: str) -> Box:
    """A square of a drawn share of the frame's short side, rounded down, at a drawn place.

    `positions`: random (anywhere; Efficient-3DCNNs' MultiScaleRandomCrop), corner (the four corners or the centre;
    3D-ResNets-PyTorch's and Efficient-3DCNNs' MultiScaleCornerCrop) or center. All scales and all places are equally
    likely (there, the place is drawn from as many as there are scales, and a centred square has an even side).
    """
    size = max(1, int(min(height, width) * scales[draw(len(scales))]))
    if positions == "random":
        return random_box(height, width, size)
    return box_at(POSITIONS[draw(len(POSITIONS))] if positions == "corner" else "center", height, width, size)


def multi_scale_fixed_box(height: int, width: int, scales: tuple[float, ...], crop_size: int) -> Box:
    """A box whose sides are drawn shares of the frame's short side, not more than one scale apart, at one of 13 places.

    Sides within 2 pixels of `crop_size` become it, where the frame is large enough, so that nothing is resized.
    action-recognition-pytorch's GroupMultiScaleCrop, from TSN.
    """
    sides = [max(1, int(min(height, width) * scale)) for scale in scales]
    heights = [crop_size if abs(side - crop_size) < 3 and crop_size <= height else side for side in sides]
    widths = [crop_size if abs(side - crop_size) < 3 and crop_size <= width else side for side in sides]
    count = len(sides)
    pairs = [(heights[i], widths[j]) for i in range(count) for j in range(count) if abs(i - j) <= 1]
    return grid_boxes(height, width, pairs[draw(len(pairs))])[draw(len(GRID))]
