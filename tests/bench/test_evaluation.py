"""Evaluation from files to scores, printed and never asserted as times: `make bench`. Memory is measured on Linux: what
the process and its workers allocated, shared memory included, beyond what the network alone takes with such batches."""

import multiprocessing
import os
import resource
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from torch import nn
from videofiles import write_long_video

from actlib.compute.device import to_float
from actlib.compute.execution import Execution
from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.clips.views import EvaluationViews
from actlib.datasets.table import COLUMNS
from actlib.datasets.video.reader import iter_frames, probe
from actlib.loops.evaluate import score_views
from actlib.models import create_from_spec

ROUNDS = 3
SMALL = {"num_frames": 16, "frame_stride": 1, "short_side": 112, "crop_size": 112}
LARGE = {"num_frames": 32, "frame_stride": 2, "short_side": 256, "crop_size": 256}
WINDOWS, VIEWS = Protocol("video", **SMALL), Protocol("views", **LARGE, num_clips=10, num_crops=3)
TENTH = Protocol("video", **SMALL, step=160)
HOW = {"mean": [0.45], "std": [0.225], "device": torch.device("cpu")}
REAL = os.environ.get("ACTLIB_REAL_VIDEOS", "")  # a folder of videos; without it those comparisons are skipped


class Small(nn.Module):
    """A network that takes little time and memory beside its input."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(3, 8, 3, stride=(2, 8, 8))

    def forward(self, clips):
        return self.conv(clips).mean(dim=(2, 3, 4))


def table_of(paths) -> pd.DataFrame:
    infos = [probe(path) for path in paths]
    rows = pd.DataFrame({"video_id": [Path(path).stem for path in paths], "path": list(map(str, paths))})
    rows = rows.reindex(columns=COLUMNS).assign(label="0", start=np.nan, end=np.nan)
    return rows.assign(num_frames=[info.num_frames for info in infos])


class Peak(threading.Thread):
    """The most megabytes that this process and its children allocate while it runs, shared memory counted once."""

    def __init__(self):
        super().__init__(daemon=True)
        self.megabytes, self._done = 0.0, threading.Event()

    def run(self):
        while not self._done.wait(0.02):
            processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
            self.megabytes = max(self.megabytes, sum(self._allocated(process.pid) for process in processes))

    @staticmethod
    def _allocated(pid: int) -> float:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        except OSError:  # it has ended
            return 0.0
        sizes = {name: int(rest.split()[0]) for name, rest in (line.split(":") for line in lines)}
        return (sizes["Pss_Anon"] + sizes["Pss_Shmem"]) / 1e3

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exception):
        self._done.set()
        self.join()


def megabytes_above_the_network(path, protocol: Protocol, batch_size: int, workers: int) -> tuple[float, float, int]:
    """What the evaluation of a video takes at its peak, the network alone, and the number of views."""
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # spawned workers would each import torch
    model, classes = Small(), [str(number) for number in range(8)]
    size = protocol.num_frames, 3, protocol.crop_size, protocol.crop_size
    with Peak() as alone, torch.inference_mode():
        for _ in range(4):
            batch = torch.randint(256, (batch_size, *size), dtype=torch.uint8)
            model(to_float(batch, **HOW, execution=Execution()))
    del batch
    clip = Protocol("clip", protocol.num_frames, protocol.frame_stride, protocol.short_side, protocol.crop_size)
    data = EvaluationViews(table_of([path]), classes, {"clip": clip, "video": protocol})
    with Peak() as whole:
        found = score_views(model, data, batch_size=batch_size, num_workers=workers, **HOW)
    assert found["video"].table["error"][0] == ""
    return whole.megabytes, alone.megabytes, int(found["video"].table["views"][0])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("name", "size", "protocol"),
    [
        ("3 minutes", (4500, 340, 256), WINDOWS),
        ("10 seconds", (250, 340, 256), VIEWS),
        ("1 minute in HD", (1500, 1920, 1080), WINDOWS),
        ("1 hour in HD", (90_000, 1920, 1080), TENTH),
        ("1 hour in HD", (90_000, 1920, 1080), VIEWS),
    ],
    ids=["3min", "10s", "1min-hd", "1h-hd", "1h-hd-views"],
)
def test_memory_is_flat(tmp_path, name, size, protocol, workers):
    """The bound is 150 MB. All windows of the hour are some 20 minutes' decoding: here every tenth is shown, for which
    the frames between them are decoded too, but not converted."""
    path = write_long_video(tmp_path / "video.mp4", *size)
    context = multiprocessing.get_context("spawn")  # a process that has allocated nothing before
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        begin = time.perf_counter()
        whole, alone, views = pool.submit(megabytes_above_the_network, path, protocol, 4, workers).result()
        seconds = time.perf_counter() - begin
    path.unlink()
    print(f"\n{name}, {size[1]}×{size[2]}, {protocol}, {workers} workers: {views} views, {seconds:.0f} s")
    print(f"  {whole - alone:.0f} MB above the {alone:.0f} MB of the network and its batch of 4 (bound: 150)")
    assert views > 1


def seconds_of(run) -> tuple[float, float]:
    """(CPU, wall) seconds of a call, those of its processes that have ended included."""

    def used() -> float:
        times = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(each.ru_utime + each.ru_stime for each in times)

    before, begin = used(), time.perf_counter()
    run()
    return used() - before, time.perf_counter() - begin


def score(model: str, paths, frames: int, side: int, batch_size: int, workers: int) -> None:
    torch.set_num_threads(1)
    protocol = Protocol("views", frames, 1, side, side, num_clips=10, num_crops=3, average="logits")
    data = EvaluationViews(table_of(paths), [str(number) for number in range(400)], {"video": protocol})
    score_views(create_from_spec(model, 400), data, batch_size=batch_size, num_workers=workers, **HOW)


@pytest.mark.parametrize(
    ("model", "count", "frames", "side"),
    [("tsn_resnet18 width_mult=0.25", 4, 32, 256), ("i3d_r50", 1, 32, 256)],
    ids=["small", "i3d_r50"],
)
def test_ten_clips_three_crops_beside_pytorch_resnet3d(tmp_path, model, count, frames, side):
    """The same videos, in turns, each way in a process of its own with one thread and one worker. There, frames are
    extracted to JPEG before, which is not counted; here they are read from these JPEGs, and from the videos."""
    from PIL import Image

    if not REAL:
        pytest.skip("ACTLIB_REAL_VIDEOS names no folder of videos")
    videos = sorted(Path(REAL).rglob("*.mp4"))[:count]
    for video in videos:
        (tmp_path / video.stem).mkdir()
        pictures = (frame for piece in iter_frames(video, range(probe(video).num_frames)) for frame in piece)
        for number, frame in enumerate(pictures, 1):
            Image.fromarray(frame).save(tmp_path / video.stem / f"image_{number:05d}.jpg", quality=95)
    folders = [tmp_path / video.stem for video in videos]
    script, here = Path(__file__).with_name("plain_views.py"), Path(__file__)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}

    def plainly():
        command = [sys.executable, script, tmp_path, "1", "1", str(frames), str(side), model]
        subprocess.run(command, check=True, capture_output=True, env=environment)

    def ours(paths):
        call = f"from {here.stem} import score; score({model!r}, {list(map(str, paths))}, {frames}, {side}, 4, 1)"
        subprocess.run([sys.executable, "-c", call], check=True, env=environment)

    ways = {"plain": plainly, "ours, JPEGs": lambda: ours(folders), "ours, videos": lambda: ours(videos)}
    took: dict[str, list] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            took[name].append(seconds_of(way))
    print(f"\n{model}, {count} videos, 30 views of {frames} frames @ {side}, {ROUNDS} rounds, start of Python included")
    for name, each in took.items():
        for what, seconds, plain in zip(("CPU", "wall"), zip(*each), zip(*took["plain"])):
            spread = f"{min(seconds):.1f} to {max(seconds):.1f}"
            ratio = median(one / other for one, other in zip(seconds, plain))
            print(f"  {name}: {what} {median(seconds):.1f} s ({spread}), {ratio:.2f} × plain")
    assert all(len(each) == ROUNDS for each in took.values())
