"""Frames by number: the right ones, the same pixels from either decoder, and an error with a reason for a bad file."""

import os
import pickle

import av
import numpy as np
import psutil
import pytest
import torch
from videofiles import frame_number, rotate, truncate, write_audio_only, write_missing_frames, write_video

from actlib.datasets import video
from actlib.datasets.video import VideoError, VideoInfo, probe, read_frames

needs_decord = pytest.mark.skipif(video.decord is None, reason="decord is not installed")

# What decord reads exactly.
PLAIN = {
    "plain.mp4": {},
    "two_references.mp4": {"num_frames": 64, "bframes": 3},
    "340x256.mp4": {"width": 340, "height": 256},
    "odd_444.mp4": {"width": 161, "height": 121, "pix_fmt": "yuv444p"},
    "full_range.mp4": {"pix_fmt": "yuvj420p"},
    "bt709.mp4": {"options": {"colorspace": "bt709", "color_range": "tv"}},
    "late_start.mp4": {"start": 45},
    "late_start.mkv": {"start": 45},
    "variable_rate.mp4": {"step": lambda number: 1 + number % 3},
    "with_audio.mp4": {"audio": True},
    "mpeg4.mp4": {"codec": "mpeg4", "bframes": 0},
    "mpeg4.avi": {"codec": "mpeg4", "bframes": 0},
    "vp9.webm": {"codec": "libvpx-vp9"},
}
# What it misnumbers, converts otherwise, or cannot decode.
HARD = {
    "open_gop.mp4": {"num_frames": 64, "options": {"x264-params": "open-gop=1:bframes=3:b-adapt=0"}},
    "bframes.avi": {"codec": "mpeg4"},
    "bframes_mpeg4.mp4": {"codec": "mpeg4"},
    "transport.ts": {},
    "odd_420.mkv": {"width": 161, "height": 121, "codec": "ffv1"},
    "deep.mp4": {"pix_fmt": "yuv420p10le", "options": {"profile": "high10"}},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
    "av1.mp4": {"codec": "libsvtav1", "bframes": 0},
    "tiny.mp4": {"width": 16, "height": 16},
}


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """make(name) → the path of one of the videos above, written once."""
    folder = tmp_path_factory.mktemp("videos")

    def write(name):
        path = folder / name
        return path if path.exists() else write_video(path, **(PLAIN | HARD)[name])

    return write


def exact_in_decord(path):
    status = os.stat(path)
    return video._decord_is_exact(str(path), status.st_size, status.st_mtime_ns)


def assert_every_frame(path, backend):
    """Each frame by itself, then a scattered clip with a repeat: all carry the number that was asked for."""
    num_frames = probe(path).num_frames
    singles = [frame_number(read_frames(path, [number], backend=backend)[0]) for number in range(num_frames)]
    assert singles == list(range(num_frames))
    scattered = [30, 3, 17, 17, 0, 31, 16]
    clip = read_frames(path, scattered, backend=backend)
    assert clip.dtype == np.uint8
    assert [frame_number(frame) for frame in clip] == scattered


@pytest.mark.parametrize("name", PLAIN)
def test_pyav_finds_every_frame(make, name):
    assert_every_frame(make(name), "pyav")


@needs_decord
@pytest.mark.parametrize("name", PLAIN)
def test_both_decoders_agree(make, name):
    path = make(name)
    assert exact_in_decord(path)
    assert_every_frame(path, "decord")
    numbers = range(0, probe(path).num_frames, 3)
    by_decord, by_pyav = (read_frames(path, numbers, backend=backend).astype(int) for backend in ("decord", "pyav"))
    assert by_decord.shape == by_pyav.shape
    assert np.abs(by_decord - by_pyav).max() <= 2


@pytest.mark.parametrize("name", [name for name in HARD if name != "tiny.mp4"])
def test_auto_is_right_where_decord_is_not(make, name):
    assert_every_frame(make(name), "auto")


