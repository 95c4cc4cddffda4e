"""Videos that a person names: each is found, or said to be missing before any long work."""

import contextlib
import functools
import http.server
import shutil
import threading

import numpy as np
import pytest
from PIL import Image
from videofiles import frame_image, write_video

from actlib.datasets.errors import DataError
from actlib.datasets.named_videos import find_named, probe_named


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("named")
    (folder / "below" / "deep").mkdir(parents=True)
    write_video(folder / "a.mp4", 20, fps=10)
    write_video(folder / "below" / "b.avi", 12, codec="mpeg4")
    shutil.copy(folder / "a.mp4", folder / "below" / "deep" / "a.mp4")
    (folder / "below" / "notes.txt").write_text("no video")
    (folder / "frames").mkdir()
    for number in range(1, 6):
        Image.fromarray(frame_image(number)).save(folder / "frames" / f"image_{number:05d}.jpg")
    (folder / "empty").mkdir()
    return folder


@contextlib.contextmanager
def served(folder):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_files_folders_patterns_and_frames_are_found_once(videos, tmp_path):
    names = [videos / "a.mp4", videos / "below", f"{videos}/*.mp4", videos / "frames"]
    found = find_named(list(map(str, names)), tmp_path)
    assert [str(each.relative_to(videos)) for each in found] == ["a.mp4", "below/b.avi", "below/deep/a.mp4", "frames"]
    table, unreadable = probe_named(found)
    assert table["num_frames"].tolist() == [20, 12, 20, 5] and unreadable.empty
    assert table["fps"].tolist() == [10, 30, 10, 0] and table["video_id"].is_unique


def test_all_that_is_missing_is_said_at_once_and_nothing_is_asked_of_a_server(videos, tmp_path):
    names = ["gone.mp4", str(videos / "empty"), f"{videos}/*.webm", "http://127.0.0.1:9/a.mp4"]
    with pytest.raises(DataError) as error:
        find_named(names, tmp_path)
    for words in ("3 problems", "gone.mp4: no such file", "empty: no video below", "*.webm: nothing fits"):
        assert words in str(error.value)
    assert "127.0.0.1" not in str(error.value)


def test_an_address_is_fetched_once(videos, tmp_path, capsys):
    with served(videos) as address:
        (path,) = find_named([f"{address}/a.mp4?session=1"], tmp_path)
        assert path == tmp_path / "a.mp4" and path.read_bytes() == (videos / "a.mp4").read_bytes()
        with pytest.raises(DataError, match="not fetched.*404"):
            find_named([f"{address}/gone.mp4"], tmp_path)
        with pytest.raises(DataError, match="a page, a login perhaps"):
            find_named([f"{address}/below"], tmp_path)  # the list of a folder
        with pytest.raises(DataError, match="not of a file"):
            find_named([address], tmp_path)
    assert find_named([f"{address}/a.mp4"], tmp_path) == [path]  # without the server
    assert [each.name for each in tmp_path.iterdir()] == ["a.mp4"]
    with pytest.raises(DataError, match="not fetched.*refused"):
        find_named(["http://127.0.0.1:9/b.mp4"], tmp_path)


def test_what_cannot_be_read_is_named_and_the_others_go_on(videos, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(bytes(1000))
    table, unreadable = probe_named([videos / "a.mp4", tmp_path / "broken.mp4"])
    assert table["video_id"].tolist() == ["a"] and unreadable["video_id"].tolist() == ["broken"]
    assert np.all(unreadable["reason"] != "")
    with pytest.raises(DataError, match="broken.mp4: "):
        probe_named([tmp_path / "broken.mp4"])
