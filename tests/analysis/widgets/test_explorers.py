"""The explorers of notebook 07: what they show is what training and evaluation use, and follows the controls."""

import matplotlib
import numpy as np
import pytest
import torch
from training import params
from videofiles import truncate, write_video

from actlib.analysis.widgets import ClipExplorer, ViewExplorer
from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.table import class_names, read_table
from actlib.datasets.video.frame_folders import probe
from actlib.loops import prepare

matplotlib.use("Agg")
VIEWS = Protocol("views", 4, 2, 40, 32, num_clips=3)


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr("IPython.display.display", lambda *shown: None)
    yield
    matplotlib.pyplot.close("all")


@pytest.fixture
def videos(motion_table):
    return read_table(motion_table)


def explore(videos, **how):
    return ClipExplorer(videos, class_names(videos), interactive=True, **how)


def test_what_is_shown_is_what_training_uses(videos, motion_table, tmp_path):
    p = params(motion_table, tmp_path / "run", crop="random", crop_size=24, seed=3)
    clips, data = explore(videos, seed=3, draws=2, **p.clip), prepare(p).train_data
    clips.chooser.find.value = "right_training_0001"
    assert clips.settings == p.clip
    row = [name.endswith("right_training_0001.mp4") for name in data.paths].index(True)
    for epoch, drawn in enumerate(clips.drawn):
        data.set_epoch(epoch)
        assert drawn.clip.equal(data[row][0])
    clips.again.click()
    data.set_epoch(2)
    assert clips.names == ["epoch 3", "epoch 4"] and clips.drawn[0].clip.equal(data[row][0])
    # the box that the table names, of frames resized to the size that it names, is what was cut out
    (height, width), (top, left, down, right) = clips.drawn[0].crop
    assert (height, width, down, right) == (32, 32, 24, 24) and 0 <= top <= 8 and 0 <= left <= 8
    assert clips.player.boxes[0]["top"] == pytest.approx(top / 32)
    assert clips.table[clips.table["draw"] == "epoch 3"]["frame"].tolist() == clips.drawn[0].frames.tolist()


def test_ticks_strips_and_boxes_follow_the_controls(videos):
    clips = explore(videos, sampling="center", num_frames=4, crop="center", short_side=40, crop_size=32)
    ticks = [row["frames"] for row in clips.player.rows]
    assert ticks == [[12, 14, 16, 18]] * 4 and bytes(clips.player.video[4:8]) == b"ftyp"
    assert clips.player.made == "the file itself" and clips.message.value == ""
    assert clips.player.boxes[0]["height"] == pytest.approx(0.8)
    before = clips.strips.value
    clips.controls["frame_stride"].value = 3
    assert clips.player.rows[0]["frames"] == [10, 13, 16, 19] and clips.strips.value != before
    clips.controls["sampling"].value = "segments"
    assert clips.controls["frame_stride"].disabled and clips.player.rows[0]["frames"] != clips.player.rows[1]["frames"]
    clips.controls["num_frames"].value = 6
    assert len(clips.player.rows[0]["frames"]) == 6
    clips.controls["crop_size"].value = 64
    assert "crop_size 64 is larger than short_side 40" in clips.message.value and clips.player.rows == []
    clips.controls["short_side"].value = 64
    assert clips.message.value == "" and clips.player.boxes[0]["height"] == 1
    assert "actlib-frame-stride" in clips.controls["frame_stride"]._dom_classes

    clips.chooser.label.value = "up"
    assert clips.videos["label"][clips.chooser.row] == "up" and clips.chooser.count.value == "5 videos"
    clips.chooser.subset.value = "validation"
    assert clips.chooser.count.value == "2 videos"
    clips.chooser.find.value = "nothing like it"
    assert clips.message.value == "no video fits what is chosen" and clips.strips.value == ""


def test_a_broken_video_is_told_in_words_and_others_go_on(videos, tmp_path):
    sound = write_video(tmp_path / "sound.mkv", 20)
    videos = videos.iloc[:3].copy()
    videos["path"] = [str(truncate(sound, tmp_path / "cut.mkv", 0.1)), str(sound), str(tmp_path / "<b>gone.avi")]
    videos["num_frames"], videos["end"] = 20, np.nan
    clips = explore(videos, num_frames=4)
    views = ViewExplorer(videos, class_names(videos), VIEWS, interactive=True)
    for explorer in (clips, views):
        assert "cut.mkv" in explorer.message.value and explorer.player.video == b""
        assert explorer.player.made.startswith("cannot be played")
        explorer.chooser.video.index = 2
        assert "&lt;b&gt;gone.avi: cannot be opened: No such file" in explorer.message.value
        explorer.chooser.video.index = 1
        assert "cut.mkv" not in explorer.message.value and len(explorer.player.rows) >= 3
        assert bytes(explorer.player.video[4:8]) == b"ftyp" and explorer.player.made == "encoded for the browser"


