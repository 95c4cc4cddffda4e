"""Converting single videos to each storage, and how a folder of converted ones is laid out."""

from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from videofiles import frame_number, rotate, truncate, write_missing_frames, write_video

from actlib.datasets.errors import DataError, VideoError
from actlib.datasets.prepare.convert import JOURNAL, claim_root, jobs
from actlib.datasets.prepare.journal import Journal, fingerprint
from actlib.datasets.prepare.layout import Job, StorageOptions, file_name, stored_bytes
from actlib.datasets.prepare.write import convert_video
from actlib.datasets.table import COLUMNS
from actlib.datasets.video.info import VideoInfo
from actlib.datasets.video.reader import probe, read_frames


def convert(source, target, storage_name="short_gop", replace=False, num_frames=None, **options):
    info = probe(source)
    job = Job("v", str(source), str(target), num_frames or info.num_frames, info.fps, 0)
    options = StorageOptions(storage_name, target.parent, **({"short_side": 64} | options))
    request = {"job": asdict(job), "options": asdict(options), "pack": f"{target}.pack", "replace": replace}
    return convert_video(request)


def table_of(*paths, **columns):
    rows = pd.DataFrame({"video_id": [f"v{n}" for n in range(len(paths))], "path": list(map(str, paths))})
    known = {"label": "x", "subset": "training", "num_frames": 24, "fps": 30.0, "width": 160, "height": 128}
    return rows.assign(**(known | columns)).reindex(columns=COLUMNS)


