"""Worker processes: started once for the whole run, validation's too, and right however Python starts processes."""

import json
import multiprocessing
import subprocess
import sys

from training import params, run

from actlib.datasets.clips.loaders import start_workers
from actlib.loops import prepare, train

SCRIPT = """
import json, multiprocessing, sys
if __name__ == "__main__":
    from actlib.datasets.clips.loaders import start_workers
    from actlib.loops import prepare, train
    from actlib.params import TrainParams
    folder, values, *methods = sys.argv[1:]
    for method in methods:
        multiprocessing.set_start_method(method, force=True)
        job = prepare(TrainParams.build(json.loads(values) | {"run_dir": f"{folder}/{method}"}, "test"))
        start_workers(job.val_loader)
        job.batches.first = len(job.batches.sizes)
        start_workers(job.loader)
        print(json.dumps([method, [[row["loss"], row["val_loss"]] for row in train(job)]]))
"""


def workers(loader) -> list[int]:
    return [worker.pid for worker in loader._iterator._workers if worker.is_alive()]


def test_workers_live_through_all_epochs_and_can_start_before_the_first(motion_table, tmp_path):
    job = prepare(params(motion_table, tmp_path, num_workers=2, epochs=3))
    start_workers(job.val_loader)
    job.batches.first = len(job.batches.sizes)
    start_workers(job.loader)
    first = workers(job.loader), workers(job.val_loader)
    assert len({pid for pids in first for pid in pids}) == 4
    rows = []
    for row in train(job):
        assert (workers(job.loader), workers(job.val_loader)) == first
        rows.append((row["loss"], row["val_loss"], row["val_videos"]))
    alone = run(params(motion_table, tmp_path / "alone", num_workers=0, epochs=3))
    assert rows == [(row["loss"], row["val_loss"], row["val_videos"]) for row in alone]


def test_every_way_to_start_processes_gives_the_same_run(motion_table, tmp_path):
    (tmp_path / "run.py").write_text(SCRIPT)  # a file: spawned processes read it again
    p, methods = params(motion_table, tmp_path / "run", num_workers=1), multiprocessing.get_all_start_methods()
    command = [sys.executable, str(tmp_path / "run.py"), str(tmp_path), p.model_dump_json(), *methods]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))
    alone = run(params(motion_table, tmp_path / "alone", num_workers=0))
    assert found == dict.fromkeys(methods, [[row["loss"], row["val_loss"]] for row in alone])
