"""Files of weights: with a flipped bit anywhere, cut off, something else under their name, with wrong fields."""

import os
import pickle
import random
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from training import params, run

from actlib.loops import TrainingError, prepare, train
from actlib.models import CheckpointError, ModelError, WeightsError, create_model, read_checkpoint
from actlib.models.weights.convert import ConvertError, read_classes
from actlib.models.weights.file import read_weights

ALL = os.environ.get("ACTLIB_HOSTILE") == "all"


@pytest.fixture(scope="session")
def trained(motion_table, tmp_path_factory) -> Path:
    """The folder of a run of one epoch, with last.pt, best.pt and epoch_0001.pt. Not to be written to."""
    folder = tmp_path_factory.mktemp("trained")
    run(params(motion_table, folder, epochs=1, checkpoint_every=1))
    return folder


def plain(value):
    """A value that compares with ==: tensors as their kind and bytes."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def everything(file) -> tuple:
    return plain(file.state), plain(file.content)


@pytest.fixture(scope="module")
def unspoilt(trained):
    return everything(read_weights(trained / "checkpoints" / "last.pt"))


# --- a flipped bit ----------------------------------------------------------------------------------------------------


def places(path: Path, region: str) -> list[int]:
    """The bytes of a zip archive: all of them, or those that are no entry's content."""
    size = path.stat().st_size
    if region == "anywhere":
        return range(size)
    content = set()
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            with archive.open(entry) as file:
                begin = file._orig_compress_start
            content |= set(range(begin, begin + entry.compress_size))
    return [place for place in range(size) if place not in content]


