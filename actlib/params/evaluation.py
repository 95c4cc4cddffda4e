"""Parameters of 04_video_accuracy, 05_flops, 06_compare and 09_fusion."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from actlib.datasets import vocabulary
from actlib.params.base import Above0, DeviceParams, InputPath, Params, Positive, WeightsPath, check_model, default
from actlib.params.training import Backend, Loop

ClassList = Annotated[str, Field(json_schema_extra={"input_path": True, "words": ["sorted"]})]


class VideoAccuracyParams(DeviceParams):
    """04_video_accuracy: a checkpoint's clip and video accuracy on one subset."""

    run_dir: str = default("outputs/video_accuracy", "the run folder: everything is written here")
    checkpoint: WeightsPath = default(
        "outputs/demo/train_resnet10/checkpoints/best.pt", "checkpoint, or a published one's name, to evaluate"
    )
    model: str = default("", "network of the checkpoint, where it names a file.py:function; empty: as it says")
    table: InputPath = default("outputs/demo/motion/table.csv", "annotation table written by 01_data_prep")
    class_list: ClassList = default(
        "", "file of the checkpoint's classes in order; sorted: the table's by name; empty: named, or the table's"
    )
    subset: Literal[*vocabulary.SUBSETS] = default("validation", "training, validation or testing")
    protocol: Literal[*vocabulary.PROTOCOLS] = default(
        "video", "clips of a video: clip (the centre), begin, video (all in a row), even, views, dense or uniform"
    )
    num_clips: Positive = default(1, "protocols even, views, dense and uniform: clips of a video")
    num_crops: Literal[*vocabulary.NUM_CROPS] = default(1, "crops of a clip: 1, 3, 5 or 10")
    crop_position: Literal[*vocabulary.POSITIONS] = default(
        "center", "where a single crop lies: center, top_left, top_right, bottom_left or bottom_right"
    )
    window_step: int = default(0, "protocol video: frames from one clip to the next; 0: a clip's length", ge=0)
    loop: Loop = default("taken", "short videos repeat their frames after the stride (taken) or before it (span)")
    average: Literal[*vocabulary.AVERAGES] = default("softmax", "what is averaged over the views: softmax or logits")
    num_frames: int = default(0, "T: frames of a clip; 0: the checkpoint's", ge=0)
    frame_stride: int = default(0, "step between the frames of a clip; 0: the checkpoint's", ge=0)
    short_side: int = default(0, "pixels of the short side before the crop; 0: the checkpoint's", ge=0)
    crop_size: int = default(0, "pixels, height and width of a view; 0: the checkpoint's", ge=0)
    batch_size: Positive = default(16, "views that go through the network at once")
    num_workers: int = default(2, "processes that decode", ge=0)
    video_backend: Backend = default("auto", "what decodes video files: auto (pyav), pyav or decord")
    timeout: float = default(60.0, "seconds for one video before it counts as undecodable", gt=0)
    worst: int = default(6, "wrongly classified videos to show", ge=0)

    _model = field_validator("model")(lambda spec: check_model(spec) if spec else spec)

    @model_validator(mode="after")
    def _views(self) -> Self:
        problems = []
        if self.num_clips != 1 and self.protocol in vocabulary.ONE_CLIP:
            problems.append(f"num_clips: {self.num_clips}: protocol {self.protocol} has its own; take even, views, …")
        if self.window_step and self.protocol != "video":
            problems.append(f"window_step: {self.window_step}: belongs to protocol: video")
        if self.crop_position != "center" and self.num_crops != 1:
            problems.append(f"crop_position: {self.crop_position}: belongs to num_crops: 1")
        if problems:
            raise ValueError("\n  - ".join(problems))
        return self


class FlopsParams(DeviceParams):
    """05_flops: parameters, work, memory and clips/s of a list of networks at one input, beside published figures."""

    run_dir: str = default("outputs/flops", "the run folder: everything is written here")
    models: list[str] = default(
        ["resnet18 shortcut:A", "mobilenetv2", "tsn_resnet18", "tam_resnet18"],
        "networks with options; or all",
        min_length=1,
    )
    num_classes: Positive = default(400, "outputs of the last layer")
    num_frames: Positive = default(16, "T: frames of a clip")
    crop_size: int = default(112, "pixels, height and width of a clip", ge=16)
    batch_sizes: list[Positive] = default([1, 8], "clips of a batch when the speed is measured; empty: no speed")
    training: bool = default(False, "measure the speed of training steps too")
    compare_with: Literal["listed", "all"] = default(
        "listed", "published MACs to compare with: those of the listed networks, or all"
    )
    published_dataset: Literal[
        "Kinetics-400", "Kinetics-600", "Something-Something-V2", "Jester", "UCF-101",
        "Mini-Kinetics-400", "Mini-Something-Something-V2", "Mini-Moments",
    ] = default("Kinetics-600", "data set whose published accuracy is plotted")  # fmt: skip

    @field_validator("models")
    @classmethod
    def _models(cls, specs: list[str]) -> list[str]:
        if "all" in specs and len(specs) > 1:
            raise ValueError("all stands for every network: leave the others out")
        return [spec if spec == "all" else check_model(spec) for spec in specs]

    @field_validator("batch_sizes")
    @classmethod
    def _batches(cls, sizes: list[int]) -> list[int]:
        return sorted(set(sizes))


class CompareParams(Params):
    """06_compare: any set of run folders in one table and one plot."""

    run_dir: str = default("outputs/compare", "the run folder: everything is written here")
    runs: list[str] = default(["outputs/demo/*"], "run folders; * and ** as in a shell", min_length=1)
    accuracy: Literal["video_top1", "video_top5", "clip_top1", "clip_top5"] = default(
        "video_top1", "the accuracy to plot: video_top1, video_top5, clip_top1 or clip_top5"
    )


class FusionParams(Params):
    """09_fusion: the video accuracy of result files, by each reference's rule, and of several runs' scores together."""

    run_dir: str = default("outputs/fusion", "the run folder: everything is written here")
    runs: list[str] = default(
        ["outputs/demo/accuracy_tam_resnet18", "outputs/demo/accuracy_resnet10"],
        "run folders or val.json files",
        min_length=1,
    )
    weights: list[Above0] = default([], "a weight a run in the sum of their scores; empty: all alike")
    videos: Literal["same", "common"] = default(
        "same", "runs over different videos: refuse them (same), or fuse the videos that all have (common)"
    )
    ground_truth: InputPath = default("", "annotation JSON with the true labels, for val.json files")
    subset: Literal[*vocabulary.SUBSETS] = default("validation", "subset of the ground truth")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.weights and len(self.weights) != len(self.runs):
            raise ValueError(f"weights: {self.weights}: {len(self.runs)} runs need as many weights")
        if any(run.endswith(".json") for run in self.runs) and not self.ground_truth:
            raise ValueError("ground_truth: '': a val.json holds scores alone; name the annotation JSON")
        return self
