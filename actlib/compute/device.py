"""The device a run computes on, and the last step of a clip's way onto it: uint8 becomes normalised float only here."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Protocol, TypeVar

import torch

from actlib.compute.execution import Execution


def pick_device(name: str = "auto") -> torch.device:
    """`auto` is CUDA if there is a device, else the CPU. Raises ValueError for a name that torch does not know or
    a device that is not there. A GPU is only counted, not touched: worker processes are to be forked before that."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type != "cuda":
            torch.empty(0, device=device)
        elif (device.index or 0) >= torch.cuda.device_count():
            raise RuntimeError(f"there are {torch.cuda.device_count()} CUDA devices")
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name!r} cannot be used ({reason}); try auto or cpu") from error
    return device


class Movable(Protocol):
    """What `on_device` takes: a batch that can go to a device, as its tensors go."""

    def to(self, device: torch.device) -> "Movable": ...

    def tensors(self) -> Iterable[torch.Tensor]: ...


Batch = TypeVar("Batch", bound=Movable)


def on_device(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """The batches, each copied to `device` as soon as it is asked for. On CUDA the copies, from pinned memory, have a
    stream of their own: the next batch travels while the last one is still computed, and nothing waits for it but
    the kernels that use it."""
    if device.type != "cuda":
        for batch in batches:
            yield batch.to(device)
        return
    stream = torch.cuda.Stream(device)
    for batch in batches:
        with torch.cuda.stream(stream):
            copied = batch.to(device)
        present = torch.cuda.current_stream(device)
        present.wait_stream(stream)
        for tensor in copied.tensors():
            tensor.record_stream(present)  # or the allocator would give it away once the copying stream is done
        yield copied


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A small tensor made on the host, without a wait for the device: pinned, where that matters."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


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

    uint8 clips are divided by 255; float ones, from a transform of the user's, are on the 0-1 scale already, and stay
    as they are. `channel_order`: the order in which the network sees the channels, which decoded clips have as R, G,
    B; `bgr` turns them round. `mean` and `std` are in that order, on the 0-1 scale.
    """
    clips = clips.to(device, non_blocking=True)
    if channel_order == "bgr":
        clips = clips.flip(2)
    largest = 1 if clips.is_floating_point() else 255
    scale, shift = _affine(tuple(mean), tuple(std), largest, device)
    clips, layout = clips.transpose(1, 2), execution.layout_of_clips()
    # One pass over the pixels makes them float and lays them out; the rest works in place.
    out = torch.empty(clips.shape, dtype=torch.float32, device=device, memory_format=layout).copy_(clips)
    if layout == torch.contiguous_format:
        out.mul_(scale.view(-1, 1, 1, 1)).add_(shift.view(-1, 1, 1, 1))
    else:  # as rows (B, T, H, W · C): numbers that lie side by side are what a CPU is fast at
        pixels = out.movedim(1, -1)
        rows = pixels.view(*pixels.shape[:3], -1)
        rows.mul_(scale.repeat(rows.shape[-1] // len(scale))).add_(shift.repeat(rows.shape[-1] // len(scale)))
    return out


@lru_cache(maxsize=32)
def _affine(mean: tuple, std: tuple, largest: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """x · scale + shift normalises: two tensors (C,), or (1,) for all channels, made once on the device."""
    with torch.inference_mode(False):  # whoever comes first may be in it, and others train
        mean, std = (torch.tensor(each, dtype=torch.float32) for each in (mean, std))
        return (1 / (largest * std)).to(device), (-mean / std).to(device)
