"""Recipes: each is valid, they chain, and the page that maps the references' commands and flags to them is true."""

import re
import shutil
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from actlib.datasets.catalog import list_datasets
from actlib.models import find_published
from actlib.params import NOTEBOOKS, ParamsError, load_yaml, notebook_of
from actlib.runs.batch import read_batch

ROOT = Path(__file__).resolve().parents[2]
RECIPES = [path for path in sorted((ROOT / "params").glob("*/*.yaml")) if path.parent.name != "batch"]
BATCHES = sorted((ROOT / "params" / "batch").glob("*.yaml"))
BRIDGE = "outputs/videos/bridge/videos.csv"
PAGE = (ROOT / "params" / "README.md").read_text(encoding="utf-8")


def name_of(path):
    return f"{path.parent.name}/{path.stem}"


@pytest.fixture(scope="module")
def recipes():
    """The parameters of every recipe, by folder and name."""
    return {name_of(path): NOTEBOOKS[notebook_of(path)].from_file(path) for path in RECIPES}


# --- the recipes ----------------------------------------------------------------------------------------------


def test_every_recipe_is_valid_and_says_what_it_is_for(recipes):
    assert len(recipes) == len(RECIPES) >= 70
    for path in RECIPES:
        assert path.read_text(encoding="utf-8").startswith("# "), path
    with pytest.raises(ParamsError, match="its folder 'elsewhere' names no notebook"):
        notebook_of("elsewhere/x.yaml")


def test_every_data_set_of_the_catalogue_has_a_recipe_that_writes_its_table(recipes):
    prepared = {p.dataset: p for name, p in recipes.items() if name.startswith("data_prep/") and p.dataset}
    assert set(prepared) == set(list_datasets())
    for name in list_datasets():
        recipe = recipes[f"data_prep/{name}"] if f"data_prep/{name}" in recipes else recipes[f"data_prep/{name}_split1"]
        assert recipe.source == "annotations" and recipe.dataset == name
        assert recipe.run_dir in (f"outputs/{name}", f"outputs/{name}_01")
        assert bool(recipe.class_list) == name.startswith("mini_")
    for name in ("ucf101", "hmdb51"):
        assert [recipes[f"data_prep/{name}_split{k}"].split for k in (1, 2, 3)] == [1, 2, 3]


def test_what_a_recipe_reads_another_one_writes(recipes):
    """Tables, and checkpoints of this project; published weights go by their names."""
    written = {p.run_dir for p in recipes.values()}
    for name, p in recipes.items():
        table = getattr(p, "table", "")
        if table and not table.startswith("outputs/demo/"):
            assert str(Path(table).parent) in written, f"{name}: no recipe writes {table}"
        weights = getattr(p, "pretrained", "") or getattr(p, "checkpoint", "")
        if "/" not in weights:
            assert not weights or find_published(weights), f"{name}: {weights}"
        elif not weights.startswith(("outputs/demo/", "outputs/weights/")):
            assert str(Path(weights).parents[1]) in written, f"{name}: no recipe writes {weights}"


def test_no_two_trainings_share_a_run_folder_but_to_resume(recipes):
    folders = {}
    for name, p in recipes.items():
        if name.startswith(("train/", "finetune/")) and "run_dir" in load_yaml(ROOT / "params" / f"{name}.yaml"):
            folders.setdefault(p.run_dir, []).append(name)
    for names in folders.values():
        first, *others = sorted(names, key=len)
        for other in others:
            assert other == f"{first}_resume"
            assert recipes[other].resume.startswith(f"{recipes[first].run_dir}/checkpoints/")
            same = recipes[other].model_dump() | {"resume": recipes[first].resume}
            assert same == recipes[first].model_dump()  # or the run would refuse to go on
    assert sum(len(names) == 2 for names in folders.values()) == 2


