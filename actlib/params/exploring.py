"""Parameters of 07_explore."""

from typing import Literal, Self

from pydantic import field_validator, model_validator

from actlib.datasets import vocabulary
from actlib.params.base import DeviceParams, Group, InputPath, Positive, WeightsPath, check_model
from actlib.params.evaluation import ClassList, VideoAccuracyParams
from actlib.params.training import Backend, ClipParams


class ExploreParams(ClipParams, DeviceParams):
    """07_explore: a table's videos as clips and views, a network's scores of them, and the runs that are there."""

    run_dir: str = Group.start("outputs/explore", "the run folder: everything is written here")
    table: InputPath = Group.start("outputs/demo/motion/table.csv", "annotation table written by 01_data_prep")
    subset: Literal["all", *vocabulary.SUBSETS] = Group.start("validation", "{}")
    checkpoint: WeightsPath = Group.start(
        "outputs/demo/train_resnet10/checkpoints/best.pt", "checkpoint or published name; empty: no scores"
    )
    runs: list[str] = Group.start(["outputs/demo/*"], "run folders to browse; * and ** as in a shell")
    predictions: InputPath = Group.start(
        "outputs/demo/accuracy_resnet10", "run folder of notebook 04 whose predictions are browsed"
    )
    model: str = Group.network("", "the network, where the checkpoint names a file.py:function; empty: as it says")
    class_list: ClassList = Group.network(
        "", "file of the checkpoint's classes in order; sorted: the table's by name; empty: named, or the table's"
    )
    protocol: Literal[*vocabulary.PROTOCOLS] = Group.views(
        "views", "clips of a video: clip (the centre), begin, video (all in a row), even, views, dense or uniform"
    )
    num_clips: Positive = Group.views(5, "protocols even, views, dense and uniform: clips of a video")
    num_crops: Literal[*vocabulary.NUM_CROPS] = Group.views(1, "crops of a clip: {}")
    crop_position: Literal[*vocabulary.POSITIONS] = Group.views("center", "where a single crop lies: {}")
    video_backend: Backend = Group.run("auto", "what decodes video files: {}; auto: pyav")
    timeout: float = Group.run(60.0, "seconds for one clip before its video counts as undecodable", gt=0)
    seed: int = Group.run(0, "of the clips and crops that are drawn", ge=0)

    _model = field_validator("model")(check_model)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        own = self.protocol in vocabulary.ONE_CLIP and self.num_clips != 1
        one = self.crop_position != "center" and self.num_crops != 1
        return self.refuse(
            *self._clip_checks(),
            ("num_clips", own, f"protocol {self.protocol} has its own; take even, views, …, or set 1"),
            ("crop_position", one, "belongs to num_crops: 1"),
        )

    def evaluation(self, subset: str) -> VideoAccuracyParams:
        """Those of notebook 04 for the same checkpoint, views and device; frames and size are the checkpoint's."""
        shared = VideoAccuracyParams.model_fields.keys() & type(self).model_fields.keys()
        values = {name: getattr(self, name) for name in shared - ClipParams.__annotations__.keys()}
        values |= {"subset": subset, "loop": self.loop, "num_workers": 0}
        return VideoAccuracyParams.build(values, "this notebook")