@pytest.mark.parametrize("region", ["anywhere", "headers"])
@pytest.mark.seeds(10, 300)
def test_a_flipped_bit_is_refused_or_does_nothing(judge, trained, unspoilt, tmp_path, region, seed):
    rng = random.Random(seed)
    source, path = trained / "checkpoints" / "last.pt", tmp_path / "last.pt"
    data = bytearray(source.read_bytes())
    data[rng.choice(places(source, region))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    shutil.copy(source, tmp_path / "epoch_0001.pt")
    judge(
        lambda: everything(read_checkpoint(path)),
        kind=f"a flipped bit, {region}",
        errors=CheckpointError,
        names=["last.pt", "epoch_0001.pt"],
        same=lambda found: found == unspoilt,
    )


# --- fields of other kinds --------------------------------------------------------------------------------------------

WRONG = [None, "x", "x" * 100_000, [], {}, [None] * 100_000, float("nan"), float("-inf"), -1, 10**30, True, 0.5]
WRONG += [torch.tensor(1.0), torch.zeros(2, 2), torch.ones(3, dtype=torch.uint8), {"x": 1}, [[[]]]]
REFUSALS = (CheckpointError, WeightsError, ModelError)


def fields(value, place=()) -> list[tuple]:
    """The places of all that a checkpoint holds, tensors aside: keys from the outside in."""
    found = [place] if place else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        found += fields(each, (*place, key))
    return found


def spoil(content: dict, rng: random.Random) -> tuple:
    """Replace one field by a value of another kind, take it away or add one, in place. Returns its place."""
    top = rng.choice([key for key in content if key not in ("format", "state_dict")])
    place = rng.choice([each for each in fields(content) if each[0] == top])
    inside = content
    for key in place[:-1]:
        inside = inside[key]
    if rng.random() < 0.15:
        inside.pop(place[-1])
    else:
        inside[place[-1]] = rng.choice(WRONG)
    return place


@pytest.fixture(scope="module")
def looked_through(trained, tmp_path_factory) -> None:
    """What the first look for a network that fits imports and builds, once, has been imported and built."""
    path = tmp_path_factory.mktemp("other") / "other.pth"
    torch.save({"x": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="no network here has its layers"):
        create_model(pretrained=path)
    content = whole(trained / "checkpoints" / "best.pt")
    create_model(pretrained=read_weights(trained / "checkpoints" / "best.pt"))
    torch.save(content["state_dict"], path)
    create_model(pretrained=path)


def whole(path: Path) -> dict:
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("way", ["read", "open", "go on"])
@pytest.mark.seeds(8, 300)
def test_a_field_of_another_kind_is_named(judge, trained, motion_table, tmp_path, way, seed):
    rng = random.Random(seed)
    content = whole(trained / "checkpoints" / ("best.pt" if way == "open" else "last.pt"))
    before, path = plain(content), tmp_path / "spoilt.pt"
    place = spoil(content, rng)
    torch.save(content, path)

    def go_on():
        job = prepare(params(motion_table, tmp_path / "run", epochs=1, resume=str(path)))
        assert len(list(train(job))) == 1
        return job.model.state_dict()

    ways = {"read": lambda: read_checkpoint(path).state, "open": lambda: create_model(pretrained=path).state_dict()}
    judge(
        lambda: plain(dict(ways.get(way, go_on)())),
        kind=f"a field of another kind, {way}",
        errors=(*REFUSALS, TrainingError),
        names=["spoilt.pt", str(place[1] if place[0] == "params" and len(place) > 1 else place[0])],
        same=lambda found: found == before["state_dict"],
    )


# --- tensors of other kinds -------------------------------------------------------------------------------------------


def odd_tensors(tensor: torch.Tensor) -> dict:
    """What may stand in a tensor's place, by what it is."""
    numbers = tensor.float()
    return {
        "sparse": numbers.to_sparse(),
        "quantised": torch.quantize_per_tensor(numbers, 0.1, 0, torch.qint8),
        "complex": numbers.to(torch.complex64),
        "meta": numbers.to("meta"),
        "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        "0-d": numbers.sum(),
        "empty": numbers[:0],
        "an axis more": numbers[None],
        "vast": torch.zeros(1).expand(1 << 20, 1 << 20),
        "a number": 3.0,
        "text": "x",
        "None": None,
        "array of text": np.array(["a", "b"]),
    }


def with_an_odd_tensor(trained, path: Path, seed: int, own: bool) -> list[str]:
    """Write best.pt, or its tensors alone, with one tensor or name spoilt; returns what a refusal must say."""
    rng = random.Random(seed)
    content = whole(trained / "checkpoints" / "best.pt")
    state = {key: each for key, each in content["state_dict"].items() if not key.endswith("num_batches_tracked")}
    key = rng.choice(list(state))
    what, odd = rng.choice(list(odd_tensors(state[key]).items()))
    spoilt = state | {key: odd}
    if what == "text":
        spoilt = state | {rng.choice(["x" * 5000, "a\nb", 3, ("a",), "layer1.99999999999.x", "\0"]): state[key]}
    torch.save(content | {"state_dict": spoilt} if own else spoilt, path)
    return [path.name] + ([key] if own and what not in ("text", "a number", "None", "nested", "array of text") else [])


@pytest.fixture(scope="module")
def compared(trained, tmp_path_factory) -> None:
    """What the first network that does not fit imports, once, has been imported."""
    content, path = whole(trained / "checkpoints" / "best.pt"), tmp_path_factory.mktemp("misfit") / "misfit.pt"
    content["state_dict"].pop("conv1.weight")
    torch.save(content, path)
    with pytest.raises(WeightsError, match="missing in the file .1.: conv1.weight"):
        create_model(pretrained=path)


@pytest.mark.seeds(6, 120)
def test_a_tensor_of_another_kind_is_named(judge, trained, compared, tmp_path, seed):
    path = tmp_path / "spoilt.pt"
    names = with_an_odd_tensor(trained, path, seed, own=True)
    judge(lambda: create_model(pretrained=path).state_dict(), kind="a tensor of another kind, own", errors=REFUSALS,
          names=names)  # fmt: skip


@pytest.mark.skipif("not ALL", reason="the first look at such a file builds every network: make hostile")
@pytest.mark.seeds(1, 120)
def test_a_tensor_of_another_kind_in_a_file_from_elsewhere(judge, trained, looked_through, tmp_path, seed):
    path = tmp_path / "spoilt.pt"
    names = with_an_odd_tensor(trained, path, seed, own=False)
    judge(lambda: create_model(pretrained=path).state_dict(), kind="a tensor of another kind, foreign",
          errors=REFUSALS, names=names)  # fmt: skip


def test_numbers_that_are_none_are_told(trained, tmp_path):
    """Such a network is loaded, since a file may hold them where nobody looks, but who prints the report is told."""
    content = whole(trained / "checkpoints" / "best.pt")
    content["state_dict"]["fc.bias"][0] = float("nan")
    torch.save(content, tmp_path / "nan.pt")
    report = create_model(pretrained=tmp_path / "nan.pt").load_report
    assert report.not_finite == ("fc.bias",) and "NOT ALL ARE FINITE NUMBERS: fc.bias" in str(report)
    assert create_model(pretrained=trained / "checkpoints" / "best.pt").load_report.not_finite == ()


@pytest.mark.parametrize("options", [{"widen_factor": 1000.0}, {"widen_factor": 1e15}, {"conv1_t_size": 10**9}])
def test_a_model_larger_than_memory(judge, trained, tmp_path, options):
    content = whole(trained / "checkpoints" / "best.pt")
    content["model"]["options"] |= options
    torch.save(content, tmp_path / "large.pt")
    judge(lambda: create_model(pretrained=tmp_path / "large.pt"), kind="a model larger than memory", errors=REFUSALS,
          names=["large.pt", "model"])  # fmt: skip


# --- lists of classes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff\xfe\x00", b"run\nl\xe4ufer\n", bytes(1000), b"0 a\n2 b\n", b"a\nb\na\n", b"9" * 6000 + b" a\n1 b\n",
        "\n".join(map(str, range(100_000))).encode() + b"\n99999\n", ("x" * 200_000 + "\n").encode() * 2, None,
    ],
)  # fmt: skip
def test_a_list_of_classes_that_is_none(judge, tmp_path, content):
    path = tmp_path / "classes.txt"
    path.mkdir() if content is None else path.write_bytes(content)
    found = judge(lambda: read_classes(path), kind="a list of classes", errors=ConvertError, names=["classes.txt"],
                  same=lambda names: names == ["9" * 6000 + " a", "1 b"])  # fmt: skip
    assert found is not None or content.startswith(b"99")


