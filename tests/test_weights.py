"""Loading weights: every layout of file that is known, and an account of everything that does not fit."""

import pickle

import pytest
import torch

from actlib.models import WeightsError, create_model, load_weights

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
    "own checkpoint": lambda state: {
        "state_dict": state,
        "spec": "resnet10 widen_factor=0.125",
        "classes": ["a", "b"],
        "rng": torch.get_rng_state(),
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
    with pytest.raises(WeightsError, match=r"missing in the file \(2\): fc.weight, fc.bias"):
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
    assert "missing in the file (1): bn1.running_mean" in message
    assert "in the file, unknown to the model (1): layer9.weight" in message
    assert "of another shape (2): conv1.weight 8×3×3×7×7 in the file, 8×3×7×7×7 in the model" in message
    assert "fc.bias 9 in the file, 5 in the model" in message
    assert "replace_head" not in message
    with pytest.raises(WeightsError, match=r"of another shape \(1\): conv1"):
        load_weights(small_resnet(), path, replace_head=True)


def test_long_lists_are_cut(tmp_path):
    torch.save({f"x{i}": torch.zeros(1) for i in range(50)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"unknown to the model \(50\): x0, .*x19, … and 30 more"):
        load_weights(small_resnet(), tmp_path / "other.pth")


def test_counters_of_old_checkpoints_may_be_missing(tmp_path):
    source, target = small_resnet(seed=1), small_resnet(seed=2)
    state = {key: t for key, t in source.state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pth")
    report = load_weights(target, tmp_path / "old.pth")
    assert same_state(source, target)
    assert report.missing_counters == report.total - report.matched == 12
    assert "12 num_batches_tracked not in the file" in str(report)


def test_missing_file_names_near_ones(tmp_path):
    for name in ("resnet-18-kinetics.pth", "notes.txt"):
        (tmp_path / name).touch()
    with pytest.raises(FileNotFoundError, match=r"resnet18-kinetics\.pth; did you mean resnet-18-kinetics\.pth\?"):
        load_weights(small_resnet(), tmp_path / "resnet18-kinetics.pth")
    with pytest.raises(FileNotFoundError, match="folder .*nowhere does not exist"):
        load_weights(small_resnet(), tmp_path / "nowhere" / "a.pth")
    with pytest.raises(FileNotFoundError, match="no weights file"):
        load_weights(small_resnet(), tmp_path)


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
