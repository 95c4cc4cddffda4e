"""Parameters: validated in files, in notebooks and in batch files alike, all errors at once."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import papermill
import pytest
import yaml

from actlib.datasets import vocabulary
from actlib.params import (
    NOTEBOOKS,
    CompareParams,
    DataPrepParams,
    FinetuneParams,
    FlopsParams,
    ParamsError,
    TrainingParams,
    TrainParams,
    VideoAccuracyParams,
    load_yaml,
)
from actlib.params.base import Group


def test_all_errors_come_at_once_with_the_nearest_name():
    with pytest.raises(ParamsError) as error:
        TrainParams.build({"lrr": 0.1, "momentun": 0.9, "epochs": 0, "batch_size": "many", "crop": "middle"}, "my.yaml")
    text = str(error.value)
    for words in (
        "my.yaml",
        "lrr: no such parameter; did you mean lr?",
        "momentun: no such parameter; did you mean momentum?",
        "epochs: 0: Input should be greater than or equal to 1",
        "batch_size: 'many'",
        "crop: 'middle': Input should be 'random_resized', 'random', 'center'",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("model", "values", "words"),
    [
        (TrainParams, {"crop_size": 200}, "crop_size: 200: larger than short_side 48"),
        (TrainParams, {"nesterov": True, "momentum": 0}, "nesterov: True"),
        (TrainParams, {"schedule": "multistep", "milestones": [5, 3]}, "milestones: [5, 3]: they must rise"),
        (TrainParams, {"warmup_epochs": 30}, "warmup_epochs: 30: must be below epochs 8"),
        (TrainParams, {"model": "resnet19"}, "resnet18"),
        (TrainParams, {"model": "resnet18 shortcutt=A"}, "shortcut"),
        (TrainParams, {"std": [0.1, 0.2]}, "std"),
        (FinetuneParams, {"mean": [0.5, 0.5]}, "mean: [0.5, 0.5]: three numbers are needed, one a channel"),
        (TrainParams, {"std": [0.1, 0.2, 0.0]}, "std.2: 0.0: Input should be greater than 0"),
        (DataPrepParams, {"source": "folders"}, "data_root: '': source folders needs the folder"),
        (DataPrepParams, {"source": "csv"}, "csv: '': source csv needs the file"),
        (VideoAccuracyParams, {"num_clips": 10}, "num_clips: 10: protocol video has its own"),
        (VideoAccuracyParams, {"protocol": "views", "num_crops": 4}, "num_crops: 4"),
        (
            VideoAccuracyParams,
            {"protocol": "clip", "partial_windows": "drop"},
            "partial_windows: 'drop': belongs to protocol: video",
        ),
        (CompareParams, {"runs": []}, "runs"),
    ],
)
def test_what_cannot_be_meant_is_refused(model, values, words):
    with pytest.raises(ParamsError) as error:
        model.build(values, "test")
    assert words in str(error.value)


def test_numbers_as_people_write_them(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("lr: 1e-3\nweight_decay: 5E-4\nclip_grad: .5\nrun_dir: 1e-3_run\nmilestones: [1, 2]\n")
    content = load_yaml(path)
    assert content["lr"] == 0.001 and isinstance(content["lr"], float) and content["weight_decay"] == 0.0005
    assert content["run_dir"] == "1e-3_run"
    p = TrainParams.from_file(path, {"epochs": 3})
    assert (p.lr, p.epochs, p.milestones) == (0.001, 3, [1, 2])
    assert TrainParams.from_notebook({"lr": "1e-3", "unrelated": 3}).lr == 0.001  # as papermill -f hands it over


def test_files_that_are_none(tmp_path):
    (tmp_path / "train.yaml").write_text("lr: 0.1\n")
    with pytest.raises(ParamsError, match="did you mean .*train.yaml"):
        load_yaml(tmp_path / "trian.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ParamsError, match="found a list"):
        load_yaml(tmp_path / "list.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1\n")
    with pytest.raises(ParamsError, match="not valid YAML.*"):
        load_yaml(tmp_path / "bad.yaml")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_defaults_are_valid_explained_and_survive_yaml(name):
    model = NOTEBOOKS[name]
    given = {"source": "synthetic"} if model is DataPrepParams else {}
    p = model.build(given, "test")
    assert model.build(yaml.safe_load(p.as_yaml()), "test") == p
    assert all(field.description for field in model.model_fields.values())
    for value in p.model_dump().values():  # papermill hands over JSON types only, and nests badly
        assert json.loads(json.dumps(value)) == value and not isinstance(value, dict)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_notebook_holds_the_models_names_and_defaults(root, name):
    notebook = json.loads((root / "notebooks" / f"{name}.ipynb").read_text())
    tagged = [cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1
    source = "".join(tagged[0]["source"])
    assert source == NOTEBOOKS[name].cell()
    assert all(len(line) <= 120 for line in source.splitlines())
    values = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(source).body}
    assert NOTEBOOKS[name].build(values, "test") == NOTEBOOKS[name].build({}, "test")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_cell_is_grouped_and_begins_with_what_a_beginner_changes(name):
    model = NOTEBOOKS[name]
    blocks = [block.splitlines() for block in model.cell().split("\n\n")]
    groups = {comment.removeprefix("# "): [line.split(" = ")[0] for line in lines] for comment, *lines in blocks}
    assert groups == model.groups() and sorted(sum(groups.values(), [])) == sorted(model.model_fields)
    order = [group.value for group in Group]
    assert list(groups) == sorted(groups, key=order.index) and list(groups)[0] == "start here"
    assert groups["start here"][0] == "run_dir" and len(groups["start here"]) <= 7


def test_the_first_parameters_of_training():
    both = {"table", "epochs", "lr", "batch_size"}
    assert both | {"run_dir", "model"} == set(TrainParams.groups()["start here"])
    assert both | {"run_dir", "pretrained", "train_from"} == set(FinetuneParams.groups()["start here"])
    assert issubclass(TrainParams, TrainingParams) and issubclass(FinetuneParams, TrainingParams)


def test_help_names_all_choices():
    lines = TrainParams.cell().splitlines()
    assert 'optimizer = "adamw"  # sgd or adamw' in lines
    (line,) = [line for line in lines if line.startswith("sampling = ")]
    assert all(word in line for word in vocabulary.SAMPLINGS)
    assert not [line for name in NOTEBOOKS for line in NOTEBOOKS[name].cell().splitlines() if "{}" in line]


def test_parameters_cost_nothing_to_import():
    heavy = "numpy torch torchvision pandas matplotlib cv2 av decord lmdb"
    program = f"import sys, actlib.params; print([name for name in '{heavy}'.split() if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_papermill_explains_the_new_parameters(root):
    """It skips a line with a second equals sign, such as one in the help."""
    known = papermill.inspect_notebook(str(root / "notebooks" / "03_finetune.ipynb"))
    assert set(known) == set(FinetuneParams.model_fields)


def test_the_checkpoints_values_can_be_left_to_it():
    p = FinetuneParams.build({}, "test")
    assert (p.num_frames, p.crop_size, p.mean, p.model) == (0, 0, [], "")


def test_input_files_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("ACTLIB_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "table.csv").touch()

    def missing(pretrained):
        p = FinetuneParams.build({"table": "table.csv", "pretrained": pretrained}, "test")
        return p.missing_inputs(tmp_path)

    assert "neither a file, nor in" in missing("outputs/best.pt")["pretrained"]
    by_hand = missing("resnet-34-kinetics.pth")["pretrained"]
    assert "drive.google.com" in by_hand and f"put it at {tmp_path / 'weights' / 'resnet-34-kinetics.pth'}" in by_hand
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "resnet-34-kinetics.pth").touch()
    for name in ("resnet-34-kinetics.pth", "R3D_18_Weights.KINETICS400_V1", "https://example.org/w.pth", "table.csv"):
        assert missing(name) == {}, name  # there, or to be downloaded
    assert TrainParams.build({"table": "other.csv"}, "test").missing_inputs(tmp_path) == {"table": "no such file"}


def test_a_run_that_goes_on_does_not_miss_the_weights_it_started_from(tmp_path, monkeypatch):
    monkeypatch.setenv("ACTLIB_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "table.csv").touch()
    last = tmp_path / "outputs" / "mine" / "checkpoints" / "last.pt"
    last.parent.mkdir(parents=True)
    values = {"table": "table.csv", "pretrained": "gone.pt", "run_dir": "outputs/mine"}
    for resume, checkpoint_there, missed in (
        ("auto", False, True),
        ("auto", True, False),
        ("never", True, True),
        ("outputs/mine/checkpoints/last.pt", True, False),
        ("elsewhere.pt", True, True),
    ):
        last.unlink(missing_ok=True)
        if checkpoint_there:
            last.touch()
        p = FinetuneParams.build(values | {"resume": resume}, "test")
        assert ("pretrained" in p.missing_inputs(tmp_path)) == missed, resume


def test_a_network_may_be_written_with_colons():
    assert TrainParams.build({"model": "resnet18 shortcut:A"}, "x").model == "resnet18 shortcut=A"
    assert TrainParams().model == "resnet10 widen_factor=0.25 conv1_t_size=3"
    assert FlopsParams().models[0] == "resnet18 shortcut=A"


def test_a_colon_in_a_networks_name_stays(monkeypatch, tmp_path):
    """It divides a file or module from a function; files lie relative to the project's folder."""
    for folder in ("notebooks", "params"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    seen = []
    monkeypatch.setattr("actlib.models.parse_spec", lambda spec: seen.append((spec, Path.cwd())))
    p = TrainParams.build({"model": "my_nets.py:small3d  width:16 depth=2"}, "test")
    assert p.model == "my_nets.py:small3d width=16 depth=2"
    assert VideoAccuracyParams.build({"model": "nets.of_mine:small3d"}, "test").model == "nets.of_mine:small3d"
    assert FlopsParams.build({"models": ["a/b.py:net x:y"]}, "test").models == ["a/b.py:net x=y"]
    assert seen[0] == (p.model, tmp_path) and Path.cwd() == tmp_path / "notebooks"


def test_a_checkpoint_may_stand_among_networks(tmp_path):
    (tmp_path / "there.pt").touch()
    names = ["there.pt", "resnet18 shortcut:A", "gone/best.pt"]
    p = FlopsParams.build({"models": names}, "test")
    assert p.models == ["there.pt", "resnet18 shortcut=A", "gone/best.pt"]
    assert p.inputs() == {"models": ["there.pt", "gone/best.pt"]}
    assert p.missing_inputs(tmp_path) == {"models": "gone/best.pt: no such file"}
    assert FlopsParams.build({"models": ["all"]}, "test").missing_inputs(tmp_path) == {}


def test_a_word_in_place_of_a_file_is_not_missed(tmp_path):
    (tmp_path / "classes.txt").touch()
    for value, missing in (("sorted", False), ("classes.txt", False), ("no.txt", True)):
        p = VideoAccuracyParams.build({"class_list": value}, "test")
        assert ("class_list" in p.missing_inputs(tmp_path)) == missing
