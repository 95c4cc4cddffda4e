"""Video classifiers of transformers: the numbers of transformers' own classes, from folders as it writes them."""

import copy
import hashlib
import http.server
import json
import threading
from importlib.util import find_spec

import pytest
import torch
from networks import small_spec
from vectors import create_on_meta

from actlib.analysis.costs.flops import count_macs
from actlib.loops import evaluate, prepare, train
from actlib.models import ModelError, WeightsError, create_model, model_options, parse_spec, save_network
from actlib.models.transformers_models import NAMES, OPTIONS, config_fields, options_of
from actlib.models.weights.hub import read_pretrained
from actlib.models.weights.identify import fits
from actlib.params import FinetuneParams, VideoAccuracyParams

# Imported where it is used: that takes seconds, and each of the processes that share the tests reads this file.
pytestmark = pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")

# Fields of transformers' config classes that a classifier does not use, or that the house has for every network.
LEFT_OUT = {
    "num_channels", "in_chans", "pooler_output_size", "pooler_act", "base_config_key", "norm_pix_loss",
    "num_auxiliary_layers", "apply_l2norm",
}  # fmt: skip
CLIPS = (2, 3, 4, 32, 32)
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "size": {"shortest_edge": 36}}


def original(kind: str):
    from actlib.models.transformers_networks import original

    return original(kind)


