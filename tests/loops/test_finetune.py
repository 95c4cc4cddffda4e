"""Fine-tuning: which weights move, at which rate, with which head, from which weights."""

import pytest
import torch
from networks import QuickNorms
from torch import nn
from torch.nn import functional as F
from vectors import create_on_meta

from actlib.datasets.table import class_names, read_table
from actlib.loops import finetune, prepare, train
from actlib.loops.optim import make_optimizer, make_schedule, rate, rate_factor
from actlib.models import ModelError, WeightsError, create_from_spec, create_model, list_models
from actlib.models.registry import library_of
from actlib.models.weights.checkpoint import CheckpointError, read_checkpoint, save_checkpoint
from actlib.params import FinetuneParams, ParamsError

TINY = "resnet10 widen_factor=0.0625 conv1_t_size=3"
TINY_TAM = "tam_resnet18 width_mult=0.0625"
CLIPS = {"num_frames": 4, "frame_stride": 4, "short_side": 32, "crop_size": 32}
FAMILIES = {name.rstrip("0123456789"): name for name in reversed(list_models()) if not library_of(name)}  # shallowest
FAST = {"num_workers": 0, "precision": "float32", "memory_format": "contiguous", "batch_size": 8, "flip": False}


def params(**more) -> FinetuneParams:
    return FinetuneParams.build({**CLIPS, "optimizer": "sgd", "momentum": 0, "weight_decay": 0, **more}, "test")


def trained(spec: str, **more) -> set[str]:
    """The names of the parameters that are trained."""
    model = create_on_meta(spec, 5)
    finetune.freeze(model, params(**more))
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def first_step(spec: str, **more) -> tuple[dict, dict, dict]:
    """One optimiser step: the state before, the state after, and the gradients."""
    torch.manual_seed(0)
    model = create_from_spec(spec, 5)
    p = params(**more)
    norms = finetune.freeze(model, p)
    optimizer = make_optimizer(p, model)
    make_schedule(p, optimizer, steps_per_epoch=10)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()
    for norm in norms:
        norm.eval()
    F.cross_entropy(model(torch.randn(4, 3, 4, 32, 32)), torch.arange(4)).backward()
    optimizer.step()
    return before, model.state_dict(), {name: w.grad for name, w in model.named_parameters()}


def moved(before: dict, after: dict) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


# --- what is trained ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_norm", ["tuned", "frozen_layers", "frozen"])
@pytest.mark.parametrize("train_from", ["all", "layer4", "head"])
def test_a_step_moves_what_is_trained_and_nothing_else(train_from, batch_norm):
    before, after, _ = first_step(TINY, train_from=train_from, batch_norm=batch_norm, lr=0.1)
    tops = {"all": ("",), "layer4": ("layer4.", "fc."), "head": ("fc.",)}[train_from]
    want = set()
    for name in before:
        affine = ".bn" in f".{name}" or "downsample.1" in name
        if affine and name.rsplit(".")[-1] in ("running_mean", "running_var", "num_batches_tracked"):
            follows = {"tuned": True, "frozen_layers": name.startswith(tops), "frozen": False}[batch_norm]
            want |= {name} if follows else set()
        elif name.startswith(tops) and not (affine and batch_norm == "frozen"):
            want.add(name)
    assert moved(before, after) == want


def test_frozen_is_what_the_modules_input_is_computed_from():
    def of(*prefixes):
        return {name for name in every if not name.startswith(prefixes)}

    every = trained(TINY_TAM, train_from="all")
    assert trained(TINY_TAM, train_from="layer3") == of("conv1", "bn1", "layer1", "layer2")
    assert trained(TINY_TAM, train_from="conv1") == every
    early = ("conv1", "bn1", "layer1", "layer2", "layer3")
    # TAM runs before the block's first convolution, though it comes last in the state dict.
    assert trained(TINY_TAM, train_from="layer4.0.conv1") == of(*early, "layer4.0.tam")
    assert trained(TINY_TAM, train_from="layer4.0.tam") == of(*early)
    # The shortcut runs beside the convolutions: neither comes before the other.
    assert trained(TINY_TAM, train_from="layer4.0.downsample") == of(*early)
    assert trained(TINY_TAM, train_from="layer4.0.conv2") == of(
        *early, "layer4.0.tam", "layer4.0.conv1", "layer4.0.bn1"
    )


