"""The table of published weights, and models made from it: found, fetched, contradicted, given another head."""

import hashlib
import http.server
import json
import pickle
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from actlib import downloads
from actlib.models import ModelError, WeightsError, create_model, find_published, find_weights, list_models, parse_spec
from actlib.models.weights import fetch as pretrained_module
from actlib.models.weights.fetch import fetch_weights, weights_folder
from actlib.models.weights.published import Published, _reference_table, near_names, published_table, spec_of_arch

HEAD = 5
TINY = {
    "file": "tiny_kinetics.pth",
    "spec": "resnet10 widen_factor=0.125 max_pool=false",
    "dataset": "toys",
    "num_classes": HEAD,
    "num_frames": 16,
    "frame_stride": 2,
    "short_side": 128,
    "crop_size": 112,
    "mean": (0.1, 0.2, 0.3),
    "std": (0.5, 0.5, 0.5),
    "page": "https://example.org/folder",
    "channel_order": "bgr",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty weights folder."""
    monkeypatch.setenv("ACTLIB_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


@pytest.fixture
def publish(monkeypatch):
    """Puts a row into the table."""

    def put(**facts) -> Published:
        row = Published(**(TINY | facts))
        for table in (published_table(), _reference_table()):
            monkeypatch.setitem(table, row.file, row)
        return row

    return put


def tiny_state(num_classes=HEAD, **options):
    torch.manual_seed(3)
    return create_model("resnet10", num_classes, **({"widen_factor": 0.125} | options)).state_dict()


# --- the table ------------------------------------------------------------------------------------------------------


def test_every_row_can_be_built_and_read():
    table = published_table()
    assert len(table) > 100
    missing = set()
    for file, row in table.items():
        assert file == row.file and "/" not in file
        name = row.spec.split()[0]
        if name not in list_models():
            missing.add(name)
            continue
        options = parse_spec(row.spec)[1]
        if "num_frames" in options:
            assert options["num_frames"] == row.num_frames
        assert row.num_classes > 10 and row.num_frames >= 4 and 1 <= row.frame_stride <= 40
        assert row.crop_size <= row.short_side
        assert all(0 < value < 1 for value in (*row.mean, *row.std)) and row.channel_order in ("rgb", "bgr")
        assert row.page.startswith("https://") and (not row.url or row.url.startswith("https://"))
        assert all(
            20 < each.top1 < 100 and (each.top5 is None or each.top1 < each.top5 < 100) for each in row.accuracies
        )
        assert not row.classes or len(row.classes) == row.num_classes
        assert json.dumps(row.preprocessing)
    assert not missing


def test_facts_that_differ_between_the_codebases():
    rows = published_table()
    kinetics, jester = (rows[f"{data}_mobilenetv2_0.45x_RGB_16_best.pth"] for data in ("kinetics", "jester"))
    assert kinetics.spec == jester.spec == "mobilenetv2 width_mult=0.45"
    assert (kinetics.channel_order, jester.channel_order) == ("bgr", "rgb")
    assert (kinetics.num_classes, jester.num_classes, jester.frame_stride) == (600, 27, 2)
    # as the reference has it: blue gets what was meant for red
    assert kinetics.mean == jester.mean == pytest.approx((114.7748 / 255, 107.7354 / 255, 99.475 / 255))
    assert kinetics.std == pytest.approx((1 / 255,) * 3)
    assert rows["resnet-18-kinetics.pth"].spec == "resnet18 shortcut=A"
    assert rows["r3d50_KMS_200ep.pth"].num_classes == 1139 and rows["r3d50_K_200ep.pth"].std[0] == 0.2768
    assert rows["i3d_baseline_32x2_IN_pretrain_400k.pkl"].preprocessing == {
        "num_frames": 32,
        "frame_stride": 2,
        "short_side": 256,
        "crop_size": 256,
        "mean": pytest.approx([0.45] * 3),
        "std": pytest.approx([0.225] * 3),
        "channel_order": "rgb",
        "modality": "rgb",
    }
    assert rows["K400-TAM-ResNet-50-f32.pth.tar"].spec == "tam_resnet50 num_frames=32 temporal_stride=false"
    assert rows["googlenet-1378be20.pth"].mean == (0.5, 0.5, 0.5)


def test_rows_are_found_by_file_enum_and_model():
    row = find_published("/anywhere/r3d_18-b3b3357e.pth")
    assert row is find_published("R3D_18_Weights.KINETICS400_V1") is find_published("tv_r3d_18")
    assert row.sha256 == "b3b3357e" and row.classes[0] == "abseiling" and row.url.endswith(row.file)
    assert find_published("tv_swin3d_b").enum == "Swin3D_B_Weights.KINETICS400_V1"  # its default
    assert find_published("resnet18") is None
    assert near_names("resnext101-kinetics.pth")[0] == "resnext-101-kinetics.pth"


@pytest.mark.parametrize(
    ("arch", "spec"),
    [
        (
            "kinetics400-rgb-TAM-b5-max-allc-resnet-50-ts-avg-f8-cosine-bs72-e100",
            "tam_resnet50 temporal_stride=true num_frames=8 pooling=avg blending_frames=5 blending_method=max "
            "depthwise=false",
        ),
        (
            "mini_st2stv2-inception-v1-f16-multisteps-bs72-e35",
            "tsn_inception_v1 temporal_stride=false num_frames=16",
        ),
        ("st2stv2-rgb-i3d_v2-ts-max-f32-cosine-bs8-e10", "i3d temporal_stride=true pooling=max"),
        ("x-rgb-s3d-resnet-18-dw-t-conv-f8-a-bs1-e1", "s3d_resnet18 temporal_stride=false depthwise_temporal=true"),
        ("x-rgb-i3d-resnet-101-ts-f8-a-bs1-e1", "i3d_resnet101 temporal_stride=true"),
        ("resnet18 shortcut=A", "resnet18 shortcut=A"),
        ("resnext-101", ""),
        ("x-rgb-resnet-26-f8-a-bs1-e1", ""),
        ("resnet18 whatever", ""),
        ("", ""),
    ],
)
def test_what_a_checkpoint_says_of_itself(arch, spec):
    assert spec_of_arch(arch) == spec
    if spec:
        parse_spec(spec)


# --- finding --------------------------------------------------------------------------------------------------------


def test_the_weights_folder(tmp_path, monkeypatch, root):
    monkeypatch.delenv("ACTLIB_WEIGHTS", raising=False)
    monkeypatch.chdir(root / "notebooks")
    assert weights_folder() == root / "outputs" / "weights"
    monkeypatch.chdir(tmp_path)
    assert weights_folder() == tmp_path / "outputs" / "weights"
    monkeypatch.setenv("ACTLIB_WEIGHTS", "~/w")
    assert weights_folder() == Path.home() / "w"


def test_files_are_found_by_path_and_by_name(folder, tmp_path):
    (tmp_path / "a.pth").touch()
    (folder / "b.pth").touch()
    assert find_weights(tmp_path / "a.pth") == tmp_path / "a.pth"
    assert find_weights("b.pth") == folder / "b.pth"
    (folder / "resnet-18-kinetics.pth").touch()
    for elsewhere in (tmp_path / "b.pth", tmp_path / "resnet-18-kinetics.pth"):  # a path is a path
        with pytest.raises(WeightsError, match=str(elsewhere)):
            fetch_weights(elsewhere)


def test_what_is_missing_says_where_to_get_it(folder):
    with pytest.raises(WeightsError) as error:
        find_weights("resnext-101-kinetics.pth")
    assert "by hand: download it from https://drive.google.com/" in str(error.value)
    assert f"put it at {folder / 'resnext-101-kinetics.pth'}" in str(error.value)
    with pytest.raises(WeightsError, match=r"by hand.*put it at"):
        create_model(pretrained="resnext-101-kinetics.pth")
    with pytest.raises(WeightsError, match=r"weights fetch i3d_baseline_32x2.*or put https://dl.fbaipublicfiles.com/"):
        find_weights("i3d_baseline_32x2_IN_pretrain_400k.pkl")
    with pytest.raises(WeightsError, match=r"did you mean resnext-101-kinetics.pth"):
        create_model(pretrained="resnext101-kinetics.pth")


# --- models from the table ------------------------------------------------------------------------------------------


def test_the_table_sets_everything(folder, publish):
    row = publish()
    torch.save({"state_dict": {f"module.{k}": t for k, t in tiny_state().items()}, "arch": "x"}, folder / row.file)
    model = create_model(pretrained=row.file)
    assert model.spec == "resnet10 max_pool=false widen_factor=0.125" and model.num_classes == HEAD
    assert model.preprocessing == row.preprocessing and model.preprocessing["channel_order"] == "bgr"
    assert all(torch.equal(tensor, tiny_state()[key]) for key, tensor in model.state_dict().items())
    assert model.load_report.skipped == () and model.training


def test_another_number_of_classes_is_a_fresh_head(folder, publish):
    row = publish()
    torch.save(tiny_state(), folder / row.file)
    model = create_model("resnet10", 9, pretrained=row.file)
    assert model.fc.weight.shape == (9, 64) and model.num_classes == 9 and model.classes is None
    assert "the head is the model's own" in str(model.load_report)
    assert torch.equal(model.conv1.weight, tiny_state()["conv1.weight"])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet18", {}, "is of resnet10, not of resnet18"),
        ("resnet10", {"max_pool": True}, "max_pool=False, not True"),
        ("resnet10", {"widen_factor": 1.0}, "widen_factor=0.125, not 1.0"),
        ("resnet10", {"depth": 3}, "no option 'depth'"),
        (None, {"depth": 3}, "no option 'depth'"),
        ("resnet11", {}, "unknown model 'resnet11'"),
    ],
)
def test_contradictions_are_refused(folder, publish, name, options, message):
    row = publish()
    torch.save(tiny_state(), folder / row.file)
    with pytest.raises(ModelError, match=message):
        create_model(name, pretrained=row.file, **options)


def test_layers_that_differ_from_the_table_win(folder, publish):
    """A file of a published name that somebody trained on, or that the table describes wrongly."""
    row = publish(spec="resnet10 widen_factor=0.125 shortcut=A max_pool=false", classes=("a", "b", "c", "d", "e"))
    torch.save(tiny_state(num_classes=7), folder / row.file)
    model = create_model(pretrained=row.file)
    assert model.spec == "resnet10 max_pool=false widen_factor=0.125"
    assert model.num_classes == 7 and model.classes is None


def test_the_clip_length_of_a_2d_network_is_free(folder, publish):
    row = publish(file="tam.pth", spec="tam_resnet18 width_mult=0.125 temporal_stride=false num_frames=16")
    torch.save(create_model("tam_resnet18", HEAD, width_mult=0.125).state_dict(), folder / row.file)
    assert create_model(pretrained=row.file).options["num_frames"] == 16
    model = create_model(pretrained=row.file, num_frames=4)
    assert model.options["num_frames"] == 4 and model.options["temporal_stride"] is False


def test_without_weights():
    model = create_model("resnet10", 3, widen_factor=0.125)
    assert model.preprocessing is None and model.load_report is None
    for arguments in ({}, {"name": "resnet10"}, {"num_classes": 3}):
        with pytest.raises(ModelError, match="a name and num_classes are needed"):
            create_model(**arguments)


def test_a_file_that_no_table_knows(tmp_path):
    torch.save(tiny_state(shortcut="A"), tmp_path / "mine.pth")
    model = create_model(pretrained=tmp_path / "mine.pth")
    assert model.spec == "resnet10 shortcut=A widen_factor=0.125" and model.preprocessing is None
    assert create_model("resnet10", pretrained=tmp_path / "mine.pth", max_pool=False).options["max_pool"] is False
    with pytest.raises(ModelError, match="holds resnet10 shortcut=A widen_factor=0.125; shortcut=B contradicts that"):
        create_model("resnet10", pretrained=tmp_path / "mine.pth", shortcut="B")
    with pytest.raises(ModelError, match="does not hold resnet18, but resnet10 shortcut=A"):
        create_model("resnet18", pretrained=tmp_path / "mine.pth")
    torch.save({"a.weight": torch.zeros(3, 3, 1, 1, 1)}, tmp_path / "resnet-18-kinetik.pth")
    with pytest.raises(WeightsError, match="no network here has its layers.*resnet-18-kinetics.pth"):
        create_model(pretrained=tmp_path / "resnet-18-kinetik.pth")


def test_a_checkpoint_of_this_project(tmp_path):
    state = tiny_state()
    model = {
        "name": "resnet10",
        "options": {},
        "num_classes": HEAD,
        "spec": "resnet10 widen_factor=0.125 max_pool=false",
    }
    how = {"num_frames": 8, "mean": [0.5] * 3}
    content = {"format": "actlib checkpoint 1", "model": model, "state_dict": state, "classes": list("abcde")}
    torch.save({**content, "preprocessing": how}, tmp_path / "best.pt")
    model = create_model(pretrained=tmp_path / "best.pt")
    assert model.classes == list("abcde") and model.options["max_pool"] is False
    assert model.preprocessing == {**how, "channel_order": "rgb", "modality": "rgb"}


@pytest.mark.parametrize("known", [True, False])
def test_an_image_network_starts_a_video_network(folder, tmp_path, publish, known):
    """ImageNet's, from the table or any file; here of a tenth of the classes."""
    state = create_model("tsn_resnet18", 100).state_dict()
    row = publish(file="resnet18-f37072fd.pth", spec="tsn_resnet18", num_classes=100, image=True) if known else None
    path = folder / (row.file if known else "image.pth")
    torch.save(state, path)
    model = create_model("i3d_resnet18", 7, pretrained=path.name, temporal_stride=False)
    assert model.load_report.inflated == 20 and model.num_classes == 7 and model.options["temporal_stride"] is False
    assert torch.equal(model.conv1.weight[:, :, 1], state["conv1.weight"])
    halved = create_model("i3d_resnet18", 7, pretrained=path.name, inflate="mean").conv1.weight
    assert torch.allclose(halved.sum(2), state["conv1.weight"], atol=1e-6)
    assert (model.preprocessing is not None) == known
    if known:
        with pytest.raises(ModelError, match="is of an image network: name the video network"):
            create_model(pretrained=row.file, num_classes=7)


def test_a_caffe2_pickle(folder):
    """Under its published name, as Caffe2 wrote it: the momenta are no weights, the keys are its own."""
    keymap = json.loads((Path(__file__).parents[2] / "data" / "caffe2_keymap.json").read_text())
    blobs = {}
    for number, (blob, _, shape) in enumerate(keymap["networks"]["i3d_r50"]):
        blobs[blob] = np.full(shape, number % 97, dtype=np.float32)
        blobs[f"{blob}_momentum"] = np.zeros(1, dtype=np.float32)
    (folder / "i3d_baseline_32x2_IN_pretrain_400k.pkl").write_bytes(pickle.dumps({"blobs": blobs}, protocol=2))
    model = create_model(pretrained="i3d_baseline_32x2_IN_pretrain_400k.pkl")
    assert (model.spec, model.num_classes) == ("i3d_r50", 400)
    assert model.load_report.ignored == len(blobs) // 2
    state = model.state_dict()
    for number, (_, key, _) in enumerate(keymap["networks"]["i3d_r50"]):
        assert (state[key] == number % 97).all(), key


# --- downloads ------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path):
    """A web server over a folder; yields (address, folder). `cut.pth` breaks off half way."""
    served = tmp_path / "served"
    served.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(served))

        def do_GET(self):
            if not self.path.startswith("/cut"):
                return super().do_GET()
            content = (served / "cut.pth").read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", served
        running.shutdown()


