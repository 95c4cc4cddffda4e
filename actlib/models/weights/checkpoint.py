"""Checkpoints: everything a run needs to go on exactly, and everything inference needs to be right.

A checkpoint is a dict of tensors and plain Python values, so that torch loads it with `weights_only=True`:

- `format`: FORMAT · `model`: {name, options, num_classes, spec, code} · `state_dict` · `classes`: names in index order.
  `code` is {file, sha256} of a network in a file of the user's (see `entries.load_entry`), else None.
- `preprocessing`: num_frames, frame_stride, short_side, crop_size, mean, std, channel_order, modality (see
  `compute.device.to_float`)
- `execution`: {precision, memory_format} · `epoch`: epochs done · `history`: one row each · `params`
- `optimizer`, `schedule`, `rng`: only in checkpoints that training can go on from (`last.pt`, `epoch_NNNN.pt`)

`create_model(pretrained=…)` opens the network of one.
"""

from pathlib import Path

import torch
from torch import nn

from actlib.files import write_with
from actlib.messages import did_you_mean, listed
from actlib.models.registry import ModelError, VideoModel, adopt, create_from_spec
from actlib.models.weights.fields import FORMAT, UNSAID, CheckpointError
from actlib.models.weights.file import DamagedFileError, WeightsError, WeightsFile, read_weights

__all__ = ["FORMAT", "UNSAID", "CheckpointError", "read_checkpoint", "read_header", "save_checkpoint", "save_network"]

_SIZES = ("num_frames", "frame_stride", "short_side", "crop_size")
_COLOURS = ("mean", "std")


def describe(model: VideoModel) -> dict:
    """What a checkpoint holds under `model`."""
    names = ("name", "options", "num_classes", "spec", "code")
    return {name: getattr(model, name) for name in names}


def network_content(model: VideoModel, classes: list[str], preprocessing: dict) -> dict:
    """What inference needs of a checkpoint: the keys model, state_dict, classes and preprocessing (see above)."""
    return {
        "model": describe(model),
        "state_dict": model.state_dict(),
        "classes": list(classes),
        "preprocessing": UNSAID | preprocessing,
    }


def save_checkpoint(path: str | Path, content: dict) -> Path:
    """Write `content` (see above) under a temporary name, then rename it to `path`. Raises DiskFull, an OSError, before
    it writes anything where the tensors do not fit."""
    content = {"format": FORMAT, **content}
    return write_with(path, lambda temporary: torch.save(content, temporary), needed=_tensor_bytes(content))


def _tensor_bytes(value) -> int:
    """The bytes of all tensors in nested dicts and lists, each storage once, as torch.save writes it."""
    storages, left = {}, [value]
    while left:
        value = left.pop()
        if isinstance(value, torch.Tensor):
            storages[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        elif isinstance(value, dict | list | tuple):
            left.extend(value.values() if isinstance(value, dict) else value)
    return sum(storages.values())


def save_network(
    model: nn.Module, path: str | Path, *, classes: list[str], preprocessing: dict, spec: str = ""
) -> Path:
    """Write a network that was trained in any way as a checkpoint that notebooks 03, 04 and 05 take. Returns its path.

    model: one of `create_model`'s, or a module of one's own: clips (B, C, T, H, W) to logits (B, len(classes)).
    classes: their names in index order.
    preprocessing: num_frames, frame_stride, short_side, crop_size (pixels), mean and std (a number a channel, of values
    from 0 to 1), and where they differ from rgb, channel_order ("rgb", "bgr") and modality ("rgb", "flow").
    spec: how a module of one's own is built again, such as "my_nets.py:small3d width=16". Without it the checkpoint
    names none, and whoever opens it must.

    Raises CheckpointError where classes or preprocessing cannot be right, ModelError for a spec whose network has other
    tensors.
    """
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    model = model.module if isinstance(model, parallel) else getattr(model, "_orig_mod", model)  # of torch.compile
    _check_preprocessing(path, preprocessing)
    name, options, code = "", None, getattr(model, "code", None)
    if spec:
        with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay what they would have been
            again = create_from_spec(spec, len(classes))
        one, other = ({key: each.shape for key, each in each.state_dict().items()} for each in (model, again))
        if differ := [key for key in one | other if one.get(key) != other.get(key)]:
            raise ModelError(f"{path}: not the network of spec={spec!r} with {len(classes)} classes: {listed(differ)}")
        name, options, code = again.name, again.options, again.code
    model = adopt(model, getattr(model, "num_classes", len(classes)), name, options)
    model.code = code
    if len(set(classes)) != len(classes) or len(classes) != model.num_classes:
        raise CheckpointError(f"{path}: classes: {len(set(classes))} names for a network of {model.num_classes}")
    return save_checkpoint(path, network_content(model, classes, preprocessing) | {"epoch": 0, "history": []})


def read_checkpoint(path: str | Path) -> WeightsFile:
    """Read a checkpoint onto the CPU: `.state` its tensors, `.content` all besides (see above). Raises CheckpointError
    for a file that is missing, damaged, has wrong fields (see `fields`), or was not written by `save_checkpoint`."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint" + _beside(path))
    try:
        file = read_weights(path)
    except WeightsError as error:
        reason = error.why if isinstance(error, DamagedFileError) else str(error).removeprefix(f"{path} ")
        raise CheckpointError(f"{path}: cannot be read: {reason}{_beside(path)}") from error
    if not file.own:
        raise CheckpointError(
            f"{path}: not a checkpoint of this project (no format {FORMAT!r} in it); "
            f"`python -m actlib weights convert {path} OUT.pt` makes one of weights from elsewhere"
        )
    return file


def read_header(path: str | Path) -> dict:
    """What a checkpoint holds besides its network's weights, unchecked, in milliseconds whatever its size: the tensors
    are mapped, not read. Empty for a file that is none of ours, or that cannot be read: `read_checkpoint` says why."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # damaged bytes make the loader fail in many ways
        return {}
    ours = isinstance(content, dict) and content.get("format") == FORMAT
    return {name: value for name, value in content.items() if name != "state_dict"} if ours else {}


def _beside(path: Path) -> str:
    """The other checkpoints of a folder, and how a run goes on from the newest of an earlier epoch."""
    near = sorted(each.name for each in path.parent.glob("*.pt") if each.name != path.name)
    if not near:
        return ""
    earlier = next((name for name in reversed(near) if name.startswith("epoch_")), "")
    hint = f"; a run goes on from an earlier epoch with resume: {path.parent / earlier}" if earlier else ""
    return f"; beside it lie {listed(near)}{hint}"


def _check_preprocessing(path: str | Path, given: dict) -> None:
    """Raise CheckpointError that names every part that is missing, unknown, or of another kind."""
    known = (*_SIZES, *_COLOURS, *UNSAID)
    problems = [f"{name} is missing" for name in (*_SIZES, *_COLOURS) if name not in given]
    for name, value in given.items():
        if name not in known:
            problems.append(f"{name} is unknown{did_you_mean(name, known)}")
        elif name in _SIZES and not (isinstance(value, int) and value > 0):
            problems.append(f"{name}={value!r}: a whole number above 0 is needed")
        elif name in _COLOURS and not (value and all(isinstance(each, float | int) for each in value)):
            problems.append(f"{name}={value!r}: a list of numbers is needed, one a channel")
    if problems:
        raise CheckpointError(f"{path}: preprocessing: {'; '.join(problems)}")
