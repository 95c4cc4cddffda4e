"""The processes of one run, one a device: their shares of every batch, and what they tell each other.

torchrun starts them and says by the environment who is who. Those of one machine share its data and its cores.
"""

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import torch
import torch.distributed as dist

# How long a process waits for the others. Whoever is first at a checkpoint, or decodes a slow video, takes long; a dead
# one is noticed by torchrun at once.
PATIENCE = timedelta(hours=2)
# And until all have met: by then each has imported what it needs. Who waits in vain is started again by torchrun.
MEETING = timedelta(minutes=2)


@dataclass(frozen=True)
class Ranks:
    """Which of the processes of a run this is: `rank` of `size`, `local_rank` of `local_size` on its machine. The
    verbs do nothing, or return what they were given, where there is one alone."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def first(self) -> bool:
        """Whether it is the one that writes, prints and decides."""
        return self.rank == 0

    @property
    def leads_node(self) -> bool:
        """Whether it is the one of its machine that reads what all there share."""
        return self.local_rank == 0

    def share(self, count: int) -> slice:
        """Which of the `count` clips of a batch are this process's: a part of about the same size for each, in order;
        of fewer clips than processes all of them, for each (see `weight`)."""
        if count < self.size:
            return slice(0, count)
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def is_whole(self, count: int) -> bool:
        """Whether each process has the whole of a batch of `count` clips."""
        return self.size == 1 or count < self.size

    def share_of_workers(self, num_workers: int) -> int:
        """How many of a machine's `num_workers` decoding processes are this process's, at least one if there are any:
        together they are as many, or as many as there are ranks."""
        mine = (
            num_workers * (self.local_rank + 1)
        ) // self.local_size - num_workers * self.local_rank // self.local_size
        return max(mine, min(num_workers, 1))

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """`tensor`, in place the sum of all processes' ones."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def concatenated(self, tensor: torch.Tensor, count: int) -> torch.Tensor:
        """All processes' parts of something with `count` rows that `share` has shared out, (share, …), in order."""
        if self.is_whole(count):
            return tensor
        parts = [Ranks(rank, self.size).share(count) for rank in range(self.size)]
        longest = max(part.stop - part.start for part in parts)
        mine = tensor.new_zeros(longest, *tensor.shape[1:])
        mine[: len(tensor)] = tensor
        found = [torch.empty_like(mine) for _ in parts]
        dist.all_gather(found, mine)
        return torch.cat([each[: part.stop - part.start] for each, part in zip(found, parts)])

    def agreed(self, flag: bool) -> bool:
        """What the first process says, for all; without a wait for the device."""
        if self.size == 1:
            return flag
        said = torch.tensor([flag], dtype=torch.uint8)
        dist.broadcast(said, src=0)
        return bool(said)

    def of_first(self, value: Any = None) -> Any:
        """What the first process has, for all."""
        if self.size == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0)
        return held[0]

    def gathered(self, value: Any) -> list[Any] | None:
        """Of all processes what each has, for the first; None for the others."""
        if self.size == 1:
            return [value]
        found = [None] * self.size if self.first else None
        dist.gather_object(value, found, dst=0)
        return found

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            dist.barrier()


ALONE = Ranks()


def join(device: Literal["cpu", "cuda"]) -> Ranks:
    """Become one of the processes that torchrun started, each of which calls this once, first of all; the only one
    where it did not. No GPU is touched: worker processes are to be forked before that."""
    if "RANK" not in os.environ:
        return ALONE
    rank, size, local_rank, local_size = (
        int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    )
    dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo", timeout=MEETING)
    dist.set_timeout(PATIENCE)
    return Ranks(rank, size, local_rank, local_size)


def how_many(devices: int | str, device: torch.device) -> int:
    """Processes that `devices` asks for: `auto` is one for each GPU that CUDA shows, unless `device` names one of them,
    and one on a CPU. Raises ValueError where there are fewer GPUs."""
    there = 1 if device.type != "cuda" or device.index is not None else torch.cuda.device_count()
    if devices == "auto":
        return there
    if device.type == "cuda" and devices > there:
        why = f"device is {device}" if device.index is not None else f"CUDA shows {there}"
        raise ValueError(
            f"devices: {devices}: {why}; set devices: auto, or device: cuda, or another CUDA_VISIBLE_DEVICES"
        )
    return int(devices)
