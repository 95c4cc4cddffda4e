"""Probing a table of videos: what is read, what is set aside and why, and that no process outlives it."""

import signal
import subprocess
import sys
import threading
import time

import pandas as pd
import psutil
import pytest
from videofiles import rotate, write_missing_frames, write_video

from actlib.datasets import video
from actlib.datasets.prepare import probe_table

needs_decord = pytest.mark.skipif(video.decord is None, reason="only decord hangs on the file of these tests")
COLUMNS = ["video_id", "path", "label", "subset", "start", "end", "num_frames", "fps", "width", "height"]


def table_of(*paths):
    """A table as an annotation reader makes it, indexed by anything."""
    rows = [dict.fromkeys(COLUMNS) | {"video_id": f"v{n}", "path": str(p), "label": "x"} for n, p in enumerate(paths)]
    table = pd.DataFrame(rows, columns=COLUMNS, index=range(100, 100 + len(rows)))
    return table.assign(subset="training", start=1.5)


def write_hanging(path):
    """Long enough that the jump from the first frame to the middle one never ends in decord."""
    return write_missing_frames(path, num_frames=20, num_missing=400)


def workers():
    """This process's probing processes."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if "actlib.datasets.prepare" in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
        except psutil.NoSuchProcess:
            pass
    return found


def test_readable_and_quarantine(tmp_path, monkeypatch):
    (tmp_path / "text.mp4").write_text("no video")
    write_video(tmp_path / "ein Film ü.mp4")
    rotate(write_video(tmp_path / "upright.mp4", 20, fps=25), 90)
    write_missing_frames(tmp_path / "lying.avi", num_frames=20, num_missing=40)
    absolute = write_video(tmp_path / "last.mkv", 24)
    names = ["text.mp4", "ein Film ü.mp4", "upright.mp4", "lying.avi", "missing.mp4", absolute]
    seen = []

    def progress(results, total):
        assert total == len(names)
        for result in results:
            seen.append(len(workers()))
            yield result

    monkeypatch.chdir(tmp_path)
    readable, quarantine = probe_table(table_of(*names), workers=2, progress=progress)
    assert len(seen) == len(names) and seen[0] == 2  # two at a time
    assert workers() == []

    assert list(readable.columns) == COLUMNS and list(readable.index) == [0, 1, 2]
    assert list(readable.video_id) == ["v1", "v2", "v5"]
    assert (readable.start == 1.5).all() and list(readable.path) == [names[1], names[2], str(absolute)]
    assert readable[["num_frames", "fps", "width", "height"]].values.tolist() == [
        [32, 30, 160, 128],
        [20, 25, 128, 160],
        [24, 30, 160, 128],
    ]
    assert list(quarantine.columns) == ["video_id", "path", "label", "subset", "reason"]
    assert list(quarantine.index) == [0, 1, 2]
    reasons = dict(zip(quarantine.video_id, quarantine.reason))
    assert list(reasons) == ["v0", "v3", "v4"]
    assert "not a video" in reasons["v0"]
    assert reasons["v3"] == "frame 29 of 60 cannot be decoded: the file is damaged or cut off"
    assert reasons["v4"] == "cannot be opened: No such file or directory"


@needs_decord
@pytest.mark.slow
def test_a_hang_costs_one_video(tmp_path):
    hanging, good = write_hanging(tmp_path / "hanging.avi"), write_video(tmp_path / "good.mp4")
    readable, quarantine = probe_table(table_of(hanging, good), workers=1, timeout=3)
    assert list(readable.video_id) == ["v1"]
    assert list(quarantine.reason) == ["no answer within 3 s: the decoder hangs on this file"]
    assert workers() == []


@needs_decord
@pytest.mark.slow
def test_a_crash_costs_one_video(tmp_path):
    hanging, good = write_hanging(tmp_path / "hanging.avi"), write_video(tmp_path / "good.mp4")

    def crash_it():
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for worker in workers():
                if any(file.path == str(hanging) for file in worker.open_files()):
                    worker.send_signal(signal.SIGSEGV)
                    return
            time.sleep(0.05)

    killer = threading.Thread(target=crash_it)
    killer.start()
    readable, quarantine = probe_table(table_of(good, hanging, good), workers=1, timeout=60)
    killer.join()
    assert list(readable.video_id) == ["v0", "v2"]
    assert list(quarantine.reason) == ["the decoder crashed (signal 11)"]
    assert workers() == []


@needs_decord
@pytest.mark.slow
def test_an_interrupt_leaves_nothing_running(tmp_path):
    hanging, good = write_hanging(tmp_path / "hanging.avi"), write_video(tmp_path / "good.mp4")

    def interrupted(results, total):
        yield next(iter(results))
        raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        probe_table(table_of(good, *[hanging] * 20), workers=2, timeout=300, progress=interrupted)
    assert time.monotonic() - start < 60
    assert workers() == []


@pytest.mark.slow
def test_a_script_without_main_guard_elsewhere(tmp_path):
    write_video(tmp_path / "good.mp4")
    table_of("good.mp4").to_csv(tmp_path / "table.csv", index=False)
    script = tmp_path / "script.py"
    script.write_text(
        "import pandas as pd\n"
        "from actlib.datasets.prepare import probe_table\n"
        "readable, quarantine = probe_table(pd.read_csv('table.csv'))\n"
        "print(readable.num_frames.tolist(), len(quarantine))\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[32] 0", done.stderr


def test_a_worker_that_cannot_start_says_why(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("raise ImportError('this torch is broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="this torch is broken"):
        probe_table(table_of("good.mp4"))
    assert workers() == []


def test_an_empty_table():
    readable, quarantine = probe_table(table_of())
    assert len(readable) == len(quarantine) == 0
    assert list(readable.columns) == COLUMNS
    assert list(quarantine.columns) == ["video_id", "path", "label", "subset", "reason"]


def test_unusable_arguments():
    with pytest.raises(ValueError, match="lacks path, width"):
        probe_table(table_of().drop(columns=["path", "width"]))
    for options in ({"workers": 0}, {"timeout": 0}):
        with pytest.raises(ValueError, match="workers must be at least 1 and timeout positive"):
            probe_table(table_of(), **options)
