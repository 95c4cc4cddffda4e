"""Lists with mistakes in them: one error for all, each with its file and line, and with the likely fix."""

import json
import re

import pytest
from annotationfiles import DATA, kinetics, something_v2, write, write_file

from actlib.datasets.errors import DataError
from actlib.datasets.lists.annotations import read_annotations


def problems(dataset, path, **options) -> str:
    with pytest.raises(DataError) as error:
        read_annotations(dataset, path, **options)
    return str(error.value)


def test_all_problems_of_kinetics_at_once(tmp_path):
    train = [("archery", "aaaaaaaaaaa", 1), ("yoga", "bbbbbbbbbbb", 2), ("yoga", "bbbbbbbbbbb", 2)]
    text = kinetics(train, "train")
    text += "knitting, crocheting,ccccccccccc,1,11,train\nyoga,ddddddddddd,soon,11,train\n,eeeeeeeeeee,1,11,train\n"
    text += "yoga,../../etc/x,1,11,train\nyoga,,1,11,train\n"
    val = [("archeri", "fffffffffff", 1), ("archery", "aaaaaaaaaaa", 1)]
    write(tmp_path, kinetics_train_csv=text, kinetics_val_csv=kinetics(val, "val"))
    said = problems("kinetics400", tmp_path)
    assert ": 8 problems" in said
    for line in (
        "kinetics_train.csv line 4: video id 'bbbbbbbbbbb_000002_000012' stands already in kinetics_train.csv line 3",
        "kinetics_train.csv line 5: 6 fields, expected 5 (label,youtube_id,time_start,time_end,split); a label with a "
        "comma needs quotation marks",
        "kinetics_train.csv line 6: time 'soon' to '11': expected whole seconds",
        "kinetics_train.csv line 7: label is empty",
        "kinetics_train.csv line 8: video id '../../etc/x_000001_000011' leaves the data root",
        "kinetics_val.csv line 2: unknown class 'archeri': it is not among the 2 of the training list; did you mean "
        "'archery'?",
        "kinetics_val.csv line 3: video id 'aaaaaaaaaaa_000001_000011' stands already in kinetics_train.csv line 2",
    ):
        assert line in said


def test_a_missing_column_and_an_open_quotation_mark(tmp_path):
    write(tmp_path / "1", train_csv="label,youtube,time_start,time_end,split,youtube_ids\na,b,1,2,train,c\n")
    assert "train.csv line 1: no column youtube_id;" in problems("kinetics400", tmp_path / "1")
    rows = kinetics([("a", "aaaaaaaaaaa", 1)], "train") + '"b,bbbbbbbbbbb,1,11,train\na,ccccccccccc,1,11,train\n'
    write(tmp_path / "2", train_csv=rows)
    assert "train.csv line 3: a quotation mark that is not closed in its line" in problems(
        "kinetics400", tmp_path / "2"
    )
    write(tmp_path / "3", train_csv=kinetics([("", "aaaaaaaaaaa", 1)], "train", label=False))
    assert "train.csv line 1: no column label; only a test list may lack it" in problems("kinetics400", tmp_path / "3")


def test_bytes_that_are_no_text(tmp_path):
    text = kinetics([("playing guitar", "aaaaaaaaaaa", 1), ("café", "bbbbbbbbbbb", 1)], "train")
    write_file(tmp_path / "train.csv", text.encode("latin-1"))
    assert "train.csv: line 3: byte 0xe9 is not UTF-8" in problems("kinetics400", tmp_path)


def test_ucf101(tmp_path):
    train = "A/v_A_g01.avi 2\n../v_A_g02.avi 1\n/abs/A/v_A_g03.avi 1\nC/v_C_g01.avi\nA/v_A_g04.avi 1\n"
    write(tmp_path, classInd_txt="1 A\n2 B\n2 C\n", trainlist01_txt=train, testlist01_txt="A/v_A_g04.avi\n")
    said = problems("ucf101", tmp_path)
    assert "classInd.txt line 3: '2 C': this number or class stands twice" in said
    assert "trainlist01.txt line 1: class '2' is B in classInd.txt, but the folder says 'A'" in said
    assert "trainlist01.txt line 2: path '../v_A_g02.avi' leaves the data root" in said
    assert "trainlist01.txt line 3: path '/abs/A/v_A_g03.avi' is absolute" in said
    assert "trainlist01.txt line 4: unknown class 'C'" in said
    assert "testlist01.txt line 1: video id 'v_A_g04' stands already in trainlist01.txt line 5" in said
    with pytest.raises(DataError, match="split 4: UCF-101 has the splits 1 to 3"):
        read_annotations("ucf101", tmp_path, split=4)
    with pytest.raises(DataError, match="no file trainlist03.txt; there: classInd.txt, testlist01.txt, "):
        read_annotations("ucf101", tmp_path, split=3)


