"""What a run computes on, and how: its devices, the way its network runs there, and several processes as one."""

import torch
from torch.nn.parallel import DistributedDataParallel

from actlib.compute.choose import choose
from actlib.compute.device import pick_device
from actlib.compute.execution import Execution
from actlib.compute.processes import Ranks, how_many
from actlib.compute.vocabulary import PRECISIONS
from actlib.models import VideoModel
from actlib.params import TrainingParams, VideoAccuracyParams


def devices_of(p: TrainingParams | VideoAccuracyParams, ranks: Ranks) -> tuple[torch.device, int]:
    """The device of this process, and how many processes there are or are to be. Raises ValueError."""
    device = pick_device(p.device)
    devices = ranks.size if ranks.size > 1 else how_many(p.devices, device)
    if p.batch_size < devices:
        raise ValueError(f"batch_size: {p.batch_size}: {devices} devices share it, a clip at least for each")
    if ranks.size > 1 and device.type == "cuda":
        device = torch.device("cuda", ranks.local_rank)
    require_possible(p, device)
    return device, devices


def require_possible(p: TrainingParams | VideoAccuracyParams, device: torch.device) -> None:
    """Raise ValueError for what `device` cannot do, as far as that is known without a touch of it: worker processes are
    forked before."""
    ask = device.type == "cuda" and p.precision == "tf32"
    precision = p.precision if p.precision in PRECISIONS and not ask else "float32"
    Execution(precision, compile=p.compile).check(device)


def chosen_execution(
    p, model: VideoModel, batch_size: int, steps: int, device: torch.device, *, training: bool
) -> tuple[Execution, dict[str, float]]:
    """How the network runs in a run of so many `steps`, and the clips/s of each way that was measured."""
    shape = (batch_size, model.in_channels, p.num_frames, p.crop_size, p.crop_size)
    how = {"precision": p.precision, "memory_format": p.memory_format, "compile": p.compile}
    execution, timings = choose(model, shape, device=device, training=training, steps=steps, **how)
    fastest = sorted(timings, key=lambda each: timings[each].seconds)
    return execution, {str(each): round(batch_size / timings[each].seconds, 2) for each in fastest}


def over_processes(model: VideoModel, device: torch.device, ranks: Ranks) -> DistributedDataParallel | None:
    """The network as it trains where several processes share a batch; None in the only one."""
    if ranks.size == 1:
        return None
    return DistributedDataParallel(
        model, device_ids=[device] if device.type == "cuda" else None, gradient_as_bucket_view=True,
        find_unused_parameters=":" in model.spec,  # of networks of the user's; all of ours use what they have
    )  # fmt: skip
