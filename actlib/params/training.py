"""Parameters of 02_train and 03_finetune, and those of a training clip, which 07_explore has too."""

import importlib.util
import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from actlib.datasets import vocabulary
from actlib.messages import shown
from actlib.params.base import (
    Above0,
    DevicesParams,
    Group,
    InputPath,
    Params,
    Positive,
    Share,
    WeightsPath,
    check_model,
)
from actlib.params.same_run import differences, refusal

CHANNEL_ORDERS = ("rgb", "bgr")
Sampling = Literal[*vocabulary.SAMPLINGS]
Loop = Literal[*vocabulary.LOOPS]
PARTIAL_WINDOWS_HELP = "a last window of which the video has less than half: keep, as the references do, or drop"
Backend = Literal[*vocabulary.VIDEO_BACKENDS]
Means = Annotated[list[float], Field(min_length=1, max_length=3)]
Stds = Annotated[list[Above0], Field(min_length=1, max_length=3)]


class ClipParams(Params):
    """What makes a training clip, pixels and frames; for notebooks 02, 03 and 07."""

    num_frames: int = Group.clip(8, "T: frames of a clip", ge=1)
    frame_stride: int = Group.clip(2, "step between the frames of a clip", ge=1)
    short_side: int = Group.clip(48, "pixels of the short side before a random or centre crop", ge=16)
    crop_size: int = Group.clip(48, "pixels, height and width of a clip", ge=16)
    sampling: Sampling = Group.clip("random", "frames of a training clip: {}")
    loop: Loop = Group.clip("taken", "short videos repeat their frames after the stride (taken) or before it (span)")
    modality: Literal[*vocabulary.MODALITIES] = Group.clip("rgb", "{}; flow: pairs of optical flow beside the frames")

    crop: Literal[*vocabulary.CROPS] = Group.augment(
        "random_resized", "random_resized, random, center, multi_scale_random, …_corner, …_center or …_fixed"
    )
    scale_min: float = Group.augment(0.8, "random_resized: smallest share of the frame's area", gt=0, le=1)
    crop_scales: list[Share] = Group.augment(
        [1.0, 0.8409, 0.7071, 0.5946, 0.5], "multi_scale: sides of the crop as shares of the short side", min_length=1
    )
    short_side_max: int = Group.augment(0, "random: short side drawn from short_side up to this; 0: short_side", ge=0)
    color_jitter: Share = Group.augment(
        0.0, "strength of random brightness, contrast and saturation; a quarter for hue"
    )
    rand_augment: int = Group.augment(0, "magnitude of RandAugment's two operations, 1 to 30; 0: none", ge=0, le=30)
    random_erasing: Share = Group.augment(0.0, "share of the clips in which a random box is erased")

    @property
    def clip(self) -> dict:
        """These parameters by name."""
        return {name: getattr(self, name) for name in ClipParams.__annotations__}

    def _clip_checks(self) -> list[tuple[str, bool, str]]:
        """What cannot be meant, for `refuse`."""
        flow, for_colours = self.modality == "flow", "is made for colours; set 0 for modality flow"
        small, unlike = f"smaller than short_side {self.short_side}", f"belongs to crop: random, not {self.crop}"
        return [
            ("crop_size", 0 < self.short_side < self.crop_size, f"larger than short_side {self.short_side}"),
            ("short_side_max", 0 < self.short_side_max < self.short_side, small),
            ("short_side_max", bool(self.short_side_max and self.crop != "random"), unlike),
            ("crop_scales", not all(self.crop_scales), "shares above 0"),
            ("color_jitter", bool(flow and self.color_jitter), for_colours),
            ("rand_augment", bool(flow and self.rand_augment), for_colours),
        ]


