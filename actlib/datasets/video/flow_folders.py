"""Optical flow as pairs of grey JPEGs, one of the horizontal (x) and one of the vertical (y) motion: read and computed.

Pair number i (from 0) is the motion from frame i to frame i + 1, so a video has one pair less than it has frames. A
pixel is 0 to 255 for a motion of −20 to 20 pixels a frame, 128 is none (Simonyan & Zisserman, 2014; Wang et al., 2016).
Read without conversion: `00001_x.jpg`, `00001_y.jpg` (action-recognition-pytorch), the same with a prefix
(`image_00001_x.jpg`), and `flow_x_00001.jpg`, `flow_y_00001.jpg` (temporal-segment-networks); counted from 0 or 1.
"""

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from actlib.datasets.errors import DataError, VideoError
from actlib.datasets.video.frame_folders import last_change, resized
from actlib.datasets.video.pyav_reader import VideoInfo
from actlib.files import write_text

if TYPE_CHECKING:
    import torch  # whoever reads flow alone, as a worker that probes it, starts seconds sooner

BOUND = 20.0  # pixels a frame; a longer motion counts as this
STACK = 5  # consecutive pairs that make one input of a network
_CHUNK_BYTES = 64 << 20  # decoded frames that are held while flow is computed
_NAMES = (  # prefix, axis or number, number or axis, suffix
    re.compile(r"(?P<prefix>.*?)(?P<number>\d+)_(?P<axis>[xy])(?P<suffix>\.(?:jpe?g|png))"),
    re.compile(r"(?P<prefix>(?:.*_)?)(?P<axis>[xy])_(?P<number>\d+)(?P<suffix>\.(?:jpe?g|png))"),
)


@dataclass(frozen=True)
class _Pairs:
    """How a folder's pairs are named (`form` as in "{number:05d}_{axis}.jpg"), the first number, and how many."""

    form: str
    first: int
    count: int

    def name(self, axis: str, index: int) -> str:
        return self.form.format(axis=axis, number=self.first + index)


def probe_flow(folder: str | Path) -> VideoInfo:
    """The number of pairs and the size of the first; fps is 0, a folder does not tell it. Raises VideoError."""
    pairs = _find_pairs(folder)
    height, width = _read_pair(folder, pairs, 0).shape[1:]
    return VideoInfo(num_frames=pairs.count, fps=0.0, width=width, height=height)


def read_flow(folder: str | Path, indices: Sequence[int], *, stack: int = STACK) -> np.ndarray:
    """For each index (any order, repeats allowed) `stack` consecutive pairs from that one on: uint8 (T, H, W, 2·stack),
    the channels x, y of the first pair, x, y of the second, and so on. Past the end the last pair is repeated.

    The index after the last pair is allowed too: tables that count a video's frames have one more. Each distinct file
    is decoded once. Raises VideoError, naming the file, ValueError for unusable arguments.
    """
    indices = np.asarray(indices)
    if indices.ndim != 1 or indices.size == 0 or not np.issubdtype(indices.dtype, np.integer):
        raise ValueError(f"indices must be a non-empty list of whole numbers, got {indices.tolist()!r}")
    if stack < 1:
        raise ValueError(f"stack is {stack}: at least one pair makes an input")
    pairs = _find_pairs(folder)
    for index in (indices.min(), indices.max()):
        if not 0 <= index <= pairs.count:
            raise VideoError(folder, f"flow {index} does not exist: the folder has {pairs.count} pairs")
    wanted = np.minimum(indices[:, None] + np.arange(stack), pairs.count - 1)
    distinct, places = np.unique(wanted, return_inverse=True)
    found: np.ndarray | None = None
    for place, index in enumerate(distinct):
        pair = _read_pair(folder, pairs, int(index))
        if found is None:
            found = np.empty((len(distinct), *pair.shape), dtype=np.uint8)
        elif pair.shape != found.shape[1:]:
            sizes = f"{pair.shape[2]}×{pair.shape[1]} pixels, others {found.shape[3]}×{found.shape[2]}"
            raise VideoError(Path(folder) / pairs.name("x", int(index)), f"has {sizes}; compute the folder's flow anew")
        found[place] = pair
    clip = found[places.reshape(wanted.shape)]  # (T, stack, 2, H, W)
    return np.ascontiguousarray(clip.reshape(len(wanted), 2 * stack, *found.shape[2:]).transpose(0, 2, 3, 1))


def write_flow(
    path: str | Path,
    folder: str | Path,
    *,
    short_side: int = 0,
    jpeg_quality: int = 90,
    template: str = "00001.jpg",
) -> int:
    """Compute the optical flow of the video `path` (any that `sources` reads) into `folder`; returns how many pairs.

    Dense inverse search (Kroeger et al., 2016) on grey frames, whose short side is first reduced to `short_side`
    pixels (0, or a smaller video: as it is). `template` is the first frame's name: 00001.jpg gives 00001_x.jpg and
    00001_y.jpg. The folder appears whole or not at all, with the number of pairs in its file `n_frames`; what a killed
    process left beside it is removed. Raises VideoError, FileExistsError, DataError without OpenCV.
    """
    cv2 = _opencv()
    from actlib.datasets.video.reader import probe  # that module reads flow with this one

    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder}: exists already; delete it to compute its flow anew")
    form = _form_of(template)
    info = probe(path)
    if info.num_frames < 2:
        raise VideoError(path, "has a single frame, and optical flow is the motion between two")
    partial = folder.with_name(f".{folder.name}.partial")  # always the same name, so that a second try clears it
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # videos are computed in parallel, each in a process
    try:
        search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        count, before = 0, None
        for frame in _grey_frames(path, info, short_side):
            if before is not None:
                count += 1
                for axis, values in zip("xy", np.moveaxis(search.calc(before, frame, None), -1, 0)):
                    image = Image.fromarray(flow_to_image(values))
                    image.save(partial / form.format(axis=axis, number=count), quality=jpeg_quality)
            before = frame
        write_text(partial / "n_frames", f"{count}\n")
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        cv2.setNumThreads(threads)
    return count