def test_names_as_in_the_references():
    for spec in ("densenet121", "densenet121 release=2020"):
        size = {"num_frames": 16, "crop_size": 64, "short_side": 64}
        tops = ("features.denseblock4.", "features.norm5.", "classifier.")  # there: --ft_begin_index 4
        model = create_on_meta(spec, 5)
        assert trained(spec, train_from="denseblock4", **size) == {
            name for name, _ in model.named_parameters() if name.startswith(tops)
        }


def test_branches_run_beside_each_other():
    names = trained("i3d", train_from="inception5a.branch2", num_frames=8, crop_size=64, short_side=64)
    assert {name.rsplit(".branch")[0].split(".")[0] for name in names} == {"inception5a", "inception5b", "fc"}
    assert any(name.startswith("inception5a.branch1.") for name in names)  # before branch2 in the state dict


@pytest.mark.parametrize("name", FAMILIES.values())
def test_the_head_of_every_family_is_last(name):
    model = create_on_meta(name, 5)
    size = {
        "num_frames": 16,
        "crop_size": 224 if name.startswith("tv_") else 112,
    }  # the references', where none is told
    size |= {option: model.options[option] for option in size if option in model.options}
    with QuickNorms():
        finetune.freeze(model, params(**size, short_side=320, train_from="head"))
    for key, parameter in model.named_parameters():
        assert parameter.requires_grad == key.startswith(f"{model.classifier_name}."), key


