"""Probing a table of videos: what is read, what is set aside and why; hangs and crashes stand in test_workers."""

import subprocess
import sys

import pandas as pd
import pytest
from PIL import Image
from videofiles import frame_image, rotate, write_missing_frames, write_video
from workertasks import processes

from actlib.datasets.errors import VideoError
from actlib.datasets.prepare.probe import probe_file, probe_table

COLUMNS = ["video_id", "path", "label", "subset", "start", "end", "num_frames", "fps", "width", "height"]


def table_of(*paths):
    """A table as an annotation reader makes it, indexed by anything."""
    rows = [dict.fromkeys(COLUMNS) | {"video_id": f"v{n}", "path": str(p), "label": "x"} for n, p in enumerate(paths)]
    table = pd.DataFrame(rows, columns=COLUMNS, index=range(100, 100 + len(rows)))
    return table.assign(subset="training", start=1.5)


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
            seen.append(len(processes()))
            yield result

    monkeypatch.chdir(tmp_path)
    readable, quarantine = probe_table(table_of(*names), workers=2, progress=progress)
    assert len(seen) == len(names) and seen[0] == 2  # two at a time
    assert processes() == []

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


def test_a_script_without_main_guard_elsewhere(tmp_path):
    write_video(tmp_path / "good.mp4")
    table_of("good.mp4").to_csv(tmp_path / "table.csv", index=False)
    script = tmp_path / "script.py"
    script.write_text(
        "import pandas as pd\n"
        "from actlib.datasets.prepare.probe import probe_table\n"
        "readable, quarantine = probe_table(pd.read_csv('table.csv'))\n"
        "print(readable.num_frames.tolist(), len(quarantine))\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[32] 0", done.stderr


def test_what_is_known_is_not_opened_again(tmp_path):
    """A run that goes on opens the new and the changed files alone, and those that could not be read."""
    journal, totals = tmp_path / "run" / "probed.jsonl", []

    def progress(answers, total):
        totals.append(total)
        return answers

    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, 20)
    (tmp_path / "c.mp4").touch()
    table = table_of(*[tmp_path / name for name in ("a.mp4", "b.mp4", "c.mp4")])
    first = probe_table(table, workers=1, journal=journal, progress=progress)
    write_video(tmp_path / "b.mp4", 24)
    again, quarantine = probe_table(table, workers=1, journal=journal, progress=progress)
    assert totals == [3, 2]
    assert first[0]["num_frames"].tolist() == [20, 20] and again["num_frames"].tolist() == [20, 24]
    assert quarantine["video_id"].tolist() == first[1]["video_id"].tolist() and len(quarantine) == 1


def test_decord_probes_too(tmp_path):
    """What one backend found out is not taken for the other's; a journal of before these were told apart is PyAV's."""
    pytest.importorskip("decord")
    journal, totals = tmp_path / "probed.jsonl", []

    def progress(answers, total):
        totals.append(total)
        return answers

    table = table_of(write_video(tmp_path / "a.mp4", 20))
    for backend in ("auto", "pyav", "decord", "decord"):
        readable, quarantine = probe_table(table, workers=1, journal=journal, progress=progress, backend=backend)
        assert readable[["num_frames", "fps", "width", "height"]].values.tolist() == [[20, 30, 160, 128]]
    assert totals == [1, 0, 1, 0] and quarantine.empty
    old = journal.read_text().replace('"backend": "pyav", ', "").splitlines()
    journal.write_text("\n".join(old[:-1]) + "\n")
    probe_table(table, workers=1, journal=journal, progress=progress)
    assert totals[-1] == 0
    with pytest.raises(ValueError, match="video_backend 'opencv': expected one of auto, pyav, decord"):
        probe_table(table, backend="opencv")


def test_a_worker_that_cannot_start_says_why(tmp_path, monkeypatch):
    (tmp_path / "av.py").write_text("raise ImportError('this decoder is broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="this decoder is broken"):
        probe_table(table_of("good.mp4"))
    assert processes() == []


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


def test_folders_of_frames_and_flow(tmp_path):
    """What a folder does not tell, frames per second, stays as the table has it. A path is opened once."""
    for name in ("rgb", "flow"):
        (tmp_path / name).mkdir()
    for number in range(1, 4):
        Image.fromarray(frame_image(number, 64, 48)).save(tmp_path / "rgb" / f"{number:05d}.jpg")
        for axis in "xy":
            Image.fromarray(frame_image(number, 32, 24)[..., 0]).save(tmp_path / "flow" / f"{number:05d}_{axis}.jpg")
    totals = []

    def progress(answers, total):
        totals.append(total)
        return answers

    table = table_of(tmp_path / "rgb", tmp_path / "rgb", tmp_path / "flow").assign(fps=[12.0, 12.0, None])
    readable, quarantine = probe_table(table, workers=1, progress=progress)
    assert readable[["num_frames", "fps", "width", "height"]].values.tolist() == [[3, 12, 64, 48]] * 2
    assert totals == [2] and quarantine["reason"].str.startswith("holds no frames").all()
    found = probe_file([str(tmp_path / "flow"), "flow", "auto"])
    assert found == {"num_frames": 3, "fps": 0.0, "width": 32, "height": 24}
    with pytest.raises(VideoError, match="holds no pairs"):
        probe_file([str(tmp_path / "rgb"), "flow", "auto"])
