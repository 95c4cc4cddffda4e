"""Files with any name: blanks, quotes, commas, emoji, line breaks, bytes that are not UTF-8."""

import json
import os
import random
import shutil

import numpy as np
import pandas as pd
import pytest
from videofiles import write_video

from actlib.analysis.results.scores import Scores
from actlib.analysis.results.val_json import read_results, write_results
from actlib.datasets.errors import DataError, VideoError
from actlib.datasets.lists.annotations import find_videos, make_dataset_info, read_annotations
from actlib.datasets.lists.json_lists import write_exchange
from actlib.datasets.own_videos import from_csv, from_folders
from actlib.datasets.prepare.convert import convert
from actlib.datasets.prepare.layout import StorageOptions, file_name, target_path
from actlib.datasets.prepare.probe import probe_table
from actlib.datasets.table import read_table, write_table
from actlib.datasets.video import reader
from actlib.files import write_csv, write_json

LETTERS = [*" '\",;😀\n\r\té日%{}*|&$#=-~[(aZ0.", "  ", "\r\n", "e\u0301", "\u2028", "\x85", "\x0b", "\x7f", "\u202e"]
WORST = ["a b.c", 'say "hi", it\'s', "😀", "new\nline", "a,b", "-rf", "%05d", "CON", "x\r", "NA", "nan", "1e5", "{n}"]


def name_of(rng: random.Random, more: str = "") -> str:
    name = rng.choice(WORST) if rng.random() < 0.3 else "".join(rng.choices([*LETTERS, *more], k=rng.randint(1, 9)))
    return name if name.strip() and not name.strip().startswith(".") else f"n{name}"


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "v.mp4", 6, 64, 48, gop=3)


