"""Optical flow: read in every layout, and what is wrong with a folder told by name."""

import numpy as np
import pytest
from PIL import Image

from actlib.datasets.errors import VideoError
from actlib.datasets.video import flow_folders
from actlib.datasets.video.info import VideoInfo

SIZE = (16, 24)  # H, W


def picture(axis: str, index: int) -> np.ndarray:
    """A plain grey that tells axis and number; JPEG keeps it."""
    return np.full(SIZE, 10 * index + (5 if axis == "y" else 0), dtype=np.uint8)


def write_pairs(folder, form: str, first: int = 1, count: int = 7):
    folder.mkdir(parents=True)
    for index in range(count):
        for axis in "xy":
            Image.fromarray(picture(axis, index)).save(folder / form.format(axis=axis, n=first + index), quality=100)
    return folder


@pytest.mark.parametrize(
    ("form", "first"),
    [
        ("{n:05d}_{axis}.jpg", 1),
        ("image_{n:05d}_{axis}.jpg", 1),
        ("flow_{axis}_{n:05d}.jpg", 0),
        ("{axis}_{n:04d}.jpg", 1),
        ("a{{b_{n:d}_{axis}.png", 5),
    ],
)
def test_every_layout_is_read(tmp_path, form, first):
    folder = write_pairs(tmp_path / "clip", form, first)
    for number in (1, 2):
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(
            folder / f"image_{number:05d}.jpg"
        )  # the frames themselves
    assert flow_folders.probe(folder) == VideoInfo(num_frames=7, fps=0.0, width=24, height=16)
    found = flow_folders.read_frames(folder, [4, 0, 4])
    assert found.shape == (3, 16, 24, 10) and found.dtype == np.uint8 and found.flags.c_contiguous
    # action-recognition-pytorch: x and y of five pairs from the index on, the last one repeated past the end.
    pairs = [[4, 5, 6, 6, 6], [0, 1, 2, 3, 4], [4, 5, 6, 6, 6]]
    expected = [[10 * pair + extra for pair in row for extra in (0, 5)] for row in pairs]
    assert (np.abs(found.astype(int) - np.array(expected)[:, None, None]) <= 1).all()
    last, beyond = (flow_folders.read_frames(folder, [index]) for index in (6, 7))  # a video has one frame more
    assert (last == beyond).all()
    assert flow_folders.read_frames(folder, [2], stack=1).shape == (1, 16, 24, 2)


def test_what_is_wrong_is_told_by_name(tmp_path):
    form, folder = "{n:05d}_{axis}.jpg", tmp_path / "clip"
    with pytest.raises(VideoError, match="clip: cannot be opened: No such file"):
        flow_folders.read_frames(folder, [0])
    write_pairs(folder, form)
    for index in (-1, 8):
        with pytest.raises(VideoError, match=f"flow {index} does not exist: the folder has 7 pairs"):
            flow_folders.read_frames(folder, [0, index])
    with pytest.raises(ValueError, match="non-empty list of whole numbers"):
        flow_folders.read_frames(folder, [])
    with pytest.raises(ValueError, match="stack is 0"):
        flow_folders.read_frames(folder, [0], stack=0)
    (folder / "00003_y.jpg").write_bytes(b"no picture")
    with pytest.raises(VideoError, match="00003_y.jpg: cannot be decoded: it is no JPEG or PNG; compute"):
        flow_folders.read_frames(folder, [0])
    Image.fromarray(np.zeros((8, 24), np.uint8)).save(folder / "00003_y.jpg")
    with pytest.raises(VideoError, match="00003_y.jpg: has 24×8 pixels, others of its video 24×16"):
        flow_folders.read_frames(folder, [0])
    Image.fromarray(np.zeros((8, 24), np.uint8)).save(folder / "00003_x.jpg")
    with pytest.raises(VideoError, match="00003_x.jpg: has 24×8 pixels, others of its video 24×16"):
        flow_folders.read_frames(folder, [0])
    (folder / "n_frames").write_text("12\n")
    with pytest.raises(VideoError, match="n_frames says 12, it holds 7 pairs"):
        flow_folders.probe(folder)
    (folder / "00003_x.jpg").unlink()
    with pytest.raises(VideoError, match="00003_x.jpg: is missing between other pairs of optical flow; compute"):
        flow_folders.probe(folder)
    write_pairs(tmp_path / "two", "flow_{axis}_{n:05d}.jpg")
    (folder / "00003_y.jpg").rename(tmp_path / "two" / "00001_x.jpg")
    with pytest.raises(VideoError, match="pairs of optical flow under several names: flow_x_….jpg, …_x.jpg"):
        flow_folders.probe(tmp_path / "two")
    (tmp_path / "none").mkdir()
    with pytest.raises(VideoError, match="holds no pairs of optical flow such as"):
        flow_folders.probe(tmp_path / "none")