def pictures(clip: "torch.Tensor") -> np.ndarray:
    """A clip to look at: uint8 (T, C, H, W) to (T, H, W, 3). Of optical flow the first pair of each stack is shown in
    grey, x above y under a white line: (T, 2·H + 2, W, 3). Grey is no motion, white a third of the largest to the right
    or down, black to the left or up: most motions are small."""
    if clip.shape[1] != 3:
        import torch

        shown = (128 + 3 * (clip[:, :2].int() - 128)).clamp(0, 255).to(torch.uint8)
        line = torch.full_like(shown[:, :1, :2], 255)
        clip = torch.cat([shown[:, :1], line, shown[:, 1:]], dim=2).expand(-1, 3, -1, -1)
    return clip.permute(0, 2, 3, 1).contiguous().numpy()


def flow_to_image(flow: np.ndarray) -> np.ndarray:
    """Motion in pixels, any shape, to uint8: −20 and less to 0, none to 128, 20 and more to 255."""
    return np.rint((np.clip(flow, -BOUND, BOUND) + BOUND) * (255 / (2 * BOUND))).astype(np.uint8)


def _grey_frames(path, info: VideoInfo, short_side: int):
    """All frames in order, uint8 (H, W), a part of the video decoded at a time."""
    import cv2

    from actlib.datasets.video.reader import read_frames

    factor = min(1.0, short_side / min(info.width, info.height)) if short_side else 1.0
    size = max(1, round(info.height * factor)), max(1, round(info.width * factor))
    step = max(8, _CHUNK_BYTES // (3 * info.width * info.height))
    for begin in range(0, info.num_frames, step):
        frames = read_frames(path, np.arange(begin, min(begin + step, info.num_frames)))
        if size != frames.shape[1:3]:
            frames = resized(frames, size)
        yield from (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames)


def _opencv():
    try:
        import cv2
    except ImportError as error:
        raise DataError(f"computing optical flow needs OpenCV ({error}): pip install -e '.[flow]'") from error
    return cv2


def _form_of(template: str) -> str:
    found = re.fullmatch(r"([^/{}]*?)(\d+)(\.jpg)", template)
    if not found:
        raise ValueError(f"template {template!r}: the name of a first frame is needed, such as image_00001.jpg")
    return f"{found[1]}{{number:0{len(found[2])}d}}_{{axis}}{found[3]}"


def _find_pairs(folder) -> _Pairs:
    return _list_pairs(str(folder), last_change(folder))


@lru_cache(maxsize=1 << 14)
def _list_pairs(folder: str, changed: int) -> _Pairs:
    """`changed` is there for the cache alone: a folder that something was added to is listed again."""
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise VideoError(folder, f"cannot be opened: {error.strerror}") from None
    numbers: dict[str, dict[str, list[str]]] = {}  # by form and axis
    for name in names:
        found = next((found for pattern in _NAMES if (found := pattern.fullmatch(name))), None)
        if found:
            place = {found.start("number"): "{number}", found.start("axis"): "{axis}"}
            first, second = (place[each] for each in sorted(place))
            prefix = found["prefix"].replace("{", "{{").replace("}", "}}")
            form = f"{prefix}{first}_{second}{found['suffix']}"
            numbers.setdefault(form, {"x": [], "y": []})[found["axis"]].append(found["number"])
    if not numbers:
        raise VideoError(folder, "holds no pairs of optical flow such as 00001_x.jpg and 00001_y.jpg")
    if len(numbers) > 1:
        raise VideoError(folder, f"holds pairs of several kinds: {', '.join(sorted(numbers))}; keep one of them")
    ((form, found),) = numbers.items()
    width = min(map(len, found["x"] + found["y"]))
    form = form.replace("{number}", f"{{number:0{width}d}}")
    x, y = (sorted(map(int, found[axis])) for axis in "xy")
    first, last = min(x[:1] + y[:1]), max(x[-1:] + y[-1:])
    pairs = _Pairs(form, first, last - first + 1)
    if not len(x) == len(y) == pairs.count:
        held = set(names)
        wanted = (pairs.name(axis, index) for index in range(pairs.count) for axis in "xy")
        missing = next((name for name in wanted if name not in held), "a number stands twice, or a file")
        raise VideoError(folder, f"{missing} is missing; compute the folder's flow anew or copy it again")
    listed = Path(folder) / "n_frames"
    if listed.is_file():
        text = listed.read_text(errors="replace").strip()
        if text not in (str(pairs.count), str(pairs.count + 1)):  # beside a video's frames it counts those
            raise VideoError(folder, f"its n_frames says {text!r}, it holds {pairs.count} pairs; copy it again")
    return pairs


def _read_pair(folder, pairs: _Pairs, index: int) -> np.ndarray:
    """uint8 (2, H, W): x and y."""
    images = []
    for axis in "xy":
        path = Path(folder) / pairs.name(axis, index)
        try:
            with Image.open(path) as image:
                images.append(np.asarray(image.convert("L")))
        except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for a file that is none, or cut off
            raise VideoError(path, f"cannot be read: {str(error).splitlines()[0]}") from None
    if images[0].shape != images[1].shape:
        raise VideoError(path, "differs in size from its x; compute the folder's flow anew")
    return np.stack(images)
