"""Several processes as torchrun starts them, forked from the test's own: nothing is imported anew."""

import importlib
import multiprocessing
import os
import pickle
import socket
import traceback
from pathlib import Path

import torch
import torch.distributed as dist

from actlib.compute.processes import join

FORK = multiprocessing.get_context("fork")
MOST_S = 300

# Before any test: torch's engine of gradients, where it first runs after torch.compile has, starts threads, and is of
# no use in a fork from then on.
torch.ones((), requires_grad=True).backward()


def on_ranks(size: int, work, folder: Path, *arguments, machines: tuple[int, ...] = ()) -> list:
    """What `work(ranks, *arguments)` returns in each of `size` processes, children of this one. `machines`: of so many
    processes each, which believe themselves on machines of their own; one for all if not given.
    Fails with what the first of them to fail says."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    importlib.import_module("torch._dynamo")  # DistributedDataParallel does: once, before the fork
    places = [(local_rank, count) for count in machines or (size,) for local_rank in range(count)]
    processes = [
        FORK.Process(target=_rank, args=(rank, size, place, port, folder, work, arguments))
        for rank, place in enumerate(places)
    ]
    for each in processes:
        each.start()
    for each in processes:
        each.join(MOST_S)
        each.kill()
    said = [file.read_text() for file in sorted(folder.glob("failed_*.txt"))]
    codes = [each.exitcode for each in processes]
    assert not said and not any(codes), "\n".join([*said, f"exit codes {codes}: -9 is too slow"])
    return [pickle.loads((folder / f"found_{rank}.pickle").read_bytes()) for rank in range(size)]


def _rank(rank: int, size: int, place: tuple[int, int], port: int, folder: Path, work, arguments: tuple) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(size))
    os.environ.update(LOCAL_RANK=str(place[0]), LOCAL_WORLD_SIZE=str(place[1]))
    torch.set_num_threads(1)
    try:
        found = work(join("cpu"), *arguments)
        (folder / f"found_{rank}.pickle").write_bytes(pickle.dumps(found))
        dist.destroy_process_group()
    except BaseException:
        (folder / f"failed_{rank}.txt").write_text(f"rank {rank} of {size}:\n{traceback.format_exc()}")
        os._exit(1)
    os._exit(0)
