"""One way to read frames, whatever a table's path names."""

import contextlib
import os
import pickle

import numpy as np
import pytest
from PIL import Image
from videofiles import frame_image, frame_number, write_missing_frames, write_video

from actlib.datasets.errors import DataError, VideoError
from actlib.datasets.video import lmdb_store, pyav_reader, reader


def write_pairs(folder, count=6):
    folder.mkdir()
    for number in range(1, count + 1):
        for axis, value in zip("xy", (100 + number, 200 + number)):
            Image.fromarray(np.full((48, 64), value, np.uint8)).save(folder / f"{number:05d}_{axis}.jpg")
    return folder


def test_each_kind_of_path(tmp_path):
    file = write_video(tmp_path / "v.mp4", 12, 64, 48)
    folder = tmp_path / "v.lmdb.d" / "v"  # no LMDB file, though its name says nearly so
    folder.mkdir(parents=True)
    for number in range(12):
        Image.fromarray(frame_image(number, 64, 48)).save(folder / f"{number + 1:05d}.jpg", quality=95)
    for path in (file, folder, str(file), os.path.relpath(folder)):
        info = reader.probe(path)
        assert (info.num_frames, info.width, info.height) == (12, 64, 48)
        frames = reader.read_frames(path, [7, 2, 7])
        assert frames.shape == (3, 48, 64, 3) and frames.dtype == np.uint8
        assert [frame_number(frame) for frame in frames] == [7, 2, 7]
    assert np.array_equal(reader.read_frames(file, [3, 4]), pyav_reader.read_frames(file, [3, 4]))
    assert np.array_equal(reader.read_frames(file, [3, 4], timeout=30), pyav_reader.read_frames(file, [3, 4]))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_disk_that_does_not_answer_costs_one_clip(tmp_path):
    """A pipe that nobody writes to stands for a picture on such a disk: opening it waits for ever."""
    for number in (1, 3):
        Image.fromarray(frame_image(number, 64, 48)).save(tmp_path / f"{number:05d}.jpg")
    os.mkfifo(tmp_path / "00002.jpg")
    with pytest.raises(VideoError, match="no answer within 0.5 s"):
        reader.read_frames(tmp_path, [0, 1], timeout=0.5)
    os.close(os.open(tmp_path / "00002.jpg", os.O_WRONLY))  # lets the waiting thread go


