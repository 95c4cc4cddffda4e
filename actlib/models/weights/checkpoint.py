"""Checkpoints: everything a run needs to go on exactly, and everything inference needs to be right.

A checkpoint is a dict of tensors and plain Python values, so that torch loads it with `weights_only=True`:

- `format`: FORMAT · `model`: {name, options, num_classes, spec} · `state_dict` · `classes`: names in index order
- `preprocessing`: num_frames, frame_stride, short_side, crop_size, mean, std, channel_order, modality (see
  `device.to_float`)
- `execution`: {precision, memory_format} · `epoch`: epochs done · `history`: one row each · `params`
- `optimizer`, `schedule`, `rng`: only in checkpoints that training can go on from (`last.pt`, `epoch_NNNN.pt`)
"""

from pathlib import Path

import torch

from actlib.files import write_with
from actlib.models import VideoModel, create_model
from actlib.models.weights.load import load_weights

FORMAT = "actlib checkpoint 1"
UNSAID = {"channel_order": "rgb", "modality": "rgb"}  # preprocessing that older checkpoints do not tell


class CheckpointError(ValueError):
    """A checkpoint that is missing, is not one of this project's, or does not fit the run. Names the file."""


def describe(model: VideoModel) -> dict:
    """What a checkpoint holds under `model`."""
    return {"name": model.name, "options": model.options, "num_classes": model.num_classes, "spec": model.spec}


def save_checkpoint(path: str | Path, content: dict) -> Path:
    """Write `content` (see above) under a temporary name, then rename it to `path`."""
    return write_with(path, lambda temporary: torch.save({"format": FORMAT, **content}, temporary))


def read_checkpoint(path: str | Path) -> dict:
    """Read a checkpoint onto the CPU. Raises CheckpointError for a file that is missing, broken, or was not written
    by `save_checkpoint`."""
    path = Path(path)
    if not path.is_file():
        near = sorted(each.name for each in path.parent.glob("*.pt")) if path.parent.is_dir() else []
        raise CheckpointError(f"{path}: no such checkpoint" + (f"; beside it lie {', '.join(near)}" if near else ""))
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{path}: torch cannot read it ({str(error).splitlines()[0]})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: not a checkpoint of this project (no format {FORMAT!r} in it); "
            f"`python -m actlib weights convert {path} OUT.pt` makes one of weights from elsewhere"
        )
    for name, value in UNSAID.items():
        content.get("preprocessing", {}).setdefault(name, value)
    return content


def model_from_checkpoint(path: str | Path) -> tuple[torch.nn.Module, dict]:
    """The network of a checkpoint with its weights, in evaluation mode on the CPU, and the checkpoint's content."""
    content = read_checkpoint(path)
    model = create_model(content["model"]["name"], content["model"]["num_classes"], **content["model"]["options"])
    load_weights(model, path)
    return model.eval(), content


def random_states() -> dict:
    """The states of torch's global generators; all other randomness of a run is seeded by epoch and video."""
    return {"torch": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}


def restore_random_states(states: dict) -> None:
    torch.set_rng_state(states["torch"])
    if states["cuda"] and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
