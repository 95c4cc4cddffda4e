"""Caffe2 pickles: as Python 2 wrote them, as today's NumPy writes them, and those that must be refused."""

import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from vectors import create_on_meta

from actlib.models.weights.caffe2 import (
    Caffe2Error,
    caffe2_key,
    caffe2_state,
    looks_like_caffe2,
    read_caffe2,
    unfrozen_key,
)

KEYMAP = json.loads((Path(__file__).parents[2] / "data" / "caffe2_keymap.json").read_text())["networks"]


# --- Python 2's pickles, opcode by opcode ---------------------------------------------------------------------


def text(value: str | bytes) -> bytes:
    """A `str` of Python 2, which today's pickle would not write: SHORT_BINSTRING or BINSTRING."""
    value = value.encode("latin1") if isinstance(value, str) else value
    short = len(value) < 256
    return (b"U" + bytes([len(value)]) if short else b"T" + struct.pack("<i", len(value))) + value


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def dtype(code: str, order: str = "<") -> bytes:
    state = b"(" + number(3) + text(order) + b"NNN" + number(-1) + number(-1) + number(0) + b"t"
    return b"cnumpy\ndtype\n" + text(code) + number(0) + number(1) + b"\x87R" + state + b"b"


def array(values: np.ndarray, order: str = "<", shape: tuple | None = None, kind: bytes | None = None) -> bytes:
    """`numpy.ndarray.__reduce__` of NumPy 1 under Python 2 with protocol 2."""
    fortran = values.flags.f_contiguous and not values.flags.c_contiguous
    data = values.astype(values.dtype.newbyteorder(order)).tobytes("F" if fortran else "C")
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + number(0) + b"\x85" + text("b") + b"\x87R"
    shape = b"(" + b"".join(number(n) for n in (values.shape if shape is None else shape)) + b"t"
    kind = dtype(values.dtype.str[1:], order) if kind is None else kind
    return empty + b"(" + number(1) + shape + kind + (b"\x88" if fortran else b"\x89") + text(data) + b"tb"


def python2_pickle(blobs: dict[str, bytes], key: str = "blobs") -> bytes:
    items = b"".join(text(name) + value for name, value in blobs.items())
    return b"\x80\x02}q\x01" + text(key) + b"q\x02}q\x03(" + items + b"us."


@pytest.fixture
def write(tmp_path):
    def write_bytes(content: bytes) -> Path:
        path = tmp_path / "net.pkl"
        path.write_bytes(content)
        return path

    return write_bytes


def test_a_python_2_pickle(write):
    random = np.random.default_rng(0)
    conv = random.standard_normal((4, 3, 5, 7, 7)).astype(np.float32)  # its bytes have all values, 128 and above too
    fortran = np.asfortranarray(random.standard_normal((3, 4)).astype(np.float32))
    big_endian = np.arange(5, dtype=np.int64)
    scale = np.ones(300, np.float32)
    blobs = {
        "conv1_w": array(conv),
        "conv1_w_momentum": array(conv),
        "pred_w": array(fortran),
        "epochs": array(big_endian, ">"),
        "res_conv1_bn_s": array(scale),
        "lr": b"cnumpy.core.multiarray\nscalar\n" + dtype("f4") + text(np.float32(0.01).tobytes()) + b"\x86R",
        "model_iter": number(400000),
        "weight_order": b"](" + text("conv1_w") + b"e",
    }
    path = write(python2_pickle(blobs))
    assert pickle.loads(path.read_bytes(), encoding="latin1")["blobs"]["model_iter"] == 400000, "the test's pickle"
    assert looks_like_caffe2(path)
    found = read_caffe2(path)
    assert list(found) == [name for name in blobs if name != "weight_order"]
    for name, want in {"conv1_w": conv, "pred_w": fortran, "epochs": big_endian, "res_conv1_bn_s": scale}.items():
        assert np.array_equal(found[name], want) and found[name].dtype == want.dtype and found[name].dtype.isnative
        assert found[name].flags.writeable and found[name].flags.c_contiguous
    assert found["lr"].shape == () and found["lr"] == np.float32(0.01)
    assert found["model_iter"] == 400000

    state, ignored = caffe2_state(found)
    assert list(state) == ["conv1.weight", "fc.weight", "bn1.weight"] and ignored == 4
    assert torch.equal(torch.from_numpy(state["conv1.weight"]), torch.from_numpy(conv))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_the_pickles_of_todays_numpy(write, protocol):
    arrays = {
        "c": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        "f": np.asfortranarray(np.arange(200, 212).reshape(3, 4)),
        "half": np.full((2, 1), 0.5, np.float16),
        "bytes": np.arange(256, dtype=np.uint8),
        "truth": np.array([True, False]),
        "one": np.array(2.5),
        "scalar": np.float64(1.5),
        "none": np.zeros((0, 3), np.int32),
        "number": 7,
    }
    path = write(pickle.dumps({"blobs": arrays}, protocol))
    assert looks_like_caffe2(path)
    found = read_caffe2(path)
    assert list(found) == list(arrays)
    for name, want in arrays.items():
        assert np.array_equal(found[name], want) and found[name].shape == np.shape(want)
        assert found[name].dtype == np.asarray(want).dtype and found[name].flags.writeable