class Attention(nn.Module):
    """Uses the weights of a layer that it never calls."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(4, 4)

    def forward(self, x):
        return F.linear(x, self.qkv.weight, self.qkv.bias)


class Borrowing(nn.Module):
    def __init__(self):
        super().__init__()
        self.last, self.attention, self.stem = nn.Linear(4, 4), Attention(), nn.Linear(4, 4)

    def forward(self, x):
        return self.last(self.attention(self.stem(x.mean(dim=(1, 2))[..., :4])))


def test_a_layer_that_is_never_called_counts_as_the_module_that_uses_it():
    before = finetune.parameters_before(Borrowing(), "attention.qkv", (3, 4, 32, 32))
    assert before == {"stem.weight", "stem.bias"}


def test_names_of_modules():
    spec = "mobilenetv2 width_mult=0.2"
    model = create_on_meta(spec, 5)
    assert finetune.find_module(model, "head", "x") == "classifier.1"
    assert finetune.find_module(model, "18", "x") == "features.18"  # the end of a name will do
    assert finetune.find_module(model, "features.18", "x") == "features.18"
    with pytest.raises(
        ModelError, match=r"train_from 'conv': several modules end so.*features.1.conv, features.2.conv"
    ):
        trained(spec, train_from="conv")
    with pytest.raises(ModelError, match="train_from 'layer9': no such module; all, head, or one of .*layer4"):
        trained(TINY, train_from="layer9")
    with pytest.raises(ModelError, match="'relu': this module has no parameters, nothing would be trained"):
        trained(TINY, train_from="relu")


# --- at which rate --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factors", [["layer4=0.1", "head=2"], ["layer4=0.5", "layer4.0.conv2=0.25"]])
def test_the_first_update_is_the_groups_rate_times_the_gradient(factors):
    before, after, gradients = first_step(TINY, lr=0.1, lr_factors=factors, schedule="constant")
    rates = {"layer4.": 0.1, "fc.": 2.0} if "head=2" in factors else {"layer4.": 0.5, "layer4.0.conv2.": 0.25}
    for name, gradient in gradients.items():
        inside = [prefix for prefix in rates if name.startswith(prefix)]
        rate = 0.1 * rates[max(inside, key=len)] if inside else 0.1
        torch.testing.assert_close(after[name], before[name] - rate * gradient, rtol=1e-6, atol=1e-7)


def test_the_schedule_scales_every_group():
    model, p = create_from_spec(TINY, 5), params(lr=0.1, lr_factors=["head=10"], warmup_epochs=1, epochs=4)
    optimizer = make_optimizer(p, model)
    schedule, _ = make_schedule(p, optimizer, steps_per_epoch=5)
    for step in range(20):
        factor = rate_factor(p, 5, step)
        assert rate(optimizer) == pytest.approx(0.1 * factor)
        rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
        assert rates == pytest.approx({"rest": 0.1 * factor, "fc": factor})
        optimizer.step()
        schedule.step()


def test_the_overview_tells_what_is_trained():
    model, p = create_from_spec(TINY, 5), params(lr=0.5, train_from="layer3.0.conv2", lr_factors=["layer4=0.1"])
    finetune.freeze(model, p)
    groups = finetune.parameter_groups(model, p)
    table = finetune.overview(model, groups).set_index("module")
    assert table["parameters"].sum() == sum(w.numel() for w in model.parameters())
    assert table["trained"].sum() == sum(w.numel() for group in groups for w in group["params"])
    assert table["lr"].to_dict() == pytest.approx(
        {"conv1": 0, "bn1": 0, "layer1": 0, "layer2": 0, "layer3.0.conv1": 0, "layer3.0.bn1": 0, "layer3.0.conv2": 0.5}
        | {"layer3.0.bn2": 0.5, "layer3.0.downsample": 0.5, "layer4": 0.05, "fc": 0.5}
    )
    p = params(lr=0.5, batch_norm="frozen")
    finetune.freeze(model, p)
    table = finetune.overview(model, finetune.parameter_groups(model, p)).set_index("module")
    assert list(table.index) == ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"]
    assert table["lr"].to_dict() == {name: 0 if name == "bn1" else 0.5 for name in table.index}
    assert (table["trained"] < table["parameters"]).tolist() == [False, True, True, True, True, True, False]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"lr_factors": ["layer9=0.1"]}, "lr_factors 'layer9': no such module"),
        ({"lr_factors": ["head=0.1", "fc=1"]}, "lr_factors 'fc': fc is named twice"),
        ({"lr_factors": ["layer1=0.1"], "train_from": "head"}, "lr_factors 'layer1': nothing of it .*train_from: head"),
        ({"lr_factors": ["layer1=1", "layer1.0=2"]}, "lr_factors 'layer1': .*all in other entries"),
        ({"train_from": "layer4.0.bn2", "batch_norm": "frozen"}, None),
    ],
)
def test_rates_of_nothing_are_refused(more, words):
    model, p = create_on_meta(TINY, 5), params(**more)
    finetune.freeze(model, p)
    if words is None:  # the convolutions after it and the head are left
        assert finetune.parameter_groups(model, p)
        return
    with pytest.raises(ModelError, match=words):
        finetune.parameter_groups(model, p)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"lr_factors": ["layer4"]}, "lr_factors: ['layer4']: 'layer4': expected module=factor, above 0"),
        ({"lr_factors": ["layer4=fast"]}, "'layer4=fast': expected module=factor"),
        ({"lr_factors": ["=0.1"]}, "'=0.1': expected module=factor"),
        ({"lr_factors": ["layer4=1e"]}, "'layer4=1e': expected module=factor"),
        ({"lr_factors": ["layer4=-1"]}, "'layer4=-1': expected module=factor"),
        ({"lr_factors": ["layer4=0"]}, "'layer4=0': expected module=factor, above 0, as in layer4=0.1 (train_from"),
        ({"lr_factors": ["fc=1", "fc = 2"]}, "'fc = 2': fc stands twice"),
        ({"head_dropout": -2}, "head_dropout: -2"),
        ({"head_dropout": 1}, "head_dropout: 1"),
        ({"batch_norm": "fixed"}, "Input should be 'tuned', 'frozen_layers' or 'frozen'"),
        ({"channel_order": "gbr"}, "Input should be '', 'rgb' or 'bgr'"),
        ({"frozen_bn": True}, "frozen_bn: no such parameter"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_read(more, words):
    with pytest.raises(ParamsError) as error:
        params(**more)
    assert words in str(error.value)


# --- from a checkpoint ----------------------------------------------------------------------------------------


def write_start(path, spec, classes, **how):
    """A checkpoint as a training run leaves it, of a network that was not trained."""
    torch.manual_seed(1)
    model = create_from_spec(spec, len(classes))
    told = {"name": model.name, "options": model.options, "num_classes": len(classes), "spec": model.spec}
    how = {**CLIPS, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4], **how}
    save_checkpoint(
        path, {"model": told, "state_dict": model.state_dict(), "classes": classes, "preprocessing": how, "params": {}}
    )
    return model


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A checkpoint of eight classes that no table here has."""
    path = tmp_path_factory.mktemp("start") / "start.pt"
    write_start(path, TINY, [f"class {each}" for each in range(8)], channel_order="bgr")
    return path


