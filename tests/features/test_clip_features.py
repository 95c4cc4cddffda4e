"""Embeddings: what the head gets, the mean over a video's clips, by every way to them the same."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from videofiles import write_missing_frames, write_video

from actlib.compute.execution import Execution
from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.clips.views import EvaluationViews
from actlib.datasets.errors import DataError
from actlib.datasets.table import read_table
from actlib.features import FeaturesError, clip_features, features_of_windows, load_features, save_features
from actlib.loops import predict
from actlib.loops.evaluate import Folded, _pooled
from actlib.models import ModelError, create_model, save_network
from actlib.models.registry import adopt
from actlib.params import ParamsError, PredictParams

SIZES = {"num_frames": 4, "frame_stride": 2, "short_side": 32, "crop_size": 32}
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
PREPROCESSING = SIZES | {"mean": MEAN, "std": STD, "channel_order": "bgr"}
PLAIN = {"num_workers": 0, "precision": "float32", "memory_format": "contiguous"}
OTHERS = ["here", "there", "nowhere"]  # classes that networks were trained on, which are not the videos'


class TwoPaths(nn.Module):
    """Every frame in one path, every second in another, both to one linear layer."""

    def __init__(self):
        super().__init__()
        self.fast, self.slow, self.proj = nn.Conv3d(3, 4, 1), nn.Conv3d(3, 8, 1), nn.Linear(12, 3)

    def forward(self, x):
        paths = self.fast(x).relu(), self.slow(x[:, :, ::2]).relu()
        return self.proj(torch.cat([each.mean(dim=(2, 3, 4)) for each in paths], dim=1))


class NotCalled(TwoPaths):
    def forward(self, x):
        return x.mean(dim=(2, 3, 4)) @ self.proj.weight[:, :3].T


def network(spec: str = "resnet10 widen_factor=0.0625"):
    torch.manual_seed(0)
    model = adopt(TwoPaths(), 3) if spec == "own" else create_model(spec, 3)
    model.preprocessing = PREPROCESSING
    return model.eval()


@pytest.fixture(scope="module")
def table(motion_table):
    """A training and a validation video of each of three classes; of one only a part of its file."""
    videos = read_table(motion_table).groupby(["label", "subset"]).head(1).reset_index(drop=True).head(6)
    videos.loc[1, ["start", "end"]] = 5, 24
    return videos


def given_to_the_head(model, clips: torch.Tensor) -> np.ndarray:
    """What a plain pass of `model` gives to its last layer: uint8 (K, T, C, H, W) to (K, D)."""
    given = []
    hook = model.get_submodule(model.classifier_name).register_forward_pre_hook(lambda _, args: given.append(args[0]))
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (MEAN, STD))
    with torch.no_grad():
        model(((clips.flip(2) / 255 - mean) / std).transpose(1, 2))  # bgr
    hook.remove()
    maps = given[0].movedim(1, -1) if given[0].ndim == 5 else given[0]
    return maps.reshape(len(clips), -1, maps.shape[-1]).mean(dim=1).numpy()


@pytest.mark.parametrize("spec", ["resnet10 widen_factor=0.0625", "tsm_resnet18 width_mult=0.125",
                                  "squeezenet width_mult=0.25", "own"])  # fmt: skip
def test_a_videos_features_are_the_mean_of_what_the_head_gets_of_its_clips(table, spec, tmp_path):
    model = network(spec)
    views = {"protocol": "views", "num_clips": 3, "num_crops": 3, "short_side": 36}
    found = clip_features(table, model, keep_clips=True, batch_size=5, **views, **PLAIN)
    protocol = Protocol("views", *(SIZES | {"short_side": 36}).values(), num_clips=3, num_crops=3)
    data = EvaluationViews(table, found.classes, {"views": protocol})
    wanted = [given_to_the_head(model, data[number].clips) for number in range(len(table))]
    largest = np.abs(wanted).max()
    np.testing.assert_allclose(found.clips, np.concatenate(wanted), atol=1e-4 * largest)
    np.testing.assert_allclose(found.vectors, [each.mean(axis=0) for each in wanted], atol=1e-4 * largest)
    assert found.vectors.std(axis=0).max() > 1e-3 * largest and found.vectors.dtype == np.float32
    for name in ("video_id", "label", "subset", "path"):
        assert found.videos[name].tolist() == table[name].tolist()
    assert found.videos["clips"].tolist() == [9] * 6 and found.known.all() and found.spec == model.spec
    assert found.protocol == str(protocol) and found.classes == sorted(set(table["label"]))
    parts = found.spans[found.spans[:, 0] == 1, 1:]
    assert parts.min() >= 5 and parts.max() <= 24 and len(parts) == 9

    read = load_features(save_features(tmp_path / "features.npz", found))
    assert read.videos.to_dict() == found.videos.to_dict() and str(read) == str(found)
    assert read.preprocessing == found.preprocessing and read.expected == found.expected
    for name in ("vectors", "clips", "spans"):
        np.testing.assert_array_equal(getattr(read, name), getattr(found, name))
    some = read.of("validation")
    assert set(some.videos["subset"]) == {"validation"} and len(some.clips) == 9 * len(some)
    row = found.videos["video_id"].tolist().index(some.videos["video_id"][0])
    np.testing.assert_array_equal(some.clips[:9], found.clips[found.spans[:, 0] == row])
    assert some.table.columns[-1] == f"f{found.vectors.shape[1] - 1}" and some.table["f0"][0] == some.vectors[0, 0]


def test_every_kind_of_network_gives_a_vector_as_long_as_its_head_is_wide():
    for name in ("c3d", "i3d", "mobilenetv2", "tv_s3d", "tv_swin3d_t", "tv_mvit_v2_s"):
        with torch.device("meta"):
            model, given = create_model(name, 5).eval(), []
        head = model.get_submodule(model.classifier_name)
        head.register_forward_pre_hook(lambda head, args, given=given: given.append(_pooled(head, args[0], 2)))
        size = 224 if name.startswith("tv_") else 112
        with torch.no_grad():
            model(torch.empty(2, 3, model.options.get("num_frames", 16), size, size, device="meta"))
        width = head.in_features if isinstance(head, nn.Linear) else head.in_channels
        assert [tuple(each.shape) for each in given] == [(2, width)], name


def test_a_compiled_network_gives_the_same(monkeypatch):
    model, clips = network(), torch.randn(2, 3, 4, 32, 32)
    compiling = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda module: compiling(module, backend="eager"))  # in no time
    with torch.inference_mode():
        _, plain = Folded(model, Execution(), features=True).with_features(clips)
        _, compiled = Folded(model, Execution(compile=True), features=True).with_features(clips)
    assert plain.shape == compiled.shape and plain.std() > 0
    torch.testing.assert_close(compiled, plain)


def test_notebook_08_the_table_and_the_checkpoint_give_the_same(table, tmp_path):
    model, run = network(), tmp_path / "run"
    save_network(model, run / "checkpoints" / "best.pt", classes=OTHERS, preprocessing=PREPROCESSING)
    broken = write_missing_frames(tmp_path / "broken.avi", num_frames=2, num_missing=60)
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    paths = [str(table["path"][0]), str(write_video(tmp_path / "odd.mp4", 37, width=64, height=48))]
    values = {"videos": paths, "networks": [str(run)], "window_step": 3, "features": True, "run_dir": str(run)}
    p = PredictParams.build(values | PLAIN, "test")
    job = predict.open_networks(p, *predict.find_videos(p))
    answers = job.score()
    of_windows = features_of_windows(job, job.networks[0], answers)
    named = clip_features([*paths, str(text)], run, window_step=3, keep_clips=True, **PLAIN)
    np.testing.assert_allclose(named.vectors[:2], of_windows.vectors, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(named.clips, of_windows.clips, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(named.spans, of_windows.spans)
    kept = ["video_id", "path", "start", "end", "clips", "error"]
    assert named.videos[kept].head(2).to_dict() == of_windows.videos[kept].to_dict()
    assert named.videos["error"][2] and np.isnan(named.vectors[2]).all() and not named.known[2]
    assert "; 1 without: " in str(named) and named.network == "run" and named.classes == []

    again = clip_features(table.head(1), job.networks[0], window_step=3)
    np.testing.assert_allclose(again.vectors[0], of_windows.vectors[0], rtol=1e-5, atol=1e-6)
    lost = pd.concat([table.head(1), table.head(1).assign(path=str(broken), video_id="lost", num_frames=62)])
    seen = []
    found = clip_features(lost, job.networks[0], progress=lambda each, **told: seen.append(told) or each)
    assert found.videos["error"].map(bool).tolist() == [False, True] and found.videos["clips"][1] == 0
    assert np.isfinite(found.vectors[0]).all() and np.isnan(found.vectors[1]).all() and seen[0]["total"] == 2


def test_what_is_wrong_is_said_in_words(table, tmp_path):
    model = network()
    with pytest.raises(ParamsError, match="average, table: no parameter of features"):
        clip_features(table, model, average="logits", table="x.csv")
    with pytest.raises(ParamsError, match="num_clip: no such parameter.*num_clips"):
        clip_features(table, model, num_clip=3)
    with pytest.raises(DataError, match="a table without num_frames"):
        clip_features(table.drop(columns="num_frames"), model)
    with pytest.raises(DataError, match="no video of subset 'testing'"):
        clip_features(table, model, subset="testing")
    with pytest.raises(ValueError, match="network: a Linear: give a name"):
        clip_features(table, nn.Linear(3, 3))
    silent = adopt(NotCalled(), 3)
    silent.preprocessing = PREPROCESSING
    with pytest.raises(ModelError, match="its last layer, proj, is not called"):
        clip_features(table.head(1), silent, **PLAIN)
    flow = create_model("resnet10 widen_factor=0.0625", 3, in_channels=10)
    flow.preprocessing = SIZES | {"mean": [0.5], "std": [0.2], "modality": "flow"}
    with pytest.raises(DataError, match="a network of optical flow"):
        clip_features([table["path"][0]], flow)
    with pytest.raises(FeaturesError, match="no such file of features"):
        load_features(tmp_path / "none.npz")
    (tmp_path / "odd.npz").write_bytes(b"PK")
    with pytest.raises(FeaturesError, match="odd.npz: not a file that save_features wrote"):
        load_features(tmp_path / "odd.npz")