def test_hmdb51_jester_something_and_moments(tmp_path):
    write(tmp_path / "h", wave_test_split1_txt="a.avi 1\nb.avi 3\n../c.avi 2\n")
    said = problems("hmdb51", tmp_path / "h")
    assert "wave_test_split1.txt line 2: 'b.avi 3': expected a file name and 0, 1 or 2" in said
    assert "wave_test_split1.txt line 3: path '../c.avi' leaves the data root" in said

    write(tmp_path / "j", classInd_txt="1 A\n2 B\n", trainlist_txt="5 1\n6 3\n7\n", vallist_txt="5 2\n")
    said = problems("jester", tmp_path / "j")
    assert "trainlist.txt line 2: '6 3': expected a video's number and its class's, 1 to 2 as in classInd.txt" in said
    assert "trainlist.txt line 3: '7': expected a video's number" in said
    assert "vallist.txt line 1: video id '5' stands already in trainlist.txt line 1" in said

    lists = {"train": [("5", "Opening [somthing]"), ("6", "Opening [something]"), ("6", "Opening [something]")]}
    said = problems("something_v2", something_v2(tmp_path / "s", ["Opening [something]"], **lists))
    assert "something-something-v2-train.json line 4: unknown class 'Opening somthing'" in said
    assert "did you mean 'Opening something'?" in said and "video id '6' stands already" in said

    write(tmp_path / "m", moments_categories_txt="a,0\nb,0\nc\n", trainingSet_csv="a/x.mp4,a,1,0\nz/y.mp4,z,1,0\n")
    said = problems("moments", tmp_path / "m")
    assert "moments_categories.txt line 2: 'b,0': this number or class stands twice" in said
    assert "moments_categories.txt line 3: 'c': expected class,index" in said
    assert "trainingSet.csv line 2: unknown class 'z'" in said


def test_lists_of_class_numbers(tmp_path):
    train = "a/x 1 10 1\na/y 1 10 7\na/z 9 3 0\na/w 0\n../../q 1 10 0\na/x 1 10 1\n"
    write(tmp_path, train_txt=train, labels_txt="A\nB\nA\n")
    said = problems("", tmp_path)
    assert "labels.txt line 3: class 'A' stands already in line 1" in said
    assert "train.txt line 2: class number 7: expected 0 to 1, by labels.txt" in said
    assert "train.txt line 3: frames 9 to 3: expected from 1 on, the last one included" in said
    assert "train.txt line 4: 'a/w' followed by 1 numbers; expected path start end label" in said
    assert "train.txt line 5: path '../../q' leaves the data root" in said
    assert "train.txt line 6: video id 'x' stands already in train.txt line 1" in said
    write(tmp_path / "abs", train_txt="/data/a/x 1 10 0\n/other/y 1 10 0\n")
    said = problems("", tmp_path / "abs", data_root="/data")
    assert "train.txt line 2: path '/other/y' is outside the data root /data" in said and "line 1" not in said


def test_json(tmp_path):
    entry = {"subset": "training", "annotations": {"label": "a"}}
    database = {
        "x": entry, "y": {"subset": "train!", "annotations": {}}, "z": {**entry, "annotations": {"label": "aa"}},
        "v": {**entry, "annotations": {"label": "a", "segment": [5, 2]}}, "w": {**entry, "annotations": {}},
    }  # fmt: skip
    text = json.dumps({"labels": ["a"], "database": database}, indent=1)
    text = re.sub(r"^ \}\n\}$", ' ,"x": {"subset": "training", "annotations": {"label": "a"}}\n }\n}', text, flags=re.M)
    said = problems("", write_file(tmp_path / "own.json", text))
    assert "video id 'x' stands twice" in said
    place = {key: text[: text.index(f'"{key}"')].count("\n") + 1 for key in "yzvw"}
    assert f"own.json line {place['y']}: video y: subset 'train!': expected one of training" in said
    assert f"own.json line {place['z']}: video z: unknown class 'aa'" in said
    assert f"own.json line {place['v']}: video v: segment [5, 2]: expected [first, last + 1]" in said
    assert f"own.json line {place['w']}: video w: unknown class ''" in said
    with pytest.raises(DataError, match="own.json line 2: not JSON"):
        read_annotations("", write_file(tmp_path / "own.json", '{"labels": [], "database": {\n,}}'))


