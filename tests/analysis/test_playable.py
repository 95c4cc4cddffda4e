"""Videos for the browser: the file itself where it is H.264 in mp4, else the right frames, encoded."""

import io
from types import SimpleNamespace

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from videofiles import frame_image, frame_number, write_video

from actlib.analysis import playable
from actlib.analysis.playable import encoded_mp4, playable_mp4
from actlib.datasets.errors import VideoError


def decoded(data: bytes) -> tuple[av.codec.context.CodecContext, float, list[np.ndarray]]:
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return stream.codec_context, float(stream.average_rate), frames


def test_h264_in_mp4_goes_out_as_it_is_and_all_else_is_encoded(tmp_path, monkeypatch):
    mp4, avi = write_video(tmp_path / "a.mp4", 20), write_video(tmp_path / "b.avi", 20, codec="mpeg4")
    whole = SimpleNamespace(path=str(mp4), start=0.0, end=20.0, num_frames=20.0, fps=30.0)
    assert playable_mp4(whole) == playable_mp4(SimpleNamespace(path=mp4)) == mp4.read_bytes()
    context, rate, frames = decoded(playable_mp4(SimpleNamespace(path=avi)))
    assert (context.name, context.pix_fmt, rate) == ("h264", "yuv420p", 30)
    assert [frame_number(frame) for frame in frames] == list(range(20))
    for codec, pix_fmt in (("libx264", "yuv444p"), ("mpeg4", "yuv420p")):
        other = write_video(tmp_path / f"{codec}.mp4", 4, codec=codec, pix_fmt=pix_fmt)
        assert decoded(playable_mp4(SimpleNamespace(path=other)))[0].pix_fmt == "yuv420p"
    monkeypatch.setattr(playable, "MOST_BYTES", 100)
    assert playable_mp4(whole) != mp4.read_bytes() and len(decoded(playable_mp4(whole))[2]) == 20


def test_a_segment_is_cut_out_and_a_long_one_thinned(tmp_path):
    path = write_video(tmp_path / "a.mp4", 60)
    row = pd.Series({"path": str(path), "start": 10.0, "end": 40.0, "num_frames": 60.0, "fps": 30.0})
    context, rate, frames = decoded(playable_mp4(row, most_frames=10, longest_side=80))
    assert rate == 10 and (context.width, context.height) == (80, 64), "it lasts as long as before"
    frames = decoded(playable_mp4(row, most_frames=10))[2]
    assert [frame_number(frame) for frame in frames] == list(range(10, 40, 3))


def test_a_folder_of_frames_of_any_size_plays(tmp_path):
    for number in range(5):
        Image.fromarray(frame_image(number)[:, :151]).save(tmp_path / f"{number + 1:05d}.jpg", quality=95)
    _, rate, frames = decoded(playable_mp4(SimpleNamespace(path=tmp_path, start=1, end=np.nan, num_frames=5, fps=0.0)))
    assert rate == 25 and [frame.shape for frame in frames] == [(128, 152, 3)] * 4
    assert len(decoded(encoded_mp4(iter([frame_image(0)] * 3), 12.5))[2]) == 3


def test_what_cannot_be_played_says_why(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    with pytest.raises(VideoError, match="not a video, damaged"):
        playable_mp4(SimpleNamespace(path=tmp_path / "broken.mp4"))
    with pytest.raises(VideoError, match="gone.mp4: cannot be opened: No such file"):
        playable_mp4(SimpleNamespace(path=tmp_path / "gone.mp4", num_frames=3, fps=3.0))
