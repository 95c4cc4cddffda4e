"""Finding the listed videos in a folder, whatever its layout; saying how many are there; what dataset.json keeps."""

import io
import os

import numpy as np
import pandas as pd
import pytest
from annotationfiles import DATA, kinetics, write, write_file
from PIL import Image

from actlib.datasets.dataset_info import read_dataset_info, write_dataset_info
from actlib.datasets.errors import DataError
from actlib.datasets.lists import find_videos as find_videos_module
from actlib.datasets.lists.annotations import availability, coverage, find_videos, make_dataset_info, read_annotations
from actlib.datasets.own_videos import from_folders
from actlib.datasets.table import COLUMNS, read_table, write_table
from actlib.datasets.video import lmdb_store
from actlib.datasets.video.info import VideoInfo

ROWS = [("riding a bike", "aaaaaaaaaaa", 1), ("yoga", "bbbbbbbbbbb", 2), ("yoga", "ccccccccccc", 3)]
IDS = ["aaaaaaaaaaa_000001_000011", "bbbbbbbbbbb_000002_000012", "ccccccccccc_000003_000013"]


@pytest.fixture
def listed(tmp_path):
    test = kinetics([("", "ddddddddddd", 4)], "test", label=False)
    lists = write(tmp_path / "lists", train_csv=kinetics(ROWS[:2], "train"), val_csv=kinetics(ROWS[2:], "val"))
    return read_annotations("kinetics400", write(lists, test_csv=test))


@pytest.mark.parametrize(
    "layout",
    [
        "{label}/{id}.mp4",
        "{underscored}/{id}.webm",
        "{subset}/{label}/{id}.MKV",
        "{id}.avi",
        "{youtube}.mp4",
        "{label}/{id}/image_00001.jpg",
        "{short}/{underscored}/{id}/00001.jpg",
        "flow/{id}/00001_x.jpg",
    ],
)
def test_every_layout_is_found(listed, tmp_path, layout):
    places = {}
    for row in listed.videos[listed.videos["label"] != ""].itertuples():
        words = {"label": row.label, "underscored": row.label.replace(" ", "_"), "id": row.video_id}
        words |= {"subset": row.subset, "short": {"training": "train", "validation": "val"}[row.subset]}
        path = write_file(tmp_path / "videos" / layout.format(youtube=row.video_id[:11], **words))
        places[row.video_id] = str(path.parent if path.suffix == ".jpg" else path)
    table, missing = find_videos(listed, tmp_path / "videos")
    assert list(table.columns) == list(COLUMNS)
    assert dict(zip(table["video_id"], table["path"])) == places and missing.empty
    assert table["subset"].tolist() == ["training", "training", "validation"] and listed.unlisted == 0


def test_missing_and_unlisted_are_counted(listed, tmp_path):
    root = tmp_path / "videos"
    for name in (f"yoga/{IDS[2]}.mp4", "yoga/other.mp4", "test/ddddddddddd_000004_000014.mp4", ".trash/x.mp4", "a.txt"):
        write_file(root / name)
    table, missing = find_videos(listed, root)
    assert table["video_id"].tolist() == [IDS[2]]
    assert missing.to_dict("list") == {
        "video_id": IDS[:2], "label": ["riding a bike", "yoga"], "subset": ["training"] * 2
    }  # fmt: skip
    assert listed.unlisted == 1  # the unlabelled test video is in a list, other.mp4 in none


def test_the_nearest_of_several_places(listed, tmp_path):
    root = tmp_path / "videos"
    for name in (
        f"riding a bike/{IDS[0]}.mp4", f"yoga/{IDS[0]}.mp4",  # the folder of the class
        f"val/yoga/{IDS[1]}.mp4", f"train/yoga/{IDS[1]}.mp4",  # then that of the subset
        f"yoga/{IDS[2]}.mp4", f"yoga/{IDS[2]}/00001.jpg",  # then the file
    ):  # fmt: skip
        write_file(root / name)
    table, _ = find_videos(listed, root)
    wanted = [f"riding a bike/{IDS[0]}.mp4", f"train/yoga/{IDS[1]}.mp4", f"yoga/{IDS[2]}.mp4"]
    assert table["path"].tolist() == [str(root / name) for name in wanted]


