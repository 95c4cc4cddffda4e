"""Converting whole tables: what is done stays done, also after a kill; what cannot be done is named; the disk."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import psutil
import pytest
from videofiles import frame_number, write_missing_frames, write_video

from actlib.analysis import plots
from actlib.datasets.errors import DataError
from actlib.datasets.prepare.convert import Conversion, convert
from actlib.datasets.prepare.layout import StorageOptions, stored_bytes
from actlib.datasets.prepare.measure import measure_storages
from actlib.datasets.table import COLUMNS, read_table, write_table
from actlib.datasets.video.reader import installed_backends, read_frames
from actlib.files import DiskFull

SCRIPT = """
import sys
from actlib.datasets.prepare.convert import convert
from actlib.datasets.prepare.layout import StorageOptions
from actlib.datasets.table import read_table
name, table, root = sys.argv[1:]
convert(read_table(table), StorageOptions(name, root, short_side=0), workers=1)
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Ten sound videos, one in two rows, and one whose last frames are missing."""
    folder = tmp_path_factory.mktemp("videos")
    paths = [write_video(folder / f"{n}.mp4", 40, bframes=0, options={"preset": "ultrafast"}) for n in range(10)]
    paths += [paths[3], write_missing_frames(folder / "lying.avi", num_frames=20, num_missing=20)]
    rows = pd.DataFrame({"video_id": [f"v{n}" for n in range(12)], "path": list(map(str, paths))})
    known = {"label": ["left", "right"] * 6, "num_frames": 40, "fps": 30.0, "width": 160, "height": 128}
    rows = rows.assign(**known, subset=["training"] * 9 + ["validation"] * 3).reindex(columns=COLUMNS)
    rows.loc[[3, 10], ["start", "end"]] = [[0, 20], [20, 40]]
    write_table(rows, folder / "table.csv")
    return folder / "table.csv"


def finished(root):
    path = root / "converted.jsonl"
    return len(path.read_text().split()) and path.read_text().count('"target"') if path.is_file() else 0


def check(table, converted, quarantine, root, width=160, height=128):
    assert list(converted.columns) == list(COLUMNS) and list(converted.index) == list(range(11))
    assert list(converted["video_id"]) == [f"v{n}" for n in range(11)]
    assert converted["path"].str.startswith(str(root)).all()
    assert (converted[["num_frames", "fps", "width", "height"]] == [40, 30, width, height]).all(axis=None)
    segments = converted.loc[[3, 10], ["start", "end"]]
    assert segments.values.tolist() == [[0, 20], [20, 40]] and converted["end"].isna().sum() == 9
    for path in converted["path"]:
        assert [frame_number(frame) for frame in read_frames(path, [0, 39, 21])] == [0, 39, 21]
    assert list(quarantine.columns) == ["video_id", "path", "label", "subset", "reason"]
    assert list(quarantine["video_id"]) == ["v11"] and "cannot be decoded" in quarantine["reason"][0]
    assert quarantine["path"][0].endswith("lying.avi")
    assert write_table(converted, root / "table.csv") and read_table(root / "table.csv")["path"].equals(
        converted["path"]
    )
    (root / "table.csv").unlink()


def test_a_killed_conversion_goes_on(table, tmp_path):
    root = tmp_path / "short_gop"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, "short_gop", str(table), str(root)])
    workers, deadline = [], time.monotonic() + 120
    while finished(root) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        workers = psutil.Process(process.pid).children(recursive=True)
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    psutil.wait_procs(workers, timeout=20)
    assert not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers)

    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.mp4") if not path.name.startswith(".")}
    assert 2 <= len(before) < 10  # midway
    names = [f"{'left' if n % 2 == 0 else 'right'}/v{n}.mp4" for n in range(10)]
    half_written = next(root / name for name in names if root / name not in before)
    half_written.parent.mkdir(exist_ok=True)
    half_written.with_name(f".{half_written.name}.partial").write_bytes(b"half")  # what a kill may leave
    totals = []

    def progress(answers, total):
        totals.append(total)
        yield from answers

    options = StorageOptions("short_gop", root, short_side=0)
    converted, quarantine = convert(read_table(table), options, progress=progress)
    check(table, converted, quarantine, root)
    files = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
    assert sorted(map(str, files)) == sorted([*names, "storage.json", "converted.jsonl", ".lock"])
    assert {path: path.stat().st_mtime_ns for path in before} == before  # nothing was converted twice
    sizes = {(root / name).stat().st_size for name in names}
    assert len(sizes) == 1  # all show the same frames: whole, before and after the kill
    assert 11 - 2 >= totals[0] >= 2

    again, quarantine = convert(read_table(table).drop(index=11), options)  # no process is needed now
    assert again.equals(converted) and quarantine.empty


def test_lmdb_and_the_estimate(table, tmp_path):
    pytest.importorskip("lmdb")
    options = StorageOptions("lmdb", tmp_path / "lmdb", short_side=64)
    told = []
    converted, quarantine = convert(read_table(table), options, workers=1, tell=told.append)
    assert [(each.left, each.sampled) for each in told] == [(8, 3)]  # after four, of which the last failed
    check(table, converted, quarantine, tmp_path / "lmdb", 80, 64)
    root = tmp_path / "lmdb"
    left = {path.name for path in root.iterdir()}
    assert left == {".lock", "storage.json", "converted.jsonl"} | {
        f"{name}.lmdb{lock}" for name in ("training", "validation") for lock in ("", "-lock")
    }
    with Conversion(read_table(table), options) as conversion:
        assert conversion.left() == [11]  # v3's file is there once in each subset
        estimate = conversion.estimate()
    written = sum(path.stat().st_size for path in root.glob("*.lmdb"))
    assert estimate.left == 1 and estimate.sampled == 11
    assert 0.6 < estimate.needed * 11 / written < 1.2  # LMDB does not fill every block
    assert "1 more videos will take 0.1 MB, by 11 converted ones" in str(estimate)

    with Conversion(read_table(table), options):
        script = SCRIPT.replace("short_side=0", "short_side=64")
        command = [sys.executable, "-c", script, "lmdb", str(table), str(root)]
        another = subprocess.run(command, capture_output=True, text=True)
    assert another.returncode and f"DataError: {root}: process {os.getpid()} (" in another.stderr
    assert "has been at work in this folder since" in another.stderr


@pytest.mark.parametrize("storage", ["short_gop", "frames", "lmdb", "flow"])
def test_a_disk_that_fills_up_is_no_fault_of_the_videos(table, tmp_path, small_disk, storage):
    """What fits stays, nothing is put into quarantine, and with room made the same call converts the rest."""
    disk = small_disk(20_000_000)
    options = StorageOptions(storage, disk / "out", short_side=64)
    sound = read_table(table)[:10]
    with Conversion(sound, options) as conversion:
        conversion.run(1, 20.0, None, None)
        everything = sum(each["disk"] for each in conversion.results.values())
    shutil.rmtree(disk / "out")
    filler = disk / "filler"
    filler.write_bytes(b"x" * (20_000_000 - 2 * everything // 3 - 50_000 * (storage == "lmdb")))
    with Conversion(sound, options) as conversion:
        conversion._check_disk = lambda tell: None  # as if another program took the room meanwhile
        with pytest.raises((DataError, DiskFull), match=f"{disk}/out/.*: the disk is full.*make room"):
            conversion.run(1, 20.0, None, None)
        done = len(conversion.results)
    filler.unlink()
    converted, quarantine = convert(sound, options, workers=1)
    assert done < 10 and len(converted) == 10 and quarantine.empty
    assert not [each for each in (disk / "out").rglob("*.partial")]


def test_a_disk_that_is_too_small(table, tmp_path, monkeypatch):
    """The need is known after a few videos, and nothing more is converted then."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**6, 10**6 - 5000, 5000))
    options = StorageOptions("short_gop", tmp_path / "converted", short_side=0)
    sound = read_table(table)[:10]
    with pytest.raises(DataError, match=r"converting the 6 videos that are left takes [\d,]{6,} bytes, 5,000 are free"):
        convert(sound, options, workers=1)
    assert 4 <= len(list((tmp_path / "converted").rglob("v*.mp4"))) <= 5
    with pytest.raises(DataError, match="5,000 are free"):  # and now at once
        convert(sound, options, workers=1)


