"""Inception v1 over the frames of a clip, alone (TSN) or with a module that mixes the frames (TAM, TSM).

"Going Deeper with Convolutions" (Szegedy et al., CVPR 2015), torchvision's GoogLeNet without its auxiliary heads, with
BN (eps 1e-3) and ReLU after every convolution. A module joins four branches over the channels:
    y = [conv 1×1 (x);  conv 3×3 (conv 1×1 (x));  conv 3×3 (conv 1×1 (x));  conv 1×1 (max-pool 3×3 (x))]
(the paper's 5×5 is 3×3, as in the published ImageNet weights.) The three stem convolutions and nine modules are
followed by TAM in the TAM network. The TSM network has the shift (temporal.py has the equations of both)
    inplace:   before conv2 and before every module, as in mit-han-lab/temporal-shift-module's BN-Inception
    residual:  before the two 3×3 branches of every module; the 1×1 and the pooling branch see the frame itself. A
               module has no shortcut to leave unshifted, so this is the nearest to it; no reference has such a network
With `temporal_stride`, a pool of 3 frames and stride 2 follows the last three max-pools.
State dicts of TSN and TAM equal those of IBM/action-recognition-pytorch; those of TSN and TSM equal torchvision's.
The layers start as PyTorch starts them, as in the reference, which always goes on from ImageNet weights.
"""

from functools import partial

import torch
from torch import nn

from actlib.models.parts.temporal import FrameNetwork, TemporalAggregation, TemporalShift, fold_time, unfold_time
from actlib.models.registry import register_model


class InceptionV1(FrameNetwork):
    """Inception v1 on every frame. frames: the options of FrameNetwork."""

    def __init__(self, num_classes: int, **frames: object):
        from actlib.models.parts.googlenet import OUT_CHANNELS, BasicConv2d, MixingInception, googlenet_layers

        super().__init__(num_classes, **frames)
        layers = googlenet_layers(BasicConv2d, MixingInception)
        self.layer_names = tuple(layers)
        first_convs = {
            name: next(module for module in layer.modules() if isinstance(module, nn.Conv2d))
            for name, layer in layers.items()
            if not name.startswith("maxpool")
        }
        entering = {name: conv.in_channels for name, conv in first_convs.items()}
        leaving = dict(zip(entering, [*list(entering.values())[1:], OUT_CHANNELS]))
        shifted = {"residual": "inception", "inplace": ("conv2", "inception")}.get(self.placement, ())
        for name, layer in layers.items():
            if name.startswith(shifted):
                self.add_module(_beside("shift", name), self.make_mixer(entering[name]))
            self.add_module(name, layer)
            if self.make_mixer and self.placement is None and name in leaving:
                self.add_module(_beside("tam", name), self.make_mixer(leaving[name]))
        self.dropout = nn.Dropout(0.5)
        self.fc = self.new_classifier(OUT_CHANNELS, num_classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        num_frames = x.shape[2]
        x = fold_time(x)
        for name in self.layer_names:
            x = self._run_layer(name, x, num_frames)
            if name in ("maxpool2", "maxpool3", "maxpool4"):
                x, num_frames = self.pool_time(x, num_frames)
        return unfold_time(x, num_frames)

    def _run_layer(self, name: str, x: torch.Tensor, num_frames: int) -> torch.Tensor:
        """One layer with the shift before and TAM after it, where there are any."""
        layer = getattr(self, name)
        shift, tam = (getattr(self, _beside(kind, name), None) for kind in ("shift", "tam"))
        if shift is None:
            x = layer(x)
        elif self.placement == "inplace":
            x = layer(shift(x, num_frames))
        else:
            x = layer(x, shift(x, num_frames))
        return x if tam is None else tam(x, num_frames)


def _beside(kind: str, layer_name: str) -> str:
    """The reference's name of what mixes the frames at a layer: tam2 at conv2, tam3a at inception3a."""
    return kind + layer_name.removeprefix("conv").removeprefix("inception")


@register_model
def tsn_inception_v1(
    num_classes: int, *, num_frames: int = 8, temporal_stride: bool = True, pooling: str = "max"
) -> InceptionV1:
    """Inception v1 on every frame; see the top of this file."""
    return InceptionV1(num_classes, num_frames=num_frames, temporal_stride=temporal_stride, pooling=pooling)


@register_model
def tam_inception_v1(
    num_classes: int,
    *,
    num_frames: int = 8,
    temporal_stride: bool = True,
    pooling: str = "max",
    blending_frames: int = 3,
    blending_method: str = "sum",
    depthwise: bool = True,
) -> InceptionV1:
    """Inception v1 with TAM after every layer; see the top of this file."""
    frames = {"num_frames": num_frames, "temporal_stride": temporal_stride, "pooling": pooling}
    blend = {"blending_frames": blending_frames, "blending_method": blending_method, "depthwise": depthwise}
    return InceptionV1(num_classes, **frames, make_mixer=partial(TemporalAggregation, **blend))


@register_model
def tsm_inception_v1(
    num_classes: int,
    *,
    num_frames: int = 8,
    temporal_stride: bool = False,  # TSM's own networks have none
    pooling: str = "max",
    placement: str = "residual",
    shift_div: int = 8,
) -> InceptionV1:
    """Inception v1 with the temporal shift; see the top of this file."""
    frames = {"num_frames": num_frames, "temporal_stride": temporal_stride, "pooling": pooling}
    shift = partial(TemporalShift, shift_div=shift_div)
    return InceptionV1(num_classes, **frames, placement=placement, make_mixer=shift)
