"""The classes of the data sets, in the index order of the published weights."""

import tomllib

import pytest
import torch

from actlib.models import create_model, find_published
from actlib.models.weights.convert import ConvertError, convert, read_classes
from actlib.models.weights.published import class_lists, classes_of, published_table

COUNTS = {
    "hmdb51": 51, "jester": 27, "kinetics400": 400, "kinetics600": 600, "kinetics700": 700, "moments": 339,
    "something_v1": 174, "something_v2": 174, "ucf101": 101,
}  # fmt: skip
# Known of other sources: classids.json of video-nonlocal-net (and so of PyTorchVideo); issue 95 of SlowFast, which
# counts 600 classes by name; labels.json of Something-Something v2; MMAction2's label_map.txt of Moments in Time.
ANCHORS = {
    "kinetics400": {0: "abseiling", 5: "archery", 196: "massaging person's head", 290: "sharpening knives"},
    "kinetics600": {266: "luge", 598: "yoga"},
    "something_v2": {
        0: "Approaching something with your camera", 46: "Opening something", 83: "Pretending to throw something",
        120: "Putting something, something and something on the table", 169: "Twisting (wringing) something wet until "
        "water comes out", 173: "Wiping something off of something",
    },
    "moments": {0: "clapping", 1: "praying", 51: "playing+fun", 338: "typing"},
    "jester": {0: "Doing_other_things", 18: "Swiping_Up", 26: "Zooming_Out_With_Two_Fingers"},
    "ucf101": {0: "ApplyEyeMakeup", 23: "CricketShot", 100: "YoYo"},
    "hmdb51": {0: "brush_hair", 50: "wave"},
}  # fmt: skip


def test_every_list_is_whole_and_in_its_order(root):
    assert class_lists() == sorted(COUNTS)
    for name, count in COUNTS.items():
        names = classes_of(name)
        assert len(names) == len(set(names)) == count, name
        assert all(each == each.strip() and each for each in names), name
        for place, wanted in ANCHORS.get(name, {}).items():
            assert names[place] == wanted, (name, place)
    for name in ("kinetics400", "kinetics600", "kinetics700", "hmdb51", "something_v1", "something_v2", "jester"):
        assert list(classes_of(name)) == sorted(classes_of(name)), name
    for name in ("jester", "ucf101"):  # the reference codebases' own files
        lines = (root / "tests" / "data" / "annotations" / name / "classInd.txt").read_text().split("\n")
        assert [line.split()[1] for line in lines if line.strip()] == list(classes_of(name)), name
    torchvisions = find_published("R3D_18_Weights.KINETICS400_V1").classes
    assert classes_of("kinetics400") == torchvisions
    data = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert "class_names/*.txt" in data["actlib.models.weights"]


def test_published_files_name_their_classes_where_the_order_is_known():
    wanted = {
        "resnet-34-kinetics.pth": "kinetics400", "resnext-101-kinetics-ucf101_split1.pth": "ucf101",
        "resnext-101-64f-kinetics-hmdb51_split1.pth": "hmdb51", "kinetics_squeezenet_RGB_16_best.pth": "kinetics600",
        "jester_shufflenet_0.5x_G3_RGB_16_best.pth": "jester", "i3d_r50_kinetics.pth": "kinetics400",
        "K400-TAM-ResNet-50-f32.pth.tar": "kinetics400", "SSV2-I3D-ResNet-50-f32.pth.tar": "something_v2",
        "TSM_something_RGB_resnet50_shift8_blockres_avg_segment8_e45.pth": "something_v1",
        "TSM_kinetics_RGB_resnet50_shift8_blockres_avg_segment8_e50.pth": "kinetics400",
    }  # fmt: skip
    for file, name in wanted.items():
        assert find_published(file).classes == classes_of(name), file
    for row in published_table().values():
        assert len(row.classes) in (0, row.num_classes), row.file
    # The authors' order of Kinetics-700 and Moments in Time is not known, so it is not guessed.
    for file in ("r3d50_K_200ep.pth", "r3d50_KM_200ep.pth", "r3d50_M_200ep.pth"):
        assert find_published(file).classes == (), file


def test_weights_come_with_names_and_a_data_sets_name_gives_them_to_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = "mobilenetv2 width_mult=0.2"
    state = create_model(spec, 27).state_dict()
    for name in ("jester_mobilenetv2_0.2x_RGB_16_best.pth", "somebodys.pth"):
        torch.save({"state_dict": state}, tmp_path / name)
    model = create_model(pretrained="jester_mobilenetv2_0.2x_RGB_16_best.pth")
    assert model.classes == list(classes_of("jester"))
    said = []
    converted = convert("somebodys.pth", "a.pt", spec=spec, say=said.append)
    assert converted.classes is None and any("--classes gives them: a file, or hmdb51, jester" in each for each in said)
    convert("somebodys.pth", "b.pt", spec=spec, classes="jester", say=said.append)
    assert create_model(pretrained="b.pt").classes == list(classes_of("jester"))
    with pytest.raises(ConvertError, match="kinetics400: 400 class names for a network of 27"):
        convert("somebodys.pth", "c.pt", spec=spec, classes="kinetics400", say=said.append)
    (tmp_path / "jester").write_text("a\nb\n")
    assert read_classes("jester") == ["a", "b"]  # a file that is there is meant
    with pytest.raises(FileNotFoundError):
        read_classes("kinetics")