# The references' values: opts.py of branch CVPR2018, of okankop/Efficient-3DCNNs and IBM/action-recognition-pytorch
# under what their commands set; the 0-255 scale without a standard deviation is 1/255 on ours.
SCALES = [1.0, 0.840896, 0.707107, 0.594604, 0.5]
SGD = {"optimizer": "sgd", "momentum": 0.9, "nesterov": False, "precision": "float32"}
ON_255 = {"mean": [0.45009725, 0.42249176, 0.39009804], "std": [0.00392157] * 3, "channel_order": "rgb"}
CLIP = {"num_frames": 16, "crop_size": 112, "short_side": 112, "crop_scales": SCALES, "dampening": 0.9, "seed": 1}
HARA = SGD | ON_255 | CLIP | {
    "frame_stride": 1, "crop": "multi_scale_corner", "sampling": "random", "loop": "taken", "flip": True, "lr": 0.1,
    "weight_decay": 1e-3, "schedule": "plateau", "patience": 10, "gamma": 0.1, "batch_size": 128, "epochs": 200,
    "checkpoint_every": 5, "num_workers": 4,
}  # fmt: skip
EFFICIENT = SGD | ON_255 | CLIP | {
    "frame_stride": 2, "crop": "multi_scale_random", "sampling": "random", "loop": "span", "lr": 0.1, "flip": False,
    "weight_decay": 1e-3, "schedule": "multistep", "milestones": [39, 54, 64, 69, 199, 249], "batch_size": 64,
    "epochs": 250, "checkpoint_every": 1, "num_workers": 16,
}  # fmt: skip
ON_UCF = EFFICIENT | {"frame_stride": 1, "flip": True, "head_dropout": 0.9, "batch_norm": "tuned"}
IBM = SGD | {
    "model": "i3d_resnet18", "pretrained": "resnet18-f37072fd.pth", "num_frames": 8, "lr": 0.01,
    "sampling": "segments_regular",
    "crop": "multi_scale_fixed", "crop_scales": [1.0, 0.875, 0.75, 0.66], "short_side": 256, "crop_size": 224,
    "weight_decay": 5e-4, "dampening": 0.0, "schedule": "cosine", "warmup_epochs": 0, "epochs": 50, "batch_size": 64,
    "head_dropout": 0.5, "flip": True, "flip_labels": "swap", "num_workers": 36,
    "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "channel_order": "rgb",
}  # fmt: skip
VALUES = {
    "train/kinetics400_resnet34": HARA | {"model": "resnet34", "resume": "auto"},
    "finetune/ucf101_layer4": HARA | {"train_from": "layer4", "batch_norm": "tuned", "head_dropout": -1},
    "finetune/ucf101_layer4_paper": HARA | {"train_from": "layer4", "lr": 1e-3, "weight_decay": 1e-5},
    "train/jester_mobilenet_0.5x": EFFICIENT | {"model": "mobilenet width_mult=0.5"},
    "train/jester_shufflenet_0.5x": EFFICIENT | {"model": "shufflenet width_mult=0.5 groups=3"},
    "finetune/ucf101_last_layer": ON_UCF | {"train_from": "head"},
    "finetune/ucf101_complete": ON_UCF | {"train_from": "all"},
    "finetune/something_v1_i3d_resnet18": IBM | {"sync_bn": True},
    "finetune/something_v2_i3d_resnet18": IBM,
    "finetune/something_v1_i3d_resnet18_lmdb": IBM | {"table": "outputs/something_v1_lmdb/table.csv"},
    "finetune/kinetics400_i3d": IBM | {
        "model": "i3d", "pretrained": "googlenet-1378be20.pth", "flip_labels": "refuse",
        "mean": [0.5] * 3, "std": [0.5] * 3,
    },
    "train/kinetics700_resnet50": SGD | {
        "crop": "random_resized", "scale_min": 0.25, "dampening": 0.0, "milestones": [50, 100, 150], "lr": 0.1,
        "weight_decay": 1e-3, "mean": [0.4345, 0.4051, 0.3775], "std": [0.2768, 0.2713, 0.2737], "epochs": 200,
    },
    "data_prep/kinetics400_frames": {"storage": "frames", "storage_side": 240, "frame_names": "image_00001.jpg"},
    "data_prep/activitynet_frames": {"storage": "frames", "storage_side": 360, "frame_names": "image_00001.jpg"},
    "data_prep/something_v2_frames_256": {"storage": "frames", "storage_side": 256, "frame_names": "00001.jpg"},
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_values_are_the_references(recipes, name):
    found = {each: getattr(recipes[name], each) for each in VALUES[name]}
    assert found == VALUES[name]


@pytest.mark.parametrize(
    ("name", "protocol", "words"),
    [
        ("hara_windows", "video", "all non-overlapping clips × centre crop @ 112, 16 frames"),
        ("hara_strided", "video", "all clips in steps of 8 frames × centre crop @ 112, 16 frames"),
        (
            "efficient_downsample",
            "video",
            "all non-overlapping clips × centre crop @ 112, 16 frames, stride 2, short videos looped before the "
            "stride, last window left out if mostly repeated",
        ),
        (
            "efficient_validation",
            "clip",
            "centre clip × centre crop @ 112, 16 frames, stride 2, short videos looped before the stride",
        ),
        ("resnet3d_clip", "clip", "centre clip × centre crop @ 256, 32 frames, logits averaged"),
        ("resnet3d_10x3", "views", "10 clips × 3 crops @ 256, 32 frames, logits averaged"),
        ("resnet3d_nl_10x3", "views", "10 clips × 3 crops @ 256, 32 frames, logits averaged"),
        ("ibm_uniform_3x3", "uniform", "3 uniform clips × 3 crops @ 224, 8 frames, logits averaged"),
        ("ibm_uniform_256", "uniform", "2 uniform clips × 3 crops @ 256, 32 frames, logits averaged"),
        ("ibm_dense_256", "dense", "10 dense clips × 3 crops @ 256, 32 frames, stride 2, logits averaged"),
    ],
)
def test_protocols_are_the_references(recipes, name, protocol, words):
    from actlib.datasets.clips.protocol import Protocol

    p = recipes[f"video_accuracy/{name}"]
    views = {each: getattr(p, each) for each in ("num_clips", "num_crops", "loop", "crop_position", "average")}
    views |= {"step": p.window_step, "partial_windows": p.partial_windows}
    made = Protocol(p.protocol, p.num_frames, p.frame_stride or 1, p.short_side, p.crop_size, **views)
    assert p.protocol == protocol and str(made).startswith(words)


def test_both_networks_of_resnet3ds_evaluation_have_a_recipe(recipes):
    """eval.py of today takes the non-local network by default, its README tells of the baseline."""
    baseline, nonlocal_ = (recipes[f"video_accuracy/{name}"] for name in ("resnet3d_10x3", "resnet3d_nl_10x3"))
    assert find_published(baseline.checkpoint).spec == "i3d_r50"
    assert find_published(nonlocal_.checkpoint).spec == "i3d_r50_nl"
    own = {"checkpoint": baseline.checkpoint, "run_dir": baseline.run_dir}
    assert nonlocal_.model_dump() | own == baseline.model_dump()
    (row,) = (row for row in rows_of("pytorch-resnet3d") if "--batch_size 8 --mode video" in row[0])
    assert "resnet3d_10x3.yaml" in row[2] and "resnet3d_nl_10x3.yaml" in row[2]


# --- batch files ----------------------------------------------------------------------------------------------


@pytest.fixture
def furnished(tmp_path, monkeypatch):
    """A project whose recipes name folders that are there, and a weights folder with the files that batches ask for."""
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    shutil.copytree(ROOT / "params", tmp_path / "params")
    for path in (tmp_path / "params").glob("data_prep/*.yaml"):
        path.write_text(path.read_text(encoding="utf-8").replace("/path/to", str(tmp_path / "data")), encoding="utf-8")
        for value in load_yaml(path).values():
            if str(value).startswith(str(tmp_path)):
                Path(value).mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("ACTLIB_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    of_jester = "jester_shufflenet_0.5x_G3_RGB_16_best.pth"
    for name in ("resnet-34-kinetics.pth", "kinetics_shufflenet_0.5x_G3_RGB_16_best.pth", of_jester):
        (tmp_path / "weights" / name).touch()
    (tmp_path / BRIDGE).parent.mkdir(parents=True)
    (tmp_path / BRIDGE).touch()
    return tmp_path


@pytest.mark.parametrize("path", BATCHES, ids=lambda path: path.stem)
def test_batch_files_expand(furnished, path):
    batch = read_batch(furnished / "params" / "batch" / path.name, furnished)
    steps = yaml.safe_load(path.read_text(encoding="utf-8"))["steps"]
    assert [run.step for run in batch.runs] == [step["name"] for step in steps if "grid" not in step]
    assert batch.runs[0].notebook == "01_data_prep" and batch.runs[-1].notebook == "06_compare"
    for run in batch.runs:
        if run.notebook == "04_video_accuracy":  # of a network of this batch, on its own videos
            trainings = [each.name for each in batch.runs if each.notebook in ("02_train", "03_finetune")]
            assert set(run.needs) & set(trainings), run.name


def test_a_batch_names_the_weights_it_lacks(furnished):
    (furnished / "weights" / "resnet-34-kinetics.pth").unlink()
    with pytest.raises(ParamsError, match=r"(?s)finetune_resnet34: pretrained: 'resnet-34-kinetics.pth'.*google"):
        read_batch(furnished / "params" / "batch" / "ucf101_finetune.yaml", furnished)


def test_a_batch_says_where_to_get_the_videos_that_it_lacks(furnished):
    (furnished / BRIDGE).unlink()
    with pytest.raises(ParamsError) as raised:
        read_batch(furnished / "params" / "batch" / "bridge.yaml", furnished)
    (line,) = str(raised.value).splitlines()[1:]
    assert line.startswith(f"  - bridge: csv: '{BRIDGE}': no such file; no earlier step writes it. The videos are at ")


# --- the page -------------------------------------------------------------------------------------------------


def reference_commands():
    """(codebase, command) of the commands in the references' READMEs; a model configuration counts as one."""
    codebase, found = "", []
    for line in (ROOT / "tests" / "data" / "reference_commands.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            codebase = line[2:]
        elif line:
            found.append((codebase, line))
    return found


def section(title):
    return re.search(rf"(?ms)^## {re.escape(title)}$(.*?)(?=^## |\Z)", PAGE)[1]


def rows_of(title):
    """The table rows of a section as lists of cells."""
    lines = [line for line in section(title).splitlines() if line.startswith("|") and not line.startswith("| ---")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def flags_of(title):
    return {flag for row in rows_of(title) if len(row) == 2 for flag in re.findall(r"`(--?[\w-]+)`", row[0])}


@pytest.mark.parametrize(("codebase", "command"), reference_commands())
def test_every_reference_command_has_a_recipe(codebase, command):
    """Found by its row, in which … stands for any words; exactly one row is meant."""
    fitting = []
    for row in rows_of(codebase):
        for shown in re.findall(r"`([^`]+)`", row[0]) if len(row) == 3 else []:
            if re.fullmatch(r".*".join(re.escape(part) for part in shown.split("…")), command):
                fitting.append(row[2])
    assert len(fitting) == 1, f"{command}: {len(fitting)} rows of {codebase}"
    ours = re.findall(r"`(params/[\w./-]+\.yaml|papermill [^`]+|python -m actlib weights \w+[^`]*)`", fitting[0])
    assert ours, fitting[0]


@pytest.mark.parametrize("codebase", dict.fromkeys(codebase for codebase, _ in reference_commands()))
def test_every_flag_of_every_command_is_explained(codebase):
    used = {
        word
        for name, command in reference_commands()
        if name == codebase and not command.startswith(("mkdir", "python main.lua", "python -m", "ln "))
        for word in re.findall(r"(?<= )--?[a-zA-Z][\w-]*", f" {command}")
    }
    assert used and used <= flags_of(codebase), used - flags_of(codebase)


SEVERAL = {
    "--distributed", "--batchnorm_sync", "--dist_url", "--world_size", "--parallel", "--sync-bn", "--gpu", "--rank",
    "--multiprocessing-distributed", "--world-size", "--dist-url", "--dist-backend", "CUDA_VISIBLE_DEVICES=...",
}  # fmt: skip


def test_nothing_for_several_gpus_is_missing():
    """No flag for them is without a counterpart, and the distributed script's batch norm is that of its commands."""
    answers = {}
    for codebase in dict.fromkeys(codebase for codebase, _ in reference_commands()):
        for row in rows_of(codebase):
            answers |= {flag: row[1] for flag in re.findall(r"`([^`]+)`", row[0]) if len(row) == 2 and flag in SEVERAL}
    assert set(answers) == SEVERAL
    assert not [flag for flag, answer in answers.items() if re.search(r"\bnone\b", answer)]
    assert {"devices: auto", "sync_bn: true"} <= set(re.findall(r"`([a-z_]+: \w+)`", " ".join(answers.values())))
    distributed = [command for _, command in reference_commands() if "train_dist.py" in command]
    assert len(distributed) == 3 and all("--sync-bn" in command for command in distributed)
    rows = [row for row in rows_of("action-recognition-pytorch") if "train_dist.py" in row[0]]
    assert len(rows) == 3 and all("something_v1_i3d_resnet18.yaml" in row[2] for row in rows)


def test_configurations_of_the_readmes_are_counted_in_the_recipes(recipes):
    listed = {"3D-ResNets-PyTorch": "flops/hara_models", "Efficient-3DCNNs": "flops/efficient_models"}
    options = {"resnet_shortcut": "shortcut", "wide_resnet_k": "widen_k", "resnext_cardinality": "cardinality"}
    checked = 0
    for codebase, command in reference_commands():
        if command.startswith("--model"):
            flags = dict(re.findall(r"--(\w+) (\S+)", command))
            flags.pop("sample_duration", None)  # of the clip, not of the network
            name = flags.pop("model") + flags.pop("model_depth", "")
            spec = " ".join([name, *(f"{options.get(flag, flag)}={value}" for flag, value in flags.items())])
            assert spec in recipes[listed[codebase]].models, command
            checked += 1
    assert checked == 21


def test_every_path_of_the_page_exists():
    folders = "|".join(path.name for path in (ROOT / "params").iterdir() if path.is_dir())
    paths = set(re.findall(rf"`(?:params/)?((?:{folders})/[\w.-]+)", PAGE))
    assert len(paths) > 50
    assert not [path for path in paths if not (ROOT / "params" / path).is_file()]
    assert set(folders.split("|")) <= set(re.findall(r"`(\w+)/`", PAGE)), "a folder of recipes is not on the page"


def test_every_recipe_of_a_data_set_is_on_the_page():
    for path in RECIPES:
        prepared = path.parent.name == "data_prep" and load_yaml(path).get("dataset")
        if prepared or path.parent.name in ("train", "finetune", "video_accuracy"):
            known = f"{path.parent.name}/{path.name}" in PAGE
            assert known or path.stem in OWN, f"params/README.md does not tell of {path}"


# Recipes of no reference, which the README of the project tells of.
OWN = {"motion", "resnet18_112", "last_block", "whole_network", "video"}


def test_parameters_and_values_of_the_page_are_valid():
    """Every `name: value` is a parameter of some notebook, with a value that it takes."""
    fields = {}
    for model in NOTEBOOKS.values():
        for name, info in model.model_fields.items():
            fields.setdefault(name, []).append(TypeAdapter(info.rebuild_annotation()))
    named = re.findall(r"`([a-z_]+): ([^`]+)`", PAGE)
    assert len(named) > 60
    for name, value in named:
        assert name in fields, f"{name}: {value}"
        assert any(_takes(adapter, yaml.safe_load(value)) for adapter in fields[name]), f"{name}: {value}"


def _takes(adapter, value):
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


def test_options_of_networks_on_the_page_exist():
    """`shortcut=B` and the like belong to some network."""
    from actlib.models.registry import list_models, parse_spec

    named = set(re.findall(r"`(?:model: \S+ )?(\w+)=(\w[\w.]*)`", PAGE))
    assert len(named) > 15
    candidates = ["resnet18", "wideresnet50", "resnext101", "squeezenet", "shufflenet", "mobilenet", "i3d", "s3d"]
    candidates += ["tam_resnet18", "tsn_resnet18"]
    assert set(candidates) <= set(list_models())
    for option, value in named:
        assert any(_parses(parse_spec, f"{name} {option}={value}") for name in candidates), f"{option}={value}"


def _parses(parse_spec, spec):
    try:
        parse_spec(spec)
    except ValueError:
        return False
    return True