def tuning(table, run_dir, pretrained, **more) -> FinetuneParams:
    values = {"table": str(table), "run_dir": str(run_dir), "pretrained": str(pretrained), "epochs": 1}
    return FinetuneParams.build({**values, **FAST, **more}, "test")


def weights(run_dir) -> dict:
    return read_checkpoint(run_dir / "checkpoints" / "last.pt").state


def test_the_head_its_dropout_and_the_clips(start, finetune_table, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    job = prepare(tuning(finetune_table, tmp_path, start, head_dropout=0.3, train_from="head"))
    assert job.model.fc.weight.shape[0] == 4 and job.model.dropout.p == 0.3
    assert job.classes == ["bounce", "orbit", "shake", "zigzag"]
    job.set_training_mode()
    assert job.model.dropout.training and not job.model.bn1.training
    assert job.normalisation == {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4], "channel_order": "bgr"}
    assert job.preprocessing == {"modality": "rgb"} | read_checkpoint(start).content["preprocessing"]
    assert prepare(tuning(finetune_table, tmp_path, start)).model.dropout.p == 0  # the network's own
    by_hand = prepare(tuning(finetune_table, tmp_path, start, channel_order="rgb", crop_size=24))
    assert by_hand.normalisation["channel_order"] == "rgb" and by_hand.p.crop_size == 24
    with pytest.raises(ModelError, match="lr_factors 'layer9': no such module"):
        prepare(tuning(finetune_table, tmp_path, start, lr_factors=["layer9=2"], resume="never"))
    assert (tmp_path / "checkpoints").is_dir()  # nothing was put aside for a run that cannot be


def test_the_same_classes_keep_their_head(motion_table, tmp_path):
    classes = class_names(read_table(motion_table))
    source = write_start(tmp_path / "same.pt", TINY, classes)
    p = tuning(motion_table, tmp_path, tmp_path / "same.pt", head_dropout=0.4)
    model = finetune.open_pretrained(p, classes)
    p = finetune.inherit_preprocessing(p, model, p.pretrained)
    finetune.fit_to_data(model, p, classes)
    assert torch.equal(model.fc.weight, source.fc.weight) and model.dropout.p == 0.4
    assert (p.num_frames, p.mean, p.channel_order) == (4, [0.4, 0.5, 0.6], "rgb")  # an older file names no order


