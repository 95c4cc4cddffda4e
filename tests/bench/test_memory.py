"""Memory of long tables and long runs, printed beside the bounds: `make bench`. Linux only."""

import gc
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from torch.utils.data import DataLoader, get_worker_info
from videofiles import write_packed, write_video

from actlib.datasets.clips.loaders import TrainingClips
from actlib.datasets.clips.transforms import train_transform
from actlib.datasets.table import COLUMNS, write_table

NUM_VIDEOS = 650_000  # Kinetics-700 has 647,907
NUM_CLIPS = 20_000
WORKERS = 8
READING = """
import json, sys, time
import psutil
from actlib.datasets.table import read_table
process = psutil.Process()
before, begin, used = process.memory_full_info().uss, time.perf_counter(), time.process_time()
table = read_table(sys.argv[1])
took = time.perf_counter() - begin, time.process_time() - used
print(json.dumps([len(table), *took, (process.memory_full_info().uss - before) / 1e6]))
"""


def anonymous_megabytes() -> float:
    """What the process allocated. Its whole RSS would swing with the libraries' pages, which the system drops and reads
    again as it likes."""
    gc.collect()
    rollup = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in rollup if line.startswith("Anonymous:")) / 1e3


def long_table(folder: Path) -> pd.DataFrame:
    """Rows as Kinetics-700's; there are no such files."""
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"))
    ids = ["".join(each) for each in rng.choice(letters, (NUM_VIDEOS, 11))]
    ids = [f"{name}_{begin:06d}_{begin + 10:06d}" for name, begin in zip(ids, rng.integers(0, 300, NUM_VIDEOS))]
    labels = [f"class number {number:03d}" for number in rng.integers(0, 700, NUM_VIDEOS)]
    rows = {"video_id": ids, "path": [f"{folder}/videos/{label}/{name}.mp4" for label, name in zip(labels, ids)]}
    rows |= {"label": labels, "subset": "training", "start": np.nan, "end": np.nan}
    rows |= {"num_frames": rng.integers(200, 301, NUM_VIDEOS), "fps": 29.97, "width": 340, "height": 256}
    return pd.DataFrame(rows, columns=list(COLUMNS))


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> pd.DataFrame:
    return long_table(tmp_path_factory.mktemp("long"))


def test_a_table_of_650000_videos(table, tmp_path):
    """Written and read with all its checks, in a process of its own that had pandas loaded before."""
    begin = time.perf_counter()
    path = write_table(table, tmp_path / "table.csv")
    print(f"\n{len(table):,} videos written in {time.perf_counter() - begin:.1f} s, {path.stat().st_size / 1e6:.0f} MB")
    answers = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", READING, path], capture_output=True, text=True, check=True)
        answers.append(json.loads(done.stdout))
    count, seconds, processor, megabytes = min(answers)
    assert count == len(table)
    print(
        f"read in {seconds:.2f} s ({processor:.2f} s of the processor; below 3), adding {megabytes:.0f} MB (below 200)"
    )


class WorkerMemory(TrainingClips):
    """Looks up every video as a clip would, and answers with what the worker's process has for itself."""

    def __getitem__(self, number: int) -> tuple[int, float]:
        for index in range(len(self)):
            assert self.paths[index] and self.segment(index)[1] and self.labels[index].item() >= 0
        time.sleep(1)  # until all workers have started
        return get_worker_info().id, psutil.Process().memory_full_info().uss / 1e6


@pytest.mark.parametrize("start", ["fork", "forkserver"])
def test_workers_do_not_copy_the_table(table, start):
    """What each of eight workers has for itself (USS) after reading every row, beside workers of a table of 8 rows."""
    found, options = {}, {"num_frames": 16, "frame_stride": 1, "transform": train_transform("center", 128, 112)}
    for name, rows in (("short", table.head(8)), ("long", table)):
        dataset = WorkerMemory(rows, sorted(rows["label"].unique()), **options)
        loader = DataLoader(
            dataset, batch_size=None, sampler=range(WORKERS), num_workers=WORKERS, multiprocessing_context=start
        )
        found[name] = [megabytes for _, megabytes in sorted(loader)]
    more = np.subtract(found["long"], found["short"])
    print(f"\n{start}: {WORKERS} workers have {np.mean(found['short']):.0f} MB each for themselves,")
    print(f"  with {len(table):,} videos {np.mean(more):.1f} MB more (at most {max(more):.1f})")
    assert len(more) == WORKERS


def test_nothing_grows_with_the_clips_that_were_read(tmp_path):
    """This process's memory over 20,000 clips of 300 files of five kinds, each under a time limit as in training."""
    small = {"num_frames": 32, "width": 64, "height": 48}
    kinds = [
        write_video(tmp_path / "h264.mp4", **small),
        write_video(tmp_path / "variable.mkv", **small, step=lambda number: 1 + number % 3),
        write_video(tmp_path / "vp9.webm", **small, codec="libvpx-vp9"),
        write_video(tmp_path / "mpeg4.avi", **small, codec="mpeg4", bframes=0),
        write_packed(tmp_path / "packed.avi"),
    ]
    paths = []
    for number in range(300):
        source = kinds[number % len(kinds)]
        paths.append(tmp_path / f"{number}{source.suffix}")
        paths[-1].write_bytes(source.read_bytes())
    rows = pd.DataFrame({"path": [str(path) for path in paths]}).reindex(columns=COLUMNS)
    rows = rows.assign(label="run", num_frames=32, start=np.nan, end=np.nan)
    clips = TrainingClips(
        rows, ["run"], num_frames=16, frame_stride=1, transform=train_transform("random_resized", 40, 32), timeout=60
    )
    order, series, begin = np.random.default_rng(0), [], time.perf_counter()
    for number in range(NUM_CLIPS + 1):
        if number % (NUM_CLIPS // 10) == 0:
            series.append(anonymous_megabytes())
        clips.set_epoch(number)
        assert not clips[int(order.integers(len(paths)))].failures
    slope = np.polyfit(np.arange(5, 11), series[5:], 1)[0] * 10_000 / (NUM_CLIPS // 10)
    print(f"\nMB after every {NUM_CLIPS // 10:,} clips: {', '.join(f'{each:.1f}' for each in series)}")
    print(
        f"in the second half {slope:+.2f} MB per 10,000 clips; {NUM_CLIPS / (time.perf_counter() - begin):.0f} clips/s"
    )
    assert len(series) == 11
