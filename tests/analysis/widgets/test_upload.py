"""A video given in the notebook is answered at once: bars, curves, and the video with the answer; or a sentence."""

import datetime
import io

import av
import matplotlib
import pytest
import torch
from videofiles import write_video

from actlib.analysis.widgets import Upload, play
from actlib.loops import predict
from actlib.models import create_model, save_network
from actlib.params import PredictParams

matplotlib.use("Agg")
NOW = datetime.datetime.now(datetime.UTC)
SIZES = {"num_frames": 4, "frame_stride": 2, "short_side": 32, "crop_size": 32, "mean": [0.5] * 3, "std": [0.2] * 3}


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("upload")
    torch.manual_seed(0)
    model = create_model("resnet10 widen_factor=0.0625", 3)
    path = save_network(model, folder / "<net>.pt", classes=["a", "b <i>", "$c$"], preprocessing=SIZES)
    video = write_video(folder / "first.mp4", 24)
    values = {"videos": [str(video)], "networks": [str(path)], "run_dir": str(folder / "run"), "num_workers": 0}
    p = PredictParams.build(values | {"precision": "float32", "memory_format": "contiguous"}, "test")
    return predict.open_networks(p, *predict.find_videos(p))


def frames_in(content: bytes) -> int:
    with av.open(io.BytesIO(content)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        return sum(1 for _ in container.decode(video=0))


def test_what_is_uploaded_is_answered(job, tmp_path):
    widget = Upload(tmp_path / "uploads", job.score_named, interactive=True)
    assert widget.shown.children == ()
    content = write_video(tmp_path / "mine.avi", 30, codec="mpeg4").read_bytes()
    widget.upload.value = ({"name": "../my & <b>.avi", "type": "video/avi", "size": len(content), "content": content,
                            "last_modified": NOW},)  # fmt: skip
    assert (tmp_path / "uploads" / "my _ _b_.avi").read_bytes() == content
    assert "30 frames" in widget.message.value and widget.upload.value == ()
    assert bytes(widget.bars.value).startswith(b"\x89PNG") and bytes(widget.curves.value).startswith(b"\x89PNG")
    assert frames_in(widget.video.value) == 30 and widget.shown.children == (widget.bars, widget.curves, widget.video)
    bars = bytes(widget.bars.value)
    widget.typed.value = job.videos["path"][0]
    assert "first: 24 frames" in widget.message.value and bytes(widget.bars.value) != bars
    assert frames_in(widget.video.value) == 24


def test_what_cannot_be_answered_is_said_in_a_sentence(job, tmp_path):
    widget = Upload(tmp_path / "uploads", job.score_named, interactive=True)
    widget.upload.value = ({"name": "notes.mp4", "type": "", "size": 5, "content": b"<b>no", "last_modified": NOW},)
    assert "notes.mp4: " in widget.message.value and "Traceback" not in widget.message.value
    assert "<b>" not in widget.message.value and widget.shown.children == ()
    widget.typed.value = "gone <i>.mp4"
    assert "gone &lt;i&gt;.mp4: no such file" in widget.message.value
    widget.typed.value = ""
    assert "no such file" in widget.message.value


def test_without_a_screen(job, tmp_path, capsys):
    Upload(tmp_path, job.score_named, interactive=False)
    play({"first": tmp_path / "a.mp4"}, interactive=False)
    assert capsys.readouterr().out == (
        "in JupyterLab a button stands here that takes a video of yours, and a field for a path or address\n"
        f"first: {tmp_path / 'a.mp4'}\n"
    )


def test_players_stand_side_by_side(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    content = write_video(tmp_path / "a.mp4", 8).read_bytes()
    play({"<first>": tmp_path / "a.mp4", "second": content}, interactive=True)
    (row,) = shown
    titles, players = zip(*(box.children for box in row.children))
    assert [bytes(each.value) for each in players] == [content, content]
    assert "&lt;first&gt;" in titles[0].value and "second" in titles[1].value
