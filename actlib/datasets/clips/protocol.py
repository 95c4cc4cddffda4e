"""Evaluation protocols: which views of a video are shown to the network, and the words that name them."""

from dataclasses import dataclass

import numpy as np

from actlib.datasets.clips import crops, sampling
from actlib.datasets.vocabulary import (
    AVERAGES,
    LOOPS,
    NUM_CROPS,
    ONE_CLIP,
    ORDERS,
    PARTIAL_WINDOWS,
    POSITIONS,
    PROTOCOLS,
)

# What one clip is called, and several.
CLIP_WORDS = {
    "clip": "centre clip",
    "begin": "first clip",
    "video": "all non-overlapping clips",
    "even": "first clip",
    "views": "centre clip",
    "dense": "dense clip",
    "uniform": "uniform clip",
}
SEVERAL_CLIPS = {"even": "{} even clips", "views": "{} clips", "dense": "{} dense clips", "uniform": "{} uniform clips"}
ORDER_WORDS = {"reversed": "frames reversed", "shuffled": "frames shuffled", "frozen": "one frame repeated"}


@dataclass(frozen=True)
class Protocol:
    """The views of one video; its prediction is the mean of their scores (`average`: of softmax or of logits).

    - `clip`: the centre clip. With one crop and averaged over videos this is the clip accuracy.
    - `begin`: the first clip.
    - `video`: every window of T · stride frames from the first on, without overlap, or every `step` frames
      (3D-ResNets-PyTorch, Efficient-3DCNNs). They keep a last window that the video has but the beginning of;
      `partial_windows` `drop` leaves it out if that is less than half.
    - `even`: at most `num_clips` of such windows, their step such that they reach the end (3D-ResNets-PyTorch's
      validation).
    - `views`: `num_clips` clips, their centres evenly spread (pytorch-resnet3d: 10 × 3 crops; it draws the three
      crops at random, here they lie left, centre and right).
    - `dense`: `num_clips` clips, their starts evenly spread, going on at the beginning (action-recognition-pytorch).
    - `uniform`: `num_clips` clips of one frame from each of T segments; no stride (the same).

    Each clip × `num_crops` crops of crop_size × crop_size pixels (see `crops.eval_boxes`) of the frames resized to
    `short_side`; a single one lies at `crop_position`. `order` shows what a network makes of the order of a clip's
    frames: `reversed`, `shuffled` (otherwise in each clip of each video), `frozen` (the middle one T times).
    Raises ValueError for what does not go together.
    """

    kind: str
    num_frames: int
    frame_stride: int
    short_side: int
    crop_size: int
    num_clips: int = 1
    num_crops: int = 1
    step: int = 0
    loop: str = "taken"
    partial_windows: str = "keep"
    crop_position: str = "center"
    average: str = "softmax"
    order: str = "forward"

    def __post_init__(self):
        for name, value, known in (
            ("protocol", self.kind, PROTOCOLS),
            ("num_crops", self.num_crops, NUM_CROPS),
            ("loop", self.loop, LOOPS),
            ("partial_windows", self.partial_windows, PARTIAL_WINDOWS),
            ("crop_position", self.crop_position, POSITIONS),
            ("average", self.average, AVERAGES),
            ("order", self.order, ORDERS),
        ):
            if value not in known:
                raise ValueError(f"{name} {value!r}: expected one of {', '.join(map(str, known))}")
        if self.num_clips < 1:
            raise ValueError(f"num_clips is {self.num_clips}; it must be at least 1")
        if self.kind in ONE_CLIP and self.num_clips != 1:
            several = ", ".join(SEVERAL_CLIPS)
            raise ValueError(f"num_clips {self.num_clips} belongs to protocols {several}; {self.kind} has its own")
        if self.crop_size > self.short_side:
            raise ValueError(f"crop_size {self.crop_size} is larger than short_side {self.short_side}; raise that one")
        if self.step < 0 or (self.step and self.kind != "video"):
            raise ValueError(f"step {self.step} belongs to protocol video, from 1 on; here it is {self.kind}")
        if self.partial_windows == "drop" and self.kind != "video":
            raise ValueError(f"partial_windows drop belongs to protocol video; here it is {self.kind}")
        if self.crop_position != "center" and self.num_crops != 1:
            raise ValueError(f"crop_position {self.crop_position} belongs to num_crops 1, not {self.num_crops}")

    def windows(self, n: int, video: int = 0) -> np.ndarray:
        """Frame numbers of the clips of a video (or segment) of `n` frames: int64 (K, T). `video`: its number, from
        which `shuffled` draws."""
        windows = self._in_order(n)
        if self.order == "reversed":
            return windows[:, ::-1]
        if self.order == "shuffled":
            return np.random.default_rng(video).permuted(windows, axis=1)
        if self.order == "frozen":
            return np.repeat(windows[:, [self.num_frames // 2]], self.num_frames, axis=1)
        return windows

    def _in_order(self, n: int) -> np.ndarray:
        size, loop = (n, self.num_frames, self.frame_stride), self.loop
        if self.kind == "clip":
            return sampling.center_window(*size, loop)[None]
        if self.kind == "begin":
            return sampling.begin_window(*size, loop)[None]
        if self.kind == "video":
            return sampling.sliding_windows(*size, self.step or None, loop, self.partial_windows)
        if self.kind == "even":
            return sampling.even_windows(*size, self.num_clips, loop)
        if self.kind == "views":
            return sampling.centred_windows(*size, self.num_clips, loop)
        if self.kind == "dense":
            return sampling.dense_windows(*size, self.num_clips)
        return sampling.uniform_windows(n, self.num_frames, self.num_clips)

    def boxes(self, height: int, width: int) -> list[tuple[crops.Box, bool]]:
        """Crops of frames of `height` × `width` pixels: boxes of the resized ones, and whether each is mirrored."""
        grid = self.kind in ("dense", "uniform")  # action-recognition-pytorch's places
        resized = crops.scaled(height, width, self.short_side)
        return crops.eval_boxes(*resized, self.crop_size, self.num_crops, self.crop_position, grid=grid)

    def __str__(self) -> str:
        clips = CLIP_WORDS[self.kind]
        if self.num_clips > 1:
            clips = SEVERAL_CLIPS[self.kind].format(self.num_clips)
        if self.step and self.step != self.num_frames * self.frame_stride:
            clips = f"all clips in steps of {self.step} frames"
        crops = f"{self.num_crops} crops" if self.num_crops > 1 else f"{self.crop_position.replace('_', ' ')} crop"
        crops = crops.replace("center", "centre")
        words = [f"{clips} × {crops} @ {self.crop_size}", f"{self.num_frames} frames"]
        strided = self.frame_stride > 1 and self.kind != "uniform"
        if strided:
            words.append(f"stride {self.frame_stride}")
        if strided and self.loop == "span" and self.kind != "dense":
            words.append("short videos looped before the stride")
        if self.partial_windows == "drop":
            words.append("last window left out if mostly repeated")
        if self.average == "logits":
            words.append("logits averaged")
        if self.order != "forward":
            words.append(ORDER_WORDS[self.order])
        return ", ".join(words)
