"""A decoder that hangs costs one video: calls are given up, workers and the process go on and end as ever."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from PIL import Image
from videofiles import frame_image, write_missing_frames, write_video

from actlib.datasets.clips.loaders import EpochBatches, TrainingClips, training_loader
from actlib.datasets.errors import VideoError
from actlib.datasets.table import COLUMNS
from actlib.datasets.video import time_limit
from actlib.datasets.video.reader import read_frames


def test_results_and_errors_come_through_and_the_thread_is_used_again():
    names = {time_limit.within(5, "a", lambda: threading.current_thread().ident) for _ in range(3)}
    assert len(names) == 1 and threading.get_ident() not in names
    with pytest.raises(ZeroDivisionError):
        time_limit.within(5, "a", lambda: 1 // 0)
    assert time_limit.within(5, "a", max, 3, 4) == 4


def test_a_call_that_hangs_is_given_up_and_not_made_again():
    release, asked, noticed = threading.Event(), [], threading.Event()

    def hang():
        asked.append(True)
        release.wait(30)
        try:
            time_limit.check()
        except time_limit.GivenUp:
            noticed.set()

    with pytest.raises(TimeoutError, match="no answer within 0.2 s$"):
        time_limit.within(0.2, "b", hang)
    begin = time.monotonic()
    with pytest.raises(TimeoutError, match="no answer within 0.2 s, and none since"):
        time_limit.within(30, "b", hang)
    assert time.monotonic() - begin < 25 and len(asked) == 1
    assert time_limit.within(5, "c", lambda: 3) == 3  # others go on
    release.set()
    assert noticed.wait(10)
    for _ in range(100):  # it came back: asked again
        if "b" not in time_limit._stuck:
            break
        time.sleep(0.05)
    assert time_limit.within(5, "b", lambda: 4) == 4


def test_check_outside_of_any_call_says_nothing():
    time_limit.check()


@pytest.mark.skipif(sys.platform != "linux", reason="a thread's own priority is Linux's")
def test_a_thread_that_was_given_up_gets_out_of_the_way():
    release, thread = threading.Event(), []

    def hang():
        thread.append(threading.get_native_id())
        release.wait(30)

    with pytest.raises(TimeoutError):
        time_limit.within(0.2, "d", hang)
    nice = int(Path(f"/proc/self/task/{thread[0]}/stat").read_text().rsplit(")", 1)[1].split()[16])
    assert nice == 19 and psutil.Process().nice() != 19
    release.set()


def table_of(paths, num_frames):
    rows = pd.DataFrame({"path": [str(path) for path in paths], "num_frames": num_frames}).reindex(columns=COLUMNS)
    return rows.assign(label="run", subset="training", start=float("nan"), end=float("nan"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_loader_finishes_over_a_video_that_hangs(tmp_path):
    """A folder with a pipe in place of a picture: opening it waits for ever, as on a disk that is gone."""
    hanging = tmp_path / "hanging"
    hanging.mkdir()
    Image.fromarray(frame_image(0, 64, 48)).save(hanging / "00001.jpg")
    os.mkfifo(hanging / "00002.jpg")
    good = [write_video(tmp_path / f"{number}.mp4", 16, 64, 48) for number in range(3)]
    dataset = TrainingClips(
        table_of([*good, hanging], [16, 16, 16, 2]),
        ["run"],
        num_frames=2,
        frame_stride=1,
        transform=lambda clip: clip[..., :40, :40],
        timeout=2,
    )
    order = EpochBatches(4, 2, seed=0)
    loader = training_loader(dataset, order, num_workers=2, pin_memory=False)
    for epoch in range(2):
        order.epoch = epoch
        dataset.set_epoch(epoch)
        batches = list(loader)
        assert sum(len(batch.labels) for batch in batches) == 4
        failures = [failure for batch in batches for failure in batch.failures]
        # On a busy machine a good file may be late as well.
        assert str(hanging) in {path for path, _ in failures}
        assert all("no answer within 2 s" in reason for _, reason in failures)
    workers = [psutil.Process(worker.pid) for worker in loader._iterator._workers]
    del loader, batches
    gone, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive


def test_pyav_answers_at_once_on_that_file(tmp_path):
    hanging = write_missing_frames(tmp_path / "hanging.avi", num_frames=20, num_missing=400)
    with pytest.raises(VideoError, match="frame 380 of 420 cannot be decoded"):
        read_frames(hanging, [0, 380], timeout=20)


def test_a_process_with_a_hanging_thread_ends(tmp_path):
    """Nothing but `time_limit` is imported: a thread in a call that holds no lock of Python's."""
    code = (
        "import time\n"
        "from actlib.datasets.video import time_limit\n"
        "try:\n    time_limit.within(0.2, 'a', time.sleep, 60)\n"
        "except TimeoutError:\n    print('given up')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout, done.stderr) == (0, "given up\n", "")
