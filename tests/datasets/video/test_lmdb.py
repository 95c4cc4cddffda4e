"""Videos in an LMDB file: written whole, read by number, from forked processes too."""

import io
import multiprocessing
import pickle
import sys

import numpy as np
import pytest
from PIL import Image
from videofiles import frame_image, frame_number

lmdb = pytest.importorskip("lmdb")

from actlib.datasets.errors import DataError, VideoError  # noqa: E402
from actlib.datasets.video import lmdb_store, reader  # noqa: E402 -- after the check that the extra is there
from actlib.datasets.video.info import VideoInfo  # noqa: E402

INFO = VideoInfo(num_frames=5, fps=25.0, width=64, height=48)


def jpegs(first=0, count=5):
    files = [io.BytesIO() for _ in range(count)]
    for number, file in enumerate(files, first):
        Image.fromarray(frame_image(number, 64, 48)).save(file, "JPEG", quality=95)
    return [file.getvalue() for file in files]


@pytest.fixture
def file(tmp_path):
    with lmdb_store.Writer(tmp_path / "training.lmdb") as writer:
        writer.add("a/first video", INFO, jpegs())
        writer.add("b", INFO, jpegs(40))
    return tmp_path / "training.lmdb"


def test_written_and_read(file):
    path = f"{file}/a/first video"
    assert reader.probe(path) == INFO
    frames = reader.read_frames(path, [4, 0, 4])
    assert frames.shape == (3, 48, 64, 3) and [frame_number(frame) for frame in frames] == [4, 0, 4]
    expected = np.asarray(Image.open(io.BytesIO(jpegs()[4])))
    assert np.array_equal(frames[0], expected)
    assert [frame_number(frame) for frame in reader.read_frames(f"{file}/b", range(5))] == list(range(40, 45))
    assert lmdb_store.stored_bytes(path) == sum(map(len, jpegs()))


def test_a_video_is_replaced_whole(file):
    path = f"{file}/b"
    reader.read_frames(path, [0])  # opened here before it is written to
    with lmdb_store.Writer(file) as writer:
        assert writer.info("b") == INFO and writer.info("c") is None
        with pytest.raises(ValueError, match="b: 4 frames, but num_frames is 5"):
            writer.add("b", INFO, jpegs(80, 4))
        writer.add("b", INFO, jpegs(90))
        with pytest.raises(DataError, match="too long"):
            writer.add("x" * 600, INFO, jpegs())
    assert [frame_number(frame) for frame in reader.read_frames(path, range(5))] == list(range(90, 95))


def test_a_full_file_grows(tmp_path, monkeypatch):
    monkeypatch.setattr(lmdb_store, "_MAP_SIZE", 1 << 16)
    with lmdb_store.Writer(tmp_path / "v.lmdb") as writer:
        for number in range(12):
            writer.add(str(number), INFO, jpegs(number * 5))
    assert (tmp_path / "v.lmdb").stat().st_size > 1 << 17
    for number in range(12):
        frames = reader.read_frames(f"{tmp_path}/v.lmdb/{number}", range(5))
        assert [frame_number(frame) for frame in frames] == list(range(number * 5, number * 5 + 5))


def _first_number(path, answers):
    _, inherited = lmdb_store._opened[path[:-2]]
    try:
        number = frame_number(reader.read_frames(path, [2])[0])
    except Exception as error:
        number = repr(error)  # an answer, so that nobody waits for one
    answers.put((number, lmdb_store._opened.get(path[:-2], (None, inherited))[1] is not inherited))


def test_a_forked_process_opens_the_file_anew(file):
    path = f"{file}/b"
    before = reader.read_frames(path, range(5))
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    children = [context.Process(target=_first_number, args=(path, answers)) for _ in range(2)]
    for child in children:
        child.start()
    assert [answers.get() for _ in children] == [(42, True)] * 2
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert np.array_equal(reader.read_frames(path, range(5)), before)  # the parent's is open still


def test_what_is_wrong_is_named(file, tmp_path):
    with pytest.raises(VideoError, match="frame 5 does not exist: the video has 5 frames"):
        reader.read_frames(f"{file}/b", [5])
    with pytest.raises(VideoError, match="is not in its LMDB file") as caught:
        reader.probe(f"{file}/c")
    assert caught.value.path == f"{file}/c" and pickle.loads(pickle.dumps(caught.value)).path == f"{file}/c"
    with pytest.raises(VideoError, match="its file cannot be opened: No such file"):
        reader.probe(f"{tmp_path}/none.lmdb/b")
    (tmp_path / "text.lmdb").write_text("no LMDB file " * 1000)
    with pytest.raises(VideoError, match="damaged or not LMDB"):
        reader.probe(f"{tmp_path}/text.lmdb/b")
    broken = jpegs()[:4] + [jpegs()[4][:-300]]
    with lmdb_store.Writer(file) as writer:
        writer.add("broken", INFO, broken)
        writer.add("large", VideoInfo(5, 25.0, 80, 60), jpegs())
    assert len(reader.read_frames(f"{file}/broken", range(4))) == 4
    with pytest.raises(VideoError, match="cannot be decoded") as caught:
        reader.read_frames(f"{file}/broken", range(5))
    assert caught.value.path == f"{file}/broken/000004"
    with pytest.raises(VideoError, match="frame 0 has 64×48 pixels, its record says 80×60"):
        reader.read_frames(f"{file}/large", [0])


def test_without_the_extra(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(DataError, match=r"pip install -e '\.\[lmdb\]'"):
        reader.read_frames(f"{file}/b", [0])