# --- something else under the name of weights -------------------------------------------------------------------------


def bomb(source: Path, path: Path) -> None:
    """A compressed archive whose storages would be 20 GiB of zeros, as its directory says."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in archive.infolist():
            packed.writestr(entry.filename, archive.read(entry))
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as packed:
        place = packed.start_dir
    size = data[place + 24 : place + 28]
    assert len(size) == 4
    while data[place : place + 4] == b"PK\x01\x02":
        data[place + 24 : place + 28] = (0xF0000000).to_bytes(4, "little")
        place += 46 + sum(int.from_bytes(data[place + each : place + each + 2], "little") for each in (28, 30, 32))
    path.write_bytes(data)


def other_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<w/>")


def script(path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), path)


MAKERS = {
    "empty": lambda path, _: path.write_bytes(b""),
    "one byte": lambda path, _: path.write_bytes(b"P"),
    "a page": lambda path, _: path.write_bytes(b"\n<!DOCTYPE html><html><body>Sign in</body></html>" * 100),
    "git-lfs": lambda path, _: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"),
    "JSON": lambda path, _: path.write_bytes(b'{"error": "quota"}'),
    "another zip": lambda path, _: other_archive(path),
    "TorchScript": lambda path, _: script(path),
    "a zip bomb": lambda path, source: bomb(source, path),
    "a pickle of text": lambda path, _: path.write_bytes(pickle.dumps("x" * 100_000)),
    "a pickle of a list": lambda path, _: path.write_bytes(pickle.dumps(["blobs"] * 100_000)),
    "a huge length": lambda path, _: path.write_bytes(b"\x80\x05\x8e" + (1 << 60).to_bytes(8, "little") + b"x."),
    "deep": lambda path, _: path.write_bytes(b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b"."),
    "a folder": lambda path, _: path.mkdir(),
}


@pytest.mark.filterwarnings("ignore")  # of torch.jit
@pytest.mark.parametrize("what", MAKERS)
def test_what_is_no_file_of_weights(judge, trained, tmp_path, what):
    path = tmp_path / "odd.pth"
    MAKERS[what](path, trained / "checkpoints" / "best.pt")
    for read in (read_weights, read_checkpoint, lambda path: create_model(pretrained=path)):
        judge(lambda read=read: read(path), kind="something else", errors=(*REFUSALS, FileNotFoundError),
              names=["odd.pth"])  # fmt: skip


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "pickle"])
@pytest.mark.seeds(6, 100)
def test_a_file_that_was_cut_off(judge, trained, tmp_path, legacy, seed):
    content, path = whole(trained / "checkpoints" / "best.pt"), tmp_path / "cut.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    data = path.read_bytes()
    path.write_bytes(data[: random.Random(seed).randrange(len(data))])
    judge(lambda: read_weights(path), kind="cut off", errors=WeightsError, names=["cut.pth"])


@pytest.mark.parametrize("kind", ["torch before 1.6", "Caffe2"])
@pytest.mark.seeds(8, 400)
def test_a_spoilt_pickle_is_refused_in_words(judge, trained, tmp_path, kind, seed):
    """They have no checksums, so other numbers cannot be noticed; but whatever else is damaged is said."""
    rng, path = random.Random(seed), tmp_path / "old.pth"
    if kind == "Caffe2":
        blobs = {f"res2_{each}_branch2a_w": np.ones((4, 3, 1, 1, 1), np.float32) for each in range(20)}
        path.write_bytes(pickle.dumps({"blobs": blobs}, protocol=2))
    else:
        torch.save(whole(trained / "checkpoints" / "best.pt"), path, _use_new_zipfile_serialization=False)
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 1, 4])):
        data[rng.randrange(min(len(data), 20_000))] = rng.randrange(256)
    path.write_bytes(data)
    judge(lambda: read_weights(path), kind=f"a spoilt pickle, {kind}", errors=REFUSALS, names=["old.pth"],
          same=lambda found: bool(found.state))  # fmt: skip


def test_a_place_far_out_takes_no_memory(judge, tmp_path):
    """Python keeps what a pickle marks in an array, as long as the largest mark."""
    spoilt = pickle.dumps({"blobs": {"a_w": np.ones(3, np.float32)}}, protocol=2)
    (tmp_path / "far.pkl").write_bytes(spoilt.replace(b"q\x02", b"r\xff\xff\xff\x3f", 1))
    judge(lambda: read_weights(tmp_path / "far.pkl"), kind="something else", errors=WeightsError, names=["far.pkl"])


def test_files_without_checksums_are_read(trained, tmp_path):
    content = whole(trained / "checkpoints" / "best.pt")
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(content, tmp_path / "none.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    with zipfile.ZipFile(tmp_path / "none.pt") as archive:
        assert not any(entry.CRC for entry in archive.infolist()) and archive.testzip()
    expected = everything(read_weights(trained / "checkpoints" / "best.pt"))
    assert everything(read_weights(tmp_path / "none.pt")) == expected
    source, target = trained / "checkpoints" / "best.pt", tmp_path / "packed.pt"  # packed again by other hands
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in archive.infolist():
            packed.writestr(entry.filename, archive.read(entry))
    assert everything(read_weights(tmp_path / "packed.pt")) == expected
