"""Measurements of loading, printed and never asserted as times: `make bench`. Ratios are taken side by side, best of
several rounds; in one process a round's time is the processor's, which neighbours on the machine disturb less."""

import time
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from videofiles import write_video

from actlib.datasets.clips.loaders import EpochBatches, TrainingClips, training_loader
from actlib.datasets.clips.streams import stream
from actlib.datasets.clips.transforms import train_transform
from actlib.datasets.table import COLUMNS
from actlib.datasets.video import time_limit
from actlib.datasets.video.reader import read_frames

ROUNDS = 5
NUM_VIDEOS, NUM_FRAMES, CLIP = 16, 270, 16
X264 = {"preset": "medium", "crf": "23", "x264-params": "keyint=90:min-keyint=90:scenecut=0"}


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> pd.DataFrame:
    """340×256 H.264 with a key frame every 90 frames, noisy, to cost in decoding what real videos do."""
    path = write_video(
        tmp_path_factory.mktemp("videos") / "0.mp4", NUM_FRAMES, 340, 256, gop=90, bframes=3, options=X264, noise=14
    )
    copies = [path, *(path.with_name(f"{number}.mp4") for number in range(1, NUM_VIDEOS))]
    for copy in copies[1:]:
        copy.write_bytes(path.read_bytes())
    rows = pd.DataFrame({"path": [str(each) for each in copies]}).reindex(columns=COLUMNS)
    return rows.assign(label="run", subset="training", num_frames=NUM_FRAMES, start=np.nan, end=np.nan)


def training_clips(videos: pd.DataFrame, **more) -> TrainingClips:
    transform = train_transform("random_resized", 128, 112)
    return TrainingClips(videos, ["run"], num_frames=CLIP, frame_stride=1, transform=transform, **more)


class BareDecord(Dataset):
    """The very frames of the clips' first epoch, read by a new decord reader each, and nothing else done."""

    def __init__(self, clips: TrainingClips):
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> int:
        decord = pytest.importorskip("decord")
        reader = decord.VideoReader(self.clips.paths[index], num_threads=1)
        return int(reader.get_batch(frames_of(self.clips, index)).asnumpy()[0, 0, 0, 0])


def frames_of(clips: TrainingClips, index: int, epoch: int = 0) -> np.ndarray:
    return clips.window(NUM_FRAMES, stream(clips.seed, "clip", epoch, index))


def best_of(ways: dict, clock) -> dict[str, float]:
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(ROUNDS):
        for name, way in ways.items():
            begin = clock()
            way()
            best[name] = min(best[name], clock() - begin)
    return best


def told(best: dict[str, float], count: int) -> str:
    return ", ".join(f"{name} {count / each:.1f}" for name, each in best.items())


def test_one_process_beside_bare_decord(videos):
    """Clips/s of sampling, decoding, cropping, resizing and stacking 16×112×112, beside decord decoding the frames."""
    clips, threads = training_clips(videos), torch.get_num_threads()
    bare = BareDecord(clips)
    torch.set_num_threads(1)
    try:
        best = best_of(
            {
                "pipeline": lambda: [clips[index] for index in range(len(clips))],
                "its frames": lambda: [read_frames(clips.paths[i], frames_of(clips, i)) for i in range(len(clips))],
                "bare decord": lambda: [bare[index] for index in range(len(clips))],
            },
            time.process_time,
        )
    finally:
        torch.set_num_threads(threads)
    print(f"\nclips a processor second: {told(best, len(clips))}")
    print(f"the pipeline reaches {100 * best['bare decord'] / best['pipeline']:.0f} % of bare decord")
    assert all(each < float("inf") for each in best.values())


def test_two_workers_beside_bare_decord(videos):
    """The same through DataLoaders of two workers that live on, wall clock: batches of 8 beside decord's frames."""
    many = pd.concat([videos] * 4, ignore_index=True)
    clips = training_clips(many)
    loaders = {
        "pipeline": training_loader(clips, EpochBatches(len(clips), 8, seed=0), num_workers=2, pin_memory=False),
        "bare decord": DataLoader(BareDecord(clips), batch_size=8, num_workers=2, persistent_workers=True),
    }
    for loader in loaders.values():  # starts the workers
        list(loader)
    best = best_of({name: partial(list, loader) for name, loader in loaders.items()}, time.perf_counter)
    print(f"\nclips/s with two workers: {told(best, len(many))}")
    print(f"the pipeline reaches {100 * best['bare decord'] / best['pipeline']:.0f} % of bare decord")
    assert all(each < float("inf") for each in best.values())


def test_the_time_limit_costs_little():
    def calls(count, call):
        for _ in range(count):
            call()

    ways = {"bare": lambda: calls(2000, int), "limited": lambda: calls(2000, partial(time_limit.within, 60, "", int))}
    best = best_of(ways, time.perf_counter)
    print(f"\na call with a time limit takes {1e6 * (best['limited'] - best['bare']) / 2000:.0f} µs more")
    assert best["limited"] > 0
