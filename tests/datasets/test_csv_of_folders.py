"""A CSV of one's own may name folders of frames, of optical flow, and videos in an LMDB file."""

import pytest
from PIL import Image
from videofiles import frame_image

from actlib.datasets.errors import DataError
from actlib.datasets.own_videos import from_csv
from actlib.datasets.prepare.probe import probe_table
from actlib.datasets.video.info import VideoInfo


def pictures(folder, names, mode="RGB"):
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        Image.fromarray(frame_image(number)).convert(mode).save(folder / name)
    return folder


def test_rows_may_be_folders_of_frames_and_videos_in_an_lmdb_file(tmp_path):
    lmdb_store = pytest.importorskip("actlib.datasets.video.lmdb_store")
    pytest.importorskip("lmdb")
    pictures(tmp_path / "clips" / "34870", [f"{number:05d}.jpg" for number in range(1, 7)])
    pictures(tmp_path / "clips" / "take.1", [f"image_{number:05d}.jpg" for number in range(1, 5)])
    jpeg = (tmp_path / "clips" / "take.1" / "image_00001.jpg").read_bytes()
    with lmdb_store.Writer(tmp_path / "store.lmdb") as store:
        store.add("v.2", VideoInfo(2, 25.0, 160, 128), [jpeg, jpeg])
    csv = tmp_path / "list.csv"
    csv.write_text(
        "path,label,subset,start,end\nclips/34870,Thumb Up,train,1,5\nclips/take.1/,Thumb Up,val,,\n"
        "store.lmdb/v.2,Stop Sign,val,,\n"
    )
    table = from_csv(csv)
    assert table["video_id"].tolist() == ["34870", "take.1", "v.2"]
    readable, unreadable = probe_table(table, workers=1)
    assert len(unreadable) == 0 and readable["num_frames"].tolist() == [6, 4, 2]
    assert readable["start"].tolist()[0] == 1


def test_folders_of_flow(tmp_path):
    names = [f"{number:05d}_{axis}.jpg" for number in range(1, 9) for axis in "xy"]
    pictures(tmp_path / "flow" / "a", names, "L")
    (tmp_path / "list.csv").write_text("path,label,subset\na,Thumb Up,train\n")
    table = from_csv(tmp_path / "list.csv", tmp_path / "flow")
    readable, _ = probe_table(table, workers=1, modality="flow")
    assert readable["num_frames"].tolist() == [8]


def test_folders_without_frames_are_named_with_their_lines(tmp_path):
    (tmp_path / "empty").mkdir()
    pictures(tmp_path / "class" / "a", ["00001.jpg"])
    csv = tmp_path / "list.csv"
    csv.write_text("path,label,subset\nempty,run,train\nclass,run,train\nnone.lmdb/a,run,train\nnone,run,train\n")
    with pytest.raises(DataError) as error:
        from_csv(csv)
    said = ("folder .*empty holds no frames", "folder .*class holds no frames", "no file", "no file")
    for line, words in enumerate(said, 2):
        assert error.match(f"line {line}: {words}"), words