def test_views_lie_where_an_evaluation_takes_them(videos):
    asked = []

    def score(data, index):
        """Sure of its class in the second clip alone."""
        asked.append(data[index])
        logits = torch.zeros(len(asked[-1].clips), len(data.classes))
        logits[1, data.labels[index]] = 10
        return logits

    views = ViewExplorer(videos, class_names(videos), VIEWS, score, interactive=True)
    assert [row["frames"] for row in views.player.rows] == VIEWS.windows(32).tolist()
    assert views.player.rows[0]["text"] == "" and views.best is None and len(views.pictures) == 3
    views.controls["num_crops"].value = 3
    assert len(views.player.boxes) == 3 and len(views.pictures) == 9 and "3 crops" in views.message.value
    views.controls["num_crops"].value = 1
    views.button.click()
    shown = asked[0].clips[:, 2].permute(0, 2, 3, 1).numpy()  # of each view the middle one of its four frames
    assert np.array_equal(np.stack(views.pictures), shown)
    assert [row["text"] for row in views.player.rows] == ["12 %", "100 %", "12 %"]
    assert views.player.rows[1]["color"] == "hsl(120, 75%, 45%)" and ">100 %<" in views.strips.value
    assert views.best["class"][0] == "left" and views.best["right"].tolist() == [True] + [False] * 4
    assert views.best["score"][0] == pytest.approx((1 + 2 / 8) / 3, abs=1e-3)
    assert views.message.value.startswith("right: ") and "✓ left" in views.best_text.value
    assert views.table["true_score"].tolist() == pytest.approx([0.125, 1, 0.125], abs=1e-3)
    views.controls["kind"].value = "video"
    assert views.scores is None and views.best_text.value == "" and len(views.player.rows) == 4
    views.controls["frame_stride"].value = 1
    views.controls["num_frames"].value = 1
    assert len(views.player.rows) == 32 and views.controls["num_clips"].disabled


def test_what_cannot_be_predicted_is_told_in_words(videos):
    def refuse(data, index):
        raise RuntimeError("the network takes 16 frames\nnot <4>")

    views = ViewExplorer(videos, class_names(videos), VIEWS, refuse, interactive=True)
    views.button.click()
    assert "takes 16 frames\nnot &lt;4&gt;" in views.message.value and not views.button.disabled
    views.controls["kind"].value = "dense"
    views.controls["num_clips"].value, views.controls["num_crops"].value = 100, 5
    assert "500 views are too many" in views.message.value
    assert ViewExplorer(videos, class_names(videos), VIEWS, interactive=True).button.disabled


def test_without_a_screen_there_are_pictures(videos, tmp_path):
    clips = ClipExplorer(videos, class_names(videos), num_frames=4, interactive=False)
    axes = clips.picture()
    assert [text.get_text() for text in axes.get_yticklabels()] == clips.names and clips.player.video == b""
    assert len(clips.table) == 16 and axes.get_xlabel() == "frame of the file"
    views = ViewExplorer(
        videos, class_names(videos), VIEWS, lambda *asked: 2 * torch.eye(8)[[4, 0, 1]], interactive=False
    )
    axes = views.picture()
    assert len(axes.figure.axes) == 4 and [text.get_text() for text in axes.texts] == [" 51 %", " 7 %", " 7 %"]
    for figure, name in ((clips.picture().figure, "clips"), (axes.figure, "views")):
        figure.savefig(tmp_path / f"{name}.png", dpi=40)


def test_a_folder_of_frames_is_encoded_to_be_played(videos, tmp_path):
    import av
    from PIL import Image

    for number in range(1, 11):
        Image.new("RGB", (51, 33), (25 * number, 0, 0)).save(tmp_path / f"{number:05d}.jpg")
    rows = videos.iloc[:1].assign(path=str(tmp_path), num_frames=probe(tmp_path).num_frames, start=2, end=8)
    clips = explore(rows, num_frames=2)
    assert (clips.player.first, clips.player.num_frames) == (2, 6)
    (tmp_path / "played.mp4").write_bytes(clips.player.video)
    with av.open(str(tmp_path / "played.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 6 and frames[0].shape == (32, 52, 3)
    assert [frame[..., 0].mean() for frame in frames] == pytest.approx([75, 100, 125, 150, 175, 200], abs=8)