@pytest.mark.parametrize(
    ("dataset", "content", "message"),
    [
        ("", '{"labels": {"a": 0}, "database": {}}', "own.json: labels: expected a list, found a dict: {'a': 0}"),
        ("", '{"labels": ["a"], "database": [1]}', "own.json: database: expected a mapping, found a list: [1]"),
        ("", '[{"labels": ["a"], "database": {}}]', "own.json: the whole file: expected a mapping, found a list"),
        ("", '{"labels": ["a"], "database": {"x": 1}}', "video x: its entry: expected subset and annotations, found 1"),
        ("", '{"labels": ["a"], "database": {"training": 1}}', "video training: its entry: expected subset"),
        ("activitynet", '{"taxonomy": {}, "database": {}}', "own.json: taxonomy: expected a list, found a dict: {}"),
        ("activitynet", '{"taxonomy": [{"node": "a"}], "database": {}}', "taxonomy[0]: expected a node with nodeName"),
        (
            "activitynet",
            '{"taxonomy": [{"nodeName": "a"}], "database": {"x": {"subset": "training", "annotations": ["a"]}}}',
            "video x: annotations[0]: expected a label and a segment, found 'a'",
        ),
    ],
)
def test_json_of_another_form(tmp_path, dataset, content, message):
    assert message in problems(dataset, write_file(tmp_path / "own.json", content))


def test_activitynet(tmp_path):
    data = json.loads((DATA / "activitynet" / "activity_net.json").read_text())
    data["database"]["aaaaaaaaa01"]["annotations"][0]["label"] = "High jumping"
    data["database"]["aaaaaaaaa02"]["annotations"][0]["segment"] = [1.0]
    data["database"]["aaaaaaaaa03"]["subset"] = "trainval"
    said = problems("activitynet", write_file(tmp_path / "a.json", json.dumps(data, indent=1)))
    assert "video aaaaaaaaa01: unknown class 'High jumping'" in said and "did you mean 'High jump'?" in said
    assert "video aaaaaaaaa02: segment [1.0]: expected [start, end] in seconds" in said
    assert "video aaaaaaaaa03: subset 'trainval'" in said
    assert said.count("a.json line ") == 3


def test_class_lists(tmp_path):
    write(tmp_path, train_csv=kinetics([("yoga", "aaaaaaaaaaa", 1), ("zumba", "bbbbbbbbbbb", 1)], "train"))
    chosen = write_file(tmp_path / "lists" / "mine.txt", "yoga\nYoga\nzumbo\n")
    said = problems("mini_kinetics", tmp_path, class_list=chosen)
    assert "mine.txt line 2: class 'yoga' stands already in line 1" in said
    assert "mine.txt line 3: unknown class 'zumbo'" in said and "did you mean 'zumba'?" in said
    with pytest.raises(DataError, match="Mini-Kinetics needs class_list, the file of its 200 classes"):
        read_annotations("mini_kinetics", tmp_path)
    with pytest.raises(DataError, match="none.txt: no such class list"):
        read_annotations("mini_kinetics", tmp_path, class_list=tmp_path / "none.txt")


def test_what_is_expected_where(tmp_path):
    with pytest.raises(DataError, match="no such file or folder of lists"):
        read_annotations("ucf101", tmp_path / "none")
    with pytest.raises(ValueError, match="did you mean 'ucf101'"):
        read_annotations("ucf-101", tmp_path)
    with pytest.raises(DataError, match=r"expected classInd.txt; trainlist01.txt; .*the folder is empty"):
        read_annotations("ucf101", tmp_path)
    write(tmp_path, kinetics_train_csv=kinetics([("a", "aaaaaaaaaaa", 1)], "train"), train_csv="label,youtube_id\n")
    with pytest.raises(DataError, match=r"several lists for training \(kinetics_train.csv, train.csv\); name one file"):
        read_annotations("kinetics400", tmp_path)
    write(tmp_path / "two", a_json='{"labels": [], "database": {}}', b_json='{"labels": [], "database": {}}')
    with pytest.raises(DataError, match=r"several annotation files \(a.json, b.json\); name the one to read"):
        read_annotations("", tmp_path / "two")
    with pytest.raises(DataError, match="the lists name no video"):
        read_annotations("", tmp_path / "two" / "a.json")
