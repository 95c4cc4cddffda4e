"""torchvision's video networks under the names `tv_…`, and their published weights.

r3d_18, mc3_18, r2plus1d_18: "A Closer Look at Spatiotemporal Convolutions for Action Recognition" (Tran et al., CVPR
2018); s3d: "Rethinking Spatiotemporal Feature Learning" (Xie et al., ECCV 2018); mvit_v1_b: "Multiscale Vision
Transformers" (Fan et al., ICCV 2021); mvit_v2_s: "MViTv2" (Li et al., CVPR 2022); swin3d_t, _s, _b: "Video Swin
Transformer" (Liu et al., CVPR 2022).
torchvision builds each network. Its class is then one of `torchvision_networks`, which adds to torchvision's the
interface that every model here has. So state dicts equal torchvision's. It is imported once a network or its weights
are asked for: its import takes as long as torch's. A test holds the names below against it.
"""

from typing import TYPE_CHECKING

import torch
from torch import nn

from actlib.models.parts.options import ModelError
from actlib.models.parts.variants import register_variants
from actlib.models.registry import VideoModel

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

NAMES = ("mc3_18", "mvit_v1_b", "mvit_v2_s", "r2plus1d_18", "r3d_18", "s3d", "swin3d_b", "swin3d_s", "swin3d_t")
MVITS = tuple(name for name in NAMES if name.startswith("mvit"))


@register_variants("tv_{}", [name for name in NAMES if name not in MVITS])
def torchvision_network(name: str, num_classes: int) -> VideoModel:
    """A network of torchvision's; see the top of this file."""
    from torchvision import models

    from actlib.models.torchvision_networks import adapted

    return adapted(models.get_model(name, weights=None, num_classes=num_classes), num_classes)


@register_variants("tv_{}", MVITS)
def torchvision_mvit(name: str, num_classes: int, *, num_frames: int = 16, crop_size: int = 224) -> VideoModel:
    """A network of torchvision's for clips of one size; see the top of this file."""
    from torchvision import models

    from actlib.models.torchvision_networks import MViT, adapted

    # torchvision's function builds one size alone; so it tells the settings of each block, and MViT takes those
    for option, value, patch in (("num_frames", num_frames, 2), ("crop_size", crop_size, 4)):
        if value < patch or value % patch:
            raise ModelError(f"{option}={value!r}: a multiple of {patch} is needed, the size of a patch")
    blocks = []

    def record(**settings: object) -> nn.Module:
        blocks.append(settings)
        return nn.Identity()

    with torch.device("meta"):
        models.get_model(name, weights=None, block=record)
    same_in_all = ("residual_pool", "residual_with_cls_embed", "rel_pos_embed", "proj_after_attn")
    network = MViT(
        spatial_size=(crop_size, crop_size),
        temporal_size=num_frames,
        block_setting=[settings["cnf"] for settings in blocks],
        stochastic_depth_prob=blocks[-1]["stochastic_depth_prob"],  # it grows linearly up to the last block's
        num_classes=num_classes,
        **{setting: blocks[0][setting] for setting in same_in_all},
    )
    return adapted(network, num_classes)


def tv_weights(name: str) -> "list[WeightsEnum]":
    """torchvision's published weights of a video network, `tv_r3d_18` or `r3d_18`, its default first.

    Raises ModelError for another name.
    """
    from torchvision import models

    name = name.removeprefix("tv_")
    if name not in NAMES:
        raise ModelError(f"torchvision has no video network {name!r}; it has {', '.join(NAMES)}")
    enum = models.get_model_weights(name)
    return sorted(enum, key=lambda entry: entry is not enum.DEFAULT)
