"""Parameters of 01_data_prep."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from actlib.datasets import vocabulary
from actlib.params.base import Group, InputPath, Params, Positive, Share

Storage = Literal[*vocabulary.STORAGES]


class DataPrepParams(Params):
    """01_data_prep: from videos, or from nothing, to an annotation table."""

    run_dir: str = Group.start("outputs/data", "the run folder: table.csv and quarantine.csv are written here")
    source: Literal["synthetic", "folders", "csv", "annotations"] = Group.start(
        "synthetic", "{}: a data set's own published lists"
    )
    data_root: str = Group.start("", "folder of the videos; for synthetic where to write them (empty: run_dir/videos)")
    csv: InputPath = Group.data("", "source csv: path,label,subset a line; a path is a file or a folder of frames")
    validation: Annotated[Share, Field(lt=1)] = Group.data(0.2, "source folders: share of each class for validation")
    testing: Annotated[Share, Field(lt=1)] = Group.data(0.0, "source folders: share of each class for testing")
    dataset: str = Group.data("", "source annotations: kinetics400, ucf101, …; empty: a data set of your own")
    annotations: InputPath = Group.data("", "source annotations: the folder of the published lists, or one file")
    fetch: bool = Group.data(False, "source annotations: first fetch what is missing into annotations and data_root")
    class_list: InputPath = Group.data(
        "", "source annotations: file of the classes to keep, one a line (the mini sets)"
    )
    split: Literal[1, 2, 3] = Group.data(1, "source annotations: split of UCF-101 or HMDB-51, {}")
    first_frame: Literal["auto", 0, 1] = Group.data(
        "auto", "source annotations: what lists of frames count from, {}; auto: 0 where a line does"
    )
    modality: Literal[*vocabulary.MODALITIES] = Group.data("rgb", "what folders of frames hold: {} (pairs of flow)")
    label_set: Literal[*vocabulary.LABEL_SETS] = Group.synthetic("motion", "{}")
    training_videos: Positive = Group.synthetic(40, "training videos per class")
    validation_videos: Positive = Group.synthetic(12, "validation videos per class")
    storage: Storage = Group.storage("original", "how videos are kept: {}; original: as they are")
    storage_root: str = Group.storage("", "folder of the converted videos (empty: run_dir and the storage's name)")
    storage_side: int = Group.storage(128, "pixels of the short side of converted videos; 0: as they are", ge=0)
    keyframe_distance: Positive = Group.storage(16, "short_gop: frames from one key frame to the next")
    crf: int = Group.storage(18, "short_gop: H.264's quality, 0 (best) to 51", ge=0, le=51)
    jpeg_quality: int = Group.storage(90, "frames, lmdb and flow: quality of the JPEGs, 1 to 100", ge=1, le=100)
    frame_names: Literal[*vocabulary.FRAME_NAMES] = Group.storage(
        "image_00001.jpg", "frames and flow: name of the first frame, {}"
    )
    measure: list[Storage] = Group.storage(
        ["original", "short_gop", "frames"], "storages whose speed and size are measured on some videos"
    )
    measure_videos: Positive = Group.storage(4, "videos that the storages are measured on")
    num_workers: Positive = Group.run(2, "processes that write, probe and convert videos")
    video_backend: Literal[*vocabulary.VIDEO_BACKENDS] = Group.run("auto", "what decodes video files: {}; auto: pyav")
    timeout: float = Group.run(20.0, "seconds that a decoder may take over one file before it is given up", gt=0)
    seed: int = Group.run(0, "of the synthetic videos or of the split", ge=0)

    @field_validator("dataset")
    @classmethod
    def _known(cls, name: str) -> str:
        if name:
            from actlib.datasets.catalog import find_dataset

            find_dataset(name)
        return name

    def inputs(self) -> dict[str, list[str]]:
        return super().inputs() | ({"annotations": []} if self.fetch else {})  # these are still to come

    @model_validator(mode="after")
    def _complete(self) -> Self:
        lists, whole = self.source == "annotations", self.validation + self.testing >= 1
        needs = f"source {self.source} needs"
        return self.refuse(
            (
                "data_root",
                self.source == "folders" and not self.data_root,
                f"{needs} the folder that holds the class folders",
            ),
            ("csv", self.source == "csv" and not self.csv, f"{needs} the file with path,label,subset"),
            ("annotations", lists and not self.annotations, f"{needs} the published lists"),
            ("data_root", lists and not self.data_root, f"{needs} the folder of the videos"),
            ("fetch", self.fetch and not (lists and self.dataset), "needs source annotations, and a dataset"),
            (
                "storage",
                self.modality == "flow" and self.storage != "original",
                "pairs of flow are read as they are: original",
            ),
            ("testing", self.source == "folders" and whole, "together with validation it must stay below 1"),
        )
