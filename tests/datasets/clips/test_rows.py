"""Videos held in tensors: the same as from their table, also by other names of their classes, in the same memory."""

import pytest

from actlib.datasets.clips.loaders import TrainingClips
from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.clips.rows import VideoRows
from actlib.datasets.clips.transforms import train_transform
from actlib.datasets.clips.views import EvaluationViews
from actlib.datasets.errors import DataError
from actlib.datasets.table import class_names, read_table, rows_of


@pytest.fixture(scope="module")
def table(motion_table):
    return rows_of(read_table(motion_table), "validation")


def test_datasets_take_rows_in_place_of_a_table(table):
    classes = class_names(table)
    rows, protocols = VideoRows(table, classes), {"clip": Protocol("clip", 4, 2, 32, 32)}
    held, read = EvaluationViews(None, classes, protocols, rows=rows), EvaluationViews(table, classes, protocols)
    assert held.table is None and len(held) == len(read) == len(table)
    assert held[3].clips.equal(read[3].clips) and held.labels.tolist() == read.labels.tolist()
    options = {"num_frames": 4, "frame_stride": 2, "transform": train_transform("random_resized", 40, 32)}
    mine, theirs = (TrainingClips(each, classes, **options) for each in (rows, table))
    assert mine[5][0].equal(theirs[5][0]) and mine[5][1] == theirs[5][1]
    assert mine.labels.data_ptr() == held.labels.data_ptr() == rows.labels.data_ptr()


def test_labels_follow_the_classes_of_a_network(table):
    rows = VideoRows(table, class_names(table))
    other = [*reversed(class_names(table)), "one more"]
    assert [other[place] for place in rows.of_classes(other).labels.tolist()] == table["label"].tolist()
    assert rows.of_classes(rows.classes) is rows and rows.labels.equal(VideoRows(table, rows.classes).labels)
    said = []
    for make in (lambda: rows.of_classes(other[1:]), lambda: VideoRows(table, other[1:])):
        with pytest.raises(DataError) as error:
            make()
        said.append(str(error.value))
    assert said[0] == said[1] and said[0].startswith(f"label {other[0]!r} is not among the 8 classes")
