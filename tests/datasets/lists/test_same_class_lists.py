"""Lists, tables and folders that spell a class each their own way."""

import json

import pandas as pd
import pytest
from annotationfiles import DATA, kinetics, something_v2, write, write_file

from actlib.datasets.catalog import find_dataset, mirrored_names
from actlib.datasets.dataset_info import DatasetInfo, read_dataset_info, write_dataset_info
from actlib.datasets.errors import DataError
from actlib.datasets.lists.annotations import read_annotations
from actlib.datasets.own_videos import from_csv, from_folders

CLASS = "differ in case, blanks, underscores or hyphens alone, which is one class; write one of them"


def labels_of(listed) -> dict[str, str]:
    return dict(zip(listed.videos["video_id"], listed.videos["label"]))


def test_every_reader_spells_labels_as_its_classes(tmp_path):
    folder = write(
        tmp_path / "k", train_csv=kinetics([("air drumming", "aaaaaaaaaaa", 1)], "train"),
        val_csv=kinetics([("Air_drumming", "bbbbbbbbbbb", 1)], "val"),
    )  # fmt: skip
    listed = read_annotations("kinetics400", folder)
    assert listed.classes == ["air drumming"] and set(labels_of(listed).values()) == {"air drumming"}
    folder = write(
        tmp_path / "j", jester_v1_labels_csv="Swiping Up\nNo gesture\n", jester_v1_train_csv="1;swiping_up\n",
        jester_v1_validation_csv="2;No Gesture\n",
    )  # fmt: skip
    assert labels_of(read_annotations("jester", folder)) == {"1": "Swiping Up", "2": "No gesture"}
    something_v2(tmp_path / "s", ["Opening [something]"], train=[("1", "opening [Something]")], validation=[])
    assert labels_of(read_annotations("something_v2", tmp_path / "s")) == {"1": "Opening something"}
    database = {"1": {"subset": "training", "annotations": {"label": "thumb-up"}}}
    path = write_file(tmp_path / "own.json", json.dumps({"labels": ["Thumb Up"], "database": database}))
    assert labels_of(read_annotations("", path)) == {"1": "Thumb Up"}
    folder = write(tmp_path / "n", train_txt="a;1;9;thumb-up\n", classes_txt="Stop Sign\nThumb_Up\n")
    assert labels_of(read_annotations("", folder)) == {"a": "Thumb_Up"}
    # A list of the user's keeps the spelling of the lists, which is the table's.
    chosen = write_file(tmp_path / "mine.txt", "thumb_up\n")
    assert read_annotations("", path, class_list=chosen).classes == ["Thumb Up"]


def test_two_spellings_in_one_list_are_named(tmp_path):
    folder = write(tmp_path / "j", trainlist_txt="1 1\n", vallist_txt="2 2\n", classInd_txt="1 Thumb_Up\n2 Thumb Up\n")
    with pytest.raises(DataError, match=rf"classInd.txt line 2: 'Thumb_Up' and 'Thumb Up' {CLASS}"):
        read_annotations("jester", folder)
    path = write_file(tmp_path / "own.json", json.dumps({"labels": ["a b", "A-b"], "database": {}}))
    with pytest.raises(DataError, match=rf"labels\[1\]: 'a b' and 'A-b' {CLASS}"):
        read_annotations("", path)
    rows = kinetics([("a b", "aaaaaaaaaaa", 1), ("A b", "bbbbbbbbbbb", 1)], "train")
    with pytest.raises(DataError, match=f"train.csv line 3: 'a b' and 'A b' of the training list {CLASS}"):
        read_annotations("kinetics400", write(tmp_path / "k", train_csv=rows))
    for name in ("one.mp4", "two.mp4", "three.mp4"):
        write_file(tmp_path / "v" / "Stop Sign" / name)
    csv = "path,label,subset\none.mp4,Stop Sign,train\ntwo.mp4,Stop Sign,train\nthree.mp4,stop_sign,val\n"
    with pytest.raises(DataError, match=f"line 4: label 'Stop Sign' and 'stop_sign' {CLASS}"):
        from_csv(write_file(tmp_path / "v.csv", csv), tmp_path / "v" / "Stop Sign")
    write_file(tmp_path / "v" / "stop_sign" / "four.mp4")
    with pytest.raises(DataError, match=f"class folders 'Stop Sign' and 'stop_sign' {CLASS}"):
        from_folders(tmp_path / "v")


def test_the_tables_spelling_is_what_its_info_says(tmp_path):
    classes, mirrored = ["Stop Sign", "Swiping Left", "Swiping Right"], {"Swiping Left": "Swiping Right"}
    write_dataset_info(DatasetInfo("jester", "Jester", classes, {}, mirrored), tmp_path)
    table = pd.DataFrame({"label": ["Swiping_Left", "Stop Sign"], "subset": "training"})
    info = read_dataset_info(tmp_path / "table.csv", table)
    assert info.classes == ["Stop Sign", "Swiping_Left", "Swiping Right"]
    assert info.mirrored == {"Swiping_Left": "Swiping Right"}
    with pytest.raises(DataError, match="'Swiping_Left' and 'swiping left' of .*table.csv differ"):
        read_dataset_info(tmp_path / "table.csv", pd.DataFrame({"label": ["Swiping_Left", "swiping left"]}))
    with pytest.raises(DataError, match="label 'Swiping' is not among the 3 classes"):
        read_dataset_info(tmp_path / "table.csv", pd.DataFrame({"label": ["Swiping"]}))


def test_flip_pairs_are_found_in_any_spelling():
    assert mirrored_names(["go_left", "Go right", "up"]) == {"go_left": "Go right", "Go right": "go_left"}
    pairs = find_dataset("jester").mirrored_pairs
    classes = ["Turning Hand Clockwise", "Turning_Hand_Counter-clockwise"]
    assert mirrored_names(classes, pairs) == dict(zip(classes, reversed(classes)))
    lines = (DATA / "jester" / "classInd.txt").read_text().splitlines()
    spelled = [line.split()[1].lower().replace("_", "-") for line in lines]
    assert len(mirrored_names(spelled, pairs)) == 6
