"""Annotation tables and their builders: what is read, written and refused."""

import numpy as np
import pandas as pd
import pytest
from videofiles import write_video

from actlib.datasets import own_videos as build
from actlib.datasets import table
from actlib.datasets.errors import DataError

HEADER = ",".join(table.COLUMNS)


def folder_of(root, **classes):
    """root/<class>/<n>.mp4; the builders look at names alone, so the files may be empty."""
    for label, count in classes.items():
        (root / label).mkdir(parents=True)
        for number in range(count):
            (root / label / f"{label}_{number}.mp4").touch()
    return root


def test_a_table_survives_the_disk(tmp_path):
    found = build.from_folders(folder_of(tmp_path / "v", run=6, walk=4), seed=1)
    found["num_frames"], found["fps"] = 32, 29.97
    path = table.write_table(found, tmp_path / "table.csv")
    again = table.read_table(path)
    assert list(again.columns) == list(table.COLUMNS)
    assert again["path"].tolist() == found["path"].tolist()
    assert again["num_frames"].tolist() == [32] * 10 and again["start"].isna().all()
    assert "v/run/run_0.mp4" in path.read_text() and str(tmp_path) not in path.read_text()


def test_a_table_moves_with_its_folder(tmp_path):
    found = build.from_folders(folder_of(tmp_path / "here" / "v", run=2, walk=2))
    table.write_table(found, tmp_path / "here" / "table.csv")
    (tmp_path / "here").rename(tmp_path / "there")
    moved = table.read_table(tmp_path / "there" / "table.csv")
    assert moved["path"].str.startswith(str(tmp_path / "there")).all()


def test_all_problems_of_a_table_come_at_once(tmp_path):
    path = tmp_path / "table.csv"
    rows = [
        "a,a.mp4,run,training,,,32,,,",
        "a,b.mp4,run,training,,,32,,,",  # doubled id
        "c,c.mp4,,train,,,32,,,",  # no label, unknown subset
        "d,d.mp4,run,validation,10,40,32,,,",  # segment past the end
        "e,e.mp4,run,validation,x,,32,,,",  # not a number
    ]
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    with pytest.raises(DataError) as error:
        table.read_table(path)
    text = str(error.value)
    assert str(path) in text and "5 problems" in text
    for words in (
        "line 3: video_id 'a' stands twice",
        "line 4: label is empty",
        "line 4: subset 'train'",
        "line 5: segment 10 to 40 of a video of 32 frames",
        "line 6: start 'x' is not a number",
    ):
        assert words in text


def test_paths_are_made_absolute_however_they_are_written(tmp_path):
    names = [
        "a.mp4",
        "./b.mp4",
        "v//c.mp4",
        "v/./d.mp4",
        "../e.mp4",
        str(tmp_path / "f.mp4"),
        "/else where/g.mp4",
        ".h.mp4",
    ]
    rows = [f"{number},{name},run,training,,,,,," for number, name in enumerate(names)]
    (tmp_path / "table.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    found = table.read_table(tmp_path / "table.csv")
    assert found["path"].tolist() == [str(tmp_path / name) for name in names]
    again = table.write_table(found, tmp_path / "again.csv")
    assert table.read_table(again)["path"].tolist() == found["path"].tolist()
    below = ["a.mp4", "b.mp4", "v/c.mp4", "v/d.mp4", "../e.mp4", "f.mp4", "/else where/g.mp4", ".h.mp4"]
    assert pd.read_csv(again)["path"].tolist() == below


def test_a_long_table_is_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "_PIECE", 10)
    rows = [f"{number},{number}.mp4,{('run', 'walk')[number % 2]},training,,,32,,," for number in range(25)]
    rows[7], rows[21] = "x,7.mp4,run,training,,,,,,", "x,21.mp4,run,train,5,,few,,,"
    path = tmp_path / "table.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    with pytest.raises(DataError) as error:
        table.read_table(path)
    assert "3 problems" in str(error.value)
    for words in ("line 23: video_id 'x' stands twice", "line 23: subset 'train'", "line 23: num_frames 'few' is not"):
        assert words in str(error.value)
    rows[21] = "21,21.mp4,run,training,5,,32,,,"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    found = table.read_table(path)
    assert found.index.tolist() == list(range(25)) and found["video_id"].tolist()[6:9] == ["6", "x", "8"]
    assert found["num_frames"].isna().tolist() == [number == 7 for number in range(25)] and found["start"][21] == 5
    labels = found["label"].tolist()
    assert labels[0] is labels[24]  # one string a class, not one a row