def place(video, *paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(video, path)


def as_csv(path, rows):
    write_csv(path, pd.DataFrame(rows, columns=["path", "label", "subset"]))
    return path


@pytest.mark.seeds(20, 500)
def test_names_come_back_from_every_table(judge, video, tmp_path, seed):
    """Folders, a CSV, and lists with the same videos: each table, written and read again, has each name as it is."""
    rng = random.Random(seed)
    names = list(dict.fromkeys(name_of(rng) for _ in range(5)))
    labels = [name_of(rng).strip() for _ in names]
    root = tmp_path / "videos"
    paths = [root / label / f"{name}.mp4" for name, label in zip(names, labels)]
    place(video, *paths)

    def tables():
        rows = [(str(path), label, "val") for path, label in zip(paths, labels)]
        from_list = from_csv(as_csv(tmp_path / "list.csv", rows))
        ids = pd.DataFrame({"video_id": names, "label": labels, "subset": "training"})
        listed = read_annotations("", write_exchange(ids, sorted(set(labels)), tmp_path / "lists.json"))
        found, missing = find_videos(listed, root)
        for table in (from_folders(root), from_list, found):
            for name in ("num_frames", "width", "height", "fps"):
                table[name] = 6
            again = read_table(write_table(table, tmp_path / "table.csv"))
            assert all(again[name].tolist() == table[name].tolist() for name in ("video_id", "path", "label"))
            yield dict(zip(again["path"], again["label"]))

    expected = {str(path): label for path, label in zip(paths, labels)}
    judge(lambda: list(tables()), kind="names", errors=(), same=lambda found: found == [expected] * 3)


@pytest.mark.seeds(20, 400)
def test_results_hold_any_name(judge, tmp_path, seed):
    rng = random.Random(seed)
    names = list(dict.fromkeys(name_of(rng, "\\:/") for _ in range(6)))
    classes = list(dict.fromkeys(name_of(rng) for _ in range(3)))
    values = np.full((len(names), len(classes)), 1 / len(classes), np.float32)
    paths = [f"/{name}.mp4" for name in names]
    scores = Scores("x", names, [classes[0]] * len(names), classes, values, "one clip", paths=paths)

    def read():
        write_results(tmp_path, scores)
        table = pd.read_csv(tmp_path / "predictions.csv", keep_default_na=False)
        return table["video_id"].tolist(), table["path"].tolist(), list(read_results(tmp_path / "val.json").videos)

    expected = (names, paths, names)
    judge(read, kind="names", errors=(), same=lambda found: found == expected)


@pytest.mark.seeds(1, 8)
@pytest.mark.parametrize("storage", ["short_gop", "frames", "lmdb"])
def test_names_are_converted_to_every_storage(video, tmp_path, storage, seed):
    if storage == "lmdb":
        pytest.importorskip("lmdb")
    rng = random.Random(seed)
    names = list(dict.fromkeys([*WORST, *(name_of(rng, "\\:") for _ in range(3)), "x" * 200]))
    place(video, *(tmp_path / "videos" / WORST[number % 5] / f"{name}.mp4" for number, name in enumerate(names)))
    table = from_folders(tmp_path / "videos")
    table.loc[0, "video_id"] = "a//b/../" + "y" * 600  # no key of LMDB, no file's name
    found, quarantine = probe_table(table, workers=1, journal=tmp_path / "probed.jsonl")
    assert len(found) == len(names) and quarantine.empty
    options = StorageOptions(storage, tmp_path / storage, 0)
    stored, quarantine = convert(found, options, workers=1)
    assert len(stored) == len(names) and quarantine.empty
    again = read_table(write_table(stored, tmp_path / "table.csv"))
    assert again["video_id"].tolist() == table["video_id"].tolist()
    for path in again["path"]:
        assert reader.read_frames(path, range(6)).shape == (6, 48, 64, 3)
    asked = []
    convert(found, options, workers=1, progress=lambda answers, total: asked.append(total) or answers)
    assert asked == [0]  # nothing is converted twice


def badly_named(folder, video):
    """A class folder and a video whose names are Latin-1, beside good ones."""
    place(video, folder / "run" / "good.mp4", folder / "run" / "other.mp4")
    place(video, folder / "run" / os.fsdecode(b"caf\xe9.mp4"), folder / os.fsdecode(b"f\xfcr") / "in it.mp4")
    return folder


def test_a_name_that_is_not_utf8_goes_to_quarantine(video, tmp_path, capsys):
    table = from_folders(badly_named(tmp_path / "videos", video))
    found, quarantine = probe_table(table, workers=1)
    assert len(found) == 2 and quarantine["reason"].tolist() == ["its name is not UTF-8; rename it"] * 2
    assert sorted(quarantine["video_id"]) == ["caf\\xe9", "in it"] and sorted(quarantine["label"]) == ["f\\xfcr", "run"]
    quarantine.to_csv(tmp_path / "quarantine.csv", index=False)
    assert "caf\\xe9.mp4" in (tmp_path / "quarantine.csv").read_text(encoding="utf-8")
    print(quarantine.to_string())
    write_json(tmp_path / "dataset.json", make_dataset_info(table, table, found, name="own").__dict__)
    probed = table.assign(num_frames=6, fps=30.0, width=64, height=48)
    stored, failed = convert(probed, StorageOptions("frames", tmp_path / "f", 0), workers=1)
    assert len(stored) == 2 and set(failed["reason"]) == {"its name is not UTF-8; rename it"}


def test_a_listed_video_whose_name_is_latin_1_goes_to_quarantine(video, tmp_path):
    badly_named(tmp_path / "videos", video)
    rows = [("good", "run"), ("other", "run"), ("café", "run"), ("in it", "für"), ("gone", "run")]
    ids = pd.DataFrame(rows, columns=["video_id", "label"]).assign(subset="training")
    listed = read_annotations("", write_exchange(ids, ["für", "run"], tmp_path / "lists.json"))
    found, missing = find_videos(listed, tmp_path / "videos")
    assert missing["video_id"].tolist() == ["gone"] and len(found) == 4
    _, quarantine = probe_table(found, workers=1)
    assert sorted(quarantine["video_id"]) == ["café", "in it"]
    assert set(quarantine["reason"]) == {"its name is not UTF-8; rename it"}


def test_errors_about_any_name_can_be_printed(tmp_path):
    for name in ("caf\udce9", "\ud83d", "new\nline", "😀"):
        for error in (VideoError(tmp_path / name, name), DataError(f"{tmp_path / name}: {name}")):
            str(error).encode()
        json.dumps([VideoError(name, name).path, VideoError(name, name).reason]).encode()
        target = target_path(StorageOptions("lmdb", tmp_path), name, name, "training")
        assert file_name(name).encode() and target.encode()


def test_a_link_to_nothing_is_counted(video, tmp_path):
    place(video, tmp_path / "run" / "a.mp4")
    (tmp_path / "run" / "b.mp4").symlink_to("nowhere")
    shutil.copytree(tmp_path / "run", tmp_path / "walk", symlinks=True)
    found, quarantine = probe_table(from_folders(tmp_path), workers=1)
    assert len(found) == 2 and quarantine["reason"].str.contains("No such file").all()