def test_a_run_moves_the_weights_that_it_says(start, finetune_table, tmp_path):
    def changed(name, **more):
        list(train(prepare(tuning(finetune_table, tmp_path / name, start, **more))))
        before, after = read_checkpoint(start).state, weights(tmp_path / name)
        moved = (
            key for key in before if not before[key].is_floating_point() or not torch.equal(before[key], after[key])
        )
        return {key.split(".")[0] for key in moved if before[key].is_floating_point()}

    stages = {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"}
    assert changed("all") == stages
    assert changed("layer4", train_from="layer4") == {"layer4", "fc"}
    assert changed("statistics", train_from="head", batch_norm="tuned") == stages - {"conv1"}


def test_going_on_with_groups_gives_the_same_weights(start, finetune_table, tmp_path):
    more = {"train_from": "layer3", "lr_factors": ["layer4=0.5", "head=3"], "batch_norm": "frozen", "lr": 0.01}
    more |= {"optimizer": "sgd", "momentum": 0.9, "schedule": "constant", "head_dropout": 0.2}
    list(train(prepare(tuning(finetune_table, tmp_path / "whole", start, **more, epochs=3))))
    list(train(prepare(tuning(finetune_table, tmp_path / "broken", start, **more, epochs=1))))
    rows = list(train(prepare(tuning(finetune_table, tmp_path / "broken", start, **more, epochs=3))))
    assert [row["epoch"] for row in rows] == [1, 2, 3] and {row["lr"] for row in rows} == {0.01}
    whole, broken = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    with pytest.raises(CheckpointError, match=r"lr_factors is \['head=1'\], was \['layer4=0.5', 'head=3'\]"):
        prepare(tuning(finetune_table, tmp_path / "broken", start, **{**more, "lr_factors": ["head=1"]}, epochs=3))


def test_a_checkpoint_from_before_these_parameters_can_be_gone_on_from(start, finetune_table, tmp_path):
    p = tuning(finetune_table, tmp_path, start, channel_order="rgb", train_from="head")
    list(train(prepare(p)))
    path = tmp_path / "checkpoints" / "last.pt"
    last = read_checkpoint(path)
    content = {**last.content, "state_dict": last.state}
    for name in ("channel_order", "lr_factors", "head_dropout", "batch_norm", "modality", "mixup", "sampling"):
        del content["params"][name]
    del content["preprocessing"]["channel_order"], content["preprocessing"]["modality"]
    for frozen_bn in (True, False):
        content["params"]["frozen_bn"] = frozen_bn
        save_checkpoint(path, content)
        more = {"channel_order": "rgb", "train_from": "head", "batch_norm": "frozen_layers" if frozen_bn else "tuned"}
        assert prepare(tuning(finetune_table, tmp_path, start, **more)).history
    with pytest.raises(
        CheckpointError, match=r"lr_factors is \['head=2'\], was \[\]; batch_norm is 'frozen', was 'tuned'"
    ):
        prepare(tuning(finetune_table, tmp_path, start, **more | {"batch_norm": "frozen", "lr_factors": ["head=2"]}))


def test_weights_alone_do_not_tell_the_clips(finetune_table, tmp_path):
    source = create_model("resnet10", 3, widen_factor=0.25)
    torch.save({"state_dict": {f"module.{k}": v for k, v in source.state_dict().items()}}, tmp_path / "w.pth")
    p = tuning(finetune_table, tmp_path, tmp_path / "w.pth", model="resnet10 widen_factor=0.25", head_dropout=0.1)
    with pytest.raises(CheckpointError, match="set num_frames, .*crop_size, mean, std, channel_order"):
        prepare(p)
    p = tuning(finetune_table, tmp_path, tmp_path / "w.pth", model="resnet10", num_frames=4, crop_size=32)
    with pytest.raises(CheckpointError, match="set frame_stride, short_side, mean, std, channel_order"):
        prepare(p)
    model = finetune.open_pretrained(p, ["a", "b", "c"])  # its width from its layers; its classes have no names
    finetune.fit_to_data(model, p.model_copy(update={"modality": "rgb"}), ["a", "b", "c"])
    assert model.spec == "resnet10 widen_factor=0.25" and torch.equal(model.conv1.weight, source.conv1.weight)
    assert not torch.equal(model.fc.weight, source.fc.weight)
    with pytest.raises(WeightsError, match="nothing.pth: neither a file"):
        prepare(tuning(finetune_table, tmp_path, "nothing.pth"))


def test_a_published_file_by_its_name(finetune_table, tmp_path, monkeypatch):
    monkeypatch.setenv("ACTLIB_WEIGHTS", str(tmp_path / "weights"))
    name = "kinetics_mobilenetv2_0.2x_RGB_16_best.pth"
    p = tuning(finetune_table, tmp_path / "run", name, crop_size=32)
    with pytest.raises(WeightsError, match=f"{name} can only be fetched by hand: .* put it at .*weights"):
        prepare(p)
    (tmp_path / "weights").mkdir()
    source = create_model("mobilenetv2", 600, width_mult=0.2)
    content = {"epoch": 9, "arch": "mobilenetv2", "state_dict": source.state_dict(), "optimizer": {"state": {}}}
    torch.save(content, tmp_path / "weights" / name)
    job = prepare(p)
    assert torch.equal(job.model.features[0][0].weight, source.features[0][0].weight)
    assert job.model.num_classes == 4 and (job.p.num_frames, job.p.crop_size) == (16, 32)
    assert job.normalisation["channel_order"] == "bgr"  # as that code read Kinetics
    assert job.normalisation["mean"] == pytest.approx([each / 255 for each in (114.7748, 107.7354, 99.475)])