def small_network(kind: str, **labels):
    """transformers' own network of the sizes of `small_spec`, with random weights, biases among them."""
    options = model_options(NAMES[kind]) | parse_spec(small_spec(NAMES[kind]))[1]
    predictor = {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
    fields = config_fields(kind, options) | (predictor if kind == "vjepa2" else {})
    network = original(kind)(original(kind).config_class(**fields, **labels)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network


def write_folder(folder, kind="videomae", labels=("hop", "run fast", "sit"), **processor):
    """A folder as transformers writes it. Returns its network."""
    import transformers

    network = small_network(kind, id2label=dict(enumerate(labels)))
    network.save_pretrained(folder, max_shard_size="20KB" if kind == "vivit" else "1GB")
    transformers.VideoMAEVideoProcessor(**IMAGENET | processor).save_pretrained(folder)
    return network


@pytest.fixture(scope="module")
def videomae(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videomae")
    write_folder(folder)
    return folder


# --- names and options ----------------------------------------------------------------------------------------


def test_every_video_classifier_of_transformers_is_here():
    from transformers.models.auto.modeling_auto import MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES as theirs

    assert {kind: original(kind).__name__ for kind in OPTIONS} == dict(theirs)


@pytest.mark.parametrize("kind", OPTIONS)
def test_options_are_those_of_the_config_class(kind):
    config = original(kind).config_class()
    own = set(type(config).__annotations__) - LEFT_OUT - {"model_type"}
    own = {field for field in own if not field.startswith(("decoder_", "pred_"))}
    fields = config_fields(kind, OPTIONS[kind])
    assert set(fields) == own
    assert {field: as_list(getattr(config, field)) for field in own} == fields
    assert options_of(kind, config.to_dict()) == OPTIONS[kind] == model_options(NAMES[kind])


def as_list(value):
    return list(value) if isinstance(value, tuple) else value


def test_what_cannot_be_built_is_said(monkeypatch):
    for spec, message in {
        "hf_videomae patch_size=15": "crop_size=224: a multiple of patch_size is needed, 15",
        "hf_vivit num_frames=0": "num_frames=0: a number above 0",
        "hf_vjepa2 num_attention_heads=5": "transformers refuses.*not a multiple of the number of attention heads",
        "hf_timesformer attention_type=joint": "hf_timesformer: transformers refuses.*Unknown attention type: joint",
        "hf_videomae image_size=112": "no option 'image_size'.*crop_size",
    }.items():
        with pytest.raises(ModelError, match=message):
            create_on_meta(spec, 5)
    model = create_on_meta(small_spec("hf_timesformer"), 5)
    with pytest.raises(ModelError, match="8×32×32, but this network was built for 4×32×32.*num_frames and crop_size"):
        model(torch.empty(1, 3, 8, 32, 32, device="meta"))
    monkeypatch.setattr("actlib.models.parts.variants.find_spec", lambda library: None)
    with pytest.raises(ModelError, match=r"hf_videomae: it is built by transformers: pip install -e '\.\[hf\]'"):
        create_model("hf_videomae", 5)


def test_attention_is_counted():
    """VideoMAE on 2×2×2 tokens of width 24, twice: tokens² × width for either product; queries, keys, values and the
    layer after them, then 24 to 40 and back, on each token."""
    count = count_macs(create_on_meta(small_spec("hf_videomae"), 5), (3, 4, 32, 32))
    assert count.attention == 2 * 2 * 8 * 8 * 24
    assert count.linear == 2 * 8 * (4 * 24 * 24 + 2 * 24 * 40) + 24 * 5
    assert count.conv == 8 * 24 * 3 * 2 * 16 * 16 and count.unknown == []
    # The paper says 0.59 TFLOPs, which are MACs, of a video in three crops.
    whole = count_macs(create_on_meta("hf_timesformer", 400), (3, 8, 224, 224))
    assert 3 * whole.total == pytest.approx(0.59e12, rel=0.01)
    for name in NAMES.values():
        assert count_macs(create_on_meta(small_spec(name), 5), (3, 4, 32, 32)).unknown == [], name


# --- weights --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_folder_is_opened_with_the_answers_of_transformers(kind, tmp_path):
    torch.manual_seed(0)
    theirs, clips = write_folder(tmp_path / "net", kind), torch.randn(CLIPS)
    ours = create_model(pretrained=tmp_path / "net").eval()
    assert ours.spec == small_spec(NAMES[kind]) and ours.classes == ["hop", "run fast", "sit"]
    assert ours.load_report.matched == ours.load_report.total
    with torch.no_grad():
        logits = ours(clips)
        torch.testing.assert_close(logits, theirs(clips.transpose(1, 2)).logits.reshape(2, 3), rtol=0, atol=1e-6)

    how = ours.preprocessing | {"frame_stride": 4}
    save_network(ours, tmp_path / "own.pt", classes=ours.classes, preprocessing=how)
    again = create_model(pretrained=tmp_path / "own.pt").eval()
    assert (again.spec, again.classes, again.preprocessing) == (ours.spec, ours.classes, how)
    with torch.no_grad():
        assert torch.equal(again(clips), logits)

    theirs.base_model.save_pretrained(tmp_path / "body")  # as self-supervised pre-training leaves it
    with pytest.raises(ModelError, match="does not tell the number of classes"):
        create_model(pretrained=tmp_path / "body")
    body = create_model(pretrained=tmp_path / "body", untold_classes=7).eval()
    assert body.num_classes == 7 and body.load_report.skipped[0] == "classifier.weight"
    with torch.no_grad():
        assert torch.equal(body.forward_features(clips), ours.forward_features(clips))


def test_preprocessing_and_classes_of_a_folder(videomae, tmp_path):
    import transformers

    model = create_model(pretrained=videomae / "model.safetensors")  # stands for its folder
    assert model.preprocessing == {
        "num_frames": 4, "short_side": 36, "crop_size": 32, "mean": IMAGENET["image_mean"],
        "std": IMAGENET["image_std"], "channel_order": "rgb", "modality": "rgb",
    }  # fmt: skip
    assert "the files tell no frame_stride" in str(model.load_report)
    fresh = create_model("hf_videomae", 7, pretrained=videomae)
    assert fresh.classes is None and fresh.load_report.skipped == ("classifier.weight", "classifier.bias")
    assert fresh.preprocessing == model.preprocessing
    longer = create_model("hf_videomae num_frames=8", pretrained=videomae)  # its positions are no weights
    assert longer.preprocessing["num_frames"] == longer.options["num_frames"] == 8 and longer.num_classes == 3
    (fit,) = fits(read_pretrained(videomae))
    assert (fit.spec, fit.num_classes, fit.why) == (model.spec, 3, "its config.json")

    # ViViT's processor computes x / 127.5 - 1, then subtracts the mean
    write_folder(tmp_path, "vivit", labels=("LABEL_0", "LABEL_1"))
    (tmp_path / "video_preprocessor_config.json").unlink()
    transformers.VivitImageProcessor(image_mean=[0.5] * 3, image_std=[0.25] * 3).save_pretrained(tmp_path)
    vivit = create_model(pretrained=tmp_path)
    assert vivit.classes is None and (vivit.preprocessing["mean"], vivit.preprocessing["std"]) == (
        pytest.approx([0.75] * 3), pytest.approx([0.125] * 3),
    )  # fmt: skip
    frame = torch.randint(256, (1, 3, 256, 256), dtype=torch.uint8)
    theirs = transformers.VivitImageProcessor(image_mean=[0.5] * 3, image_std=[0.25] * 3)
    want = torch.as_tensor(theirs.preprocess(list(frame.numpy()), return_tensors="np")["pixel_values"][0, 0])
    torch.testing.assert_close((frame[0, :, 16:240, 16:240] / 255 - 0.75) / 0.125, want, rtol=0, atol=1e-5)


def test_a_state_dict_alone_goes_into_the_network_that_is_named(videomae, tmp_path):
    state = create_model(pretrained=videomae).state_dict()
    torch.save(state, tmp_path / "trained.pth")
    model = create_model(small_spec("hf_videomae"), pretrained=tmp_path / "trained.pth")
    assert model.num_classes == 3 and all(torch.equal(state[key], each) for key, each in model.state_dict().items())


def test_folders_that_cannot_be_read(videomae, tmp_path):
    def folder(name, **config):
        made = tmp_path / name
        made.mkdir()
        told = json.loads((videomae / "config.json").read_text()) | config
        (made / "config.json").write_text(json.dumps(told))
        (made / "model.safetensors").write_bytes((videomae / "model.safetensors").read_bytes())
        return made

    cut = folder("cut")
    with (cut / "model.safetensors").open("r+b") as file:
        file.truncate(5000)
    empty = folder("empty")
    (empty / "model.safetensors").unlink()
    for path, message in {
        folder("bert", model_type="bert"): "config.json is of model_type 'bert'.*videomae, timesformer",
        folder("oblong", image_size=[32, 48]): r"config.json: image_size is \[32, 48\]",
        folder("wide", hidden_size=48): "transformers cannot load it",
        cut: "transformers cannot load it",
        empty: "no model.safetensors or pytorch_model.bin beside config.json",
        tmp_path: "a folder without the config.json of transformers",
        "lab/net": "no such file or folder; a network of transformers' hub is written hf:lab/net",
    }.items():
        with pytest.raises(WeightsError, match=message):
            create_model(pretrained=path)
    (tmp_path / "x.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(WeightsError, match="x.safetensors is no whole file of weights: safetensors cannot load it"):
        create_model(pretrained=tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="is of hf_videomae, not of hf_vivit"):
        create_model("hf_vivit", pretrained=videomae)


# --- the hub --------------------------------------------------------------------------------------------------

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(videomae, tmp_path, monkeypatch):
    """A server that answers as the hub does for the one repository lab/net; yields it with what it was asked for."""
    from huggingface_hub import constants

    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(f"{self.command} {self.path.partition('?')[0]}")
            if self.path.startswith("/api/models/lab/net"):
                names = [*(each.name for each in videomae.iterdir()), "pytorch_model.bin"]
                told = {"id": "lab/net", "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
                if "/tree/" in self.path:
                    told = [{"type": "file", "path": name, "size": 1, "oid": "0"} for name in names]
                return self.answer(json.dumps(told).encode())
            file = videomae / self.path.rpartition("/")[2]
            if not self.path.startswith(f"/lab/net/resolve/{COMMIT}/") or not file.is_file():
                return self.send_error(404)
            content = file.read_bytes()
            return self.answer(content, ETag=f'"{hashlib.sha256(content).hexdigest()}"')

        def answer(self, content, **more):
            self.send_response(200)
            for name, value in {"X-Repo-Commit": COMMIT, "Content-Length": str(len(content)), **more}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("{repo_id}")
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{address}/{template[1]}{template[2]}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield server, asked
        server.shutdown()


def test_a_name_of_the_hub_is_fetched_once_and_then_needs_no_connection(hub, videomae, tmp_path):
    server, asked = hub
    for name, message in {
        "hf:lab/other": "hf:lab/other: cannot be fetched.*config.json.*model.safetensors.*name that folder instead",
        "hf:net": "hf:net: a network of the hub is written hf:ORGANISATION/NAME",
    }.items():
        with pytest.raises(WeightsError, match=message):
            create_model(pretrained=name)
    model = create_model(pretrained="hf:lab/net")
    want = create_model(pretrained=videomae)
    assert model.classes == want.classes and torch.equal(model.classifier.weight, want.classifier.weight)
    assert not [each for each in asked if each.endswith("pytorch_model.bin")], "the same weights twice"
    server.shutdown()
    server.server_close()
    assert create_model(pretrained="hf:lab/net").preprocessing == model.preprocessing
    with pytest.raises(WeightsError, match="hf:lab/new: cannot be fetched from the hub, and is not in its cache: "):
        create_model(pretrained="hf:lab/new")
    p = FinetuneParams.build({"pretrained": "hf:lab/new", "table": "table.csv"}, "test")
    assert "pretrained" not in p.missing_inputs(tmp_path)


# --- runs -----------------------------------------------------------------------------------------------------


def test_fine_tuning_with_a_frozen_part_and_evaluation(videomae, motion_table, tmp_path):
    values = {
        "pretrained": str(videomae), "table": str(motion_table), "run_dir": str(tmp_path), "frame_stride": 4,
        "train_from": "videomae.encoder.layer.1", "epochs": 1, "batch_size": 8, "num_workers": 0,
        "precision": "float32", "memory_format": "contiguous", "lr": 0.01,
    }  # fmt: skip
    job = prepare(FinetuneParams.build(values, "test"))
    assert job.p.crop_size == 32 and job.p.mean == IMAGENET["image_mean"]
    before = copy.deepcopy(job.model.state_dict())
    (row,) = train(job)
    after = job.model.state_dict()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved and row["loss"] > 0
    assert all(key.startswith(("videomae.encoder.layer.1.", "fc_norm.", "classifier.")) for key in moved)
    p = VideoAccuracyParams.build(
        {"checkpoint": str(tmp_path / "checkpoints" / "best.pt"), "table": str(motion_table), "num_workers": 0}, "test"
    )
    evaluation = prepare(p)
    found = evaluate(evaluation)["clip"]
    assert evaluation.classes == found.classes == job.classes and evaluation.model.spec == job.model.spec
    assert len(found.scores) == found.expected and (found.scores.sum(axis=1) - 1 < 1e-5).all()
