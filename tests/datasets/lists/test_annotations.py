"""Reading the published lists: equal to what the reference codebases make of them, in every layout."""

import json
import math

import pandas as pd
import pytest
from annotationfiles import DATA, kinetics, something_v2, ucf101_split, write, write_file

from actlib.datasets.catalog import find_dataset
from actlib.datasets.errors import DataError
from actlib.datasets.lists.annotations import read_annotations
from actlib.datasets.lists.json_lists import exchange_json, write_exchange
from actlib.datasets.lists.segments import seconds_to_frames, segment_frames

LISTS = {"ucf101": "ucf101", "hmdb51": "hmdb51/splits", "jester": "jester", "kinetics400": "kinetics"}


def expected(name: str, which: str) -> dict:
    return json.loads((DATA / name / which).read_text())


@pytest.mark.parametrize("name", LISTS)
def test_lists_as_the_references_read_them(name):
    listed = read_annotations(name, DATA / LISTS[name])
    assert exchange_json(listed.videos, listed.classes) == expected(name.removesuffix("400"), "expected_plain.json")


@pytest.mark.parametrize("name", ["ucf101", "hmdb51", "kinetics400"])
def test_lists_with_the_frames_on_disk(name):
    folder = name.removesuffix("400")
    listed = read_annotations(name, DATA / LISTS[name])
    videos = listed.videos.assign(num_frames=listed.videos["video_id"].map(expected(folder, "frame_counts.json")))
    assert exchange_json(videos, listed.classes, segments=True) == expected(folder, "expected_with_segments.json")


