"""3-D wide ResNet: "Wide Residual Networks" (Zagoruyko and Komodakis, BMVC 2016), 3-D by Hara et al. (CVPR 2018).

The bottleneck of resnet.py with `widen_k` times the width, and twice that width (not four times) at its end:
    y = ReLU(F(x) + S(x)),   F: conv 1×1×1 to k·w → conv 3×3×3 → conv 1×1×1 to 2·k·w;   w = 64, 128, 256, 512
State dicts equal those of kenshohara/3D-ResNets-PyTorch, whose branches have different stems: 64 channels in CVPR2018
(release=2018), k·64 in master (release=2020).
"""

from actlib.models.parts.options import check_positive, check_release
from actlib.models.parts.residual import BLOCK_COUNTS, STAGE_WIDTHS
from actlib.models.registry import register_model
from actlib.models.resnet import Bottleneck, ResNet3D


class WideBottleneck(Bottleneck):
    expansion = 2


@register_model
def wideresnet50(
    num_classes: int,
    *,
    shortcut: str = "B",
    conv1_t_size: int = 7,
    conv1_t_stride: int = 1,
    max_pool: bool = True,
    widen_k: int = 2,
    release: int = 2018,
) -> ResNet3D:
    """3-D wide ResNet-50; see the top of this file."""
    check_positive("widen_k", widen_k)
    check_release(release)
    counts, widths = BLOCK_COUNTS[50], tuple(width * widen_k for width in STAGE_WIDTHS)
    stem = STAGE_WIDTHS[0] if release == 2018 else None
    options = (shortcut, conv1_t_size, conv1_t_stride, max_pool)
    return ResNet3D(num_classes, WideBottleneck, counts, widths, *options, stem_width=stem)
