"""Optical flow: computed from a video, read in every layout, and what is wrong with a folder told by name."""

import numpy as np
import pytest
import torch
from PIL import Image
from videofiles import write_video

from actlib.datasets.clips.transforms import mirror
from actlib.datasets.errors import DataError, VideoError
from actlib.datasets.video import flow_folders as flow
from actlib.datasets.video.pyav_reader import VideoInfo

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
    assert flow.probe_flow(folder) == VideoInfo(num_frames=7, fps=0.0, width=24, height=16)
    found = flow.read_flow(folder, [4, 0, 4])
    assert found.shape == (3, 16, 24, 10) and found.dtype == np.uint8 and found.flags.c_contiguous
    # action-recognition-pytorch: x and y of five pairs from the index on, the last one repeated past the end.
    pairs = [[4, 5, 6, 6, 6], [0, 1, 2, 3, 4], [4, 5, 6, 6, 6]]
    expected = [[10 * pair + extra for pair in row for extra in (0, 5)] for row in pairs]
    assert (np.abs(found.astype(int) - np.array(expected)[:, None, None]) <= 1).all()
    assert (flow.read_flow(folder, [7]) == flow.read_flow(folder, [6])).all()  # a video has one frame more
    assert flow.read_flow(folder, [2], stack=1).shape == (1, 16, 24, 2)


def test_what_is_wrong_is_told_by_name(tmp_path):
    form, folder = "{n:05d}_{axis}.jpg", tmp_path / "clip"
    with pytest.raises(VideoError, match="clip: cannot be opened: No such file"):
        flow.read_flow(folder, [0])
    write_pairs(folder, form)
    for index in (-1, 8):
        with pytest.raises(VideoError, match=f"flow {index} does not exist: the folder has 7 pairs"):
            flow.read_flow(folder, [0, index])
    with pytest.raises(ValueError, match="non-empty list of whole numbers"):
        flow.read_flow(folder, [])
    with pytest.raises(ValueError, match="stack is 0"):
        flow.read_flow(folder, [0], stack=0)
    (folder / "00003_y.jpg").write_bytes(b"no picture")
    with pytest.raises(VideoError, match="00003_y.jpg: cannot be read"):
        flow.read_flow(folder, [0])
    Image.fromarray(np.zeros((8, 24), np.uint8)).save(folder / "00003_y.jpg")
    with pytest.raises(VideoError, match="00003_y.jpg: differs in size from its x"):
        flow.read_flow(folder, [0])
    Image.fromarray(np.zeros((8, 24), np.uint8)).save(folder / "00003_x.jpg")
    with pytest.raises(VideoError, match="00003_x.jpg: has 24×8 pixels, others 24×16"):
        flow.read_flow(folder, [0])
    (folder / "n_frames").write_text("12\n")
    with pytest.raises(VideoError, match="n_frames says '12', it holds 7 pairs"):
        flow.probe_flow(folder)
    (folder / "00003_x.jpg").unlink()
    with pytest.raises(VideoError, match="00003_x.jpg is missing"):
        flow.probe_flow(folder)
    write_pairs(tmp_path / "two", "flow_{axis}_{n:05d}.jpg")
    (folder / "00003_y.jpg").rename(tmp_path / "two" / "00001_x.jpg")
    with pytest.raises(VideoError, match=r"pairs of several kinds: flow_.axis._.number..jpg, .number._.axis..jpg"):
        flow.probe_flow(tmp_path / "two")
    (tmp_path / "none").mkdir()
    with pytest.raises(VideoError, match="holds no pairs of optical flow such as"):
        flow.probe_flow(tmp_path / "none")


def image_to_flow(image: np.ndarray) -> np.ndarray:
    """`flow_to_image` turned back, to one and a half levels."""
    return (image.astype(np.float32) - 128) * (2 * flow.BOUND / 255)


def test_pixels_and_motion():
    motion = np.array([-30, -20, -10, 0, 0.05, 10, 20, 30])
    image = flow.flow_to_image(motion)
    assert image.tolist() == [0, 0, 64, 128, 128, 191, 255, 255]  # temporal-segment-networks' rounding
    assert np.abs(image_to_flow(image) - motion.clip(-20, 20)).max() < 1.6 * 40 / 255


