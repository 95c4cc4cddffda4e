"""Networks of stacked optical flow: ten channels in every family, trained, resumed, evaluated and fine-tuned."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from vectors import create_on_meta

from actlib.datasets.errors import DataError
from actlib.datasets.table import write_table
from actlib.loops import evaluate, finetune, prepare, train
from actlib.models import ModelError, create_from_spec, create_model
from actlib.models.parts.channels import set_input_channels
from actlib.models.registry import change_channels
from actlib.models.weights.checkpoint import CheckpointError, read_checkpoint
from actlib.models.weights.convert import convert
from actlib.params import FinetuneParams, ParamsError, TrainParams, VideoAccuracyParams

# One network of each kind of first layer.
FAMILIES = (
    "c3d", "mobilenetv2", "r2plus1d10", "resnet10", "s3d", "shufflenetv2", "squeezenet", "tam_inception_v1",
    "tsn_resnet18", "tv_r3d_18",
)  # fmt: skip
TINY = {"num_frames": 4, "frame_stride": 2, "short_side": 32, "crop_size": 32, "batch_size": 4, "num_workers": 0}
TINY |= {"precision": "float32", "memory_format": "contiguous", "optimizer": "sgd", "schedule": "constant"}
FLOW = {"modality": "flow", "mean": [0.5], "std": [0.226]}


@pytest.fixture(scope="module")
def flow_table(tmp_path_factory):
    """table.csv of folders of flow in which all moves left, or all moves right, by 3 to 6 pixels a frame."""
    folder, rows = tmp_path_factory.mktemp("flow"), []
    rng = np.random.default_rng(0)
    for subset, videos in (("training", 4), ("validation", 2)):
        for label, sign in (("left", -1), ("right", 1)):
            for number in range(videos):
                name = f"{label}_{subset}_{number}"
                (folder / name).mkdir()
                for pair in range(1, 10):
                    for axis, motion in (("x", sign * rng.uniform(3, 6)), ("y", rng.uniform(-6, 6))):
                        image = 128 + motion * 255 / 40 + rng.normal(0, 6, (32, 40))
                        Image.fromarray(image.astype(np.uint8)).save(folder / name / f"{pair:05d}_{axis}.jpg")
                rows.append((name, folder / name, label, subset, None, None, 9, 0.0, 40, 32))
    columns = ["video_id", "path", "label", "subset", "start", "end", "num_frames", "fps", "width", "height"]
    return write_table(pd.DataFrame(rows, columns=columns), folder / "table.csv")


def params(table, run_dir, **more) -> TrainParams:
    values = {**TINY, **FLOW, "model": "resnet10 widen_factor=0.0625 conv1_t_size=3", "lr": 0.02}
    return TrainParams.build({**values, "table": str(table), "run_dir": str(run_dir), **more}, "test")


def tuning(table, run_dir, pretrained, **more) -> FinetuneParams:
    values = {**TINY, "num_frames": 0, "table": str(table), "run_dir": str(run_dir), "pretrained": str(pretrained)}
    return FinetuneParams.build({**values, "epochs": 1, "milestones": [1], **more}, "test")


@pytest.fixture(scope="module")
def trained(flow_table, tmp_path_factory):
    """The run folder and the rows of a training with mirrored clips, whose labels change places."""
    run = tmp_path_factory.mktemp("trained")
    more = {"epochs": 8, "seed": 3, "lr": 0.01, "optimizer": "adamw", "flip": True, "flip_labels": "swap"}
    rows = list(train(prepare(params(flow_table, run, **more))))
    return run, rows


# --- networks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_takes_other_channels(name):
    model = create_on_meta(f"{name} in_channels=10", 5)
    assert model.in_channels == 10 and model.spec == f"{name} in_channels=10"
    shapes = {key: tensor.shape for key, tensor in model.state_dict().items()}
    change_channels(model, 3, keep=False)
    changed = {key: tensor.shape[1] for key, tensor in model.state_dict().items() if tensor.shape != shapes[key]}
    assert list(changed.values()) == [3] and list(model.state_dict()) == list(shapes) and model.spec == name
    change_channels(model, 10, keep=False)
    frames, size = (int(model.options.get(key, usual)) for key, usual in (("num_frames", 8), ("crop_size", 64)))
    assert model.eval()(torch.empty(1, 10, frames, size, size, device="meta")).shape == (1, 5)
    with pytest.raises(ModelError, match=r"takes \(B, 10, T, H, W\) clips"):
        model(torch.empty(1, 3, frames, size, size, device="meta"))


def test_the_first_filters_are_averaged_or_drawn_anew():
    torch.manual_seed(0)
    model = create_from_spec("resnet18 widen_factor=0.25", 5)
    assert "in_channels" not in model.options and model.spec == "resnet18 widen_factor=0.25"
    weight, rest = model.conv1.weight.detach().clone(), model.layer1[0].conv1.weight.detach().clone()
    kept = change_channels(model, 10, keep=True)
    assert kept is model and model.spec == "resnet18 widen_factor=0.25 in_channels=10"
    torch.testing.assert_close(model.conv1.weight.detach(), weight.mean(1, keepdim=True).expand(-1, 10, -1, -1, -1))
    assert torch.equal(model.layer1[0].conv1.weight, rest) and model.conv1.weight.requires_grad
    change_channels(model, 3, keep=True)
    assert model.spec == "resnet18 widen_factor=0.25" and model.conv1.weight.shape == weight.shape

    clips = torch.randn(4, 10, 4, 32, 32)
    before = create_from_spec("resnet18", 5).conv1
    after = create_from_spec("resnet18 in_channels=10", 5).conv1
    assert (after.weight.std(dim=1) > 0).all()  # no filter sees its channels alike
    with torch.no_grad():
        assert after(clips).std() == pytest.approx(before(clips[:, :3]).std().item(), rel=0.1)
    assert set_input_channels(model, 3, keep=True) is model


@pytest.mark.parametrize("spec", ["resnet18 in_channels=0", "resnet18 in_channels=three"])
def test_channels_that_cannot_be(spec):
    with pytest.raises(ModelError, match="in_channels"):
        create_from_spec(spec, 5)


# --- training -------------------------------------------------------------------------------------------------


def test_it_learns_from_mirrored_flow_too(trained, flow_table):
    """Were x not inverted with the picture, half of the clips would contradict the others."""
    run, rows = trained
    assert rows[-1]["val_top1"] == 100 and rows[-1]["loss"] < 0.3
    job = prepare(params(flow_table, run.with_name("look")))
    clip, _ = job.train_data[0]
    assert clip.shape == (4, 10, 32, 32) and job.classes == ["left", "right"]
    assert clip.float().mean((0, 2, 3))[::2].max() < 120  # x of a video that moves left


def test_a_checkpoint_of_flow_is_one_everywhere(trained, flow_table, tmp_path):
    run, rows = trained
    content = read_checkpoint(run / "checkpoints" / "last.pt").content
    values = {"checkpoint": str(run / "checkpoints" / "last.pt"), "table": str(flow_table), "protocol": "clip"}
    values |= {"num_workers": 0, "precision": "float32", "memory_format": "contiguous"}
    job = prepare(VideoAccuracyParams.build(values, "test"))
    assert job.model.in_channels == 10 and job.model.conv1.weight.shape[1] == 10
    assert content["model"]["spec"].endswith("in_channels=10") and content["preprocessing"]["modality"] == "flow"
    found = evaluate(job)["clip"]
    assert found.top(1) == rows[-1]["val_top1"] and found.loss() == pytest.approx(rows[-1]["val_loss"], abs=1e-4)
    again = create_model(pretrained=run / "checkpoints" / "last.pt")
    assert again.in_channels == 10 and again.preprocessing["modality"] == "flow"
    convert(run / "checkpoints" / "best.pt", tmp_path / "converted.pt", say=lambda line: None)
    assert read_checkpoint(tmp_path / "converted.pt").content["preprocessing"] == content["preprocessing"]
    more = {"flip": True, "flip_labels": "swap", "epochs": 9, "seed": 3, "lr": 0.01, "optimizer": "adamw"}
    assert [row["epoch"] for row in train(prepare(params(flow_table, run, **more)))][-1] == 9
    with pytest.raises(CheckpointError, match="modality is 'rgb', was 'flow'"):
        rgb = {"modality": "rgb", "mean": [0.5] * 3, "std": [0.2] * 3}
        prepare(params(flow_table, run, **more, **rgb))


def test_fine_tuning_takes_over_the_modality(trained, flow_table, tmp_path):
    start = trained[0] / "checkpoints" / "best.pt"
    job = prepare(tuning(flow_table, tmp_path, start, train_from="layer4"))
    assert job.p.modality == "flow" and job.p.mean == [0.5] and job.p.num_frames == 4
    weight = read_checkpoint(start).state["conv1.weight"]
    assert torch.equal(job.model.conv1.weight, weight) and not job.model.conv1.weight.requires_grad
    with pytest.raises(CheckpointError, match="trained on flow clips; for modality rgb set mean and std, such as"):
        prepare(tuning(flow_table, tmp_path, start, modality="rgb"))
    with pytest.raises(DataError, match=r"of 10 channels: mean is \[0.1, 0.2, 0.3\], one number for all"):
        prepare(tuning(flow_table, tmp_path, start, mean=[0.1, 0.2, 0.3]))


def test_flow_from_a_network_of_rgb(motion_table, flow_table, tmp_path, capsys):
    rgb = {"modality": "rgb", "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4], "epochs": 1, "batch_size": 16}
    list(train(prepare(params(motion_table, tmp_path / "rgb", **rgb))))
    start = tmp_path / "rgb" / "checkpoints" / "best.pt"
    with pytest.raises(CheckpointError, match=r"on rgb clips; for modality flow set mean and std, such as \[0.5\] and"):
        prepare(tuning(flow_table, tmp_path / "run", start, modality="flow"))
    p = tuning(flow_table, tmp_path / "run", start, **FLOW, train_from="head")
    weight = read_checkpoint(start).state["conv1.weight"]
    model = finetune.open_pretrained(p, ["left", "right"])
    finetune.fit_to_data(model, p, ["left", "right"])
    torch.testing.assert_close(model.conv1.weight[:, 7], weight.mean(1))
    assert "first convolution from 3 to 10 channels" in capsys.readouterr().out
    assert len(list(train(prepare(p)))) == 1
    content = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt").content
    assert content["preprocessing"]["modality"] == "flow" and content["model"]["options"]["in_channels"] == 10
    again = tuning(flow_table, tmp_path / "run", start, **FLOW, train_from="head").model_copy(update={"epochs": 2})
    assert len(list(train(prepare(again)))) == 2  # goes on


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"mean": [0.4, 0.5, 0.6]}, "mean: [0.4, 0.5, 0.6]: modality flow needs one for all its channels"),
        ({"color_jitter": 0.5}, "color_jitter: 0.5: is made for colours; set 0 for modality flow"),
        ({"rand_augment": 9}, "rand_augment: 9: is made for colours"),
        ({"channel_order": "bgr"}, "channel_order: 'bgr': is of colours"),
        ({"modality": "depth"}, "modality: 'depth'"),
        ({"mean": [0.1, 0.2], "modality": "rgb"}, "mean: [0.1, 0.2]: three numbers are needed"),
    ],
)
def test_what_flow_cannot_have_is_refused(more, words):
    with pytest.raises(ParamsError) as error:
        TrainParams.build({**FLOW, **more}, "test")
    assert words in str(error.value)
