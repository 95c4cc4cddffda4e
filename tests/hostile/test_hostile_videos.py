"""Videos that are cut off, lie about their size, or are no videos, in every storage: one VideoError, or the frames."""

import io
import json
import os
import random
import signal
import struct
import sys
import traceback
import zlib
from functools import cache

import numpy as np
import pytest
from PIL import Image
from videofiles import frame_image, truncate, write_video

from actlib.datasets.errors import DataError, VideoError
from actlib.datasets.video import reader
from actlib.datasets.video.info import VideoInfo

COUNT = 6


def read(path, modality="rgb"):
    info = reader.probe(path, modality)
    return info, reader.read_frames(path, range(info.num_frames), modality=modality).tobytes()


def folder_of(path, form="image_{:05d}.jpg"):
    path.mkdir()
    for number in range(COUNT):
        Image.fromarray(frame_image(number, 64, 48)).save(path / form.format(number + 1))
    return path


@cache
def png(width, height, text=False):
    """A PNG whose head promises a size, with no such picture in it; or with a text that unpacks to 64 MB."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(64 << 20))) if text else b""
    return b"\x89PNG\r\n\x1a\n" + head + text + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def jpeg(width, height):
    """A JPEG whose head promises another size than it has."""
    file = io.BytesIO()
    Image.fromarray(frame_image(0, 64, 48)).save(file, "JPEG")
    data = bytearray(file.getvalue())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.seeds(24, 500)
def test_a_spoilt_folder_of_pictures(judge, tmp_path, seed):
    rng = random.Random(seed)
    folder = folder_of(tmp_path / "v", rng.choice(["image_{:05d}.jpg", "{:05d}.png"]))
    (folder / "n_frames").write_text(str(COUNT))
    unspoilt = read(folder)
    victim = rng.choice(sorted(path for path in folder.iterdir() if path.name != "n_frames"))
    data = victim.read_bytes()
    how = seed % 8
    if how == 0:
        counts = ["²", "१", "", "6.0", "-6", "0", "9" * 5000, "\0", "six", "1e1", "6 frames", "7", "5", "99999999999"]
        (folder / "n_frames").write_bytes(rng.choice(counts).encode() * rng.choice([1, 1, 1000]))
    elif how == 1:
        victim.write_bytes(data[: rng.randrange(len(data))])
    elif how == 2:
        wide, high = rng.choice([(60000, 60000), (10000, 9000), (65535, 2), (0, 48), (64, 0)])
        victim.write_bytes(png(wide, high) if rng.random() < 0.5 else jpeg(wide, high))
    elif how == 3:
        victim.write_bytes(rng.choice([b"", b"\0" * 100, b"GIF89a" + data, png(64, 48, True), rng.randbytes(900)]))
    elif how == 4:  # flips in the first bytes, which hold the head
        place = rng.randrange(2, 40)
        victim.write_bytes(data[:place] + bytes([data[place] ^ rng.randint(1, 255)]) + data[place + 1 :])
    elif how == 5:
        (folder / f"image_{rng.choice(['9' * 200, '99999999999', '²', '٣', '00001 (copy)'])}.jpg").write_bytes(data)
    elif how == 6:
        victim.unlink()
        rng.choice([victim.mkdir, lambda: victim.symlink_to("nowhere"), lambda: victim.symlink_to(victim.name)])()
    else:
        (folder / "n_frames").unlink()  # one from the middle: without it nobody knows of another first or last one
        victim = sorted(folder.iterdir())[rng.randrange(1, COUNT - 1)]
        victim.rename(victim.with_name(rng.choice(["frame.jpg", "x.txt", "{number}.jpg", "image_00009.jpg"])))

    def same(found):  # JPEG has no checksum: a flip may change its colours, which nobody can see
        return found == unspoilt or (how == 4 and found[0] == unspoilt[0])

    judge(lambda: read(folder), kind="folder of pictures", errors=VideoError, names=[str(folder)], same=same)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    made = [write_video(folder / f"h264.{suffix}", 12, 64, 48, gop=6) for suffix in ("mp4", "mkv", "avi")]
    made.append(write_video(folder / "front.mp4", 12, 64, 48, container_options={"movflags": "+faststart"}))
    made.append(write_video(folder / "mpeg4.avi", 12, 64, 48, codec="mpeg4", gop=6))
    made.append(write_video(folder / "mjpeg.avi", 4, 64, 48, codec="mjpeg", pix_fmt="yuvj420p", bframes=0))
    return made


@pytest.mark.seeds(24, 600)
def test_a_spoilt_video_file(judge, files, tmp_path, seed):
    rng = random.Random(seed)
    source = files[seed % len(files)]
    path = tmp_path / source.name
    data = source.read_bytes()
    how = seed // len(files) % 4
    if how == 0:
        truncate(source, path, rng.random())
    elif how == 1:  # sizes that no video has, wherever the head says one
        large = struct.pack(">HH", 60000, 60000)
        for old, new in ((struct.pack(">HH", 64, 48), large), (struct.pack(">HH", 48, 64), large)):
            data = data.replace(old, new)
        path.write_bytes(data.replace(struct.pack("<II", 64, 48), struct.pack("<II", 60000, 60000)))
    elif how == 2:
        path.write_bytes(rng.choice([b"", b"no video", rng.randbytes(5000), data[:8] + rng.randbytes(3000), data[:48]]))
    else:
        place = rng.randrange(len(data))
        path.write_bytes(data[:place] + rng.randbytes(rng.randint(1, 60)) + data[place:])

    def same(found):  # a decoder hides what is missing between two frames; how many there are must be right or refused
        return found[0].num_frames <= 12 and len(found[1]) == found[0].num_frames * 64 * 48 * 3

    judge(lambda: read(path), kind="video file", errors=VideoError, names=[path.name], same=same)


@pytest.mark.parametrize("modality", ["rgb", "flow"])
@pytest.mark.parametrize("name", ["a\0b.mp4", "caf\udce9.mp4", "\ud83d.mp4", "x" * 300, "x/" * 3000, "", "v.lmdb/a\0b"])
def test_a_path_that_names_nothing(judge, tmp_path, name, modality):
    for call in (reader.probe, lambda path, modality: reader.read_frames(path, [0], modality=modality, timeout=5)):
        path = os.path.join(tmp_path, name)
        message = judge(lambda: call(path, modality), kind="path", errors=VideoError, names=[str(tmp_path)[-20:]])  # noqa: B023
        message.encode()  # it can be printed


def lmdb_of(path):
    lmdb_store = pytest.importorskip("actlib.datasets.video.lmdb_store")
    jpegs = []
    for number in range(COUNT):
        file = io.BytesIO()
        Image.fromarray(frame_image(number, 64, 48)).save(file, "JPEG")
        jpegs.append(file.getvalue())
    with lmdb_store.Writer(path) as writer:
        for name in ("a", "b", "c"):
            writer.add(name, VideoInfo(COUNT, 25.0, 64, 48), jpegs)
    return path


def in_a_child(call) -> str:
    """What `call` gives, as text, from a process of its own: a fault of memory ends that one alone. Its VideoError or
    DataError is raised here."""
    sys.stdout.flush()
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = ["", call()]
        except (VideoError, DataError) as error:
            answer = [type(error).__name__, str(error)]
        except BaseException:
            answer = ["failed", traceback.format_exc()]
        os.write(into, json.dumps(answer).encode())
        os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as file:
        data = file.read()
    _, status = os.waitpid(child, 0)
    assert not os.WIFSIGNALED(status), f"ended by {signal.Signals(os.WTERMSIG(status)).name}"
    kind, said = json.loads(data)
    assert kind != "failed", said
    if kind:
        raise VideoError("child", said) if kind == "VideoError" else DataError(said)
    return said


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.seeds(24, 400)
def test_a_spoilt_lmdb_file(judge, tmp_path, seed):
    """Cut off anywhere, or with a damaged head: reading, writing and looking for videos refuse it."""
    pytest.importorskip("lmdb")
    from actlib.datasets.video import lmdb_store

    rng = random.Random(seed)
    path = lmdb_of(tmp_path / "v.lmdb")
    data = path.read_bytes()
    end = None
    if seed % 4:
        ends = [rng.randrange(len(data)), rng.randrange(len(data) // 4096) * 4096, 0, 100, 4096, 8192, len(data) - 1]
        end = rng.choice(ends)
        path.write_bytes(data[:end])
    else:
        place = rng.choice([16, 20, 40, 136, 144, 4096 + 16, 4096 + 40, 4096 + 136]) + rng.randrange(4)
        path.write_bytes(data[:place] + bytes([data[place] ^ rng.randint(1, 255)]) + data[place + 1 :])

    def all_videos():
        found = [np.frombuffer(read(f"{path}/{name}")[1], np.uint8).sum() for name in "abc"]
        return f"{lmdb_store.contained(path, 'abc')} {found}"

    def write():
        with lmdb_store.Writer(path) as writer:
            writer.add("d", VideoInfo(1, 25.0, 1, 1), [b"x"])
            return "written"

    def same(found):  # an empty file is one that the first write fills; the older of the two heads does not matter
        return found.startswith("['a', 'b', 'c']") or found == "written" and end in (None, 0)

    calls = {"all": all_videos, "contained": lambda: str(lmdb_store.contained(path, "abc")), "write": write}
    call = calls[rng.choice(list(calls))]
    judge(lambda: in_a_child(call), kind="LMDB", errors=(VideoError, DataError), names=["v.lmdb"], same=same)
