"""The GPUs of this machine, for runs at work side by side: each has its own, and `devices: auto` takes those."""

import os
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
DRIVER = Path("/proc/driver/nvidia/gpus")  # there where NVIDIA's driver is


def shared_out(workers: int) -> list[dict[str, str]]:
    """The environments of so many places to run at: in each its part of the GPUs that this process sees, in turn; one
    for several where there are fewer GPUs than places. Empty where there are no GPUs, or one place has them all."""
    names = _visible() if workers > 1 else []
    parts = [names[place::workers] or names[place % len(names) :][:1] for place in range(workers)] if names else []
    return [{VISIBLE: ",".join(part)} for part in parts] or [{}] * workers


def _visible() -> list[str]:
    """The GPUs by their names for CUDA."""
    shown = os.environ.get(VISIBLE)
    if shown is not None:
        return [each.strip() for each in shown.split(",") if each.strip()]
    if not DRIVER.is_dir():
        return []
    import torch  # asked only where there is something to ask for; nothing of a GPU is touched

    return [str(number) for number in range(torch.cuda.device_count())]