@pytest.mark.parametrize("timeout", [None, 30])
def test_a_video_of_any_length_comes_in_pieces(tmp_path, monkeypatch, timeout):
    """The frames of `read_frames`, of each kind of path, in pieces that are bounded whatever is asked for."""
    pictures = [frame_image(number, 64, 48) for number in range(40)]
    kinds = {"v.mp4": {}, "frames": {}, "flow": {"modality": "flow"}}
    write_video(tmp_path / "v.mp4", 40, 64, 48)
    (tmp_path / "frames").mkdir()
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / "frames" / f"{number:05d}.png")
    write_pairs(tmp_path / "flow", 40)
    if "decord" in reader.installed_backends():
        kinds |= {"./v.mp4": {"backend": "decord"}}
    with contextlib.suppress(DataError), lmdb_store.Writer(tmp_path / "v.lmdb") as writer:
        jpegs = [(tmp_path / "frames" / f"{number:05d}.png").read_bytes() for number in range(40)]
        writer.add("v", reader.VideoInfo(40, 0.0, 64, 48), jpegs)
        kinds |= {"v.lmdb/v": {}}
    for name, how in kinds.items():
        for numbers in (range(40), range(1, 40, 3), [5]):
            whole = reader.read_frames(tmp_path / name, numbers, **how)
            for bound in (1, 3 * whole[0].nbytes, 1 << 30):
                monkeypatch.setattr(reader, "PIECE_BYTES", bound)
                pieces = list(reader.iter_frames(f"{tmp_path}/{name}", numbers, timeout=timeout, **how))
                assert np.array_equal(np.concatenate(pieces), whole), name
                assert max(map(len, pieces)) == min(max(1, bound // whole[0].nbytes), len(whole)), name
    for wrong in ([3, 2], [2, 2], []):
        with pytest.raises(ValueError, match="indices must"):
            list(reader.iter_frames(tmp_path / "v.mp4", wrong))


def test_what_breaks_off_in_the_middle_gives_its_beginning_first(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "PIECE_BYTES", 1)
    path, seen = write_missing_frames(tmp_path / "missing.avi", num_frames=20, num_missing=40), []
    with pytest.raises(VideoError, match="frame 30 of 60 cannot be decoded"):
        for [frame] in reader.iter_frames(path, [0, 18, 30], timeout=30):
            seen.append(frame_number(frame))
    assert seen == [0, 18]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_disk_that_stops_answering_in_the_middle(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "PIECE_BYTES", 1)
    for number in (1, 3):
        Image.fromarray(frame_image(number, 64, 48)).save(tmp_path / f"{number:05d}.jpg")
    os.mkfifo(tmp_path / "00002.jpg")
    seen = []
    with pytest.raises(VideoError, match="no answer within 0.5 s"):
        for [frame] in reader.iter_frames(tmp_path, range(3), timeout=0.5):
            seen.append(frame_number(frame))
    assert seen == [1]
    os.close(os.open(tmp_path / "00002.jpg", os.O_WRONLY))  # lets the waiting thread go


def test_flow(tmp_path):
    folder = write_pairs(tmp_path / "v")
    info = reader.probe(folder, "flow")
    assert (info.num_frames, info.width, info.height) == (6, 64, 48)
    clip = reader.read_frames(folder, [0, 4], modality="flow")
    assert clip.shape == (2, 48, 64, 10) and clip.dtype == np.uint8
    assert clip[0, 0, 0].tolist() == [101, 201, 102, 202, 103, 203, 104, 204, 105, 205]
    assert clip[1, 0, 0].tolist() == [105, 205, *[106, 206] * 4]  # the last pair is repeated
    with pytest.raises(VideoError, match="holds no frames"):  # pairs are no frames
        reader.probe(folder)
    file = write_video(tmp_path / "v.mp4", 4, 64, 48)
    with pytest.raises(VideoError, match="is no folder of flow pairs"):
        reader.read_frames(file, [0], modality="flow")


def test_lmdb_paths():
    assert lmdb_store.split_lmdb("/data/training.lmdb/a/b c") == ("/data/training.lmdb", "a/b c")
    for path in ("/data/training.lmdb", "/data/training.lmdb/", "/data/a.lmdbs/b", "v.mp4"):
        assert not lmdb_store.split_lmdb(path), path


def test_errors(tmp_path):
    with pytest.raises(VideoError, match="No such file") as caught:
        reader.read_frames(tmp_path / "none", [0])
    again = pickle.loads(pickle.dumps(caught.value))  # as a loader's workers hand it on
    assert (again.path, again.reason) == (str(tmp_path / "none"), caught.value.reason)
    for read in (lambda: reader.probe("v.mp4", "sound"), lambda: reader.read_frames("v.mp4", [0], modality="sound")):
        with pytest.raises(ValueError, match="modality 'sound': expected one of rgb, flow"):
            read()
    for read in (lambda: reader.probe("v.mp4", backend="cv"), lambda: reader.read_frames("v.mp4", [0], backend="cv")):
        with pytest.raises(ValueError, match="video_backend 'cv': expected one of auto, pyav, decord"):
            read()


def test_the_backend_decodes_video_files_alone(tmp_path, monkeypatch):
    from actlib.datasets.video import decord_reader

    folder = tmp_path / "frames"
    folder.mkdir()
    Image.fromarray(frame_image(5, 64, 48)).save(folder / "00001.jpg", quality=95)
    flow, file = write_pairs(tmp_path / "flow"), write_video(tmp_path / "v.mp4", 6, 64, 48)
    asked = []
    monkeypatch.setattr(decord_reader, "check_installed", lambda: None)
    monkeypatch.setattr(decord_reader, "read_frames", lambda path, indices: asked.append(path))
    assert frame_number(reader.read_frames(folder, [0], backend="decord")[0]) == 5
    assert reader.read_frames(flow, [0], modality="flow", backend="decord").shape == (1, 48, 64, 10)
    reader.read_frames(file, [0], backend="decord")
    reader.read_frames(file, [0], backend="decord", timeout=30)
    assert asked == [str(file)] * 2


def test_without_decord_the_way_out_is_named(tmp_path, monkeypatch):
    from actlib.datasets.video import decord_reader

    monkeypatch.setattr(decord_reader, "decord", None)
    monkeypatch.setattr(decord_reader, "_why", "No module named 'decord'")
    file = write_video(tmp_path / "v.mp4", 4, 64, 48)
    for read in (reader.read_frames, lambda *args, **how: reader.probe(file, **how)):
        with pytest.raises(DataError, match="No module named 'decord'.* published for Linux.* Set video_backend: pyav"):
            read(file, [0], backend="decord")
    assert reader.installed_backends() == ["pyav"] and len(reader.read_frames(file, [0])) == 1
