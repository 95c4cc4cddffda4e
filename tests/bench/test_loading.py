"""Measurements, printed and never asserted as times: `make bench`. Ratios are taken side by side, best of several."""

import time

import pytest
import torch

from actlib.datasets import video
from actlib.datasets.clips import TrainingClips
from actlib.datasets.table import class_names, read_table, rows_of
from actlib.datasets.transforms import train_transform

ROUNDS = 5


def test_loading_against_bare_decord(motion_table):
    """The pipeline (sample, decode, crop, stack) beside bare decord calls for the same frames."""
    decord = pytest.importorskip("decord")
    table = rows_of(read_table(motion_table), "training")
    clips = TrainingClips(
        table, class_names(table), num_frames=8, frame_stride=2, transform=train_transform("random_resized", 48, 48)
    )

    def pipeline():
        for index in range(len(clips)):
            clips[0, index]

    def bare(read):
        rng = torch.Generator().manual_seed(0)
        for path in table["path"]:
            begin = int(torch.randint(0, 17, (1,), generator=rng))
            read(path, range(begin, begin + 16, 2))

    ways = {
        "pipeline": pipeline,
        "read_frames": lambda: bare(video.read_frames),
        "bare decord": lambda: bare(
            lambda path, frames: decord.VideoReader(path, num_threads=1).get_batch(list(frames))
        ),
    }
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(ROUNDS):
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            best[name] = min(best[name], time.perf_counter() - begin)
    print("\n" + ", ".join(f"{name} {len(clips) / each:.0f} clips/s" for name, each in best.items()))
    print(f"the pipeline reaches {100 * best['bare decord'] / best['pipeline']:.0f} % of bare decord")
    assert all(each < float("inf") for each in best.values())
