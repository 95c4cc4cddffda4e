"""Parameters of 08_predict."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from actlib.datasets import vocabulary
from actlib.params.base import DeviceParams, Group, InputPath, Positive
from actlib.params.training import PARTIAL_WINDOWS_HELP, Backend, Loop

Videos = Annotated[list[str], Field(json_schema_extra={"input_path": True, "each": True}, min_length=1)]
Weights = Annotated[list[str], Field(json_schema_extra={"input_path": True, "each": True, "weights": True})]


class PredictParams(DeviceParams):
    """08_predict: what trained networks say of any videos, window by window, and where they look."""

    run_dir: str = Group.start("outputs/predict", "the run folder: everything is written here")
    videos: Videos = Group.start(
        ["outputs/demo/motion/videos/*/*_validation_0000.mp4"], "files, folders, web addresses; * as in a shell"
    )
    networks: Weights = Group.start(
        ["outputs/demo/train_resnet10", "outputs/demo/train_tam_resnet18"],
        "runs, checkpoints, published names",
        min_length=1,
    )
    window_step: int = Group.start(4, "frames from one window to the next; 0: a clip's length", ge=0)
    batch_size: Positive = Group.start(16, "windows that go through a network at once")

    class_list: InputPath = Group.network("", "file of class names in order, for networks that name none")

    num_frames: int = Group.clip(0, "T: frames of a clip; 0: the checkpoint's", ge=0)
    frame_stride: int = Group.clip(0, "step between the frames of a clip; 0: the checkpoint's", ge=0)
    short_side: int = Group.clip(0, "pixels of the short side before the crop; 0: the checkpoint's", ge=0)
    crop_size: int = Group.clip(0, "pixels, height and width of a window; 0: the checkpoint's", ge=0)
    loop: Loop = Group.clip("taken", "short videos repeat their frames after the stride (taken) or before it (span)")
    partial_windows: Literal[*vocabulary.PARTIAL_WINDOWS] = Group.clip("keep", PARTIAL_WINDOWS_HELP)

    draw: int = Group.shown(2, "videos written with the answer drawn in, the first ones", ge=0)
    features: bool = Group.shown(False, "write what the last layer gets, a vector a window, to features.npz")
    explain: int = Group.shown(2, "videos explained by Grad-CAM, the first ones", ge=0)
    explain_layer: str = Group.shown("", "module whose maps Grad-CAM weighs; empty: the last with 2 × 4 × 4 positions")
    hidden: float = Group.shown(0.1, "share of the clip that the check of Grad-CAM hides", gt=0, lt=1)

    num_workers: int = Group.run(1, "processes that decode", ge=0)
    video_backend: Backend = Group.run("auto", "what decodes video files: {}; auto: pyav")
    timeout: float = Group.run(60.0, "seconds for one video before it counts as undecodable", gt=0)

    @field_validator("videos", "networks")
    @classmethod
    def _named(cls, names: list[str]) -> list[str]:
        """Each once, in their order."""
        if not all(name.strip() for name in names):
            raise ValueError("one of them is empty")
        return list(dict.fromkeys(names))
