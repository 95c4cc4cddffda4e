"""SlowFast: "SlowFast Networks for Video Recognition" (Feichtenhofer et al., ICCV 2019), as PyTorchVideo has it.

The fast pathway sees the clip, all T frames, with an eighth of the channels; the slow one T/α of them:
    frames of the slow pathway: linspace(0, T − 1, ⌈T/α⌉), rounded down
After the stem and each stage but the last, what the fast one found goes over to the slow one:
    slow ← [slow, ReLU(BN(conv k×1×1 of fast, stride α in time, to twice its channels))]
The last maps of both are averaged and concatenated. A bottleneck's conv_a is t×1×1: t = 3 in the fast pathway, and in
stages 3 and 4 of the slow one. In `slowfast_r101_16x8` it is 3 in the first six blocks of stage 3, and 1 in the others.

State dicts equal those of facebookresearch/pytorchvideo's hub builders `slowfast_r50`, `slowfast_r101` and
`slowfast_16x8_r101_50_50`. The references take a clip whose T is a multiple of α; here any T ≥ 1 goes.
"""

import torch
from torch import nn
from torch.nn import functional as F

from actlib.models.parts.numbered_blocks import BlockNetwork, space_stem
from actlib.models.parts.options import check_positive
from actlib.models.parts.residual import BLOCK_COUNTS, STAGE_WIDTHS
from actlib.models.registry import register_model
from actlib.models.slow import EXPANSION, split_stage

FAST_SHARE = 8  # the slow pathway's channels are so many times the fast one's
FUSED = 2  # times the fast pathway's channels go over


class FastToSlow(nn.Module):
    """The fast pathway's maps (B, C, T, H, W) as the slow one gets them, (B, 2C, ⌈T/α⌉, H, W)."""

    def __init__(self, channels: int, t_size: int, alpha: int):
        super().__init__()
        self.conv_fast_to_slow = nn.Conv3d(
            channels, FUSED * channels, (t_size, 1, 1), (alpha, 1, 1), padding=(t_size // 2, 0, 0), bias=False
        )
        self.norm = nn.BatchNorm3d(FUSED * channels)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, fast: torch.Tensor) -> torch.Tensor:
        return self.activation(self.norm(self.conv_fast_to_slow(fast)))


class TwoPathways(nn.Module):
    """A stem or stage of each pathway, and what goes over between them. Takes and gives (slow, fast)."""

    def __init__(self, slow: nn.Module, fast: nn.Module, fusion: FastToSlow | None):
        super().__init__()
        self.multipathway_blocks = nn.ModuleList([slow, fast])
        self.multipathway_fusion = fusion

    def forward(self, slow: torch.Tensor, fast: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        slow, fast = (block(x) for block, x in zip(self.multipathway_blocks, (slow, fast)))
        if self.multipathway_fusion is not None:
            slow = torch.cat([slow, self.multipathway_fusion(fast)], dim=1)
        return slow, fast


class Together(nn.Module):
    """The maps of both, (B, C + C', T', H, W): of the fast ones the means of α frames each, so that T' is one."""

    def __init__(self, alpha: int):
        super().__init__()
        self.alpha = alpha

    def forward(self, slow: torch.Tensor, fast: torch.Tensor) -> torch.Tensor:
        window = (min(self.alpha, fast.shape[2]), 1, 1)
        return torch.cat([slow, F.avg_pool3d(fast, window, stride=(self.alpha, 1, 1), ceil_mode=True)], dim=1)


def slow_frames(num_frames: int, alpha: int) -> torch.Tensor:
    """The frames that the slow pathway sees. On the CPU always: elsewhere linspace may round another way."""
    return torch.linspace(0, num_frames - 1, -(-num_frames // alpha), device="cpu").long()


class SlowFast(BlockNetwork):
    """slow_t, fast_t: kernels of conv_a in time by stage. fusion_t: of the convolution that goes over."""

    def __init__(
        self,
        num_classes: int,
        depth: int,
        num_frames: int,
        crop_size: int,
        alpha: int,
        fusion_t: int,
        slow_t: tuple[tuple[int, ...], ...] = ((1,), (1,), (3,), (3,)),
        fast_t: tuple[tuple[int, ...], ...] = ((3,),) * 4,
    ):
        check_positive("alpha", alpha)
        check_positive("fusion_t_size", fusion_t)
        super().__init__(num_classes, num_frames, crop_size, t_stride=alpha)
        self.alpha = alpha
        slow = STAGE_WIDTHS[0]
        fast = slow // FAST_SHARE
        stems = space_stem(slow, 1), space_stem(fast, 5)
        blocks: list[nn.Module] = [TwoPathways(*stems, FastToSlow(fast, fusion_t, alpha))]
        for stage, (count, width) in enumerate(zip(BLOCK_COUNTS[depth], STAGE_WIDTHS)):
            stride = (1, 2, 2) if stage else 1
            pair = (
                split_stage(count, slow + FUSED * fast, width, stride, slow_t[stage]),
                split_stage(count, fast, width // FAST_SHARE, stride, fast_t[stage]),
            )
            slow = width * EXPANSION
            fast = slow // FAST_SHARE
            blocks.append(TwoPathways(*pair, FastToSlow(fast, fusion_t, alpha) if stage < 3 else None))
        self.add_blocks([*blocks, Together(alpha)], slow + fast, dropout=0.5)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, T, H, W), the fast pathway's clip. Returns the maps of both pathways, (B, C', ⌈T/α⌉, H', W')."""
        pair = x.index_select(2, slow_frames(x.shape[2], self.alpha).to(x.device)), x
        *stages, together = self.blocks[:-1]
        for stage in stages:
            pair = stage(*pair)
        return together(*pair)


@register_model
def slowfast_r50(
    num_classes: int, *, num_frames: int = 32, crop_size: int = 224, alpha: int = 4, fusion_t_size: int = 7
) -> SlowFast:
    """SlowFast ResNet-50, 8×8 (4×16 has alpha 8 and fusion_t_size 5); see the top of this file, and BlockNetwork for
    num_frames, that of the fast pathway, and crop_size."""
    return SlowFast(num_classes, 50, num_frames, crop_size, alpha, fusion_t_size)


@register_model
def slowfast_r101(
    num_classes: int, *, num_frames: int = 32, crop_size: int = 224, alpha: int = 4, fusion_t_size: int = 5
) -> SlowFast:
    """SlowFast ResNet-101, 8×8; see `slowfast_r50`."""
    return SlowFast(num_classes, 101, num_frames, crop_size, alpha, fusion_t_size)


@register_model
def slowfast_r101_16x8(
    num_classes: int, *, num_frames: int = 64, crop_size: int = 224, alpha: int = 4, fusion_t_size: int = 5
) -> SlowFast:
    """SlowFast ResNet-101, 16×8, with as many temporal kernels as the ResNet-50; see `slowfast_r50`."""
    few = (3,) * 6 + (1,) * 17
    kernels = {"slow_t": ((1,), (1,), few, (3,)), "fast_t": ((3,), (3,), few, (3,))}
    return SlowFast(num_classes, 101, num_frames, crop_size, alpha, fusion_t_size, **kernels)
