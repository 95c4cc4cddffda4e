"""Frames by number: the right ones, the pixels of PyAV, and an error with a reason for a bad file."""

import os
import pickle
from functools import cache

import av
import numpy as np
import psutil
import pytest
import torch
from videofiles import (
    frame_number,
    lie,
    rotate,
    truncate,
    write_audio_only,
    write_missing_frames,
    write_packed,
    write_video,
)

from actlib.datasets.errors import VideoError
from actlib.datasets.video import pyav_reader
from actlib.datasets.video.info import VideoInfo
from actlib.datasets.video.reader import probe, read_frames

ZOO = {
    "plain.mp4": {},
    "two_references.mp4": {"num_frames": 64, "bframes": 3},
    "open_gop.mp4": {"num_frames": 64, "options": {"x264-params": "open-gop=1:bframes=3:b-adapt=0"}},
    "340x256.mp4": {"width": 340, "height": 256},
    "odd_444.mp4": {"width": 161, "height": 121, "pix_fmt": "yuv444p"},
    "odd_420.mkv": {"width": 161, "height": 121, "codec": "ffv1"},
    "full_range.mp4": {"pix_fmt": "yuvj420p"},
    "deep.mp4": {"pix_fmt": "yuv420p10le", "options": {"profile": "high10"}},
    "bt709.mp4": {"options": {"colorspace": "bt709", "color_range": "tv"}},
    "late_start.mkv": {"start": 45},
    "variable_rate.mp4": {"step": lambda number: 1 + number % 3},
    "with_audio.mp4": {"audio": True},
    "transport.ts": {},
    "mpeg4.avi": {"codec": "mpeg4", "bframes": 0},
    "lying_less.avi": {"codec": "mpeg4", "bframes": 0},
    "lying_more.avi": {"codec": "mpeg4", "bframes": 0},
    "bframes.avi": {"codec": "mpeg4"},
    "bframes_mpeg4.mp4": {"codec": "mpeg4"},
    "packed.avi": {},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
    "av1.mp4": {"codec": "libsvtav1", "bframes": 0},
}
LIES = {"lying_less.avi": 5, "lying_more.avi": 5000}


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """make(name) → the path of one of the videos above, written once."""
    folder = tmp_path_factory.mktemp("videos")

    @cache
    def write(name):
        if name == "packed.avi":
            return write_packed(folder / name)
        path = write_video(folder / name, **ZOO[name])
        return lie(path, LIES[name]) if name in LIES else path

    return write


def all_of(path):
    """Every frame as PyAV alone decodes them, from the first to the last."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("name", ZOO)
def test_every_frame_of_every_kind_of_file(make, name):
    """Each by itself, then clips with steps and a scattered one: the numbers drawn in them, and PyAV's pixels."""
    path, frames = make(name), np.stack(all_of(make(name)))
    num_frames = len(frames)
    assert num_frames == ZOO[name].get("num_frames", 32) and probe(path).num_frames == num_frames
    assert [frame_number(frame) for frame in frames] == list(range(num_frames))
    clips = [[number] for number in range(num_frames)]
    clips += [range(3, 19), range(1, 32, 2), range(5, 32, 7), [30, 3, 17, 17, 0, 31, 16]]
    for numbers in clips:
        clip = read_frames(path, numbers, timeout=20)
        assert clip.dtype == np.uint8 and np.array_equal(clip, frames[np.array(numbers)]), numbers


@pytest.mark.parametrize("name", ["plain.mp4", "340x256.mp4", "odd_444.mp4", "mpeg4.avi", "vp9.webm"])
def test_decord_agrees_where_it_is_right(make, name):
    pytest.importorskip("decord")
    numbers = range(0, 32, 3)
    ours, theirs = (read_frames(make(name), numbers, backend=each).astype(int) for each in ("auto", "decord"))
    assert np.array_equal(ours, read_frames(make(name), numbers, backend="pyav"))
    assert probe(make(name), backend="decord") == probe(make(name))
    assert ours.shape == theirs.shape and np.abs(ours - theirs).max() <= 2