def test_nothing_to_convert(table, tmp_path):
    videos = read_table(table)
    same, quarantine = convert(videos, StorageOptions("original", tmp_path / "none"))
    assert same.equals(videos) and quarantine.empty and not (tmp_path / "none").exists()
    none, quarantine = convert(videos[:0], StorageOptions("frames", tmp_path / "none"))
    assert none.empty and quarantine.empty
    for options in ({"workers": 0}, {"timeout": 0}):
        with pytest.raises(ValueError, match="workers must be at least 1 and timeout positive"):
            convert(videos, StorageOptions("frames", tmp_path / "f"), **options)


def test_measured(table, tmp_path, monkeypatch):
    """Every storage is a row, also one that cannot be used here; what was written for it goes."""
    monkeypatch.setitem(sys.modules, "lmdb", None)
    options = StorageOptions("original", tmp_path / "run" / "converted", short_side=0)
    videos = read_table(table)[:10]
    backends = installed_backends()
    how = {"videos": 2, "crop_size": 32, "clips": 4, "rounds": 1, "workers": 1}
    found = measure_storages(videos, ["short_gop", "lmdb"], options, **how).set_index(["storage", "backend"])
    files = [(name, backend) for name in ("original", "short_gop") for backend in backends]
    assert list(found.index) == [*files, ("lmdb", "")]
    assert "pip install -e '.[lmdb]'" in found["note"].iloc[-1] and np.isnan(found["clips_per_s"].iloc[-1])
    good = found[:-1]
    assert (good["clips_per_s"] > 0).all() and (good["note"] == "").all()
    assert good["times_original"]["original", "pyav"] == 1
    size = stored_bytes(videos["path"][0])
    for backend in backends:
        assert good["share_of_original"]["original", backend] == 1
        assert good["mb"]["original", backend] == pytest.approx(2 * size / 1e6)
        assert good["estimated_gb"]["original", backend] == pytest.approx(10 * size / 1e9)
    assert list((tmp_path / "run").iterdir()) == []
    ax = plots.storage_bars(found.reset_index())
    words = [text.get_text() for text in ax.texts]
    assert len(words) == len(found) and any("needs lmdb" in each for each in words)
    assert [bar.get_width() for bar in ax.patches] == found["clips_per_s"].fillna(0).tolist()
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert all(f"read by {backend}" in label for label, (_, backend) in zip(labels, found.index) if backend)
    plt.close(ax.figure)
    with pytest.raises(ValueError, match="storage 'zip'"):
        measure_storages(videos, ["zip"], options)
    with pytest.raises(ValueError, match="video_backend 'gstreamer': expected one of auto, pyav, decord"):
        measure_storages(videos, [], options, backends=["gstreamer"])