# --- refused --------------------------------------------------------------------------------------------------


class Calls:
    def __init__(self, function, *arguments):
        self.recipe = (function, arguments)

    def __reduce__(self):
        return self.recipe


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_other_names_are_refused_and_nothing_runs(write, tmp_path, protocol):
    marker = tmp_path / "ran"
    path = write(pickle.dumps({"blobs": {"conv1_w": Calls(Path.touch, marker)}}, protocol))
    with pytest.raises(Caffe2Error, match=r"net\.pkl.*asks for .*refused"):
        read_caffe2(path)
    assert not marker.exists()
    pickle.loads(path.read_bytes())
    assert marker.exists(), "this pickle does nothing, so the test shows nothing"


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (Calls(eval, "1"), r"__builtin__\.eval"),
        (b"cos\nsystem\n" + text("true") + b"\x85R", r"os\.system"),
        (b"cnumpy\nload\n" + text("x") + b"\x85R", r"numpy\.load"),
        (b"c_codecs\nencode\n" + text("x") + text("bz2") + b"\x86R", "'bz2'"),
        (np.array([print], dtype=object), "builtins.print|'O8'"),
        (np.array(["text"]), "'U4'"),
        (np.zeros(2, [("a", "f4")]), "'V4'"),
        (torch.zeros(2), "torch"),
    ],
)
def test_what_arrays_do_not_need_is_refused(write, blob, message):
    content = python2_pickle({"x": blob}) if isinstance(blob, bytes) else pickle.dumps({"blobs": {"x": blob}}, 2)
    with pytest.raises(Caffe2Error, match=message):
        read_caffe2(write(content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no whole Caffe2 pickle"),
        (b"PK\x03\x04 a zip file", "no whole Caffe2 pickle"),
        (b"\x80\x02X\xff\xff\xff\x7fabc.", "no whole Caffe2 pickle"),  # a text that claims 2 GiB
        (b"\x80\x05\x96" + struct.pack("<Q", 1 << 50) + b"abc.", "no whole Caffe2 pickle"),  # a petabyte
        (pickle.dumps([1, 2]), "holds a list; a dict with the key 'blobs'"),
        (pickle.dumps({"state_dict": {}}), r"keys \['state_dict'\]; a dict with the key 'blobs'"),
        (pickle.dumps({"blobs": [1]}), "a dict with the key 'blobs' is expected"),
        (pickle.dumps({"blobs": {3: 1}}), "names are no text"),
        (pickle.dumps({"blobs": {"model_iter": 10**30}}), "no whole Caffe2 pickle"),
        (python2_pickle({"x": array(np.ones(4, np.float32), shape=(5,))}), r"shape \(5,\) has 16 bytes; it is damaged"),
        (python2_pickle({"x": array(np.ones(4, np.float32), shape=(-2, -2))}), "damaged"),
        (python2_pickle({"x": array(np.ones(4, np.float32), kind=b"N")}), "no whole Caffe2 pickle"),
        (python2_pickle({"x": b"cnumpy\nndarray\n" + number(4) + b"\x85R"}), "no whole Caffe2 pickle"),
    ],
)
def test_damaged_and_foreign_files(write, content, message):
    with pytest.raises(Caffe2Error, match=message):
        read_caffe2(write(content))