def test_a_listed_path_decides(tmp_path):
    lists = write(tmp_path / "lists", train_txt="one/x 1 9 0\ntwo/x 1 9 1\n")
    for folder in ("one", "two"):
        write_file(tmp_path / "videos" / "images" / folder / "x" / "img_00001.jpg")
    table, _ = find_videos(read_annotations("", lists), tmp_path / "videos")
    assert table["video_id"].tolist() == ["one/x", "two/x"]
    assert [path.split(os.sep)[-2] for path in table["path"]] == ["one", "two"]
    assert table[["start", "end"]].to_numpy().tolist() == [[0, 9], [0, 9]]


def test_the_place_with_most_of_the_listed_folders_decides(tmp_path):
    lists = write(tmp_path / "lists", train_txt="one/train/x 1 9 0\ntwo/train/x 1 9 1\n")
    for folder in ("one", "two"):
        write_file(tmp_path / "videos" / folder / "train" / "x.mp4")
    table, _ = find_videos(read_annotations("", lists), tmp_path / "videos")
    assert table["path"].tolist() == [str(tmp_path / "videos" / name / "train" / "x.mp4") for name in ("one", "two")]


def test_activitynets_names_and_seconds(tmp_path):
    annotations = read_annotations("activitynet", DATA / "activitynet")
    write_file(tmp_path / "v_aaaaaaaaa01.mp4")
    table, missing = find_videos(annotations, tmp_path)
    assert table["path"].nunique() == 1 and table["time_end"].tolist() == [6.4, 19.93]
    assert missing["video_id"].tolist() == ["aaaaaaaaa02", "aaaaaaaaa03"]


def test_other_capitals_in_the_folder_of_the_class(tmp_path):
    name = "HandstandPushups/v_HandStandPushups_g01_c01.avi"
    lists = write(tmp_path / "lists", classInd_txt="1 HandstandPushups\n", trainlist01_txt=f"{name} 1\n")
    annotations = read_annotations("ucf101", write(lists, testlist01_txt="\n"))
    write_file(tmp_path / "videos" / "HandstandPushups" / "v_HandstandPushups_g01_c01.avi")
    table, missing = find_videos(annotations, tmp_path / "videos")
    assert len(table) == 1 and missing.empty


def test_videos_in_lmdb_files(listed, tmp_path):
    Image.new("RGB", (8, 8)).save(picture := io.BytesIO(), "JPEG")
    with lmdb_store.Writer(tmp_path / "videos" / "training.lmdb") as writer:
        for name in IDS[:2]:
            writer.add(name, VideoInfo(1, 0.0, 8, 8), [picture.getvalue()])
    write_file(tmp_path / "videos" / "validation.lmdb", "no LMDB file")
    table, missing = find_videos(listed, tmp_path / "videos")
    assert table["path"].tolist() == [str(tmp_path / "videos" / "training.lmdb" / name) for name in IDS[:2]]
    assert missing["video_id"].tolist() == [IDS[2]]
    assert "validation.lmdb was passed over" in listed.notes[-1]
    assert lmdb_store.read_frames(table["path"][0], [0]).shape == (1, 8, 8, 3)


def test_one_walk_even_through_links(listed, tmp_path, monkeypatch):
    """Links are followed, one upwards once; folders of frames are not listed to their end."""
    other = tmp_path / "elsewhere"
    for index in range(1, 2000):
        write_file(other / IDS[0] / f"image_{index:05d}.jpg")
    root = tmp_path / "videos"
    root.mkdir()
    (root / "linked").symlink_to(other)
    (root / "up").symlink_to(root)
    (other / "again").symlink_to(other)
    taken = []
    match = find_videos_module._FRAME

    class Counting:
        def fullmatch(self, name):
            taken.append(name)
            return match.fullmatch(name)

    monkeypatch.setattr(find_videos_module, "_FRAME", Counting())
    table, _ = find_videos(listed, root)
    assert table["path"].tolist() == [str(root / "linked" / IDS[0])]
    assert len(taken) < 20


