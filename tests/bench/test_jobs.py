"""A whole job (training, validation, video accuracy) here, through the API and through notebooks 02 and 04, by
papermill and as a batch, against a plain PyTorch script that does what the references do: same recipe, same JPEGs, each
in processes of its own.

Printed, never asserted: `make bench WHAT=jobs`. CPU seconds are those of all processes; goals on a CPU without bf16
units: through the API at most 0.5 of the script's for MobileNetV2 0.45x and 0.8 for ResNet-18, notebooks 0.2 more.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from actlib.datasets import synthetic
from actlib.datasets.prepare.convert import convert
from actlib.datasets.prepare.layout import StorageOptions
from actlib.datasets.table import write_table

ROUNDS = 3
HERE = Path(__file__).parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "ACTLIB_HEADLESS": "1"}
CLIP = {"num_frames": 16, "frame_stride": 1, "short_side": 112, "crop_size": 112}
API = """
import json, sys
from actlib.loops import evaluate, prepare, train
from actlib.params import TrainParams, VideoAccuracyParams
training, accuracy = (json.loads(each) for each in sys.argv[1:])
for row in train(prepare(TrainParams.build(training, "bench"))):
    pass
print(f'{evaluate(prepare(VideoAccuracyParams.build(accuracy, "bench")))["video"].top(1):.1f}')
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """64 videos of 8 classes as folders of JPEGs."""
    folder = tmp_path_factory.mktemp("job")
    videos = synthetic.generate(folder / "videos", videos_per_class={"training": 6, "validation": 2})
    stored, failed = convert(videos, StorageOptions("frames", folder / "frames", 128))
    assert len(stored) == 64 and not len(failed)
    return write_table(stored, folder / "table.csv")


@pytest.mark.parametrize(
    ("network", "epochs"),
    [("mobilenetv2 width_mult=0.45", 2), ("resnet18 shortcut=A", 1)],
    ids=["mobilenetv2", "resnet18"],
)
def test_a_whole_job(table, tmp_path, network, epochs):
    ways = {"plain script": plain, "API": api, "papermill": notebooks, "batch": batch}
    found = {name: [] for name in ways}
    for number in range(ROUNDS):
        for name, way in ways.items():
            found[name].append(way(table, tmp_path / f"{name}{number}", network, epochs))
    print(f"\n{network}, {epochs} epochs of 48 videos, 16 validated, 32 windows scored; {ROUNDS} rounds in turns")
    base = [statistics.median(each) for each in zip(*found["plain script"])]
    for name, rounds in found.items():
        for kind, values, plain_s in zip(("CPU", "wall"), zip(*rounds), base):
            middle = statistics.median(values)
            spread = f"{min(values):.1f} to {max(values):.1f}"
            print(f"  {name:<13} {middle:7.1f} s {kind:<4} ({spread}): {middle / plain_s:.2f} of the plain script's")


def plain(table, folder, network, epochs):
    return seconds_of([HERE / "plain_job.py", table, network, str(epochs), "16"])


def recipes(table, folder, network, epochs) -> tuple[dict, dict]:
    training = {"table": str(table), "run_dir": str(folder / "train"), "model": network, "epochs": epochs, **CLIP}
    training |= {"crop": "multi_scale_corner", "batch_size": 16, "last_batch": "keep", "num_workers": 1}
    training |= {"optimizer": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-3, "schedule": "constant"}
    accuracy = {"table": str(table), "run_dir": str(folder / "accuracy"), "protocol": "video", "num_workers": 1}
    return training, accuracy | {"checkpoint": f"{folder}/train/checkpoints/last.pt", "batch_size": 16}


def api(table, folder, network, epochs):
    return seconds_of(["-c", API, *(json.dumps(each) for each in recipes(table, folder, network, epochs))])


def notebooks(table, folder, network, epochs):
    folder.mkdir()
    total = [0.0, 0.0]
    for notebook, values in zip(("02_train", "04_video_accuracy"), recipes(table, folder, network, epochs)):
        (folder / f"{notebook}.json").write_text(json.dumps(values))
        source = HERE.parents[1] / "notebooks" / f"{notebook}.ipynb"
        command = ["-m", "papermill", source, folder / f"{notebook}.ipynb", "-f", folder / f"{notebook}.json"]
        spent = seconds_of([*command, "--no-progress-bar", "--kernel", "python3"])
        total = [one + other for one, other in zip(total, spent)]
    return tuple(total)


def batch(table, folder, network, epochs):
    training, accuracy = recipes(table, folder, network, epochs)
    steps = [("train", "02_train", training), ("accuracy", "04_video_accuracy", accuracy)]
    accuracy["checkpoint"] = "{train}/checkpoints/last.pt"
    steps = [{"name": name, "notebook": notebook, "set": values} for name, notebook, values in steps]
    folder.mkdir()
    (folder / "batch.yaml").write_text(json.dumps({"run_dir": str(folder), "steps": steps}))
    return seconds_of(["-m", "actlib", "batch", folder / "batch.yaml"])


def seconds_of(arguments) -> tuple[float, float]:
    """(CPU, wall) seconds of a Python process with all that it starts."""
    before, begin = children(), time.perf_counter()
    done = subprocess.run([sys.executable, *map(str, arguments)], env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return children() - before, time.perf_counter() - begin


def children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
