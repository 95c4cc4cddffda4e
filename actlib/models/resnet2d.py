"""2-D ResNets over the frames of a clip, with (TAM) and without (TSN) a module that mixes the frames.

TSN: "Temporal Segment Networks" (Wang et al., ECCV 2016): every frame on its own, the frames' logits averaged.
TAM: the temporal aggregation module of "More Is Less: Learning Efficient Video Representations by Big-Little Network
and Depthwise Temporal Aggregation" (Fan et al., NeurIPS 2019), in front of the first convolution of every block:
    TAM(x)[t] = ReLU(blend over j of W_j · x[t + j]),   j = -r/2 … r/2,   x outside the clip is 0
with r = `blending_frames`, W_j a 1×1 convolution (depthwise, or over all channels) and blend the sum or the maximum.
The block is that of the image network: y = ReLU(F(TAM(x)) + S(x)), S the identity or conv 1×1 and BN.
With `temporal_stride`, a pool of 3 frames and stride 2 follows each of the first three stages.
State dicts equal those of IBM/action-recognition-pytorch, and without TAM those of torchvision's ResNets.
"""

import torch
import torch.nn.functional as F
from torch import nn

from actlib.models.registry import ModelError, VideoModel, check_choice, check_positive, register_model, scale_width
from actlib.models.resnet import BLOCK_COUNTS, STAGE_WIDTHS, init_conv_and_norm

DEPTHS = (18, 34, 50, 101, 152)


def fold_time(x: torch.Tensor) -> torch.Tensor:
    """(B, C, T, H, W) to a batch of images (B·T, C, H, W)."""
    return x.transpose(1, 2).flatten(0, 1)


def unfold_time(x: torch.Tensor, num_frames: int) -> torch.Tensor:
    """(B·T, C, H, W) back to (B, C, T, H, W)."""
    return x.unflatten(0, (-1, num_frames)).transpose(1, 2)


def temporal_pool(x: torch.Tensor, num_frames: int, method: str) -> tuple[torch.Tensor, int]:
    """Pool 3 frames with stride 2, one frame of padding at either end. x: (B·T, C, H, W); returns it and the new T.

    The average counts the padding as zeros. It is padded by hand since avg_pool3d refuses clips under 3 frames.
    """
    clips = unfold_time(x, num_frames)
    if method == "max":
        clips = F.max_pool3d(clips, (3, 1, 1), (2, 1, 1), (1, 0, 0))
    else:
        clips = F.avg_pool3d(F.pad(clips, (0, 0, 0, 0, 1, 1)), (3, 1, 1), (2, 1, 1))
    return fold_time(clips), clips.shape[2]


def shift_time(x: torch.Tensor, offset: int) -> torch.Tensor:
    """x: (B, T, …). Returns y with y[:, t] = x[:, t + offset], zero where that lies outside the clip."""
    if offset == 0:
        return x
    num_frames = x.shape[1]
    offset = max(-num_frames, min(offset, num_frames))
    inside = x[:, max(offset, 0) : num_frames + min(offset, 0)]
    return F.pad(inside, (0, 0) * (x.ndim - 2) + (max(-offset, 0), max(offset, 0)))


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


def _downsample(in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    if stride == 1 and in_channels == out_channels:
        return None
    conv = nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


class BasicBlock2D(nn.Module):
    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, tam: TemporalAggregation | None):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _downsample(in_channels, width, stride)
        self.tam = tam

    def forward(self, x: torch.Tensor, num_frames: int) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = x if self.tam is None else self.tam(x, num_frames)
        y = self.relu(self.bn1(self.conv1(y)))
        y = self.bn2(self.conv2(y))
        y += shortcut
        return self.relu(y)


class Bottleneck2D(nn.Module):
    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, tam: TemporalAggregation | None):
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _downsample(in_channels, out_channels, stride)
        self.tam = tam

    def forward(self, x: torch.Tensor, num_frames: int) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = x if self.tam is None else self.tam(x, num_frames)
        y = self.relu(self.bn1(self.conv1(y)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += shortcut
        return self.relu(y)


class ResNet2D(VideoModel):
    """An image ResNet on every frame; dropout 0.5 and the linear layer frame by frame, then the mean over the frames.

    num_frames is the clip length that the network is meant for. Nothing in it depends on that: T is read from the
    input, and a clip of another length works too.
    width_mult scales the channels of every layer; the reference has only 1.0, narrower ones are for small machines.
    tam: the options of TemporalAggregation for the TAM networks, None for TSN.
    """

    def __init__(
        self,
        depth: int,
        num_classes: int,
        *,
        num_frames: int,
        temporal_stride: bool,
        pooling: str,
        width_mult: float,
        tam: dict | None,
    ):
        super().__init__()
        check_positive("num_frames", num_frames)
        check_choice("pooling", pooling, ("max", "avg"))
        self.num_classes = num_classes
        self.temporal_stride = temporal_stride
        self.pooling = pooling
        block = BasicBlock2D if depth < 50 else Bottleneck2D
        widths = [scale_width(width, "width_mult", width_mult) for width in STAGE_WIDTHS]
        channels = widths[0]
        self.conv1 = nn.Conv2d(3, channels, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        for stage, (count, width) in enumerate(zip(BLOCK_COUNTS[depth], widths), start=1):
            blocks = []
            for index in range(count):
                stride = 2 if stage > 1 and index == 0 else 1
                blocks.append(block(channels, width, stride, TemporalAggregation(channels, **tam) if tam else None))
                channels = width * block.expansion
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.dropout = nn.Dropout(0.5)
        self.fc = self.new_classifier(channels, num_classes)
        init_conv_and_norm(self)  # W_j of TAM too: the reference's N(0, 2/C), of either sign

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        num_frames = x.shape[2]
        x = self.maxpool(self.relu(self.bn1(self.conv1(fold_time(x)))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                x = block(x, num_frames)
            if self.temporal_stride and stage is not self.layer4:
                x, num_frames = temporal_pool(x, num_frames, self.pooling)
        return unfold_time(x, num_frames)

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        frames = features.mean(dim=(3, 4)).transpose(1, 2)  # (B, T', C)
        logits = self.fc(self.dropout(frames.flatten(0, 1)))
        return logits.unflatten(0, frames.shape[:2]).mean(dim=1)


def _register(depth: int) -> None:
    def tsn(
        num_classes: int,
        *,
        num_frames: int = 8,
        temporal_stride: bool = True,
        pooling: str = "max",
        width_mult: float = 1.0,
    ) -> ResNet2D:
        common = {"num_frames": num_frames, "temporal_stride": temporal_stride, "pooling": pooling}
        return ResNet2D(depth, num_classes, **common, width_mult=width_mult, tam=None)

    def tam(
        num_classes: int,
        *,
        num_frames: int = 8,
        temporal_stride: bool = True,
        pooling: str = "max",
        blending_frames: int = 3,
        blending_method: str = "sum",
        depthwise: bool = True,
        width_mult: float = 1.0,
    ) -> ResNet2D:
        common = {"num_frames": num_frames, "temporal_stride": temporal_stride, "pooling": pooling}
        module = {"blending_frames": blending_frames, "blending_method": blending_method, "depthwise": depthwise}
        return ResNet2D(depth, num_classes, **common, width_mult=width_mult, tam=module)

    for kind, entry in {"tsn": tsn, "tam": tam}.items():
        entry.__name__ = f"{kind}_resnet{depth}"
        entry.__doc__ = f"ResNet-{depth} on every frame, {kind.upper()}; see the top of this file."
        register_model(entry)


for _depth in DEPTHS:
    _register(_depth)
