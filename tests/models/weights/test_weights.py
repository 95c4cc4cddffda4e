"""Loading weights: every layout of file that is known, and an account of everything that does not fit."""

import pickle
from collections import Counter

import numpy as np
import pytest
import torch
import torchvision
from oldtorch import save_old

from actlib.models import WeightsError, create_model, load_weights
from actlib.models.weights.file import read_weights

OPTIONS = {"widen_factor": 0.125}


def small_resnet(num_classes: int = 5, seed: int = 0):
    torch.manual_seed(seed)
    return create_model("resnet10", num_classes, **OPTIONS).eval()


def same_state(one, other) -> bool:
    other = other.state_dict()
    return all(torch.equal(tensor, other[key]) for key, tensor in one.state_dict().items())


def with_prefix(state):
    return {f"module.{key}": tensor for key, tensor in state.items()}


LAYOUTS = {
    "plain": lambda state: state,
    "module": with_prefix,
    "nested": lambda state: {"state_dict": state},
    "reference checkpoint": lambda state: {
        "epoch": 3,
        "arch": "resnet-10",
        "state_dict": with_prefix(state),
        "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]},
    },
    "IBM's checkpoint": lambda state: {
        "epoch": 99,
        "arch": "kinetics400-rgb-TAM-b3-sum-resnet-50-f8-cosine-bs72-e100",
        "state_dict": with_prefix(state),
        "best_top1": np.float64(76.5),
        "scheduler": {"milestones": Counter({50: 1}), "gamma": 0.1, "last_epoch": 99},
    },
    "arrays": lambda state: {key: tensor.numpy() for key, tensor in state.items()},
    "own checkpoint": lambda state: {
        "format": "actlib checkpoint 1",
        "model": {"name": "resnet10", "options": OPTIONS, "num_classes": 5, "spec": "resnet10 widen_factor=0.125"},
        "state_dict": state,
        "classes": list("abcde"),
        "random state": torch.get_rng_state(),
        "metrics": {"top1": 0.5, "best": None},
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("zipped", [True, False])
def test_layouts(tmp_path, layout, zipped):
    source, target = small_resnet(seed=1), small_resnet(seed=2)
    assert not same_state(source, target)
    path = tmp_path / "weights.pth"
    torch.save(LAYOUTS[layout](source.state_dict()), path, _use_new_zipfile_serialization=zipped)
    report = load_weights(target, path)
    assert same_state(source, target)
    total = len(source.state_dict())
    assert (report.matched, report.total, report.skipped, report.missing_counters) == (total, total, (), 0)
    assert str(report) == f"{path}: {total} of {total} tensors loaded"


@pytest.mark.parametrize("name", ["mobilenetv2", "tam_resnet18"])
def test_round_trip_of_other_families(tmp_path, name):
    source, target = create_model(name, 5), create_model(name, 5)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    load_weights(target, tmp_path / "weights.pth")
    assert same_state(source, target)


def test_another_head(tmp_path):
    source, target = small_resnet(400, seed=1), small_resnet(7, seed=2)
    path = tmp_path / "kinetics.pth"
    torch.save({"state_dict": with_prefix(source.state_dict())}, path)
    untouched = {key: tensor.clone() for key, tensor in target.state_dict().items()}
    with pytest.raises(WeightsError) as error:
        load_weights(target, path)
    message = str(error.value)
    assert "fc.weight 400×64 in the file, 7×64 in the model" in message and "fc.bias 400 in" in message
    assert "replace_head=True" in message and "resnet10 widen_factor=0.125 with 7 classes" in message
    assert all(torch.equal(tensor, untouched[key]) for key, tensor in target.state_dict().items())

    report = load_weights(target, path, replace_head=True)
    assert report.skipped == ("fc.weight", "fc.bias")
    assert report.matched == report.total - 2
    assert "the head is the model's own (fc.weight, fc.bias)" in str(report)
    assert torch.equal(target.fc.weight, untouched["fc.weight"])
    assert torch.equal(target.layer4[0].conv1.weight, source.layer4[0].conv1.weight)


def test_a_replaced_head_is_skipped_even_where_it_would_fit_or_is_absent(tmp_path):
    source, target = small_resnet(seed=1), small_resnet(seed=2)
    head = target.fc.weight.clone()
    torch.save(source.state_dict(), tmp_path / "whole.pth")
    torch.save({k: t for k, t in source.state_dict().items() if not k.startswith("fc.")}, tmp_path / "headless.pth")
    for name in ("whole.pth", "headless.pth"):
        assert load_weights(target, tmp_path / name, replace_head=True).skipped == ("fc.weight", "fc.bias")
        assert torch.equal(target.fc.weight, head)
    with pytest.raises(WeightsError, match=r"missing in the file \(2\): fc.weight 5×64, fc.bias 5"):
        load_weights(target, tmp_path / "headless.pth")


def test_everything_wrong_in_one_error(tmp_path):
    state = small_resnet().state_dict()
    state["layer9.weight"] = state.pop("bn1.running_mean")
    state["conv1.weight"] = torch.zeros(8, 3, 3, 7, 7)
    state["fc.bias"] = torch.zeros(9)
    path = tmp_path / "odd.pth"
    torch.save({"state_dict": state, "arch": "resnet-12"}, path)
    with pytest.raises(WeightsError) as error:
        load_weights(small_resnet(), path)
    message = str(error.value)
    assert str(path) in message and "the file says it holds 'resnet-12'" in message
    assert "missing in the file (1): bn1.running_mean 8" in message
    assert "in the file, unknown to the model (1): layer9.weight 8" in message
    assert "of another shape (2): conv1.weight 8×3×3×7×7 in the file, 8×3×7×7×7 in the model" in message
    assert "fc.bias 9 in the file, 5 in the model" in message
    assert "replace_head" not in message
    with pytest.raises(WeightsError, match=r"of another shape \(1\): conv1"):
        load_weights(small_resnet(), path, replace_head=True)


def test_long_lists_are_cut(tmp_path):
    torch.save({f"x{i}": torch.zeros(1) for i in range(50)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"unknown to the model \(50\): x0 1, .*x9 1, … and 40 more"):
        load_weights(small_resnet(), tmp_path / "other.pth")


def test_counters_of_old_checkpoints_may_be_missing(tmp_path):
    source, target = small_resnet(seed=1), small_resnet(seed=2)
    state = {key: t for key, t in source.state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pth")
    report = load_weights(target, tmp_path / "old.pth")
    assert same_state(source, target)
    assert report.missing_counters == report.total - report.matched == 12
    assert "12 num_batches_tracked not in the file" in str(report)


# --- image networks -------------------------------------------------------------------------------------------------


def image_resnet(tmp_path, num_classes=5):
    """torchvision's ResNet-18 in a file, with the names and shapes that ImageNet weights have."""
    torch.manual_seed(1)
    network = torchvision.models.resnet18(num_classes=num_classes).eval()
    for module in network.modules():  # norms that do something
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    return network


@pytest.mark.parametrize("name", ["resnet18", "i3d_resnet18"])
def test_kernels_are_repeated_over_time(tmp_path, name):
    network = image_resnet(tmp_path)
    model = create_model(name, 5)
    report = load_weights(model, tmp_path / "resnet18.pth")
    convolutions = [key for key, tensor in network.state_dict().items() if tensor.ndim == 4]
    assert (report.inflated, report.method, report.matched) == (len(convolutions), "repeat", report.total)
    assert f"{len(convolutions)} 2-D kernels repeated over time" in str(report)
    state = network.state_dict()
    for key, tensor in model.state_dict().items():
        if key in convolutions:
            assert all(torch.equal(tensor[:, :, t], state[key]) for t in range(tensor.shape[2]))
        else:
            assert torch.equal(tensor, state[key])


def test_mean_inflation_answers_a_still_clip_as_the_image_network_its_frame(tmp_path):
    """Away from the first and last frames, where kernels reach into zeros: so in a clip that is long enough."""
    network = image_resnet(tmp_path)
    model = create_model("i3d_resnet18", 5, temporal_stride=False).eval()
    load_weights(model, tmp_path / "resnet18.pth", inflate="mean")
    frame = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    num_frames = 2 * 18 + 1  # each of the 17 convolutions over time reaches one frame further
    with torch.inference_mode():
        features = model.forward_features(frame.unsqueeze(2).expand(-1, -1, num_frames, -1, -1))
        want = torch.nn.Sequential(*list(network.children())[:-2])(frame)
    middle = features[:, :, num_frames // 2]
    assert (middle - want).abs().max() < 1e-4 * want.abs().max()
    assert (features[:, :, 0] - want).abs().max() > 0.01 * want.abs().max()


def test_layers_over_time_keep_their_values(tmp_path):
    image_resnet(tmp_path, num_classes=1000)
    for name, count in {"s3d_resnet18": 16 * 6, "tam_resnet18": 8 * 3}.items():
        model = create_model(name, 7)
        untouched = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        with pytest.raises(WeightsError, match="Only the head differs: replace_head=True"):
            load_weights(model, tmp_path / "resnet18.pth")
        report = load_weights(model, tmp_path / "resnet18.pth", replace_head=True)
        assert len(report.kept) == count and f"{count} tensors of temporal layers keep" in str(report)
        assert report.inflated == (20 if name == "s3d_resnet18" else 0)
        state = model.state_dict()
        assert all(torch.equal(state[key], untouched[key]) for key in (*report.kept, *report.skipped))
        assert not torch.equal(state["conv1.weight"], untouched["conv1.weight"])


def test_half_of_the_layers_over_time_is_not_an_image_network(tmp_path):
    source = create_model("tam_resnet18", 5, width_mult=0.125)
    state = {k: t for k, t in source.state_dict().items() if not k.startswith("layer1.0.tam")}
    torch.save(state, tmp_path / "torn.pth")
    with pytest.raises(WeightsError, match=r"missing in the file \(3\): layer1.0.tam"):
        load_weights(source, tmp_path / "torn.pth")


def test_inception_is_inflated_and_its_auxiliary_heads_left_out(tmp_path):
    network = torchvision.models.googlenet(num_classes=5, aux_logits=True, init_weights=False)
    torch.save(network.state_dict(), tmp_path / "googlenet.pth")
    auxiliary = sum(key.startswith("aux") for key in network.state_dict())
    for name, (inflated, kept) in {"i3d": (57, 0), "s3d": (57, 19 * 7), "tam_inception_v1": (0, 12 * 3)}.items():
        report = load_weights(create_model(name, 5), tmp_path / "googlenet.pth")
        assert (report.inflated, len(report.kept), report.ignored) == (inflated, kept, auxiliary)


def test_an_unknown_way_to_inflate(tmp_path):
    image_resnet(tmp_path)
    with pytest.raises(ValueError, match="inflate='sum': use one of repeat, mean"):
        load_weights(create_model("resnet18", 5), tmp_path / "resnet18.pth", inflate="sum")


# --- what does not fit ----------------------------------------------------------------------------------------------


def test_the_error_names_the_options_that_fit(tmp_path):
    source = create_model("resnet18", 5, widen_factor=0.25, shortcut="A", conv1_t_size=3)
    torch.save(source.state_dict(), tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="It fits resnet18 shortcut=A conv1_t_size=3 widen_factor=0.25"):
        load_weights(create_model("resnet18", 5), tmp_path / "a.pth")


@pytest.mark.parametrize("release", [2018, 2020])
def test_each_release_of_densenet_loads_and_the_error_names_the_other(tmp_path, release):
    """The branches of 3D-ResNets-PyTorch call the same layers norm.1 and norm1, conv0 and conv1."""
    source = create_model("densenet121", 3, release=release)
    torch.save({"state_dict": with_prefix(source.state_dict())}, tmp_path / "dense.pth")
    target = create_model("densenet121", 3, release=release)
    load_weights(target, tmp_path / "dense.pth")
    assert same_state(source, target)
    other = create_model("densenet121", 3, release=4038 - release)
    fitting = "densenet121 release=2020" if release == 2020 else "densenet121"
    with pytest.raises(WeightsError, match=rf"It fits {fitting}\."):
        load_weights(other, tmp_path / "dense.pth")
    assert create_model("densenet121", pretrained=tmp_path / "dense.pth").options["release"] == release


def test_missing_file_names_near_ones(tmp_path):
    for name in ("resnet-18-kinetics.pth", "notes.txt"):
        (tmp_path / name).touch()
    with pytest.raises(FileNotFoundError, match=r"resnet18-kinetics\.pth; did you mean resnet-18-kinetics\.pth\?"):
        load_weights(small_resnet(), tmp_path / "resnet18-kinetics.pth")
    with pytest.raises(FileNotFoundError, match="folder .*nowhere does not exist"):
        load_weights(small_resnet(), tmp_path / "nowhere" / "a.pth")
    with pytest.raises(FileNotFoundError, match="no weights file"):
        load_weights(small_resnet(), tmp_path)


def test_a_file_of_torch_0_2_and_python_2_from_a_gpu(tmp_path):
    """As most of the published files are: other text, other calls, CUDA storages, and no num_batches_tracked yet."""
    source, target = small_resnet(seed=1), small_resnet(seed=2)
    state = {k: t for k, t in with_prefix(source.state_dict()).items() if not k.endswith("num_batches_tracked")}
    optimizer = {"state": {}, "param_groups": [{"lr": 0.1, "params": [140012345678]}]}
    save_old({"epoch": 200, "arch": "resnet-10", "state_dict": state, "optimizer": optimizer}, tmp_path / "old.pth")
    report = load_weights(target, tmp_path / "old.pth")
    assert same_state(source, target) and report.missing_counters == 12
    assert read_weights(tmp_path / "old.pth").told == "resnet-10"


@pytest.mark.parametrize("placement", ["residual", "inplace", ""])
def test_names_of_temporal_shift_module(tmp_path, placement):
    source, target = (
        create_model("tsn_resnet18", 5, width_mult=0.125),
        create_model("tsm_resnet18", 5, width_mult=0.125),
    )
    renamed = {}
    for key, tensor in source.state_dict().items():
        if placement == "residual" and key.startswith("layer"):
            key = key.replace(".conv1.", ".conv1.net.")
        if placement == "inplace" and key.startswith("layer"):
            key = ".".join([*key.split(".")[:2], "net", *key.split(".")[2:]])
        key = f"base_model.{key}" if not key.startswith("fc.") else f"new_{key}"
        renamed[f"module.{key}"] = tensor
    torch.save({"state_dict": renamed, "best_prec1": torch.tensor(71.2)}, tmp_path / "tsm.pth")
    load_weights(target, tmp_path / "tsm.pth")
    assert same_state(source, target)
    assert read_weights(tmp_path / "tsm.pth").tsm_placement == placement


def test_frozen_batch_norm(tmp_path):
    source, target = small_resnet(seed=1), small_resnet(seed=2)
    norms = {key.removesuffix("running_mean") for key in source.state_dict() if key.endswith("running_mean")}
    state = {}
    for key, tensor in source.state_dict().items():
        if key.removesuffix("weight") in norms:
            key = key.removesuffix("weight") + "scale"
        if not key.endswith("num_batches_tracked"):
            state[key] = tensor
    assert sum(key.endswith(".scale") for key in state) == len(norms) == 12
    torch.save(state, tmp_path / "frozen.pth")
    report = load_weights(target, tmp_path / "frozen.pth")
    assert same_state(source, target) and report.missing_counters == 12


class Arbitrary:
    """An object that only a full unpickling could bring back."""


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_arbitrary_pickles_are_not_loaded(tmp_path):
    state = small_resnet().state_dict()
    torch.save({"state_dict": state, "options": Arbitrary()}, tmp_path / "torch.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"options": Arbitrary()}))
    for name, reason in {"torch.pth": r"it holds a \S+\.Arbitrary", "plain.pth": "it is damaged, or a pickle"}.items():
        with pytest.raises(WeightsError, match=rf"{name} cannot be loaded as weights only: {reason}.*can run any code"):
            load_weights(small_resnet(), tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", None])
def test_damaged_files(tmp_path, content):
    path = tmp_path / "damaged.pth"
    if content is None:
        torch.save(small_resnet().state_dict(), path)
        content = path.read_bytes()[:-2000]
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="damaged.pth"):
        load_weights(small_resnet(), path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {"a": torch.zeros(1)}, "epoch": 3}, "a dict with the keys 'model', 'epoch', not a state dict"),
        ({"state_dict": {}}, "a dict with the keys 'state_dict', not a state dict"),
        ({}, "an empty dict, not a state dict"),
        ([torch.zeros(1)], "list, not a state dict"),
        ({0: torch.zeros(1)}, "a dict with the keys 0, not a state dict"),
    ],
)
def test_files_without_a_state_dict(tmp_path, content, message):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=message):
        load_weights(small_resnet(), tmp_path / "other.pth")