def test_nothing_to_find(listed, tmp_path):
    with pytest.raises(DataError, match="none: no such folder of videos"):
        find_videos(listed, tmp_path / "none")
    (tmp_path / "videos").mkdir()
    with pytest.raises(DataError, match=r"no video .*expected <class>/<id>.mp4, <subset>/<class>/<id>.mp4"):
        find_videos(listed, tmp_path / "videos")
    write_file(tmp_path / "videos" / "holiday.mp4")
    with pytest.raises(DataError, match=r"none of the 4 listed videos .* is among the 1 below it \('holiday.mp4'"):
        find_videos(listed, tmp_path / "videos")


def test_availability_and_what_is_kept_of_it(listed, tmp_path):
    for name in IDS[1:]:
        write_file(tmp_path / "videos" / f"{name}.mp4")
    table, _ = find_videos(listed, tmp_path / "videos")
    listed.published = {"training": 246_245, "validation": 20_000, "testing": None}
    counts = availability(listed, table, table[:1])
    assert counts.loc["training"].to_dict() == {
        "published": 246_245, "listed": 2, "found": 1, "readable": 1, "unlabelled": 0
    }  # fmt: skip
    assert coverage(counts) == [
        "training: 1 of 2 videos readable, 1 missing (246,245 published)",
        "validation: 0 of 1 videos readable, 1 unreadable (20,000 published)",
        "testing: 0 of 0 videos readable, 1 more without a label",
    ]
    by_class = availability(listed, table, table[:1], by_class=True)
    assert by_class.index.tolist() == [
        ("training", "riding a bike"),
        ("training", "yoga"),
        ("validation", "yoga"),
    ]
    assert by_class.to_numpy().tolist() == [[1, 0, 0], [1, 1, 1], [1, 1, 0]]

    info = make_dataset_info(listed, table, table[:1], storage="short_gop")
    assert info.classes == ["riding a bike", "yoga"] and info.name == "kinetics400" and info.mirrored == {}
    assert info.videos["testing"] == {"published": None, "listed": 0, "found": 0, "readable": 0}
    assert info.expected("training") == 2
    path = write_table(table[:1].assign(num_frames=9), tmp_path / "run" / "table.csv")
    write_dataset_info(info, path.parent)
    assert read_dataset_info(path, read_table(path)) == info


def test_the_info_of_videos_without_lists(tmp_path):
    for name in ("left", "right", "up"):
        write_file(tmp_path / name / "1.mp4")
        write_file(tmp_path / name / "2.mp4")
    table = from_folders(tmp_path, validation=0.5)
    info = make_dataset_info(table, table, table[1:], name="mine")
    assert info.title == "mine" and info.classes == ["left", "right", "up"]
    assert info.mirrored == {"left": "right", "right": "left"}
    assert {subset: counts["listed"] for subset, counts in info.videos.items()} == {"training": 3, "validation": 3}
    assert sum(counts["readable"] for counts in info.videos.values()) == 5
    assert info.videos["training"]["published"] is None


def test_the_info_of_a_mini_set_names_classes_without_a_twin(tmp_path):
    right, other = "Turning the camera right while filming something", "Opening something"
    lists = write(tmp_path, train_txt="1 9 0\n2 9 1\n", mini_train_txt="1 9 0\n2 9 1\n")
    chosen = write_file(tmp_path / "chosen" / "mini.txt", f"{right}\n{other}\n")
    annotations = read_annotations("mini_something", lists, class_list=chosen)
    assert make_dataset_info(annotations, pd.DataFrame(columns=["subset", "label"]), annotations.videos).mirrored == {
        right: right.replace("right", "left")
    }
    assert np.array_equal(annotations.videos["label"], [right, other])
