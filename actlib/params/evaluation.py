"""Parameters of 04_video_accuracy, 05_flops, 06_compare and 09_fusion."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from actlib.datasets import vocabulary
from actlib.params.base import (
    PRECISION_HELP,
    Above0,
    DeviceParams,
    DevicesParams,
    Group,
    InputPath,
    MemoryFormat,
    Params,
    Positive,
    Precision,
    WeightsPath,
    check_model,
    is_checkpoint,
)
from actlib.params.training import PARTIAL_WINDOWS_HELP, Backend, Loop

ClassList = Annotated[str, Field(json_schema_extra={"input_path": True, "words": ["sorted"]})]
Networks = Annotated[list[str], Field(json_schema_extra={"input_path": True})]


class VideoAccuracyParams(DevicesParams):
    """04_video_accuracy: a checkpoint's clip and video accuracy on one subset."""

    run_dir: str = Group.start("outputs/video_accuracy", "the run folder: everything is written here")
    checkpoint: WeightsPath = Group.start(
        "outputs/demo/train_resnet10/checkpoints/best.pt", "a checkpoint, or a published one's name"
    )
    table: InputPath = Group.start("outputs/demo/motion/table.csv", "annotation table written by 01_data_prep")
    subset: Literal[*vocabulary.SUBSETS] = Group.start("validation", "{}")
    protocol: Literal[*vocabulary.PROTOCOLS] = Group.start(
        "video", "clips of a video: clip (the centre), begin, video (all in a row), even, views, dense or uniform"
    )
    batch_size: Positive = Group.start(16, "views that go through the network at once")
    model: str = Group.network("", "the network, where the checkpoint names a file.py:function; empty: as it says")
    class_list: ClassList = Group.network(
        "", "file of the checkpoint's classes in order; sorted: the table's by name; empty: named, or the table's"
    )
    num_frames: int = Group.clip(0, "T: frames of a clip; 0: the checkpoint's", ge=0)
    frame_stride: int = Group.clip(0, "step between the frames of a clip; 0: the checkpoint's", ge=0)
    short_side: int = Group.clip(0, "pixels of the short side before the crop; 0: the checkpoint's", ge=0)
    crop_size: int = Group.clip(0, "pixels, height and width of a view; 0: the checkpoint's", ge=0)
    loop: Loop = Group.clip("taken", "short videos repeat their frames after the stride (taken) or before it (span)")
    num_clips: Positive = Group.views(1, "protocols even, views, dense and uniform: clips of a video")
    num_crops: Literal[*vocabulary.NUM_CROPS] = Group.views(1, "crops of a clip: {}")
    crop_position: Literal[*vocabulary.POSITIONS] = Group.views("center", "where a single crop lies: {}")
    window_step: int = Group.views(0, "protocol video: frames from one clip to the next; 0: a clip's length", ge=0)
    partial_windows: Literal[*vocabulary.PARTIAL_WINDOWS] = Group.views("keep", PARTIAL_WINDOWS_HELP)
    average: Literal[*vocabulary.AVERAGES] = Group.views("softmax", "what is averaged over the views: {}")
    order_check: list[Literal[*vocabulary.ORDERS[1:]]] = Group.views(
        [], "also with the frames of every clip reversed, shuffled, frozen (one repeated)"
    )
    worst: int = Group.run(6, "wrongly classified videos to show", ge=0)
    num_workers: int = Group.run(2, "processes that decode", ge=0)
    video_backend: Backend = Group.run("auto", "what decodes video files: {}; auto: pyav")
    timeout: float = Group.run(60.0, "seconds for one video before it counts as undecodable", gt=0)

    _model = field_validator("model")(check_model)

    @model_validator(mode="after")
    def _views(self) -> Self:
        own_number = self.protocol in vocabulary.ONE_CLIP
        return self.refuse(
            (
                "num_clips",
                own_number and self.num_clips != 1,
                f"protocol {self.protocol} has its own; take even, views, …",
            ),
            ("window_step", self.window_step and self.protocol != "video", "belongs to protocol: video"),
            (
                "partial_windows",
                self.partial_windows == "drop" and self.protocol != "video",
                "belongs to protocol: video",
            ),
            ("crop_position", self.crop_position != "center" and self.num_crops != 1, "belongs to num_crops: 1"),
        )


