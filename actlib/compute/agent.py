"""torchrun's agent, as a notebook starts it: `python -m actlib.compute.agent MODULE FOLDER LOST PROCESSES RESTARTS`.

Each rank calls `main(FOLDER)` of MODULE, which is imported once for all of them: they are forked from a process that
does nothing else, and so begin, and begin again, at once. The agent ends with who started it, and its ranks end with
it. The file LOST gets a line of JSON for each rank that was lost: its `rank`, its `exitcode` and, where there was one,
the `signal` that ended it.
"""

import importlib
import json
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
from pathlib import Path

from actlib import lifeline


def agent_that_tells(lost: Path) -> type:
    """torchrun's agent, but that it writes into `lost` which ranks were: torchrun names those of its last try alone,
    and of several that ended between two looks one, perhaps one that only lost the others."""
    from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent

    class Agent(LocalElasticAgent):
        def _monitor_workers(self, worker_group):
            result = super()._monitor_workers(worker_group)
            if result.failures:
                codes = {rank: failure.exitcode for rank, failure in result.failures.items()}
                for rank, process in enumerate(self._pcontext._pc.processes):
                    if (process.exitcode or 0) < 0 and process.exitcode != -signal.SIGTERM:  # which is the agent's own
                        codes.setdefault(rank, process.exitcode)
                with lost.open("a", encoding="utf-8") as file:
                    for rank, code in codes.items():
                        name = signal.Signals(-code).name if code < 0 else ""
                        file.write(json.dumps({"rank": rank, "exitcode": code, "signal": name}) + "\n")
            return result

    return Agent


def run_rank(module: str, folder: str) -> None:
    importlib.import_module(module).main(folder)


def main(module: str, folder: str, lost: str, processes: str, restarts: str) -> int:
    """Run the ranks to their end; returns the exit code: 0, or 1 where they were lost once more than `restarts`."""
    lifeline.end_with_parent()
    os.environ[lifeline.PARENT] = str(os.getpid())  # of the ranks
    # DistributedDataParallel imports torch._dynamo, which takes seconds: once for all ranks.
    multiprocessing.set_forkserver_preload([module, "torch._dynamo"])
    multiprocessing.forkserver.ensure_running()  # now, so that it imports while this process does
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher import api

    api.LocalElasticAgent = agent_that_tells(Path(lost))
    config = api.LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=int(processes), max_restarts=int(restarts), run_id="run",
        rdzv_backend="c10d", rdzv_endpoint="localhost:0", local_addr="localhost", start_method="forkserver",
        logs_specs=DefaultLogsSpecs(log_dir=str(Path(folder) / "torchrun")),
    )  # fmt: skip
    try:
        api.elastic_launch(config, run_rank)(module, folder)
    except ChildFailedError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