@needs_decord
@pytest.mark.parametrize("name", HARD)
def test_auto_gives_the_pixels_of_pyav_where_decord_is_not_right(make, name):
    path = make(name)
    assert exact_in_decord(path) == (name in ("av1.mp4", "tiny.mp4"))  # these two it refuses by itself
    assert (read_frames(path, [20, 5]) == read_frames(path, [20, 5], backend="pyav")).all()


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotated_files_come_out_upright(make, tmp_path, degrees):
    upright = read_frames(make("plain.mp4"), [7], backend="pyav")[0]
    path = rotate(write_video(tmp_path / "rotated.mp4"), degrees)
    info = probe(path)
    assert (info.width, info.height) == ((160, 128) if degrees == 180 else (128, 160))
    for backend in ("auto", "pyav"):
        frame = read_frames(path, [7], backend=backend)[0].astype(int)
        # The display matrix turns clockwise; np.rot90 turns the other way.
        assert np.abs(frame - np.rot90(upright, -degrees // 90)).max() <= 2


def test_probe(make):
    assert probe(make("340x256.mp4")) == VideoInfo(num_frames=32, fps=30.0, width=340, height=256)
    assert probe(make("late_start.mkv")) == VideoInfo(num_frames=32, fps=30.0, width=160, height=128)
    assert probe(make("variable_rate.mp4")).fps == pytest.approx(32 * 30 / 61)  # 32 frames last 61 thirtieths


def test_frames_hidden_by_an_edit_list_do_not_count(tmp_path):
    path = write_video(tmp_path / "cut.mp4", start=-8, container_options={"avoid_negative_ts": "disabled"})
    assert probe(path).num_frames == 24
    assert [frame_number(frame) for frame in read_frames(path, [0, 23])] == [8, 31]
    with pytest.raises(VideoError, match="frame 24 does not exist: the video has 24 frames"):
        read_frames(path, [24])


@pytest.mark.parametrize("backend", ["auto", "pyav"])
def test_a_picture_size_that_changes_midway(tmp_path, backend):
    path = tmp_path / "two_sizes.mkv"
    parts = [write_video(tmp_path / f"{w}.h264", 16, w, h, bframes=0) for w, h in ((160, 128), (320, 256))]
    # Raw H.264 files joined by their bytes; every part brings its own headers. The frame rate is H.264's default.
    (tmp_path / "joined.h264").write_bytes(b"".join(part.read_bytes() for part in parts))
    with av.open(str(tmp_path / "joined.h264")) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for time, packet in enumerate(packets):
            packet.stream, packet.pts, packet.dts = stream, None, None
            packet.dts = packet.pts = int(time / 30 / packet.time_base)
            target.mux(packet)
    clip = read_frames(path, [0, 15, 16, 31], backend=backend)
    assert clip.shape == (4, 128, 160, 3)
    assert [frame_number(frame) for frame in clip] == [0, 15, 0, 15]


def bad_files(folder):
    empty, text = folder / "empty.mp4", folder / "text.mp4"
    empty.touch()
    text.write_text("not a video at all\n" * 100)
    return {
        empty: r"is empty \(0 bytes\)",
        text: "not a video, damaged, or cut off",
        truncate(write_video(folder / "whole.mp4"), folder / "cut.mp4", 0.6): "not a video, damaged, or cut off",
        write_audio_only(folder / "audio.mp4"): "has no video stream",
        folder / "missing.mp4": "cannot be opened: No such file",
        folder: "is not a regular file",
    }


def test_bad_files_are_errors_that_say_why(tmp_path):
    for path, reason in bad_files(tmp_path).items():
        for read in (probe, lambda path: read_frames(path, [0]), lambda path: read_frames(path, [0], backend="pyav")):
            with pytest.raises(VideoError, match=reason) as error:
                read(path)
            assert error.value.path == str(path) and str(path) in str(error.value)


@needs_decord
def test_bad_files_are_the_same_class_of_error_in_decord(tmp_path):
    for path in bad_files(tmp_path):
        with pytest.raises(VideoError) as error:
            read_frames(path, [0], backend="decord")
        assert error.value.path == str(path)


def test_a_download_that_was_cut_off_is_found_by_its_index(tmp_path):
    whole = write_video(tmp_path / "whole.mp4", 64, container_options={"movflags": "faststart"})
    path = truncate(whole, tmp_path / "cut.mp4", 0.6)
    with pytest.raises(VideoError, match=r"is cut off: its index lists 64 frames, the file holds \d\d; fetch it anew"):
        probe(path)
    assert [frame_number(frame) for frame in read_frames(path, [2, 20])] == [2, 20]
    with pytest.raises(VideoError, match=r"frame 63 does not exist: the video has \d\d frames"):
        read_frames(path, [0, 63])
    with video._opened(path) as (container, stream):
        last = len(video._index(container, stream).pts) - 1  # half a picture: never to be shown
    with pytest.raises(VideoError, match=f"frame {last} of {last + 1} cannot be decoded"):
        read_frames(path, [last])


def test_frames_that_do_not_decode_are_errors_not_copies(tmp_path):
    path = write_missing_frames(tmp_path / "missing.avi", num_frames=20, num_missing=40)
    assert [frame_number(frame) for frame in read_frames(path, [0, 18])] == [0, 18]
    for numbers in ([0, 30], [30], [19, 25]):
        for backend in ("auto", "pyav", "decord") if video.decord else ("auto", "pyav"):
            with pytest.raises(VideoError):
                read_frames(path, numbers, backend=backend)
    with pytest.raises(VideoError, match="frame 30 of 60 cannot be decoded"):
        read_frames(path, [30])


def test_numbers_out_of_range(make):
    for backend in ("auto", "pyav", "decord") if video.decord else ("auto", "pyav"):
        for number in (32, -1):
            with pytest.raises(VideoError, match=f"frame {number} does not exist: the video has 32 frames"):
                read_frames(make("plain.mp4"), [3, number], backend=backend)


def test_unusable_arguments(make):
    for indices in ([], [0.5], [[1, 2]]):
        with pytest.raises(ValueError, match="indices must be"):
            read_frames(make("plain.mp4"), indices)
    with pytest.raises(ValueError, match="got \"opencv\"|got 'opencv'"):
        read_frames(make("plain.mp4"), [0], backend="opencv")


def test_without_decord_pyav_reads_alone(make, monkeypatch):
    monkeypatch.setattr(video, "decord", None)
    assert_every_frame(make("plain.mp4"), "auto")
    with pytest.raises(ValueError, match="decord is not installed"):
        read_frames(make("plain.mp4"), [0], backend="decord")


def test_a_replaced_file_is_looked_at_anew(tmp_path):
    path = write_video(tmp_path / "video.mp4", 64)
    assert_every_frame(path, "auto")
    write_video(path, **HARD["open_gop.mp4"])
    assert_every_frame(path, "auto")


def test_counting_reads_what_bears_no_times(make):
    path = make("plain.mp4")
    with video._opened(path) as (container, stream):
        frames = video._decode_counting(path, container, stream, np.array([3, 31]))
    assert [frame_number(frame) for frame in frames] == [3, 31]
    with video._opened(path) as (container, stream), pytest.raises(VideoError, match="frame 32 does not exist"):
        video._decode_counting(path, container, stream, np.array([3, 32]))


def test_errors_survive_pickling():
    error = pickle.loads(pickle.dumps(VideoError("a/b.mp4", "is empty")))
    assert (type(error), str(error)) == (VideoError, "a/b.mp4: is empty")
    assert (error.path, error.reason) == ("a/b.mp4", "is empty")


class _Clips(torch.utils.data.Dataset):
    def __init__(self, path):
        self.path = path

    def __len__(self):
        return 8

    def __getitem__(self, number):
        return [frame_number(read_frames(self.path, [number], backend=name)[0]) for name in ("auto", "pyav")]


def test_loader_workers_read_after_their_parent_did(make):
    path = make("plain.mp4")
    read_frames(path, [0])
    loader = torch.utils.data.DataLoader(_Clips(path), batch_size=None, num_workers=2, timeout=60)
    assert [list(pair) for pair in loader] == [[number, number] for number in range(8)]


@pytest.mark.parametrize("backend", ["auto", "pyav"])
def test_memory_does_not_grow(make, backend):
    path = make("340x256.mp4")  # 8 MB for each clip of 32 frames
    process = psutil.Process()
    for _ in range(5):
        read_frames(path, range(32), backend=backend)
    before = process.memory_info().rss
    for _ in range(30):
        read_frames(path, range(32), backend=backend)
    assert process.memory_info().rss - before < 60e6