class FlopsParams(DeviceParams):
    """05_flops: parameters, work, memory and clips/s of a list of networks at one input, beside published figures."""

    run_dir: str = Group.start("outputs/flops", "the run folder: everything is written here")
    models: Networks = Group.start(
        ["resnet18 shortcut:A", "mobilenetv2", "tsn_resnet18", "tam_resnet18"],
        "networks, checkpoints, or all",
        min_length=1,
    )
    num_classes: Positive = Group.network(400, "outputs of the last layer")
    num_frames: Positive = Group.clip(16, "T: frames of a clip")
    crop_size: int = Group.clip(112, "pixels, height and width of a clip", ge=16)
    batch_sizes: list[Positive] = Group.speed([1, 8], "clips of a batch when the speed is measured; empty: no speed")
    precision: Precision = Group.speed("measure", PRECISION_HELP)
    memory_format: MemoryFormat = Group.speed("measure", PRECISION_HELP)
    training: bool = Group.speed(False, "measure the speed of training steps too")
    compare_with: Literal["listed", "all"] = Group.published(
        "listed", "published MACs to compare with: those of the listed networks, or all"
    )
    published_dataset: Literal[
        "Kinetics-400", "Kinetics-600", "Something-Something-V2", "Jester", "UCF-101",
        "Mini-Kinetics-400", "Mini-Something-Something-V2", "Mini-Moments",
    ] = Group.published("Kinetics-600", "data set whose published accuracy is plotted")  # fmt: skip

    @field_validator("models")
    @classmethod
    def _models(cls, specs: list[str]) -> list[str]:
        if "all" in specs and len(specs) > 1:
            raise ValueError("all stands for every network: leave the others out")
        return [spec if spec == "all" or is_checkpoint(spec) else check_model(spec) for spec in specs]

    @field_validator("batch_sizes")
    @classmethod
    def _batches(cls, sizes: list[int]) -> list[int]:
        return sorted(set(sizes))


class CompareParams(Params):
    """06_compare: any set of run folders in one table and one plot; published figures beside what they came to here."""

    run_dir: str = Group.start("outputs/compare", "the run folder: everything is written here")
    runs: list[str] = Group.start(["outputs/demo/*"], "run folders; * and ** as in a shell", min_length=1)
    accuracy: Literal["video_top1", "video_top5", "clip_top1", "clip_top5", "video_macro_f1"] = Group.start(
        "video_top1", "the accuracy to plot: {}"
    )
    ledger: str = Group.published("params/ledger.yaml", "published figures and ours, by `actlib ledger`; empty: none")
    ledger_dataset: str = Group.published("Kinetics-400", "data set whose figures are shown")


class FusionParams(Params):
    """09_fusion: the video accuracy of result files, by each reference's rule, and of several runs' scores together."""

    run_dir: str = Group.start("outputs/fusion", "the run folder: everything is written here")
    runs: list[str] = Group.start(
        ["outputs/demo/accuracy_tam_resnet18", "outputs/demo/accuracy_resnet10"],
        "run folders or val.json files",
        min_length=1,
    )
    weights: list[Above0] = Group.start([], "a weight a run in the sum of their scores; empty: all alike")
    videos: Literal["same", "common"] = Group.data(
        "same", "runs over different videos: refuse them (same), or fuse the videos that all have (common)"
    )
    ground_truth: InputPath = Group.data("", "annotation JSON with the true labels, for val.json files")
    subset: Literal[*vocabulary.SUBSETS] = Group.data("validation", "subset of the ground truth: {}")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        unlike = self.weights and len(self.weights) != len(self.runs)
        lists = any(run.endswith(".json") for run in self.runs)
        return self.refuse(
            ("weights", unlike, f"{len(self.runs)} runs need as many weights"),
            (
                "ground_truth",
                lists and not self.ground_truth,
                "a val.json holds scores alone; name the annotation JSON",
            ),
        )
