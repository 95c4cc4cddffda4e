"""What networks that treat a clip frame by frame share: folding, pooling, mixing and classifying over time.

TAM: the temporal aggregation module of "More Is Less: Learning Efficient Video Representations by Big-Little Network
and Depthwise Temporal Aggregation" (Fan et al., NeurIPS 2019), keys as in IBM/action-recognition-pytorch:
    TAM(x)[t] = ReLU(blend over j of W_j · x[t + j]),   j = -⌊r/2⌋ … ⌈r/2⌉ - 1,   x outside the clip is 0
with r = `blending_frames`, W_j a 1×1 convolution (depthwise, or over all channels) and blend the sum or the maximum.

TSM: the shift of "TSM: Temporal Shift Module for Efficient Video Understanding" (Lin et al., ICCV 2019), without
parameters, as in mit-han-lab/temporal-shift-module. Of C channels, with n = ⌊C / shift_div⌋ and x outside the clip 0:
    shift(x)[t, c] = x[t + 1, c] for c < n,   x[t - 1, c] for n ≤ c < 2n,   x[t, c] for the rest
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from actlib.models.parts.heads import SMALL_HEAD_STD, FrameClassifier
from actlib.models.parts.layers import pool3d
from actlib.models.parts.options import ModelError, check_choice, check_positive

PLACEMENTS = ("residual", "inplace")  # of the temporal shift: in a block's branch alone, or for the whole block


def fold_time(x: torch.Tensor) -> torch.Tensor:
    """(B, C, T, H, W) to a batch of images (B·T, C, H, W)."""
    return x.transpose(1, 2).flatten(0, 1)


def unfold_time(x: torch.Tensor, num_frames: int) -> torch.Tensor:
    """(B·T, C, H, W) back to (B, C, T, H, W)."""
    return x.unflatten(0, (-1, num_frames)).transpose(1, 2)


def temporal_pool(x: torch.Tensor, num_frames: int, method: str) -> tuple[torch.Tensor, int]:
    """Pool 3 frames with stride 2, one frame of padding at either end. x: (B·T, C, H, W); returns it and the new T."""
    clips = pool3d(unfold_time(x, num_frames), method, (3, 1, 1), (2, 1, 1), (1, 0, 0))
    return fold_time(clips), clips.shape[2]


def shift_time(x: torch.Tensor, offset: int) -> torch.Tensor:
    """x: (B, T, …). Returns y with y[:, t] = x[:, t + offset], zero where that lies outside the clip."""
    if offset == 0:
        return x
    num_frames = x.shape[1]
    offset = max(-num_frames, min(offset, num_frames))
    inside = x[:, max(offset, 0) : num_frames + min(offset, 0)]
    return F.pad(inside, (0, 0) * (x.ndim - 2) + (max(-offset, 0), max(offset, 0)))


class TemporalShift(nn.Module):
    """TSM, the equation at the top of this file. x: (B·T, C, H, W) in and out."""

    def __init__(self, channels: int, shift_div: int):
        super().__init__()
        if not 2 <= shift_div <= channels:
            raise ModelError(
                f"shift_div={shift_div}: from 2 to {channels} is needed, "
                f"so that a layer of {channels} channels can shift 1/shift_div of them either way"
            )
        self.shifted = channels // shift_div

    def forward(self, x: torch.Tensor, num_frames: int) -> torch.Tensor:
        n = self.shifted
        x = x.unflatten(0, (-1, num_frames))
        parts = (shift_time(x[:, :, :n], 1), shift_time(x[:, :, n : 2 * n], -1), x[:, :, 2 * n :])
        return torch.cat(parts, dim=2).flatten(0, 1)


class FrameWeight(nn.Module):
    """W_j: a 1×1 convolution without bias, depthwise or over all channels."""

    def __init__(self, channels: int, depthwise: bool):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels, kernel_size=1, groups=channels if depthwise else 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc1(x)


class TemporalAggregation(nn.Module):
    """TAM, the equation at the top of this file. x: (B·T, C, H, W) in and out."""

    def __init__(self, channels: int, blending_frames: int, blending_method: str, depthwise: bool):
        super().__init__()
        check_choice("blending_method", blending_method, ("sum", "max"))
        if blending_frames < 1:
            raise ModelError(f"blending_frames={blending_frames}: at least 1 is needed, the frame itself")
        self.blend = torch.add if blending_method == "sum" else torch.maximum
        if blending_frames == 3:  # the reference has names of their own, in this order, for the usual window
            for name in ("prev_se", "next_se", "curr_se"):
                self.add_module(name, FrameWeight(channels, depthwise))
        else:
            self.blending_layers = nn.ModuleList(FrameWeight(channels, depthwise) for _ in range(blending_frames))

    def frame_weights(self) -> list[FrameWeight]:
        """W_j from the earliest frame of the window to the latest."""
        if hasattr(self, "curr_se"):
            return [self.prev_se, self.curr_se, self.next_se]
        return list(self.blending_layers)

    def forward(self, x: torch.Tensor, num_frames: int) -> torch.Tensor:
        weights = self.frame_weights()
        blended = None
        for offset, weight in enumerate(weights, start=-(len(weights) // 2)):
            shifted = shift_time(weight(x).unflatten(0, (-1, num_frames)), offset)
            blended = shifted if blended is None else self.blend(blended, shifted)
        return F.relu(blended.flatten(0, 1))


class FrameNetwork(FrameClassifier):
    """An image network on every frame, alone or with a module that mixes the frames.

    Dropout 0.5 and the linear layer work frame by frame; then the mean over the frames.
    num_frames is the clip length that the network is meant for. Nothing in it depends on that: T is read from the
    input, and a clip of another length works too.
    make_mixer(channels) makes a TemporalAggregation, or with a placement a TemporalShift; without it, TSN.
    """

    def __init__(
        self,
        num_classes: int,
        num_frames: int,
        temporal_stride: bool,
        pooling: str,
        make_mixer: Callable[[int], nn.Module] | None = None,
        placement: str | None = None,
    ):
        super().__init__(num_classes)
        check_positive("num_frames", num_frames)
        check_choice("pooling", pooling, ("max", "avg"))
        if placement is not None:
            check_choice("placement", placement, PLACEMENTS)
            self.head_std = SMALL_HEAD_STD
        self.temporal_stride, self.pooling = temporal_stride, pooling
        self.make_mixer, self.placement = make_mixer, placement

    def pool_time(self, x: torch.Tensor, num_frames: int) -> tuple[torch.Tensor, int]:
        """x: (B·T, C, H, W). With `temporal_stride` every second frame is left; returns x and the new T."""
        return temporal_pool(x, num_frames, self.pooling) if self.temporal_stride else (x, num_frames)


def mit_tsm_key(key: str) -> str:
    """The key in our state dict of a key in mit-han-lab's TSM and TSN ResNet checkpoints.

    There the image network is `base_model`, its head `new_fc`, and what follows a shift hangs in `net`:
    `module.base_model.layer1.0.conv1.net.weight` is our `layer1.0.conv1.weight`.
    """
    parts = [part for part in key.split(".") if part not in ("module", "base_model", "net")]
    return ".".join("fc" if part == "new_fc" else part for part in parts)
