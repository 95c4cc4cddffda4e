"""Evaluation protocols: which views of a video are shown to the network, and the words that name them."""

from dataclasses import dataclass

import numpy as np

from actlib.datasets import sampling

KINDS = ("clip", "video", "views")


@dataclass(frozen=True)
class Protocol:
    """The views of one video; its prediction is the mean of their softmax scores.

    - `clip`: the centre clip, centre crop: one view. Averaged over videos this is the clip accuracy.
    - `video`: every window of T · stride frames from the first on, without overlap, centre crop (3D-ResNets-PyTorch).
    - `views`: `num_clips` evenly spread clips × `num_crops` crops (pytorch-resnet3d: 10 × 3).
    """

    kind: str
    num_frames: int
    frame_stride: int
    short_side: int
    crop_size: int
    num_clips: int = 1
    num_crops: int = 1

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"protocol {self.kind!r}: expected one of {', '.join(KINDS)}")
        if self.kind != "views" and (self.num_clips, self.num_crops) != (1, 1):
            raise ValueError(f"num_clips and num_crops belong to protocol views; {self.kind} has its own")

    def windows(self, n: int) -> np.ndarray:
        """Frame numbers of the clips of a video (or segment) of `n` frames: int64 (K, T)."""
        if self.kind == "clip":
            return sampling.center_window(n, self.num_frames, self.frame_stride)[None]
        if self.kind == "video":
            return sampling.sliding_windows(n, self.num_frames, self.frame_stride)
        return sampling.even_windows(n, self.num_frames, self.frame_stride, self.num_clips)

    def __str__(self) -> str:
        if self.kind == "clip":
            views = "centre clip × centre crop"
        elif self.kind == "video":
            views = "all non-overlapping clips × centre crop"
        else:
            clips = "centre clip" if self.num_clips == 1 else f"{self.num_clips} clips"
            views = f"{clips} × " + ("centre crop" if self.num_crops == 1 else f"{self.num_crops} crops")
        stride = f", stride {self.frame_stride}" if self.frame_stride > 1 else ""
        return f"{views} @ {self.crop_size}, {self.num_frames} frames{stride}"
