"""Folders of pictures in the references' layouts: which frames they hold, their pixels, and what is wrong with them."""

import shutil

import numpy as np
import pytest
from PIL import Image
from videofiles import frame_image, frame_number

from actlib.datasets.errors import VideoError
from actlib.datasets.video import frame_folders
from actlib.datasets.video.info import VideoInfo


def write_folder(folder, form="image_{:05d}.jpg", count=6, first=1, n_frames=None, size=(64, 48)):
    folder.mkdir()
    for number in range(count):
        image = Image.fromarray(frame_image(number, *size))
        image.save(folder / form.format(first + number), **({"quality": 95} if form.endswith("jpg") else {}))
    if n_frames is not None:
        (folder / "n_frames").write_text(str(n_frames))
    return folder


@pytest.mark.parametrize(
    ("form", "first", "n_frames"),
    [
        ("image_{:05d}.jpg", 1, 6),  # 3D-ResNets-PyTorch, Efficient-3DCNNs
        ("image_{:05d}.jpg", 1, None),
        ("{:05d}.jpg", 1, None),  # Jester, Something-Something, action-recognition-pytorch
        ("img_{:05d}.jpg", 1, None),  # temporal-shift-module
        ("{:05d}.jpg", 0, 6),
        ("frame{:06d}.png", 0, None),
        ("ein Bild {:d}.JPG", 7, 6),  # 7 … 12: numbers of different widths
    ],
)
def test_layouts(tmp_path, form, first, n_frames):
    folder = write_folder(tmp_path / "v", form, first=first, n_frames=n_frames)
    (folder / "readme.txt").write_text("not a frame")
    (folder / "00001_x.jpg").write_bytes(b"a pair of flow")
    assert frame_folders.probe(folder) == VideoInfo(num_frames=6, fps=0.0, width=64, height=48)
    wanted = [3, 0, 3, 5]
    frames = frame_folders.read_frames(folder, wanted)
    assert frames.shape == (4, 48, 64, 3) and frames.dtype == np.uint8 and frames.flags.c_contiguous
    assert [frame_number(frame) for frame in frames] == wanted
    for frame, number in zip(frames, wanted):
        assert np.array_equal(frame, np.asarray(Image.open(folder / form.format(first + number)).convert("RGB")))


def test_grey_pictures_become_colour(tmp_path):
    folder = write_folder(tmp_path / "v", count=1)
    Image.fromarray(frame_image(0, 64, 48)).convert("L").save(folder / "image_00001.jpg")
    frame = frame_folders.read_frames(folder, [0])[0]
    assert frame.shape == (48, 64, 3) and np.array_equal(frame[..., 0], frame[..., 2])


def damage(folder, what):
    """Break a folder of six frames. Returns the file (or the folder) that is named, and a part of the reason."""
    third = folder / "image_00003.jpg"
    if what == "missing":
        third.unlink()
        return third, "is missing between other frames"
    if what == "missing beside n_frames":
        third.unlink()
        (folder / "n_frames").write_text("6")
        return third, "No such file"
    if what == "empty":
        third.write_bytes(b"")
        return third, r"is empty \(0 bytes\)"
    if what == "cut off":
        third.write_bytes(third.read_bytes()[:-200])
        return third, "cannot be decoded: image file is truncated"
    if what == "text":
        third.write_text("no picture")
        return third, "cannot be decoded: it is no JPEG or PNG"
    if what == "another size":
        Image.fromarray(frame_image(2, 80, 60)).save(third)
        return third, "has 80×60 pixels, others of its video 64×48"
    if what == "n_frames too large":
        (folder / "n_frames").write_text("7")
        return folder, "its n_frames says 7, it holds 6 frames"
    if what == "n_frames too small":
        (folder / "n_frames").write_text("5")
        return folder, "its n_frames says 5, it holds 6 frames"
    if what == "n_frames no number":
        (folder / "n_frames").write_text("six")
        return folder, "its n_frames says 'six'"
    if what == "two kinds":
        shutil.copy(third, folder / "00001.jpg")
        return folder, "several names: image_….jpg, ….jpg|several names: ….jpg, image_….jpg"
    shutil.rmtree(folder)
    if what == "no frames":
        folder.mkdir()
        return folder, "holds no frames such as"
    return folder, "No such file"


@pytest.mark.parametrize(
    "what",
    ["missing", "missing beside n_frames", "empty", "cut off", "text", "another size", "n_frames too large"]
    + ["n_frames too small", "n_frames no number", "two kinds", "no frames", "no folder"],
)
def test_what_is_wrong_is_named(tmp_path, what):
    path, reason = damage(write_folder(tmp_path / "v"), what)
    with pytest.raises(VideoError, match=reason) as caught:
        frame_folders.read_frames(tmp_path / "v", range(6))
    assert caught.value.path == str(path)


def test_frames_that_do_not_exist(tmp_path):
    folder = write_folder(tmp_path / "v")
    for index in (6, -1):
        with pytest.raises(VideoError, match=f"frame {index} does not exist: the video has 6 frames"):
            frame_folders.read_frames(folder, [2, index])
    for indices in ([], [0.5], 3):
        with pytest.raises(ValueError, match="non-empty list of whole numbers"):
            frame_folders.read_frames(folder, indices)


def test_a_changed_folder_is_looked_into_again(tmp_path):
    folder = write_folder(tmp_path / "v")
    assert frame_folders.probe(folder).num_frames == 6
    Image.fromarray(frame_image(6, 64, 48)).save(folder / "image_00007.jpg")
    assert frame_folders.probe(folder).num_frames == 7