def test_a_clip_to_look_at():
    clip = torch.full((2, 10, 4, 6), 128, dtype=torch.uint8)
    clip[1, 0], clip[1, 1], clip[1, 2] = 148, 60, 250  # x, y of the first pair, x of the second
    shown = flow.pictures(clip)
    assert shown.shape == (2, 10, 6, 3) and shown.dtype == np.uint8
    assert (shown[0, :4] == 128).all() and (shown[:, 4:6] == 255).all() and (shown[0, 6:] == 128).all()
    assert (shown[1, :4] == 188).all() and (shown[1, 6:] == 0).all()
    colours = torch.randint(0, 256, (2, 3, 4, 6), dtype=torch.uint8)
    assert (flow.pictures(colours) == colours.permute(0, 2, 3, 1).numpy()).all()


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
    monkeypatch.setattr(flow, "_CHUNK_BYTES", 1)  # a few frames at a time
    count = flow.write_flow(video, tmp_path / "flow" / "a.b", jpeg_quality=95, template="image_00001.jpg")
    names = sorted(path.name for path in (tmp_path / "flow" / "a.b").iterdir())
    assert count == 5 and names[:2] == ["image_00001_x.jpg", "image_00001_y.jpg"] and names[-1] == "n_frames"
    assert [path.name for path in (tmp_path / "flow").iterdir()] == ["a.b"]
    assert flow.probe_flow(tmp_path / "flow" / "a.b") == VideoInfo(num_frames=5, fps=0.0, width=96, height=96)
    motion = image_to_flow(flow.read_flow(tmp_path / "flow" / "a.b", range(5), stack=1))
    inside = motion[:, 12:-12, 12:-12]
    assert np.abs(np.median(inside, axis=(1, 2)) - (4, -2)).max() < 0.25  # pixels a frame, right and up

    flow.write_flow(video, tmp_path / "small", short_side=48)
    half = image_to_flow(flow.read_flow(tmp_path / "small", [0], stack=1))[0]
    assert half.shape == (48, 48, 2) and np.abs(np.median(half, axis=(0, 1)) - (2, -1)).max() < 0.25
    assert sorted(path.name for path in (tmp_path / "small").iterdir())[0] == "00001_x.jpg"

    mirrored = write_moving(tmp_path / "mirrored.mp4", dx=-4, dy=-2)
    flow.write_flow(mirrored, tmp_path / "mirrored", jpeg_quality=95)
    other = torch.from_numpy(flow.read_flow(tmp_path / "mirrored", [0])).permute(0, 3, 1, 2)
    turned = mirror(torch.from_numpy(flow.read_flow(tmp_path / "flow" / "a.b", [0])).permute(0, 3, 1, 2))
    medians = [each.flatten(2).float().median(dim=2).values for each in (other, turned)]
    assert (medians[0] - medians[1]).abs().max() <= 3  # of 255 levels: a mirrored clip's motion is mirrored


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    cv2 = pytest.importorskip("cv2", exc_type=ImportError)
    threads = cv2.getNumThreads()
    target = tmp_path / "out" / "clip"
    (tmp_path / "out" / ".clip.partial").mkdir(parents=True)
    (tmp_path / "out" / ".clip.partial" / "00099_x.jpg").write_bytes(b"left by a killed process")
    with pytest.raises(VideoError, match="single frame"):
        flow.write_flow(write_video(tmp_path / "one.mp4", 1, 64, 48), target)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    with pytest.raises(VideoError, match="broken.mp4"):
        flow.write_flow(broken, target)
    video = write_video(tmp_path / "good.mp4", 3, 64, 48)
    with pytest.raises(ValueError, match="such as image_00001.jpg"):
        flow.write_flow(video, target, template="%05d.jpg")
    assert flow.write_flow(video, target) == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["clip"] and len(list(target.iterdir())) == 5
    with pytest.raises(FileExistsError, match="exists already"):
        flow.write_flow(video, target)
    assert cv2.getNumThreads() == threads


def test_without_opencv_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(DataError, match=r"pip install -e '.\[flow\]'"):
        flow.write_flow(tmp_path / "any.mp4", tmp_path / "flow")
