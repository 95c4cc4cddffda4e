"""Parameters of 01_data_prep."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from actlib.datasets import vocabulary
from actlib.params.base import InputPath, Params, Positive, Share, default

Storage = Literal[*vocabulary.STORAGES]


class DataPrepParams(Params):
    """01_data_prep: from videos, or from nothing, to an annotation table."""

    run_dir: str = default("outputs/data", "the run folder: table.csv and quarantine.csv are written here")
    source: Literal["synthetic", "folders", "csv", "annotations"] = default(
        "synthetic", "synthetic, folders, csv or annotations: a data set's own published lists"
    )
    data_root: str = default("", "folder of the videos; for synthetic where to write them (empty: run_dir/videos)")
    csv: InputPath = default("", "source csv: the list with the columns path,label,subset")
    dataset: str = default("", "source annotations: kinetics400, ucf101, …; empty: a data set of your own")
    annotations: InputPath = default("", "source annotations: the folder of the published lists, or one file")
    class_list: InputPath = default("", "source annotations: file of the classes to keep, one a line (the mini sets)")
    modality: Literal[*vocabulary.MODALITIES] = default("rgb", "what folders of frames hold: rgb, or pairs of flow")
    split: Literal[1, 2, 3] = default(1, "source annotations: split of UCF-101 or HMDB-51, 1 to 3")
    validation: Annotated[Share, Field(lt=1)] = default(0.2, "source folders: share of each class for validation")
    testing: Annotated[Share, Field(lt=1)] = default(0.0, "source folders: share of each class for testing")
    label_set: Literal["motion", "motion_finetune"] = default("motion", "synthetic: motion or motion_finetune")
    training_videos: Positive = default(40, "synthetic: training videos per class")
    validation_videos: Positive = default(12, "synthetic: validation videos per class")
    seed: int = default(0, "of the synthetic videos or of the split", ge=0)
    storage: Storage = default("original", "original: read as it is; or convert to short_gop, frames, lmdb or flow")
    storage_root: str = default("", "folder of the converted videos (empty: run_dir and the storage's name)")
    storage_side: int = default(128, "pixels of the short side of converted videos; 0: as they are", ge=0)
    keyframe_distance: Positive = default(16, "short_gop: frames from one key frame to the next")
    crf: int = default(18, "short_gop: H.264's quality, 0 (best) to 51", ge=0, le=51)
    jpeg_quality: int = default(90, "frames, lmdb and flow: quality of the JPEGs, 1 to 100", ge=1, le=100)
    frame_names: Literal["image_00001.jpg", "00001.jpg"] = default(
        "image_00001.jpg", "frames and flow: name of the first frame, image_00001.jpg or 00001.jpg"
    )
    measure: list[Storage] = default(
        ["original", "short_gop", "frames"], "storages whose speed and size are measured on some of the videos"
    )
    measure_videos: Positive = default(4, "videos that the storages are measured on")
    num_workers: Positive = default(2, "processes that write, probe and convert videos")
    video_backend: Literal[*vocabulary.VIDEO_BACKENDS] = default(
        "auto", "what decodes video files: auto (pyav), pyav or decord"
    )
    timeout: float = default(20.0, "seconds that a decoder may take over one file before it is given up", gt=0)

    @field_validator("dataset")
    @classmethod
    def _known(cls, name: str) -> str:
        if name:
            from actlib.datasets.catalog import find_dataset

            find_dataset(name)
        return name

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.source == "folders" and not self.data_root:
            raise ValueError("data_root: '': source folders needs the folder that holds the class folders")
        if self.source == "csv" and not self.csv:
            raise ValueError("csv: '': source csv needs the file with path,label,subset")
        if self.source == "annotations":
            for name, what in (("annotations", "the published lists"), ("data_root", "the folder of the videos")):
                if not getattr(self, name):
                    raise ValueError(f"{name}: '': source annotations needs {what}")
        if self.modality == "flow" and self.storage != "original":
            raise ValueError(f"storage: {self.storage!r}: pairs of optical flow are read as they are: original")
        if self.source == "folders" and self.validation + self.testing >= 1:
            raise ValueError("validation + testing: together they must stay below 1")
        return self
