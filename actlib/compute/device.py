"""The device a loop runs on, and a batch's way onto it: uint8 clips become normalised float ones only here."""

import torch

from actlib.compute.execution import Execution
from actlib.datasets.video.flow_folders import STACK

CHANNELS = {"rgb": 3, "flow": 2 * STACK}  # of the clips of each modality


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
    flip: torch.Tensor | None = None,
    modality: str = "rgb",
) -> torch.Tensor:
    """uint8 (B, T, C, H, W) on the CPU -> float32 (B, C, T, H, W) on `device`: (x / 255 − mean) / std per channel
    (a single mean or std is that of all channels).

    `channel_order`: the order in which the network sees the channels, which decoded clips have as R, G, B; `bgr`
    turns them round. `mean` and `std` are in that order, on the 0–1 scale. `flip`: bool (B), the clips to mirror
    left to right; in optical flow (`modality`) their x components, the even channels, change their sign: 255 − x.
    """
    clips = clips.to(device, non_blocking=True)
    if channel_order == "bgr":
        clips = clips.flip(2)
    scale = 1 / (255 * torch.tensor(std, dtype=torch.float32, device=device))
    shift = -torch.tensor(mean, dtype=torch.float32, device=device) / torch.tensor(std, device=device)
    out = execution.apply_to_clips(clips.transpose(1, 2).float())
    if flip is not None and flip.any():
        flip = flip.to(device)
        mirrored = out[flip].flip(-1)
        if modality == "flow":
            mirrored[:, ::2] = 255 - mirrored[:, ::2]
        out[flip] = mirrored
    return out.mul_(scale.view(1, -1, 1, 1, 1)).add_(shift.view(1, -1, 1, 1, 1))
