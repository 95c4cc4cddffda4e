"""A rank of a run, started by torchrun: the megabytes (PSS, in which a page of several processes is shared out) of it
and of its workers, all of which have looked up videos on every page. Rank 0 prints those of all.

    torchrun … rank_memory.py TABLE WORKERS shared|alone
"""

import gc
import json
import sys
import time
from pathlib import Path

import psutil
from torch.utils.data import DataLoader

from actlib.compute.processes import ALONE, join
from actlib.datasets.clips.loaders import TrainingClips
from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.clips.transforms import train_transform
from actlib.datasets.clips.views import EvaluationViews
from actlib.loops.videos import read_videos


class Looked(TrainingClips):
    """Looks up videos as a clip would, a few of each page of their paths."""

    def __getitem__(self, number: int) -> int:
        for each in range(0, len(self), 25):
            assert self.paths[each] and self.segment(each)[1] and self.labels[each].item() >= 0
        time.sleep(1)  # until all workers have started
        return number


def megabytes(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1e3


path, workers, how = sys.argv[1], int(sys.argv[2]), sys.argv[3]
ranks = join("cpu")
begin, cpu = time.perf_counter(), time.process_time()
info, (validation, training), table = read_videos(path, ["validation", "training"], ranks if how == "shared" else ALONE)
options = {"num_frames": 16, "frame_stride": 1, "transform": train_transform("center", 128, 112)}
clips = Looked(training, info.classes, **options)
views = EvaluationViews(table, info.classes, {"clip": Protocol("clip", 16, 1, 128, 112)}, rows=validation)
took = time.perf_counter() - begin, time.process_time() - cpu
gc.collect()
assert clips[0] == 0
loader = DataLoader(clips, batch_size=None, sampler=range(workers), num_workers=workers, persistent_workers=True)
assert sorted(loader) == list(range(workers))
ranks.wait()
mine = [megabytes(each.pid) for each in [psutil.Process(), *psutil.Process().children()]]
of_all = ranks.gathered((mine, took))
ranks.wait()
if ranks.first:
    print(json.dumps(of_all), flush=True)
