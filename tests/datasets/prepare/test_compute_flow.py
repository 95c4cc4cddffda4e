"""Optical flow computed from a video: the motion that is there, in folders that are whole or not there."""

import numpy as np
import pytest
import torch
from videofiles import write_video

from actlib.datasets.clips.transforms import mirror
from actlib.datasets.errors import DataError, VideoError
from actlib.datasets.prepare import compute_flow, decode
from actlib.datasets.prepare.layout import Job, StorageOptions
from actlib.datasets.video import flow_folders
from actlib.datasets.video.info import VideoInfo


def write_flow(path, folder, num_frames=6, short_side=0, jpeg_quality=90, frame_names="00001.jpg"):
    how = {"jpeg_quality": jpeg_quality, "frame_names": frame_names}
    options = StorageOptions("flow", folder.parent, short_side, **how)
    compute_flow.write_flow(Job("v", str(path), str(folder), num_frames, 0.0, 0), options)


def image_to_flow(image: np.ndarray) -> np.ndarray:
    """`flow_to_image` turned back, to one and a half levels."""
    return (image.astype(np.float32) - 128) * (2 * compute_flow.BOUND / 255)


def test_pixels_and_motion():
    motion = np.array([-30, -20, -10, 0, 0.05, 10, 20, 30])
    image = compute_flow.flow_to_image(motion)
    assert image.tolist() == [0, 0, 64, 128, 128, 191, 255, 255]  # temporal-segment-networks' rounding
    assert np.abs(image_to_flow(image) - motion.clip(-20, 20)).max() < 1.6 * 40 / 255


def write_moving(path, dx: int, dy: int, num_frames: int = 6, size: int = 96):
    """A smooth random texture that moves by (dx, dy) pixels a frame, right and down, round the edges."""
    import av

    noise = torch.from_numpy(np.random.default_rng(0).random((1, 1, 24, 24)))
    texture = torch.nn.functional.interpolate(noise, size=(size, size), mode="bicubic")[0, 0].clamp(0, 1)
    texture = (texture * 255).to(torch.uint8).numpy()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "10", "preset": "veryfast"})
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for number in range(num_frames):
            image = np.roll(texture, (number * dy, number * dx), axis=(0, 1))
            frame = av.VideoFrame.from_ndarray(np.repeat(image[..., None], 3, axis=-1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_computed_flow_is_the_motion(tmp_path, monkeypatch):
    pytest.importorskip("cv2", exc_type=ImportError)
    video = write_moving(tmp_path / "moving.mp4", dx=4, dy=-2)
    monkeypatch.setattr(decode, "_CHUNK_BYTES", 1)  # a few frames at a time
    write_flow(video, tmp_path / "flow" / "a.b", jpeg_quality=95, frame_names="image_00001.jpg")
    names = sorted(path.name for path in (tmp_path / "flow" / "a.b").iterdir())
    assert names[:2] == ["image_00001_x.jpg", "image_00001_y.jpg"] and names[-1] == "n_frames"
    assert [path.name for path in (tmp_path / "flow").iterdir()] == ["a.b"] and len(names) == 11
    assert flow_folders.probe(tmp_path / "flow" / "a.b") == VideoInfo(num_frames=5, fps=0.0, width=96, height=96)
    motion = image_to_flow(flow_folders.read_frames(tmp_path / "flow" / "a.b", range(5), stack=1))
    inside = motion[:, 12:-12, 12:-12]
    assert np.abs(np.median(inside, axis=(1, 2)) - (4, -2)).max() < 0.25  # pixels a frame, right and up

    write_flow(video, tmp_path / "small", short_side=48)
    half = image_to_flow(flow_folders.read_frames(tmp_path / "small", [0], stack=1))[0]
    assert half.shape == (48, 48, 2) and np.abs(np.median(half, axis=(0, 1)) - (2, -1)).max() < 0.25
    assert sorted(path.name for path in (tmp_path / "small").iterdir())[0] == "00001_x.jpg"

    mirrored = write_moving(tmp_path / "mirrored.mp4", dx=-4, dy=-2)
    write_flow(mirrored, tmp_path / "mirrored", jpeg_quality=95)
    other = torch.from_numpy(flow_folders.read_frames(tmp_path / "mirrored", [0])).permute(0, 3, 1, 2)
    turned = mirror(torch.from_numpy(flow_folders.read_frames(tmp_path / "flow" / "a.b", [0])).permute(0, 3, 1, 2))
    medians = [each.flatten(2).float().median(dim=2).values for each in (other, turned)]
    assert (medians[0] - medians[1]).abs().max() <= 3  # of 255 levels: a mirrored clip's motion is mirrored


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    cv2 = pytest.importorskip("cv2", exc_type=ImportError)
    threads = cv2.getNumThreads()
    target = tmp_path / "out" / "clip"
    (tmp_path / "out" / ".clip.partial").mkdir(parents=True)
    (tmp_path / "out" / ".clip.partial" / "00099_x.jpg").write_bytes(b"left by a killed process")
    with pytest.raises(VideoError, match="single frame"):
        write_flow(write_video(tmp_path / "one.mp4", 1, 64, 48), target, 1)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    with pytest.raises(VideoError, match="broken.mp4"):
        write_flow(broken, target)
    video = write_video(tmp_path / "good.mp4", 3, 64, 48)
    with pytest.raises(ValueError, match="frame_names '%05d.jpg': expected one of image_00001.jpg, 00001.jpg"):
        write_flow(video, target, 3, frame_names="%05d.jpg")
    write_flow(video, target, 3)
    assert (target / "n_frames").read_text() == "2\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["clip"] and len(list(target.iterdir())) == 5
    with pytest.raises(FileExistsError, match="exists already"):
        write_flow(video, target, 3)
    assert cv2.getNumThreads() == threads


def test_without_opencv_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(DataError, match=r"pip install -e '.\[flow\]'"):
        write_flow(tmp_path / "any.mp4", tmp_path / "flow")
