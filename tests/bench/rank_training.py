"""A rank of a training, started by torchrun, which says how long it took to its first batch, or how fast it trains.

    torchrun … rank_training.py first|epochs FILE    # FILE: the parameters of notebook 02, YAML

`first`: [seconds from the call of `prepare` to the first batch, CPU seconds], of each rank. `epochs`: of each epoch but
the first its clips/s, then the CPU seconds of all ranks and their workers.
"""

import json
import resource
import sys
import time

import torch

from actlib.compute.processes import join
from actlib.loops import prepare, train
from actlib.params import TrainParams

torch.set_num_threads(1)
ranks = join("cpu")
begin, cpu = time.perf_counter(), time.process_time()
job = prepare(TrainParams.from_file(sys.argv[2]), ranks=ranks)
if sys.argv[1] == "first":
    job.set_epoch(0)
    batch = next(iter(job.loader))
    assert len(batch.clips) and not batch.failures
    found = time.perf_counter() - begin, time.process_time() - cpu
else:
    rates = [row["clips_per_s"] for row in train(job)][1:]
    del job  # ends its workers, so that they count as children
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    found = rates, sum(each.ru_utime + each.ru_stime for each in used)
of_all = ranks.gathered(found)
ranks.wait()
if ranks.first:
    print(json.dumps(of_all), flush=True)