def test_pictures_that_nobody_asked_for_are_left_out(make):
    """What makes reading H.264 fast: of 64 pictures, about half of which are not built upon, these are not decoded."""
    path = make("two_references.mp4")
    with pyav_reader._opened(path) as (container, stream):
        times = [frame.pts for frame in pyav_reader._decoded(container, stream)]
    with pyav_reader._opened(path) as (container, stream):
        some = [frame.pts for frame in pyav_reader._decoded(container, stream, frozenset(times[40:41]))]
    assert len(times) == 64 and 16 <= len(some) <= 48 and times[40] in some and set(some) < set(times)


def test_the_index_of_a_file_is_read_once(make, monkeypatch):
    looked, look_through = [], pyav_reader._look_through
    monkeypatch.setattr(pyav_reader, "_indices", pyav_reader._Indices(limit=1 << 20))
    monkeypatch.setattr(pyav_reader, "_look_through", lambda *each: looked.append(each) or look_through(*each))
    for _ in range(3):
        read_frames(make("plain.mp4"), [3])
    assert len(looked) == 1
    pyav_reader._indices._limit = 2000  # room for one
    for name in ("plain.mp4", "vp9.webm", "vp9.webm", "plain.mp4"):
        read_frames(make(name), [3])
    assert len(looked) == 3 and len(pyav_reader._indices._found) == 1


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotated_files_come_out_upright(make, tmp_path, degrees):
    upright = read_frames(make("plain.mp4"), [7])[0]
    path = rotate(write_video(tmp_path / "rotated.mp4"), degrees)
    info = probe(path)
    assert (info.width, info.height) == ((160, 128) if degrees == 180 else (128, 160))
    # The display matrix turns clockwise; np.rot90 turns the other way.
    assert np.array_equal(read_frames(path, [7])[0], np.rot90(upright, -degrees // 90))


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


def test_a_picture_size_that_changes_midway(tmp_path):
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
    clip = read_frames(path, [0, 15, 16, 31])
    assert clip.shape == (4, 128, 160, 3)
    assert [frame_number(frame) for frame in clip] == [0, 15, 0, 15]


def bad_files(folder):
    empty, text, pipe = folder / "empty.mp4", folder / "text.mp4", folder / "pipe.mp4"
    empty.touch()
    os.mkfifo(pipe)
    text.write_text("not a video at all\n" * 100)
    return {
        empty: r"is empty \(0 bytes\)",
        text: "not a video, damaged, or cut off",
        truncate(write_video(folder / "whole.mp4"), folder / "cut.mp4", 0.6): "not a video, damaged, or cut off",
        write_audio_only(folder / "audio.mp4"): "has no video stream",
        folder / "missing.mp4": "cannot be opened: No such file",
        folder: "is not a regular file",
        pipe: "is not a regular file",
    }


def test_bad_files_are_errors_that_say_why(tmp_path):
    for path, reason in bad_files(tmp_path).items():
        reads = [pyav_reader.probe, lambda path: pyav_reader.read_frames(path, [0])]
        if not path.is_dir():  # which may hold frames
            reads += [probe, lambda path: read_frames(path, [0], timeout=20)]
        for read in reads:
            with pytest.raises(VideoError, match=reason) as error:
                read(path)
            assert error.value.path == str(path) and str(path) in str(error.value)


def test_bad_files_are_the_same_class_of_error_in_decord(tmp_path):
    pytest.importorskip("decord")
    from actlib.datasets.video import decord_reader

    for path in bad_files(tmp_path):
        for read in (decord_reader.probe, lambda path: decord_reader.read_frames(path, [0])):
            with pytest.raises(VideoError) as error:
                read(path)
            assert error.value.path == str(path)


def test_a_download_that_was_cut_off_is_found_by_its_index(tmp_path):
    whole = write_video(tmp_path / "whole.mp4", 64, container_options={"movflags": "faststart"})
    path = truncate(whole, tmp_path / "cut.mp4", 0.6)
    with pytest.raises(VideoError, match=r"is cut off: its index lists 64 frames, the file holds \d\d; fetch it anew"):
        probe(path)
    assert [frame_number(frame) for frame in read_frames(path, [2, 20])] == [2, 20]
    with pytest.raises(VideoError, match=r"frame 63 does not exist: the video has \d\d frames"):
        read_frames(path, [0, 63])
    with pyav_reader._opened(path) as (container, stream):
        last = len(pyav_reader._look_through(container, stream).times) - 1  # half a picture: never to be shown
    with pytest.raises(VideoError, match=f"frame {last} of {last + 1} cannot be decoded"):
        read_frames(path, [last])


def test_frames_that_do_not_decode_are_errors_not_copies(tmp_path):
    path = write_missing_frames(tmp_path / "missing.avi", num_frames=20, num_missing=40)
    assert [frame_number(frame) for frame in read_frames(path, [0, 18])] == [0, 18]
    for numbers in ([0, 30], [30], [19, 25]):
        with pytest.raises(VideoError, match=r"frame \d+ of 60 cannot be decoded"):
            read_frames(path, numbers)
    with pytest.raises(VideoError, match="frame 30 of 60 cannot be decoded"):
        read_frames(path, [30])


def test_numbers_out_of_range(make):
    for number in (32, -1):
        with pytest.raises(VideoError, match=f"frame {number} does not exist: the video has 32 frames"):
            read_frames(make("plain.mp4"), [3, number])


def test_unusable_arguments(make):
    for indices in ([], [0.5], [[1, 2]]):
        with pytest.raises(ValueError, match="indices must be"):
            read_frames(make("plain.mp4"), indices)
    with pytest.raises(ValueError, match="video_backend 'opencv': expected one of auto, pyav, decord"):
        read_frames(make("plain.mp4"), [0], backend="opencv")


def test_a_replaced_file_is_looked_at_anew(tmp_path):
    path = write_video(tmp_path / "video.mp4", 64)
    assert frame_number(read_frames(path, [40])[0]) == 40
    write_video(path, **ZOO["open_gop.mp4"])
    assert [frame_number(read_frames(path, [number])[0]) for number in range(30, 64)] == list(range(30, 64))


def test_counting_reads_what_bears_no_times(make):
    path = make("plain.mp4")
    with pyav_reader._opened(path) as (container, stream):
        frames = list(pyav_reader._decode_counting(path, container, stream, np.array([3, 31])))
    assert [frame_number(frame) for frame in frames] == [3, 31]
    with pyav_reader._opened(path) as (container, stream), pytest.raises(VideoError, match="frame 32 does not exist"):
        list(pyav_reader._decode_counting(path, container, stream, np.array([3, 32])))


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
        return [frame_number(read_frames(self.path, [number], timeout=each)[0]) for each in (None, 30)]


def test_loader_workers_read_after_their_parent_did(make):
    path = make("plain.mp4")
    read_frames(path, [0], timeout=30)
    loader = torch.utils.data.DataLoader(_Clips(path), batch_size=None, num_workers=2, timeout=60)
    assert [list(pair) for pair in loader] == [[number, number] for number in range(8)]


@pytest.mark.parametrize("timeout", [None, 30])
def test_memory_does_not_grow(make, timeout):
    path = make("340x256.mp4")  # 8 MB for each clip of 32 frames
    process = psutil.Process()
    for _ in range(5):
        read_frames(path, range(32), timeout=timeout)
    before = process.memory_info().rss
    for _ in range(30):
        read_frames(path, range(32), timeout=timeout)
    assert process.memory_info().rss - before < 60e6