def test_a_published_file_is_fetched_once_and_checked(folder, server, publish, capsys):
    address, served = server
    torch.save(tiny_state(), served / TINY["file"])
    digest = hashlib.sha256((served / TINY["file"]).read_bytes()).hexdigest()
    row = publish(url=f"{address}/{TINY['file']}", sha256=digest[:8])
    model = create_model(pretrained=row.file)
    assert torch.equal(model.conv1.weight, tiny_state()["conv1.weight"])
    assert f"{row.url} → {folder / row.file}" in capsys.readouterr().out
    (served / TINY["file"]).unlink()
    assert create_model(pretrained=row.file).spec == model.spec  # from the folder now


def test_half_or_wrong_files_are_not_kept(folder, server, publish, monkeypatch):
    address, served = server
    (served / "cut.pth").write_bytes(bytes(3 << 20))
    monkeypatch.setattr(downloads, "PAUSE_S", 0.01)
    with pytest.raises(WeightsError, match="broke off 4 times .1,572,864 of 3,145,728 bytes came.; try again"):
        fetch_weights(f"{address}/cut.pth")
    assert (folder / "cut.pth.part" / "content").stat().st_size == 3 << 19  # for the next time
    shutil.rmtree(folder / "cut.pth.part")
    (served / "other-0123abcd.pth").write_bytes(b"other")
    with pytest.raises(WeightsError, match="checksum begins with d9298a10, not 0123abcd"):
        fetch_weights(f"{address}/other-0123abcd.pth")
    with pytest.raises(WeightsError, match="not fetched.*404.*put it at"):
        fetch_weights(f"{address}/none.pth")
    with pytest.raises(WeightsError, match="not fetched"):
        fetch_weights("http://127.0.0.1:9/none.pth")
    assert list(folder.iterdir()) == []


def test_a_plain_address(folder, server, capsys):
    address, served = server
    torch.save(tiny_state(), served / "mine.pth")
    model = create_model(pretrained=f"{address}/mine.pth?download=1")
    digest = hashlib.sha256((served / "mine.pth").read_bytes()).hexdigest()
    assert f"no checksum is published; sha256 {digest}" in capsys.readouterr().out
    assert model.spec == "resnet10 widen_factor=0.125" and (folder / "mine.pth").is_file()


def test_torchvisions_names_lead_to_its_files(folder, monkeypatch):
    asked = []
    monkeypatch.setattr(pretrained_module, "_download", lambda *arguments: asked.append(arguments) or arguments[1])
    assert (
        fetch_weights("R3D_18_Weights.KINETICS400_V1") == fetch_weights("tv_r3d_18") == folder / "r3d_18-b3b3357e.pth"
    )
    assert asked[0] == asked[1] and asked[0][0] == "https://download.pytorch.org/models/r3d_18-b3b3357e.pth"
    assert asked[0][2] == "b3b3357e"