class TrainingParams(ClipParams, DevicesParams):
    """What training and fine-tuning share."""

    table: InputPath = Group.start("outputs/demo/motion/table.csv", "annotation table written by 01_data_prep")
    epochs: Positive = Group.start(8, "passes over the training videos")
    lr: float = Group.start(0.005, "learning rate after warm-up", gt=0)
    batch_size: Positive = Group.start(16, "clips of a batch")

    num_workers: int = Group.data(2, "processes that decode", ge=0)
    video_backend: Backend = Group.data("auto", "what decodes video files: {}; auto: pyav")
    timeout: float = Group.data(60.0, "seconds for one clip before its video counts as undecodable", gt=0)
    max_replacements: int = Group.data(10, "tries to replace a clip that cannot be decoded", ge=0)

    mean: Means = Group.clip([0.4345, 0.4051, 0.3775], "of the channels, or one for all, 0-1 scale")
    std: Stds = Group.clip([0.2768, 0.2713, 0.2737], "of the channels, or one for all, 0-1 scale")
    channel_order: Literal[*CHANNEL_ORDERS] = Group.clip("rgb", "order of the channels, of mean and std too: {}")

    flip: bool = Group.augment(False, "mirror half of the clips left to right (not where that changes the label)")
    flip_labels: Literal["refuse", "swap"] = Group.augment(
        "refuse", "where a mirrored class is another class: refuse to flip, or swap the two labels"
    )
    mixup: float = Group.augment(0.0, "alpha of mixup; 0: none", ge=0)
    cutmix: float = Group.augment(0.0, "alpha of CutMix; 0: none. With mixup too, each batch takes one of them", ge=0)

    optimizer: Literal["sgd", "adamw"] = Group.optim("adamw", "{}")
    momentum: Annotated[Share, Field(lt=1)] = Group.optim(0.9, "sgd")
    dampening: Share = Group.optim(0.0, "sgd")
    nesterov: bool = Group.optim(False, "sgd")
    weight_decay: float = Group.optim(0.01, "L2 penalty (sgd) or decoupled decay (adamw)", ge=0)
    no_decay: Literal["none", "norms_and_biases"] = Group.optim("none", "parameters without weight decay: {}")
    schedule: Literal["cosine", "multistep", "plateau", "constant"] = Group.optim("cosine", "of the learning rate: {}")
    milestones: list[Positive] = Group.optim([4, 6], "multistep: epochs after which the rate is multiplied by gamma")
    gamma: float = Group.optim(0.1, "multistep and plateau: factor of the learning rate", gt=0, lt=1)
    patience: int = Group.optim(5, "plateau: epochs without a better validation loss before gamma", ge=0)
    warmup_epochs: float = Group.optim(0.0, "epochs in which the learning rate rises linearly", ge=0)
    label_smoothing: Annotated[Share, Field(lt=1)] = Group.optim(0.0, "share of the label spread over all classes")
    clip_grad: float = Group.optim(0.0, "largest norm of the gradient; 0: no limit", ge=0)
    lr_per: Literal["batch", 256] = Group.optim("batch", "{}; 256: lr is for steps of 256 clips, and scaled to these")
    accumulate: Positive = Group.optim(1, "batches whose gradients are summed before a step")
    last_batch: Literal["spread", "keep", "drop"] = Group.optim(
        "spread", "clips that do not fill a batch: spread over the last two, keep (a small batch) or drop"
    )

    sync_bn: bool = Group.run(False, "several devices: batch norms see the whole batch, not each process its part")
    resume: str = Group.run("auto", "auto: go on where this run folder stopped; never; or a checkpoint's path")
    checkpoint_every: int = Group.run(0, "also keep a checkpoint every so many epochs; 0: last and best alone", ge=0)
    checkpoint_minutes: float = Group.run(
        30.0, "a long epoch also writes last.pt every so many minutes; 0: at its end alone", ge=0
    )
    tensorboard: bool = Group.run(False, "also write scalars for TensorBoard")
    seed: int = Group.run(0, "of weights, order, clips and crops", ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        flow, one = self.modality == "flow", "modality flow needs one for all its channels"
        rising = self.milestones == sorted(set(self.milestones))
        return self.refuse(
            *self._clip_checks(),
            ("mean", len(self.mean) not in (0, 1, 3), "three numbers are needed, one a channel, or one for all"),
            ("std", len(self.std) not in (0, 1, 3), "three numbers are needed, one a channel, or one for all"),
            ("mean", flow and len(self.mean) > 1, f"{one}, such as [0.5]"),
            ("std", flow and len(self.std) > 1, f"{one}, such as [0.226]"),
            ("channel_order", flow and self.channel_order == "bgr", "is of colours; set rgb for modality flow"),
            (
                "nesterov",
                self.nesterov and (not self.momentum or self.dampening),
                "needs momentum above 0 and dampening 0",
            ),
            ("milestones", self.schedule == "multistep" and not rising, "they must rise"),
            ("warmup_epochs", self.warmup_epochs >= self.epochs, f"must be below epochs {self.epochs}"),
        )

    @property
    def base_lr(self) -> float:
        """The learning rate after warm-up: `lr`, scaled linearly to the clips of a step if it is meant for 256 of them
        (Goyal et al., 2017)."""
        return self.lr if self.lr_per == "batch" else self.lr * self.batch_size * self.accumulate / self.lr_per

    @property
    def goes_on_from(self) -> str:
        """The checkpoint that the run goes on from, if it is there; empty: it begins anew."""
        return {"auto": f"{self.run_dir}/checkpoints/last.pt", "never": ""}.get(self.resume, self.resume)

    def problems(self, root: str | Path) -> list[str]:
        found = super().problems(root)
        if self.tensorboard and importlib.util.find_spec("tensorboard") is None:
            found.append("tensorboard: True: it is not installed: pip install -e '.[tensorboard]', or set it to False")
        path = Path(root) / self.goes_on_from
        if self.resume not in ("auto", "never") and not path.is_file():
            found.append(f"resume: {shown(self.resume)}: no such checkpoint; auto goes on with the run folder's own")
        elif path.is_file():
            found += self._differences(path)
        return found

    def _differences(self, path: Path) -> list[str]:
        """Why the run cannot go on from this checkpoint, as far as its header tells."""
        from actlib.models.weights.checkpoint import read_header  # torch takes seconds, and most folders are new

        mine, content = self.model_dump(), read_header(path)
        try:
            unset = {name for name, value in mine.items() if value in (0, "", []) and self._may_be_left_open(name)}
            differ = differences({name: value for name, value in mine.items() if name not in unset}, content)
        except (KeyError, TypeError):  # it cannot be read; whoever opens it says why
            return []
        return [refusal(Path(self.goes_on_from), differ)] if differ else []

    def _may_be_left_open(self, name: str) -> bool:
        """Whether a parameter that is 0 or empty is taken from a checkpoint."""
        return False


class TrainParams(TrainingParams):
    """02_train: a network from scratch."""

    run_dir: str = Group.start("outputs/train", "the run folder: everything is written here")
    model: str = Group.start(
        "resnet10 widen_factor:0.25 conv1_t_size:3", "network with options; or your own: my_nets.py:small3d width:16"
    )

    _model = field_validator("model")(check_model)


class FinetuneParams(TrainingParams):
    """03_finetune: a trained network on new classes. 0, an empty list or '' take the checkpoint's value."""

    run_dir: str = Group.start("outputs/finetune", "the run folder: everything is written here")
    pretrained: WeightsPath = Group.start(
        "outputs/demo/train_resnet10/checkpoints/best.pt", "a checkpoint, or a published one's name"
    )
    table: InputPath = Group.start("outputs/demo/motion_finetune/table.csv", "annotation table written by 01_data_prep")
    train_from: str = Group.start("all", "all, head, or a module's name (layer4): what lies before it is frozen")
    epochs: Positive = Group.start(5, "passes over the training videos")
    lr: float = Group.start(0.001, "learning rate after warm-up", gt=0)
    model: str = Group.network("", "network to start with weights of an image network; empty: the checkpoint's own")
    batch_norm: Literal["tuned", "frozen_layers", "frozen"] = Group.network(
        "frozen_layers", "tuned: adapts everywhere; frozen_layers: not in frozen layers; frozen: nowhere"
    )
    head_dropout: float = Group.network(
        -1.0, "dropout before the head, 0 to below 1; -1: the network's own", ge=-1, lt=1
    )
    num_frames: int = Group.clip(0, "T: frames of a clip; 0: the checkpoint's", ge=0)
    frame_stride: int = Group.clip(0, "step between the frames of a clip; 0: the checkpoint's", ge=0)
    short_side: int = Group.clip(0, "pixels of the short side before a crop; 0: the checkpoint's", ge=0)
    crop_size: int = Group.clip(0, "pixels, height and width of a clip; 0: the checkpoint's", ge=0)
    mean: list[float] = Group.clip([], "of the channels, or one for all; empty: the checkpoint's", max_length=3)
    std: list[Above0] = Group.clip([], "of the channels, or one for all; empty: the checkpoint's", max_length=3)
    channel_order: Literal["", *CHANNEL_ORDERS] = Group.clip(
        "", f"of mean and std too: {', '.join(CHANNEL_ORDERS)}; empty: the checkpoint's"
    )
    modality: Literal["", *vocabulary.MODALITIES] = Group.clip(
        "", f"{', '.join(vocabulary.MODALITIES)} (pairs of optical flow); empty: the checkpoint's"
    )
    lr_factors: list[str] = Group.optim(
        [], "factors of lr, each a module's name, an equals sign, a number; the rest has 1"
    )
    milestones: list[Positive] = Group.optim([3, 4], "multistep: epochs after which the rate is multiplied by gamma")

    _model = field_validator("model")(check_model)

    @field_validator("lr_factors")
    @classmethod
    def _factors(cls, entries: list[str]) -> list[str]:
        read_factors(entries)
        return entries

    def missing_inputs(
        self, root: str | Path, written: Collection[str] = (), known: dict[str, str] | None = None
    ) -> dict[str, str]:
        """As of all parameters; but a run that goes on from its checkpoint does without the weights it started from."""
        found = super().missing_inputs(root, written, known)
        if "pretrained" not in found:
            return found
        if self.goes_on_from and (Path(root) / self.goes_on_from).is_file():
            found.pop("pretrained", None)
        return found

    def _may_be_left_open(self, name: str) -> bool:
        return type(self).model_fields[name].json_schema_extra["group"] == Group.clip.value

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