def test_short_gop(tmp_path):
    """The same frames under the same numbers, smaller, with key frames where they belong, read by the fast way."""
    source = write_video(tmp_path / "v.mkv", 37, fps=25, gop=30)
    target = tmp_path / "out" / "v.mp4"
    done = convert(source, target, keyframe_distance=8, crf=10)
    assert stored_bytes(target) == target.stat().st_size
    disk = -(-target.stat().st_size // 4096) * 4096
    assert done == {"num_frames": 37, "width": 80, "height": 64, "disk": disk}
    assert probe(target) == VideoInfo(37, 25.0, 80, 64)
    frames = read_frames(target, range(37))
    assert [frame_number(frame) for frame in frames] == list(range(37))
    expected = read_frames(source, range(37))[:, ::2, ::2].astype(float)
    assert np.abs(frames - expected).mean() < 12  # of another sampling of the same pictures
    some = [30, 3, 17]
    assert np.array_equal(read_frames(target, some), frames[some])
    if find_spec("decord"):  # which numbers frames rightly in simple files only
        assert np.array_equal(read_frames(target, some, backend="decord"), frames[some])
    with av.open(str(target)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        assert container.streams.video[0].codec_context.name == "h264"
    assert [n for n, packet in enumerate(packets) if packet.is_keyframe] == list(range(0, 37, 8))
    assert [packet.pts for packet in packets] == sorted(packet.pts for packet in packets)  # no B-frames
    data = target.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert [each.name for each in target.parent.iterdir()] == ["v.mp4"]


def test_quality_and_size_follow_the_options(tmp_path):
    source = write_video(tmp_path / "v.mp4", 24, options={"crf": "5"})
    sizes = []
    for n, options in enumerate(({"crf": 10}, {"crf": 30}, {"crf": 10, "keyframe_distance": 2})):
        convert(source, tmp_path / f"{n}" / "v.mp4", **options)
        sizes.append(stored_bytes(tmp_path / f"{n}" / "v.mp4"))
    assert sizes[1] < sizes[0] < sizes[2]


@pytest.mark.parametrize(
    ("size", "turned", "short_side", "stored"),
    [
        ((160, 128), 0, 0, (160, 128)),
        ((160, 128), 0, 200, (160, 128)),  # not enlarged
        ((161, 97), 0, 0, (160, 96)),  # H.264 stores even sizes
        ((170, 128), 0, 50, (66, 50)),
        ((160, 128), 90, 64, (64, 80)),  # upright
    ],
)
def test_sizes(tmp_path, size, turned, short_side, stored):
    options = {"codec": "mpeg4"} if size[0] % 2 else {}
    source = write_video(tmp_path / "v.mp4", 5, *size, bframes=0, **options)
    if turned:
        rotate(source, turned)
    done = convert(source, tmp_path / "out" / "v.mp4", short_side=short_side)
    assert (done["width"], done["height"]) == stored
    frames = read_frames(tmp_path / "out" / "v.mp4", range(5))
    if not turned:
        assert [frame_number(frame) for frame in frames] == list(range(5))
    source_info = probe(source)
    options = StorageOptions("short_gop", tmp_path, short_side=short_side)
    assert options.size(source_info.width, source_info.height) == stored[::-1]


def test_pixels_of_an_odd_video_stay_in_place(tmp_path):
    source = write_video(tmp_path / "v.mp4", 3, 161, 97, codec="mpeg4", bframes=0)
    convert(source, tmp_path / "out" / "v.mp4", short_side=0, crf=1)
    expected = read_frames(source, range(3))[:, :96, :160].astype(float)
    assert np.abs(read_frames(tmp_path / "out" / "v.mp4", range(3)) - expected).mean() < 3


def test_a_video_reduced_by_a_pixel_is_resized_not_cut(tmp_path):
    source = write_video(tmp_path / "v.mp4", 2)
    convert(source, tmp_path / "out" / "v", "frames", short_side=127, jpeg_quality=100)
    frames = read_frames(source, range(2))
    small = [Image.fromarray(frame).resize((159, 127), Image.Resampling.BILINEAR) for frame in frames]
    stored = read_frames(tmp_path / "out" / "v", range(2)).astype(int)
    assert np.abs(stored - np.stack(small)).mean() < np.abs(stored - frames[:, :127, :159]).mean() / 2


@pytest.mark.parametrize(("names", "first"), [("image_00001.jpg", "image_00001.jpg"), ("00001.jpg", "00001.jpg")])
def test_frames(tmp_path, names, first):
    source = write_video(tmp_path / "v.mp4", 21)
    target = tmp_path / "out" / "v"
    convert(source, target, "frames", frame_names=names, jpeg_quality=95)
    assert (target / first).is_file() and (target / "n_frames").read_text().strip() == "21"
    assert len(list(target.iterdir())) == 22
    assert stored_bytes(target) == sum(each.stat().st_size for each in target.iterdir())
    assert [frame_number(frame) for frame in read_frames(target, range(21))] == list(range(21))
    assert probe(target) == VideoInfo(21, 0.0, 80, 64)


def test_frames_back_to_video(tmp_path):
    """A folder of frames is a source too; how fast it is to be shown nobody knows."""
    convert(write_video(tmp_path / "v.mp4", 9), tmp_path / "frames" / "v", "frames")
    done = convert(tmp_path / "frames" / "v", tmp_path / "out" / "v.mp4")
    assert (done["num_frames"], done["width"], done["height"]) == (9, 80, 64)
    assert frame_number(read_frames(tmp_path / "out" / "v.mp4", [8])[0]) == 8


def test_flow(tmp_path):
    pytest.importorskip("cv2")
    done = convert(write_video(tmp_path / "v.mp4", 5), tmp_path / "out" / "v", "flow", short_side=32)
    assert (done["num_frames"], done["width"], done["height"]) == (4, 40, 32)
    assert read_frames(tmp_path / "out" / "v", [0], modality="flow").shape == (1, 32, 40, 10)


def test_what_is_there_is_kept_or_replaced(tmp_path):
    source, target = write_video(tmp_path / "v.mp4", 20), tmp_path / "out" / "v.mp4"
    convert(source, target)
    written = target.stat().st_mtime_ns
    convert(source, target)
    assert target.stat().st_mtime_ns == written
    convert(source, target, replace=True)
    assert target.stat().st_mtime_ns > written
    write_video(source, 24)
    assert convert(source, target)["num_frames"] == 24  # of another length: not the same video


@pytest.mark.parametrize("storage_name", ["short_gop", "frames"])
def test_a_failed_conversion_leaves_nothing(tmp_path, storage_name):
    lying = write_missing_frames(tmp_path / "lying.avi", num_frames=20, num_missing=40)
    with pytest.raises(VideoError, match="of 60 cannot be decoded"):
        convert(lying, tmp_path / "out" / "v.mp4", storage_name, num_frames=60)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_truncated_source(tmp_path):
    whole = write_video(tmp_path / "v.mkv", 60)
    cut = truncate(whole, tmp_path / "cut.mkv", 0.5)
    with pytest.raises(VideoError, match="frame 59 does not exist|cannot be decoded"):
        convert(cut, tmp_path / "out" / "v.mp4", num_frames=60)


def test_jobs(tmp_path):
    table = table_of("/d/a.mp4", "/d/a.mp4", "/d/b.mp4", start=[0, 5, None], end=[5, 9, None], label=["x", "x", "y/z"])
    made, numbers = jobs(table, StorageOptions("short_gop", tmp_path, short_side=64))
    assert numbers == [0, 0, 1]  # two segments of a file: converted once
    assert [job.target for job in made] == [f"{tmp_path}/x/v0.mp4", f"{tmp_path}/{file_name('y/z')}/v2.mp4"]
    assert made[0].pixels == 24 * 80 * 64
    table["subset"] = ["training", "validation", "validation"]
    made, numbers = jobs(table, StorageOptions("lmdb", tmp_path))
    assert [job.target for job in made] == [f"{tmp_path}/{name}" for name in (
        "training.lmdb/v0", "validation.lmdb/v1", "validation.lmdb/v2")]  # fmt: skip
    with pytest.raises(DataError, match=r"1 videos have no width, /d/b.mp4 first"):
        jobs(table.assign(width=[160, 160, None]), StorageOptions("frames", tmp_path))


def test_file_names_stay_in_the_folder_and_apart():
    assert file_name("Écrire à la main (1)") == "Écrire à la main (1)"
    odd = ["a/b", "a_b", "../../etc", ".hidden", "x" * 300, "x" * 301, "a:b", " a", ""]
    names = [file_name(each) for each in odd]
    assert len(set(names)) == len(odd)
    for name in names:
        assert "/" not in name and not name.startswith(".") and 0 < len(name.encode()) <= 255


def test_a_folder_is_claimed_once(tmp_path):
    options = StorageOptions("short_gop", tmp_path / "s", crf=18)
    claim_root(options)
    claim_root(StorageOptions("short_gop", tmp_path / "s", jpeg_quality=50))  # of no concern to it
    with pytest.raises(DataError, match="crf 18, not 23. Choose another storage_root"):
        claim_root(StorageOptions("short_gop", tmp_path / "s", crf=23))
    with pytest.raises(DataError, match="storage short_gop, not frames"):
        claim_root(StorageOptions("frames", tmp_path / "s"))
    originals = write_video(tmp_path / "videos.mp4", 2).parent
    with pytest.raises(DataError, match="holds other files"):
        claim_root(StorageOptions("short_gop", originals))


def test_the_journal_survives_a_cut_line(tmp_path):
    journal = Journal(tmp_path / JOURNAL, "target")
    for number in range(2):
        journal.add({"target": f"{number}.mp4", "num_frames": number})
    path = Path(tmp_path, "converted.jsonl")
    path.write_text(path.read_text()[:-9])
    again = Journal(tmp_path / JOURNAL, "target")
    assert list(again.entries) == ["0.mp4"]
    again.add({"target": "2.mp4"})
    assert list(Journal(tmp_path / JOURNAL, "target").entries) == ["0.mp4", "2.mp4"]
    assert fingerprint(str(path))[0] == path.stat().st_size and fingerprint("/none") == [0, 0]


def test_unusable_options(tmp_path):
    for wrong, message in (
        ({"storage": "zip"}, "storage 'zip': expected one of original, short_gop"),
        ({"short_side": -1}, "short_side is -1"),
        ({"crf": 52}, "crf is 52: expected 0 to 51"),
        ({"jpeg_quality": 0}, "jpeg_quality is 0"),
        ({"keyframe_distance": 0}, "keyframe_distance is 0"),
        ({"frame_names": "x.jpg"}, "frame_names 'x.jpg'"),
    ):
        with pytest.raises(ValueError, match=message):
            StorageOptions(**({"storage": "frames", "root": tmp_path} | wrong))
