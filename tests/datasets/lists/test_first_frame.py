"""Lists of `path start end label` whose frames are counted from 0, or from 1."""

import pytest
from annotationfiles import write
from pydantic import ValidationError

from actlib.datasets.errors import DataError
from actlib.datasets.lists.annotations import read_annotations
from actlib.params import DataPrepParams


def spans(listed) -> list[list[float]]:
    return listed.videos[["start", "end"]].to_numpy().tolist()


def test_a_start_of_0_in_any_list_proves_that_frames_count_from_0(tmp_path):
    lists = {"train_txt": "a 10 249 1\nb 1 99 0\n", "val_txt": "c 5 9 0\nd 0 249 1\n", "test_txt": "e 0 7\n"}
    listed = read_annotations("", write(tmp_path, **lists))
    assert spans(listed) == [[10, 250], [1, 100], [5, 10], [0, 250], [0, 8]]  # from 0, end exclusive
    assert listed.notes[-1] == (
        "frames are numbered from 0 in these lists: 2 of 5 lines begin there, val.txt line 2 first"
    )
    semicolons = write(tmp_path / "s", train_txt="a;0;249;thumb up\nb;0;99;stop\n")
    assert spans(read_annotations("", semicolons)) == [[0, 250], [0, 100]]


def test_without_one_they_count_from_1_unless_the_user_says_otherwise(tmp_path):
    folder = write(tmp_path, train_txt="a 1 249 1\nb 2 99 0\n")
    listed = read_annotations("", folder)
    assert spans(listed) == [[0, 249], [1, 99]]
    assert listed.notes[-1] == "frames are numbered from 1 in these lists: no line begins at 0"
    listed = read_annotations("", folder, first_frame=0)
    assert spans(listed) == [[1, 250], [2, 100]]
    assert listed.notes[-1] == "frames are numbered from 0 in these lists: as first_frame says"
    folder = write(tmp_path / "zero", train_txt="a 0 249 1\nb 9 3 0\n")
    with pytest.raises(DataError, match="line 1: frames 0 to 249: expected from 1 on.*; for frames from 0 set"):
        read_annotations("", folder, first_frame=1)
    with pytest.raises(DataError, match="1 problem\n.*line 2: frames 9 to 3: expected from 0 on, the last one"):
        read_annotations("", folder)


def test_lists_without_frames_say_nothing_of_them(tmp_path):
    """`path num_frames label` and `path label`."""
    for text in ("img/7 36 1\nimg/8 40 0\n", "img/7 1\nimg/8 0\n"):
        listed = read_annotations("", write(tmp_path, train_txt=text, test_txt="img/9 36 0\n"))
        assert not any("frames are numbered" in note for note in listed.notes) and listed.videos["start"].isna().all()


def test_the_parameter_of_notebook_01():
    assert DataPrepParams().first_frame == "auto" and DataPrepParams(first_frame=0).first_frame == 0
    with pytest.raises(ValidationError):
        DataPrepParams(first_frame=2)