@pytest.mark.parametrize(
    "path", sorted(DATA.glob("*/expected_*.json")), ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_the_exchanged_json_comes_back_as_it_was(path, tmp_path):
    data = json.loads(path.read_text())
    listed = read_annotations("", path)
    written = write_exchange(listed.videos, listed.classes, tmp_path / "again.json", segments="segments" in path.name)
    assert json.loads(written.read_text()) == data
    if "segments" in path.name:
        spans = listed.videos.dropna(subset=["start"])
        assert (spans["start"] == 0).all() and (spans["end"] > 2).all()  # frames from 0, end exclusive


def test_the_exchanged_json_of_efficient_3dcnns_for_kinetics(tmp_path):
    """Nested by subset, and the ids are file names."""
    entry = {"subset": "validation", "annotations": {"label": "b"}, "n_frames": 300}
    data = {"labels": ["b", "a"], "database": {"training": {}, "validation": {"x_000001_000011.mp4": entry}}}
    listed = read_annotations("kinetics400", write_file(tmp_path / "kinetics.json", json.dumps(data)))
    assert listed.classes == ["b", "a"]
    assert listed.videos["video_id"].tolist() == ["x_000001_000011"]
    assert listed.videos["subset"].tolist() == ["validation"]


def probed_activitynet() -> tuple[pd.DataFrame, dict]:
    listed = read_annotations("activitynet", DATA / "activitynet")
    data = expected("activitynet", "expected.json")
    videos = listed.videos[listed.videos["label"] != ""]
    videos = videos.assign(
        path=videos["hint"], num_frames=videos["hint"].map(data["num_frames"]), fps=videos["hint"].map(data["fps"])
    )
    assert {name: place for place, name in enumerate(listed.classes)} == data["class_index"]
    return videos.assign(index=videos["label"].map(data["class_index"])), data["segments"]


@pytest.mark.parametrize("rule", ["master", "CVPR2018"])
def test_activitynets_segments_by_both_branches(rule):
    videos, segments = probed_activitynet()
    table, dropped = seconds_to_frames(videos, rule=rule, lose_last=rule == "master")
    assert dropped.empty and "time_start" not in table.columns
    for subset, wanted in segments[f"3D-ResNets-PyTorch (branch {rule})"]["subsets"].items():
        rows = table[table["subset"] == subset]
        found = [
            {
                "video_id": row.path,
                "label": row.index,
                # One branch writes down ends that lie past the video; as far as the frames exist:
                "segment": [int(row.start) + 1, int(row.end) + 1],
                "first_frame": int(row.start) + 1,
                "last_frame": int(row.end),
            }
            for row in rows.itertuples(index=False)
        ]
        clamped = [row | {"segment": [row["first_frame"], row["last_frame"] + 1]} for row in wanted]
        assert found == clamped


def test_the_last_frame_is_kept():
    assert segment_frames(0, 10, 10, 100, lose_last=True) == (1, 100)  # as the branch master has it: frame 100 is lost
    assert segment_frames(0, 10, 10, 100) == (1, 101)
    with pytest.raises(ValueError, match="rule 'main': expected one of master, CVPR2018"):
        segment_frames(0, 1, 25, 100, "main")


def test_short_and_unknown_segments_are_dropped_and_named():
    videos = pd.DataFrame(
        {
            "video_id": ["short", "no_fps", "behind", "good", "long"],
            "path": list("abcde"), "label": "x", "subset": "training",
            "start": [math.nan, math.nan, 60, math.nan, 10], "end": [math.nan, math.nan, 80, math.nan, 60],
            "time_start": [1, 1, math.nan, 1, math.nan], "time_end": [1.2, 9, math.nan, 9, math.nan],
            "num_frames": [50, 50, 50, 50, 50], "fps": [10, 0, 10, 10, 10],
        }
    )  # fmt: skip
    table, dropped = seconds_to_frames(videos)
    assert dropped["video_id"].tolist() == ["short", "no_fps", "behind"]
    assert "2 frames, fewer than 8" in dropped["reason"][0]
    assert "frames per second unknown" in dropped["reason"][1]
    assert table[["start", "end"]].to_numpy().tolist() == [[10, 50], [10, 50]]  # the listed end 60 is clamped


def test_activitynet_as_the_author_of_the_file_meant_it():
    listed = read_annotations("activitynet", DATA / "activitynet")
    assert listed.unit == "segments"
    assert listed.videos["video_id"].tolist()[:2] == ["aaaaaaaaa01#0", "aaaaaaaaa01#1"]  # two segments of one video
    assert listed.videos.loc[listed.videos["subset"] == "testing", "label"].tolist() == [""]
    assert listed.notes == ["ActivityNet 1.3 was published with 200 classes, these lists have 3"]


def test_kinetics_700_and_newer_columns(tmp_path):
    header = "label,youtube_id,time_start,time_end,split,is_cc"
    rows = 'b,aaaaaaaaaaa,3,13,validate,0\n"a, c",bbbbbbbbbbb,4,14,validate,1\n'
    listed = read_annotations("kinetics700", write(tmp_path, validate_csv=f"{header}\n{rows}"))
    assert listed.classes == ["b", "a, c"]
    assert listed.videos["video_id"].tolist() == ["aaaaaaaaaaa_000003_000013", "bbbbbbbbbbb_000004_000014"]
    assert set(listed.videos["subset"]) == {"validation"}


def test_harmless_oddities_change_nothing(tmp_path):
    """A byte order mark, CRLF, blank lines, spaces around the fields, UTF-16, a folder in between."""
    rows = [("a", "aaaaaaaaaaa", 1), ("b, c", "bbbbbbbbbbb", 2)]
    plain = read_annotations("kinetics400", write(tmp_path / "1", train_csv=kinetics(rows, "train")))
    text = kinetics(rows, "train").replace("\n", "\r\n\r\n").replace(",1,", ", 1 ,")
    odd = read_annotations("kinetics400", write(tmp_path / "2", csv__train_csv="\ufeff" + text))
    write_file(tmp_path / "3" / "kinetics_train.csv", kinetics(rows, "train").encode("utf-16"))
    wide = read_annotations("kinetics400", tmp_path / "3")
    columns = ["video_id", "label", "subset"]
    assert plain.videos[columns].equals(odd.videos[columns]) and plain.videos[columns].equals(wide.videos[columns])
    assert odd.videos["line"].tolist() == [3, 5]
    assert plain.classes == odd.classes == wide.classes == ["a", "b, c"]


def test_all_columns_of_kinetics(tmp_path):
    rows = [(f"class {index % 7}, x", f"{index:011d}", index) for index in range(50)]
    path = write_file(tmp_path / "train.csv", kinetics(rows, "train"))
    listed = read_annotations("kinetics400", path).videos
    assert listed["video_id"].tolist() == [f"{name}_{start:06d}_{start + 10:06d}" for _, name, start in rows]
    assert listed["label"].tolist() == [label for label, *_ in rows]
    assert set(listed["subset"]) == {"training"} and set(listed["file"]) == {path} and set(listed["hint"]) == {""}
    assert listed["line"].tolist() == list(range(2, 52))
    assert listed[["start", "end", "time_start", "time_end"]].isna().all(axis=None)


def test_a_list_without_a_video_and_one_with_blank_lines(tmp_path):
    rows = kinetics([("a", "aaaaaaaaaaa", 1), ("a", "bbbbbbbbbbb", 1)], "train").replace("\na,b", "\n\na,b")
    write(tmp_path, train_csv=rows, val_csv=kinetics([], "val"), test_csv=kinetics([], "test", label=False))
    listed = read_annotations("kinetics400", tmp_path).videos
    assert listed["line"].tolist() == [2, 4] and listed["file"].tolist() == [tmp_path / "train.csv"] * 2


def test_one_file_for_all_subsets(tmp_path):
    text = "label,youtube_id,time_start,time_end,split\na,aaaaaaaaaaa,0,10,train\na,bbbbbbbbbbb,0,10,val\n"
    listed = read_annotations("kinetics400", write_file(tmp_path / "k400.csv", text))
    assert listed.videos["subset"].tolist() == ["training", "validation"]


def test_splits_of_ucf101_and_hmdb51(tmp_path):
    classes = "37 HandstandPushups\n1 Archery\n"
    one = "Archery/v_Archery_g01_c01.avi 1\n"
    two = "HandstandPushups/v_HandStandPushups_g01_c01.avi 37\n"
    write(tmp_path, classInd_txt=classes, trainlist01_txt=one, testlist01_txt="Archery/v_Archery_g02_c01.avi\n")
    write(tmp_path, trainlist02_txt=two, testlist02_txt="HandStandPushups/v_HandStandPushups_g02_c01.avi\n")
    listed = read_annotations("ucf101", tmp_path, split=2)
    assert listed.name == "ucf101_02" and listed.classes == ["HandstandPushups", "Archery"]
    assert listed.videos["label"].tolist() == ["HandstandPushups"] * 2  # in the folder's other spelling too
    assert listed.videos["video_id"].tolist() == ["v_HandStandPushups_g01_c01", "v_HandStandPushups_g02_c01"]
    write(tmp_path / "h", wave_test_split1_txt="a.avi 1\n", wave_test_split3_txt="a.avi 2\nb&x;y.avi 1 \n")
    listed = read_annotations("hmdb51", tmp_path / "h", split=3)
    assert listed.videos[["video_id", "subset"]].to_numpy().tolist() == [["a", "validation"], ["b&x;y", "training"]]


def test_lists_of_full_size_have_the_published_counts(tmp_path):
    published = find_dataset("ucf101").published_in(1)
    folder = ucf101_split(tmp_path, {"train": published["training"], "test": published["validation"]})
    listed = read_annotations("ucf101", folder)
    assert listed.published == published and len(listed.classes) == 101 and listed.notes == []
    assert listed.videos["subset"].value_counts().to_dict() == {"training": 9_537, "validation": 3_783}


def test_jesters_published_lists(tmp_path):
    labels = "Swiping Left\nDoing other things\nSwiping Right\n"
    write_file(tmp_path / "jester-v1-labels.csv", labels)
    write_file(tmp_path / "jester-v1-train.csv", "34870;Swiping Left\n56557;Doing other things\n")
    write_file(tmp_path / "jester-v1-validation.csv", "9223;Swiping Right\n")
    write_file(tmp_path / "jester-v1-test.csv", "7\n")
    listed = read_annotations("jester", tmp_path)
    assert listed.classes == ["Doing other things", "Swiping Left", "Swiping Right"]  # the order of classInd.txt
    assert listed.videos["label"].tolist() == ["Swiping Left", "Doing other things", "Swiping Right", ""]


def test_the_reference_codebases_folder_of_jester(tmp_path):
    """Its test list has frames and a class from 0; a video that is in another list too counts there."""
    write_file(tmp_path / "categories.txt", (DATA / "jester" / "classInd.txt").read_bytes())
    write(tmp_path, trainlist_txt="118523 23\n", vallist01_txt="737 11\n59499 1\n")
    listed = read_annotations("jester", write(tmp_path, testlist01_txt="60751 33 26\n4306 36 0\n737 37 10\n"))
    assert listed.videos[["video_id", "label", "subset"]].to_numpy().tolist() == [
        ["118523", "Turning_Hand_Counterclockwise", "training"],
        ["737", "Sliding_Two_Fingers_Down", "validation"], ["59499", "Doing_other_things", "validation"],
        ["60751", "Zooming_Out_With_Two_Fingers", "testing"], ["4306", "Doing_other_things", "testing"],
    ]  # fmt: skip
    assert listed.notes == ["1 test videos stand in the other lists too and count there"]


def test_a_lists_published_name_is_meant_where_others_lie_beside_it(tmp_path):
    """As in the folder annotation_Jester of Efficient-3DCNNs."""
    names = (DATA / "jester" / "classInd.txt").read_bytes()
    write(tmp_path / "j", trainlist_txt="5 2\n", trainlist01_txt="6 3\n", vallist_txt="7 1\n", categories_txt="1 A\n")
    write_file(tmp_path / "j" / "classInd.txt", names)
    listed = read_annotations("jester", tmp_path / "j")
    assert len(listed.classes) == 27 and listed.videos["video_id"].tolist() == ["5", "7"]
    csv = {"labels": "A\nB\n", "train": "1;A\n", "validation": "2;B\n"}
    for name, text in csv.items():
        write_file(tmp_path / "s" / f"jester-v1-{name}.csv", text)
        write_file(tmp_path / "s" / f"older-{name}.csv", "C\n" if name == "labels" else "3;C\n")
    assert read_annotations("jester", tmp_path / "s").classes == ["A", "B"]
    rows = kinetics([("a", "aaaaaaaaaaa", 1)], "train")
    write(tmp_path / "k", kinetics_400_train_csv=rows, mine_train_csv=rows.replace("a,aaa", "b,aaa"))
    (tmp_path / "k" / "kinetics_400_train.csv").rename(tmp_path / "k" / "kinetics-400_train.csv")
    assert read_annotations("kinetics400", tmp_path / "k").classes == ["a"]
    something_v2(tmp_path / "v2", ["Opening [something]"], train=[("1", "Opening [something]")], validation=[])
    write_file(tmp_path / "v2" / "my-labels.json", '{"Closing something": "0"}')
    assert read_annotations("something_v2", tmp_path / "v2").classes == ["Opening something"]
    data = (DATA / "activitynet" / "activity_net.json").read_bytes()
    write_file(tmp_path / "a" / "activity_net.v1-3.min.json", data)
    write_file(tmp_path / "a" / "activity_net.v1-2.min.json", data)
    assert len(read_annotations("activitynet", tmp_path / "a").videos)
    write(tmp_path / "two", categories_txt="1 A\n", labels_csv="A\n", trainlist_txt="1 1\n")
    write_file(tmp_path / "two" / "CATEGORIES.txt", "1 B\n")
    with pytest.raises(DataError, match=r"several files could be classInd.txt \(CATEGORIES.txt, categories.txt\)"):
        read_annotations("jester", tmp_path / "two")


def test_something_something(tmp_path):
    doesnt = "Poking something so lightly that it doesn't or almost doesn't move"
    write_file(tmp_path / "1" / "something-something-v1-labels.csv", f"Holding something\n{doesnt}\n")
    write_file(tmp_path / "1" / "something-something-v1-train.csv", f"1;{doesnt}\n2;Holding something\n")
    one = read_annotations("something_v1", tmp_path / "1")
    assert one.videos["label"].tolist() == [doesnt, "Holding something"]
    templates = ["Putting [something] on [something]", "Opening [something]"]
    lists = {"train": [("5", templates[0])], "validation": [("6", templates[1])], "test": [("7", "")]}
    two = read_annotations("something_v2", something_v2(tmp_path / "2", templates, **lists))
    assert two.classes == ["Putting something on something", "Opening something"]
    assert two.videos[["video_id", "label", "subset"]].to_numpy().tolist() == [
        ["5", "Putting something on something", "training"], ["6", "Opening something", "validation"],
        ["7", "", "testing"],
    ]  # fmt: skip


def test_moments(tmp_path):
    write(tmp_path, moments_categories_txt="clapping,0\nplaying+music,1\n")
    write(tmp_path, trainingSet_csv="clapping/a.mp4,clapping,3,0\nplaying+music/yt-1.x.mp4,playing+music,4,1\n")
    write(tmp_path, validationSet_csv="playing+music/a.mp4,playing+music,3,0\n")
    listed = read_annotations("moments", tmp_path)
    # A file name that stands in two folders becomes the path.
    assert listed.videos["video_id"].tolist() == ["clapping/a", "yt-1.x", "playing+music/a"]
    assert listed.classes == ["clapping", "playing+music"]


def test_lists_of_class_numbers(tmp_path):
    ibm = "images/train/riding a bike/x_000001_000011;1;300;1\nimages/train/air drumming/y;11;30;0\n"
    write(tmp_path / "1", train_txt=ibm, category_txt="air drumming\nriding a bike\n", mini_train_txt="z;1;2;0\n")
    listed = read_annotations("kinetics400", tmp_path / "1")
    assert listed.videos["label"].tolist() == ["riding a bike", "air drumming"]
    assert listed.videos[["start", "end"]].to_numpy().tolist() == [[0, 300], [10, 30]]  # from 1, end included
    spaces = "/data/train/123 1 45 2\n/data/train/124 1 9 0\n"
    write(tmp_path / "2", val_txt=spaces, test_txt="/data/test/125 1 9\n")
    listed = read_annotations("something_v2", tmp_path / "2", data_root="/data")
    assert listed.videos[["video_id", "label", "hint"]].to_numpy().tolist() == [
        ["123", "2", "train/123"], ["124", "0", "train/124"], ["125", "", "test/125"]
    ]  # fmt: skip
    assert "the classes are called 0 to 2" in listed.notes[0]
    lists = {f"ucf101_rgb_train_split_{split}_txt": f"v_{split} 36 0\n" for split in (1, 2, 3)}
    two = read_annotations("ucf101", write(tmp_path / "4", **lists), split=2)
    assert two.videos["video_id"].tolist() == ["v_2"]
    tsm = write(tmp_path / "3", train_videofolder_txt="img/7 36 1\nimg/8 40 0\n", category_txt="Closing\nOpening\n")
    assert read_annotations("something_v1", tsm).videos["label"].tolist() == ["Opening", "Closing"]


def test_several_segments_and_several_labels(tmp_path):
    listed = read_annotations("", write(tmp_path, train_txt="a/x 1 10 0\na/x 11 20 1 2\n"))
    assert listed.videos["video_id"].tolist() == ["x#0", "x#1"]
    assert listed.videos["label"].tolist() == ["0", "1"]
    assert "1 videos have several labels; the table holds the first of each" in listed.notes


@pytest.mark.parametrize("dataset", ["kinetics400", "mini_kinetics"])
def test_a_class_list_keeps_and_orders(tmp_path, dataset):
    rows = [("yoga", "aaaaaaaaaaa", 1), ("air drumming", "bbbbbbbbbbb", 2), ("zumba", "ccccccccccc", 3)]
    write(tmp_path, train_csv=kinetics(rows, "train"), test_csv=kinetics([("", "ddddddddddd", 4)], "test", label=False))
    chosen = write_file(tmp_path / "lists" / "mine.txt", "\nair_drumming\nyoga''.\n")  # as the published one ends
    listed = read_annotations(dataset, tmp_path, class_list=chosen)
    assert listed.classes == ["air drumming", "yoga"]
    assert listed.videos["label"].tolist() == ["yoga", "air drumming"]
    assert "1 unlabelled videos are left out" in listed.notes[0]
