"""Image networks of timm (the extra `timm`) on every frame of a clip: TSN, TAM or TSM, as `tsn_timm backbone=resnet18`.

For TSN any backbone with a linear head will do, transformers too. TAM and TSM stand in front of the first convolution
of every residual block, inside its branch, as in `resnet2d`, so the backbone must be of BLOCKS. State dicts equal
timm's, with TAM's own weights under `tams` besides. Of timm's ResNets they compute what tsn_, tam_ and tsm_resnet
without temporal stride do (TSM in every block, at any depth). timm is imported when such a network is asked for.
"""

from functools import cache, partial

import torch
from torch import nn

from actlib.messages import did_you_mean
from actlib.models.parts.heads import SMALL_HEAD_STD, FrameClassifier
from actlib.models.parts.layers import init_conv_and_norm
from actlib.models.parts.options import ModelError, check_positive
from actlib.models.parts.temporal import TemporalAggregation, TemporalShift, fold_time, unfold_time
from actlib.models.parts.variants import register_of_library

# timm's blocks whose branch begins with a convolution: of ResNets and RegNets, ConvNeXts, MobileNets and EfficientNets.
BLOCKS = ("BasicBlock", "Bottleneck", "ConvNeXtBlock", "InvertedResidual", "EdgeResidual", "DepthwiseSeparableConv")


class _Mixing:
    """Mixes the frames of a convolution's input: its hook. Copied along with the network, as no function would be."""

    def __init__(self, mixer: nn.Module, network: "_FrameByFrame"):
        self.mixer, self.network = mixer, network

    def __call__(self, conv: nn.Module, inputs: tuple[torch.Tensor]) -> torch.Tensor:
        return self.mixer(inputs[0], self.network.clip_frames)


class _FrameByFrame(FrameClassifier):
    """What a class of timm's gets in front of it. N tokens of a transformer are features (B, C, T, N, 1)."""

    image_class: type[nn.Module]

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        self.clip_frames = x.shape[2]  # for what mixes them
        try:
            maps = self.image_class.forward_features(self, fold_time(x))
        except AssertionError as error:  # of backbones with positions for one size
            raise ModelError(f"{self.spec}: {error}") from None
        self.tokens = maps.ndim == 3
        self.channels_last = self.tokens or getattr(self, "output_fmt", "") == "NHWC"
        maps = maps.movedim(-1, 1) if self.channels_last else maps
        return unfold_time(maps[..., None] if self.tokens else maps, self.clip_frames)

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        maps = fold_time(features).squeeze(-1) if self.tokens else fold_time(features)
        maps = maps.movedim(1, -1) if self.channels_last else maps
        vectors = self.image_class.forward_head(self, maps, pre_logits=True)
        return self.classify(vectors).unflatten(0, (-1, features.shape[2])).mean(dim=1)


@cache
def _class_of(kind: type[nn.Module]) -> type[_FrameByFrame]:
    return type(kind.__name__, (_FrameByFrame, kind), {"image_class": kind, "__module__": kind.__module__})


def _build(mixing: str, num_classes: int, backbone: str, num_frames: int, **options) -> _FrameByFrame:
    check_positive("num_frames", num_frames)
    import timm

    try:
        network = timm.create_model(backbone, num_classes=num_classes)
    except RuntimeError as error:
        raise ModelError(f"backbone={backbone}: {error}{did_you_mean(backbone, timm.list_models())}") from None
    if not isinstance(network.get_classifier(), nn.Linear):
        raise ModelError(f"backbone={backbone}: its head is not one linear layer")
    network.__class__ = _class_of(type(network))
    network.classifier_name, network.dropout = network.pretrained_cfg["classifier"], nn.Dropout(0.5)
    if mixing == "tsn":
        return network
    blocks = [each for each in network.modules() if type(each).__name__ in BLOCKS]
    firsts = [next(each for each in block.modules() if isinstance(each, nn.Conv2d)) for block in blocks]
    if not firsts:
        raise ModelError(f"backbone={backbone}: no residual block of it begins with a convolution; tsn_timm takes it")
    make_mixer = partial(TemporalAggregation if mixing == "tam" else TemporalShift, **options)
    mixers = [make_mixer(conv.in_channels) for conv in firsts]
    for conv, mixer in zip(firsts, mixers):
        conv.register_forward_pre_hook(_Mixing(mixer, network))
    if mixing == "tam":
        network.tams = nn.ModuleList(mixers)
        init_conv_and_norm(network.tams)
    else:
        network.head_std = SMALL_HEAD_STD
    return network


_FRAMES = {"backbone": "resnet50", "num_frames": 8}
_BLEND = {"blending_frames": 3, "blending_method": "sum", "depthwise": True}
for _mixing, _more in {"tsn": {}, "tam": _BLEND, "tsm": {"shift_div": 8}}.items():
    register_of_library("timm", "timm", f"{_mixing}_timm", _FRAMES | _more, partial(_build, _mixing))