def test_truncated_files(write):
    content = python2_pickle({"conv1_w": array(np.ones((4, 8), np.float32)), "lr": number(1)})
    for length in range(len(content)):
        with pytest.raises(Caffe2Error):
            read_caffe2(write(content[:length]))
    assert read_caffe2(write(content))["conv1_w"].sum() == 32


def test_a_file_cannot_unfold_to_more_than_itself(write):
    """A hundred arrays that share the bytes of one."""
    values = np.ones(1000, np.float32)
    shared = array(values).replace(text(values.tobytes()), text(values.tobytes()) + b"q\x07")
    again = array(values).replace(text(values.tobytes()), b"h\x07")
    content = python2_pickle({"x0": shared, **{f"x{i}": again for i in range(1, 100)}})
    assert len(pickle.loads(content, encoding="latin1")["blobs"]) == 100
    with pytest.raises(Caffe2Error, match="larger than the file"):
        read_caffe2(write(content))


def test_a_file_of_absurd_size(tmp_path):
    path = tmp_path / "huge.pkl"
    with open(path, "wb") as file:
        file.truncate(5 << 30)  # a hole, which takes no space
    with pytest.raises(Caffe2Error, match=r"huge\.pkl has 5\.0 GiB"):
        read_caffe2(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pkl"):
        read_caffe2(tmp_path / "nowhere.pkl")


def test_other_files_do_not_look_like_caffe2(tmp_path, write):
    path = tmp_path / "net.pth"
    for zipped in (True, False):
        torch.save({"blobs": {"w": torch.ones(2)}}, path, _use_new_zipfile_serialization=zipped)
        assert not looks_like_caffe2(path)
    for content in (
        b"",
        b"blobs",
        b"\x80\x02",
        b"# text\nblobs: 1\n",
        pickle.dumps({"state_dict": 1}),
        bytes(range(256)),
    ):
        assert not looks_like_caffe2(write(content))


# --- names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["i3d_r50", "i3d_r50_nl"])
def test_every_blob_has_its_key(network):
    table = KEYMAP[network]
    assert [caffe2_key(blob) for blob, _, _ in table] == [key for _, key, _ in table]
    assert not [blob for blob, _, _ in table if caffe2_key(f"{blob}_momentum")]
    layout = {key: list(tensor.shape) for key, tensor in create_on_meta(network, 400).state_dict().items()}
    counters = [key for key in layout if key.endswith("num_batches_tracked")]
    assert {key: shape for _, key, shape in table} == {key: layout[key] for key in layout if key not in counters}
    # one number each instead of the published arrays
    state, ignored = caffe2_state({blob: np.full((1, 1), i) for i, (blob, _, _) in enumerate(table)})
    assert [array.item() for array in state.values()] == list(range(len(table))) and ignored == 0


@pytest.mark.parametrize(
    "blob", ["lr", "model_iter", "weight_order", "conv1", "res2_0_branch2d_w", "res6_0_branch2a_w", "pred_s", "_w", ""]
)
def test_what_is_no_parameter_has_no_key(blob):
    assert caffe2_key(blob) is None


def test_the_deeper_network_of_the_same_code():
    assert caffe2_key("res4_22_branch2c_bn_riv") == "layer3.22.bn3.running_var"
    assert caffe2_key("nonlocal_conv4_22_theta_b") == "layer3.22.nl.theta.bias"


def test_a_head_that_is_a_convolution():
    state, _ = caffe2_state({"pred_w": np.zeros((400, 2048, 1, 1, 1)), "pred_b": np.zeros(400)})
    assert state["fc.weight"].shape == (400, 2048) and state["fc.bias"].shape == (400,)


def test_names_of_frozen_norms():
    keys = list(create_on_meta("i3d_r50_nl", 5).state_dict())
    frozen = []
    for key in keys:
        module, _, entry = key.rpartition(".")
        is_frozen = module.rpartition(".")[2] in ("bn", "bn1", "bn2", "bn3")
        if not (is_frozen and entry == "num_batches_tracked"):
            frozen.append(f"{module}.scale" if is_frozen and entry == "weight" else key)
    assert "layer2.1.nl.bn.scale" in frozen and "layer2.0.downsample.1.weight" in frozen
    found = [unfrozen_key(key) for key in frozen]
    left_out = set(keys) - set(found)
    assert set(found) <= set(keys) and len(set(found)) == len(found)
    assert all(key.endswith("num_batches_tracked") for key in left_out) and left_out
