"""The device a run computes on, and the last step of a clip's way onto it: uint8 becomes normalised float only here."""

import torch

from actlib.compute.execution import Execution


def pick_device(name: str = "auto") -> torch.device:
    """`auto` is CUDA if there is a device, else the CPU. Raises ValueError for a name that torch does not know or
    a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name!r} cannot be used ({reason}); try auto or cpu") from error
    return device


def to_float(
    clips: torch.Tensor,
    device: torch.device,
    *,
    mean: list[float],
    std: list[float],
    execution: Execution,
    channel_order: str = "rgb",
) -> torch.Tensor:
    """Clips (B, T, C, H, W) anywhere -> float32 (B, C, T, H, W) on `device`: (x / 255 − mean) / std per channel (a
    single mean or std is that of all channels).

    uint8 clips are divided by 255; float ones, from a transform of the user's, are on the 0-1 scale already.
    `channel_order`: the order in which the network sees the channels, which decoded clips have as R, G, B; `bgr`
    turns them round. `mean` and `std` are in that order, on the 0-1 scale.
    """
    clips = clips.to(device, non_blocking=True)
    if channel_order == "bgr":
        clips = clips.flip(2)
    largest = 1 if clips.is_floating_point() else 255
    mean, std = (torch.tensor(each, dtype=torch.float32, device=device) for each in (mean, std))
    scale, shift = 1 / (largest * std), -mean / std
    # A float clip may be the caller's own memory: it is copied before it is written to.
    out = execution.apply_to_clips(clips.transpose(1, 2).to(torch.float32, copy=True))
    return out.mul_(scale.view(1, -1, 1, 1, 1)).add_(shift.view(1, -1, 1, 1, 1))
