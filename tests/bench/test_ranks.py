"""Several processes of one run: their memory and start with a table of Kinetics-700's size, and how fast two train.

Printed and never asserted as times or ratios: `make bench WHAT=ranks`. Linux alone tells the memory.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from test_memory import NUM_VIDEOS, long_table
from videofiles import write_video

from actlib.datasets import synthetic
from actlib.datasets.clips.loaders import EpochBatches
from actlib.datasets.table import write_table

HERE = Path(__file__).parent
RANKS = 8
WORKERS = 2  # of each rank; eight need 64 cores to be quick
VALIDATION = 35_000
ROUNDS = 3
LONG = {"model": "resnet10 widen_factor=0.25 conv1_t_size=3", "num_frames": 16, "short_side": 128, "crop_size": 112}
LONG |= {"batch_size": 64, "num_workers": 0, "device": "cpu", "precision": "float32", "memory_format": "contiguous"}


def on_ranks(count: int, *arguments) -> tuple[list, float, float]:
    """What rank 0 of `count` processes prints, their CPU seconds and those of the wall."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACTLIB_HEADLESS": "1"}
    done = subprocess.run([*command, *map(str, arguments)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - begin
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(done.stdout.strip().splitlines()[-1]), cpu, wall


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> dict[str, Path]:
    """650,000 rows as Kinetics-700's, 35,000 of them for validation, and a few of them. 700 of the videos are there:
    each row names one."""
    folder = tmp_path_factory.mktemp("ranks")
    table = long_table(folder)
    video = write_video(folder / "video.mp4", 300, 340, 256, gop=90)
    places = np.random.default_rng(0).integers(0, 700, len(table))
    names = [folder / "videos" / f"class number {number:03d}" / f"{'x' * 25}.mp4" for number in range(700)]
    for name in names:
        name.parent.mkdir(parents=True)
        name.symlink_to(video)
    table["path"] = [str(names[place]) for place in places]
    table.loc[table.index[:VALIDATION], "subset"] = "validation"
    few = table.iloc[VALIDATION - 32 : VALIDATION + 64]
    return {"long": write_table(table, folder / "table.csv"), "short": write_table(few, folder / "few.csv")}


def test_no_rank_holds_a_copy_of_the_table(tables):
    """PSS of all ranks and workers together, after they have looked up videos on every page, less that with a table of
    96 rows."""
    totals, spent = {}, {}
    for name, table, how in (("few", "short", "shared"), ("each", "long", "alone"), ("one", "long", "shared")):
        found, _, _ = on_ranks(RANKS, HERE / "rank_memory.py", tables[table], WORKERS, how)
        totals[name], spent[name] = sum(sum(mine) for mine, _ in found), sum(cpu for _, (_, cpu) in found)
    print(f"\n{RANKS} ranks with {WORKERS} workers each take {totals['few']:,.0f} MB with a table of 96 videos;")
    for name, words in (("each", "each rank reads it for itself"), ("one", "one reads it, all map its file")):
        more = totals[name] - totals["few"]
        print(f"  with {NUM_VIDEOS:,} {more:,.0f} MB more where {words}, in {spent[name]:.1f} CPU s of all ranks")
    assert len(totals) == 3


def test_shuffling_an_epoch():
    batches = EpochBatches(NUM_VIDEOS, 64, seed=0)
    seconds = []
    for batches.epoch in range(ROUNDS):
        begin = time.process_time()
        first = next(iter(batches))
        until = time.process_time() - begin
        assert len(first) == 64 and sum(map(len, batches)) == NUM_VIDEOS
        seconds.append((until, time.process_time() - begin - until))
    first, whole = map(statistics.median, zip(*seconds))
    print(f"\nan epoch of {NUM_VIDEOS:,}: {first:.2f} CPU s to its first batch, {whole:.2f} for all batches (below 1)")


def test_time_to_the_first_batch(tables, tmp_path):
    """From the call of `prepare` to the first batch of clips of real videos, decoded without workers, so that the CPU
    seconds of the slowest rank are what it takes where each has a core. Before that each imports torch."""
    print()
    for count in (1, RANKS):
        recipe = LONG | {"table": str(tables["long"]), "run_dir": str(tmp_path / f"run{count}"), "devices": count}
        path = tmp_path / f"{count}.yaml"
        path.write_text(yaml.safe_dump(recipe))
        found, cpu, wall = on_ranks(count, HERE / "rank_training.py", "first", path)
        slowest, most = (max(each) for each in zip(*found))
        print(f"{count} ranks, {NUM_VIDEOS:,} videos, a first batch of 64 clips: {most:.1f} CPU s of the slowest rank "
              f"(below 10), here on {os.cpu_count()} cores {slowest:.1f} s")  # fmt: skip
        print(f"  from the command on {wall:.1f} s, {cpu:.1f} CPU s with imports and torchrun")
        assert len(found) == count


def test_two_processes_train_faster_than_one(tmp_path):
    """A training of the same whole batch by one and by two processes, one thread each, in turns."""
    videos = synthetic.generate(tmp_path / "videos", videos_per_class={"training": 12, "validation": 1})
    table = write_table(videos, tmp_path / "table.csv")
    recipe = {"table": str(table), "model": "resnet18 conv1_t_size=3 widen_factor=0.5", "num_frames": 8, "epochs": 3}
    recipe |= {"frame_stride": 1, "short_side": 64, "crop_size": 64, "batch_size": 32, "num_workers": 0}
    recipe |= {"optimizer": "sgd", "lr": 0.01, "precision": "float32", "memory_format": "channels_last"}
    recipe |= {"device": "cpu", "sync_bn": True}
    found = {1: [], 2: []}
    for number in range(ROUNDS):
        for count, rounds in found.items():
            path = tmp_path / f"{count}.yaml"
            path.write_text(yaml.safe_dump(recipe | {"run_dir": str(tmp_path / f"{count}_{number}"), "devices": count}))
            of_all, _, _ = on_ranks(count, HERE / "rank_training.py", "epochs", path)
            rounds.append((statistics.median(of_all[0][0]), sum(cpu for _, cpu in of_all)))
    ratios = [two[0] / one[0] for one, two in zip(found[1], found[2])]
    print(f"\n{os.cpu_count()} cores, batches of {recipe['batch_size']} clips, {ROUNDS} rounds in turns")
    for count, rounds in found.items():
        rates, cpus = zip(*rounds)
        print(f"  {count} process{'es' * (count > 1)}: {told(rates)} clips/s, {told(cpus)} CPU s in all")
    print(f"  2 / 1: {told(ratios)} times the clips/s")
    assert len(ratios) == ROUNDS


def told(values) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
