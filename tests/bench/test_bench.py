"""Measurements, printed and never asserted as times: `make bench`. Ratios are taken side by side, best of several."""

import time

import pytest
import torch

from actlib.datasets import video
from actlib.datasets.clips import TrainingClips
from actlib.datasets.table import class_names, read_table, rows_of
from actlib.datasets.transforms import train_transform
from actlib.models import create_from_spec
from actlib.models.execution import Execution, measure_all

ROUNDS = 5


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        ("resnet10 widen_factor=0.25 conv1_t_size=3", (16, 3, 8, 48, 48)),
        ("tam_resnet18 width_mult=0.5", (16, 3, 8, 48, 48)),
        ("resnet18 shortcut=A", (8, 3, 16, 112, 112)),
        ("mobilenetv2 width_mult=0.45", (8, 3, 16, 112, 112)),
    ],
)
def test_precisions_and_memory_formats(spec, shape, training):
    """Clips/s of every pair, and the best as a multiple of plain float32 contiguous."""
    model = create_from_spec(spec, 400)
    pairs = [Execution(p, m) for p in ("float32", "bf16") for m in ("contiguous", "channels_last")]
    seconds = measure_all(model, shape, pairs, device=torch.device("cpu"), training=training)
    told = ", ".join(f"{pair}: {shape[0] / each:.1f}" for pair, each in seconds.items())
    gain = seconds[Execution()] / min(seconds.values())
    print(f"\n{spec} {shape} clips/s: {told}; best is {gain:.2f} × plain")
    assert gain >= 1


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