def test_a_missing_table_or_column_is_named(tmp_path):
    with pytest.raises(DataError, match="no such annotation table"):
        table.read_table(tmp_path / "none.csv")
    (tmp_path / "plain.csv").write_text("path,label,subset\na,b,train\n")
    with pytest.raises(DataError, match="no column video_id.*01_data_prep"):
        table.read_table(tmp_path / "plain.csv")
    with pytest.raises(DataError, match="no video of subset 'testing'; it has training"):
        table.rows_of(pd.DataFrame({"subset": ["training"]}), "testing")


def test_the_split_is_stratified_and_seeded(tmp_path):
    root = folder_of(tmp_path, run=10, walk=20, jump=2, lone=1)
    found = build.from_folders(root, validation=0.2, testing=0.1, seed=3)
    counts = table.counts(found)
    assert counts.loc["run"].tolist() == [7, 2, 1]
    assert counts.loc["walk"].tolist() == [14, 4, 2]
    assert counts.loc["jump"].tolist() == [1, 1, 0]  # training keeps one
    assert counts.loc["lone"].tolist() == [1, 0, 0]
    assert found.equals(build.from_folders(root, validation=0.2, testing=0.1, seed=3))
    assert not found.equals(build.from_folders(root, validation=0.2, testing=0.1, seed=4))
    assert table.class_names(found) == ["jump", "lone", "run", "walk"]


def test_a_split_made_by_folders_is_kept(tmp_path):
    folder_of(tmp_path / "train", run=3, walk=2)
    folder_of(tmp_path / "val", run=1, walk=1)
    found = build.from_folders(tmp_path)
    assert table.counts(found).to_numpy().tolist() == [[3, 1], [2, 1]]
    assert table.class_names(found) == ["run", "walk"]
    assert found["video_id"].is_unique  # run_0 is in both


def test_bad_folders_are_named(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        build.from_folders(tmp_path / "none")
    with pytest.raises(DataError, match="no class folders with videos"):
        build.from_folders(tmp_path)
    folder_of(tmp_path, run=1, empty=0)
    with pytest.raises(DataError, match="empty: no video in this class folder"):
        build.from_folders(tmp_path)
    with pytest.raises(DataError, match="together below 1"):
        build.from_folders(tmp_path, validation=0.6, testing=0.4)


def test_a_csv_of_own_videos(tmp_path):
    write_video(tmp_path / "a.mp4")
    write_video(tmp_path / "deep er.mp4")
    (tmp_path / "list.csv").write_text("path,label,subset,start,end\na.mp4,run,train,2,9\ndeep er.mp4,walk,val,,\n")
    found = build.from_csv(tmp_path / "list.csv")
    assert found["video_id"].tolist() == ["a", "deep er"]
    assert found["subset"].tolist() == ["training", "validation"]
    assert found["start"].tolist()[0] == 2 and np.isnan(found["start"].tolist()[1])
    assert found["path"].tolist() == [str(tmp_path / "a.mp4"), str(tmp_path / "deep er.mp4")]


def test_all_problems_of_a_csv_come_at_once(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("path,label,subset\nnone.mp4,run,train\n,walk,val\nx.mp4,walk,holdout\n")
    with pytest.raises(DataError) as error:
        build.from_csv(path)
    for words in ("line 2: no file", "line 3: path is empty", "line 4: subset 'holdout'", "line 4: no file"):
        assert words in str(error.value)
    path.write_text("path,label,subset,start,end\nlist.csv,run,train,soon,9\nlist.csv,run,train,,1O\n")
    with pytest.raises(DataError, match="2 problems\n.* line 2: start 'soon' is not a number\n.* line 3: end '1O' is "):
        build.from_csv(path)
    path.write_text("path,label,subset,start,end\nlist.csv,run,train,9,5\n")
    with pytest.raises(DataError, match="line 2: segment 9 to 5$"):
        build.from_csv(path)
    path.write_text("video,class\na,b\n")
    with pytest.raises(DataError, match="no column path, label, subset"):
        build.from_csv(path)
