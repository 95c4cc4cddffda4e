"""Shared memory as small as containers give it, or full: the same run, or a word on the parameter that helps."""

import json
import os
import re
import signal
import sys
import threading
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest
import torch
from training import params, run

from actlib.datasets.clips import handover
from actlib.datasets.clips.handover import WorkerError
from actlib.datasets.clips.loaders import Batch, start_workers
from actlib.datasets.clips.views import Chunk
from actlib.loops import prepare, train

ALL = os.environ.get("ACTLIB_HOSTILE") == "all"
LONG = pytest.mark.skipif(not ALL, reason="ten seconds and more: make hostile")
SHARED = Path("/dev/shm")
MORE = {"num_frames": 16, "short_side": 64, "crop_size": 64, "batch_size": 12, "epochs": 1}  # 2.4 MB a batch
SCRIPT = """
import json, multiprocessing, sys
if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    from actlib.datasets.clips.handover import WorkerError
    from actlib.loops import prepare, train
    from actlib.params import TrainParams
    try:
        rows = list(train(prepare(TrainParams.build(json.loads(sys.argv[2]), "test"))))
    except WorkerError as error:
        print("refused:", error)
    else:
        print(json.dumps([[row["loss"], row["val_loss"]] for row in rows]))
"""


@pytest.fixture(scope="module")
def unspoilt(motion_table, tmp_path_factory) -> list:
    rows = run(params(motion_table, tmp_path_factory.mktemp("alone"), **MORE))
    return [[row["loss"], row["val_loss"]] for row in rows]


@pytest.mark.parametrize(
    ("size", "method", "outcome"),
    [
        ("3m", "fork", "piped"),
        ("16k", "fork", "refused"),
        pytest.param("64m", "fork", "shared", marks=LONG),
        pytest.param("3m", "spawn", "piped", marks=LONG),
    ],
)
def test_a_small_dev_shm(motion_table, tmp_path, in_small_memory, unspoilt, size, method, outcome, record_property):
    (tmp_path / "run.py").write_text(SCRIPT)  # a file: spawned processes read it again
    p = params(motion_table, tmp_path / "run", num_workers=2, **MORE)
    done = in_small_memory(SHARED, size, [sys.executable, str(tmp_path / "run.py"), method, p.model_dump_json()])
    last = done.stdout.splitlines()[-1] if done.stdout else done.stderr
    if outcome == "refused":
        assert re.search(r"refused: shared memory .* is full.*--shm-size.*num_workers: 0", last), done.stderr
    else:
        assert json.loads(last) == unspoilt
        assert done.stdout.count("MB of clips do not fit into shared memory") == (outcome == "piped")
    record_property("hostile", ["a small /dev/shm", "refused" if outcome == "refused" else "equal"])


@pytest.mark.parametrize("kind", ["Batch", "Chunk"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
def test_clips_through_a_pipe_are_the_same(kind, dtype, capsys, monkeypatch):
    monkeypatch.setattr(handover, "_told", False)
    clips = torch.randint(0, 256, (2, 3, 5, 6, 4)).to(dtype).permute(0, 1, 4, 2, 3)
    sent = Batch(clips, torch.tensor([3, 1]), [("a", "b")]) if kind == "Batch" else Chunk(7, clips, [[0], [1]], (2,))
    sent.by_pipe = True
    before = len(os.listdir(SHARED)) if SHARED.is_dir() else 0
    pickled = bytes(ForkingPickler.dumps(sent))
    assert (len(os.listdir(SHARED)) if SHARED.is_dir() else 0) == before and len(pickled) > clips.nbytes
    found = ForkingPickler.loads(pickled)
    assert type(found) is type(sent) and not found.by_pipe
    assert torch.equal(found.clips, clips) and found.clips.stride() == clips.stride() and found.clips.dtype == dtype
    for name, value in vars(sent).items():
        assert name in ("clips", "by_pipe") or (
            torch.equal(value, vars(found)[name]) if isinstance(value, torch.Tensor) else value == vars(found)[name]
        )
    found.clips.add_(1)  # it may be written to
    ForkingPickler.loads(pickled)
    assert capsys.readouterr().out.count("do not fit into shared memory") == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGBUS, signal.SIGSEGV])
def test_a_worker_that_is_killed(judge, motion_table, tmp_path, how):
    job = prepare(params(motion_table, tmp_path, num_workers=1, epochs=1000))
    start_workers(job.loader)
    pid = job.loader._iterator._workers[0].pid
    threading.Timer(1.0, os.kill, (pid, how)).start()
    judge(lambda: list(train(job)), kind="a killed worker", errors=WorkerError,
          names=[str(pid), "num_workers"])  # fmt: skip


def test_other_errors_stay_what_they_are():
    for error in (RuntimeError("No space left on device"), OSError(28, "No space left on device"), ValueError("x")):
        with pytest.raises(type(error)) as found, handover.workers_in_words():
            raise error
        assert found.value is error
