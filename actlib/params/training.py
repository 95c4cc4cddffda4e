"""Parameters of 02_train and 03_finetune."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from actlib.datasets import vocabulary
from actlib.params.base import (
    Above0,
    DeviceParams,
    InputPath,
    Positive,
    Share,
    WeightsPath,
    check_model,
    default,
)

Sampling = Literal[*vocabulary.SAMPLINGS]
Loop = Literal[*vocabulary.LOOPS]
Backend = Literal[*vocabulary.VIDEO_BACKENDS]


class _TrainingParams(DeviceParams):
    """What training and fine-tuning share."""

    table: InputPath = default("outputs/demo/motion/table.csv", "annotation table written by 01_data_prep")
    num_frames: int = default(8, "T: frames of a clip", ge=1)
    frame_stride: int = default(2, "step between the frames of a clip", ge=1)
    short_side: int = default(48, "pixels of the short side before a random or centre crop", ge=16)
    crop_size: int = default(48, "pixels, height and width of a clip", ge=16)
    mean: list[float] = default(
        [0.4345, 0.4051, 0.3775], "of the channels, or one for all, 0-1 scale", min_length=1, max_length=3
    )
    std: list[Above0] = default(
        [0.2768, 0.2713, 0.2737], "of the channels, or one for all, 0-1 scale", min_length=1, max_length=3
    )
    channel_order: Literal["rgb", "bgr"] = default("rgb", "order of the channels, of mean and std too: rgb or bgr")
    modality: Literal["rgb", "flow"] = default("rgb", "rgb, or flow: pairs of optical flow beside the frames")
    sampling: Sampling = default("random", f"frames of a training clip: {', '.join(vocabulary.SAMPLINGS)}")
    loop: Loop = default("taken", "short videos repeat their frames after the stride (taken) or before it (span)")
    crop: Literal[*vocabulary.CROPS] = default(
        "random_resized", "in training: random_resized, random, center, multi_scale_random, …_corner, …_center, …_fixed"
    )
    scale_min: float = default(0.8, "random_resized: smallest share of the frame's area", gt=0, le=1)
    crop_scales: list[Share] = default(
        [1.0, 0.8409, 0.7071, 0.5946, 0.5],
        "multi_scale: sides of the crop as shares of the short side",
        min_length=1,
    )
    short_side_max: int = default(0, "random: short side drawn from short_side up to this; 0: short_side", ge=0)
    flip: bool = default(False, "mirror half of the clips left to right (not where that changes the label)")
    flip_labels: Literal["refuse", "swap"] = default(
        "refuse", "where a mirrored class is another class: refuse to flip, or swap the two labels"
    )
    color_jitter: Share = default(0.0, "strength of random brightness, contrast and saturation; a quarter for hue")
    rand_augment: int = default(0, "magnitude of RandAugment's two operations, 1 to 30; 0: none", ge=0, le=30)
    random_erasing: Share = default(0.0, "share of the clips in which a random box is erased")
    mixup: float = default(0.0, "alpha of mixup; 0: none", ge=0)
    cutmix: float = default(0.0, "alpha of CutMix; 0: none. With mixup too, each batch takes one of them", ge=0)
    batch_size: Positive = default(16, "clips of a batch")
    last_batch: Literal["spread", "keep", "drop"] = default(
        "spread", "clips that do not fill a batch: spread over the last two batches, keep (a small batch) or drop"
    )
    accumulate: Positive = default(1, "batches whose gradients are summed before a step")
    epochs: Positive = default(8, "passes over the training videos")
    optimizer: Literal["sgd", "adamw"] = default("adamw", "sgd or adamw")
    lr: float = default(0.005, "learning rate after warm-up", gt=0)
    momentum: Annotated[Share, Field(lt=1)] = default(0.9, "sgd")
    dampening: Share = default(0.0, "sgd")
    nesterov: bool = default(False, "sgd")
    weight_decay: float = default(0.01, "L2 penalty (sgd) or decoupled decay (adamw)", ge=0)
    no_decay: Literal["none", "norms_and_biases"] = default(
        "none", "parameters without weight decay: none, or norms_and_biases"
    )
    schedule: Literal["cosine", "multistep", "plateau", "constant"] = default(
        "cosine", "of the learning rate: cosine, multistep, plateau or constant"
    )
    milestones: list[Positive] = default([4, 6], "multistep: epochs after which the rate is multiplied by gamma")
    gamma: float = default(0.1, "multistep and plateau: factor of the learning rate", gt=0, lt=1)
    patience: int = default(5, "plateau: epochs without a better validation loss before gamma", ge=0)
    warmup_epochs: float = default(0.0, "epochs in which the learning rate rises linearly", ge=0)
    label_smoothing: Annotated[Share, Field(lt=1)] = default(0.0, "share of the label spread over all classes")
    clip_grad: float = default(0.0, "largest norm of the gradient; 0: no limit", ge=0)
    checkpoint_every: int = default(0, "also keep a checkpoint every so many epochs; 0: last and best alone", ge=0)
    checkpoint_minutes: float = default(
        30.0, "a long epoch also writes last.pt every so many minutes; 0: at its end alone", ge=0
    )
    resume: str = default("auto", "auto: go on where this run folder stopped; never; or a checkpoint's path")
    max_replacements: int = default(10, "tries to replace a clip that cannot be decoded", ge=0)
    num_workers: int = default(2, "processes that decode", ge=0)
    video_backend: Backend = default("auto", "what decodes video files: auto (pyav), pyav or decord")
    timeout: float = default(60.0, "seconds for one clip before its video counts as undecodable", gt=0)
    seed: int = default(0, "of weights, order, clips and crops", ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = []
        if 0 < self.short_side < self.crop_size:
            problems.append(f"crop_size: {self.crop_size}: larger than short_side {self.short_side}")
        if 0 < self.short_side_max < self.short_side:
            problems.append(f"short_side_max: {self.short_side_max}: smaller than short_side {self.short_side}")
        if self.short_side_max and self.crop != "random":
            problems.append(f"short_side_max: {self.short_side_max}: belongs to crop: random, not {self.crop}")
        if not all(self.crop_scales):
            problems.append(f"crop_scales: {self.crop_scales}: shares above 0")
        for name in ("mean", "std"):
            value = getattr(self, name)
            if len(value) not in (0, 1, 3):
                problems.append(f"{name}: {value}: three numbers are needed, one a channel, or one for all")
            if self.modality == "flow" and len(value) > 1:
                example = {"mean": [0.5], "std": [0.226]}[name]
                problems.append(f"{name}: {value}: modality flow needs one for all its channels, such as {example}")
        if self.modality == "flow":
            for name, plain in (("color_jitter", 0), ("rand_augment", 0)):
                if getattr(self, name) != plain:
                    problems.append(
                        f"{name}: {getattr(self, name)}: is made for colours; set {plain} for modality flow"
                    )
            if self.channel_order == "bgr":
                problems.append("channel_order: 'bgr': is of colours; set rgb for modality flow")
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            problems.append("nesterov: True: needs momentum above 0 and dampening 0")
        if self.schedule == "multistep" and self.milestones != sorted(set(self.milestones)):
            problems.append(f"milestones: {self.milestones}: they must rise")
        if self.warmup_epochs >= self.epochs:
            problems.append(f"warmup_epochs: {self.warmup_epochs:g}: must be below epochs {self.epochs}")
        if problems:
            raise ValueError("\n  - ".join(problems))
        return self


class TrainParams(_TrainingParams):
    """02_train: a network from scratch."""

    run_dir: str = default("outputs/train", "the run folder: everything is written here")
    model: str = default(
        "resnet10 widen_factor:0.25 conv1_t_size:3", "network, with options as in: resnet18 shortcut:A"
    )

    _model = field_validator("model")(check_model)


class FinetuneParams(_TrainingParams):
    """03_finetune: a trained network on new classes. 0, an empty list or '' take the checkpoint's value."""

    run_dir: str = default("outputs/finetune", "the run folder: everything is written here")
    pretrained: WeightsPath = default(
        "outputs/demo/train_resnet10/checkpoints/best.pt", "checkpoint, or a published one's name, to start from"
    )
    table: InputPath = default("outputs/demo/motion_finetune/table.csv", "annotation table written by 01_data_prep")
    model: str = default("", "network to start with weights of an image network; empty: the checkpoint's own")
    train_from: str = default("all", "all, head, or a module's name (layer4): what lies before it is frozen")
    batch_norm: Literal["tuned", "frozen_layers", "frozen"] = default(
        "frozen_layers", "tuned: adapts everywhere; frozen_layers: not in frozen layers; frozen: nowhere"
    )
    lr_factors: list[str] = default([], "factors of lr, each a module's name, an equals sign, a number; the rest has 1")
    head_dropout: float = default(-1.0, "dropout before the head, 0 to below 1; -1: the network's own", ge=-1, lt=1)
    num_frames: int = default(0, "T: frames of a clip; 0: the checkpoint's", ge=0)
    frame_stride: int = default(0, "step between the frames of a clip; 0: the checkpoint's", ge=0)
    short_side: int = default(0, "pixels of the short side before a crop; 0: the checkpoint's", ge=0)
    crop_size: int = default(0, "pixels, height and width of a clip; 0: the checkpoint's", ge=0)
    mean: list[float] = default([], "of the channels, or one for all; empty: the checkpoint's", max_length=3)
    std: list[Above0] = default([], "of the channels, or one for all; empty: the checkpoint's", max_length=3)
    channel_order: Literal["", "rgb", "bgr"] = default("", "of mean and std too: rgb, bgr; empty: the checkpoint's")
    modality: Literal["", "rgb", "flow"] = default("", "rgb, or flow: pairs of optical flow; empty: the checkpoint's")
    lr: float = default(0.001, "learning rate after warm-up", gt=0)
    epochs: Positive = default(5, "passes over the training videos")
    milestones: list[Positive] = default([3, 4], "multistep: epochs after which the rate is multiplied by gamma")

    _model = field_validator("model")(lambda spec: check_model(spec) if spec else spec)

    @field_validator("lr_factors")
    @classmethod
    def _factors(cls, entries: list[str]) -> list[str]:
        read_factors(entries)
        return entries

    @property
    def factors(self) -> dict[str, float]:
        """`lr_factors` by module."""
        return read_factors(self.lr_factors)


def read_factors(entries: list[str]) -> dict[str, float]:
    """`["layer4=0.1", "head=1"]` as {"layer4": 0.1, "head": 1.0}. Raises ValueError, naming the entry."""
    factors: dict[str, float] = {}
    for entry in entries:
        found = re.fullmatch(r"\s*([\w.]+)\s*=\s*(\d*\.?\d+(?:[eE][-+]?\d+)?)\s*", entry)
        if not found or float(found[2]) == 0:
            raise ValueError(
                f"{entry!r}: expected module=factor, above 0, as in layer4=0.1 (train_from freezes layers)"
            )
        if found[1] in factors:
            raise ValueError(f"{entry!r}: {found[1]} stands twice")
        factors[found[1]] = float(found[2])
    return factors
