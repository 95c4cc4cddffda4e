"""Every kind of weights file that is known, read into names and tensors; nothing else is ever unpickled.

- a state dict of torch.save (any version since 0.4), alone or under 'state_dict' as in a checkpoint of the reference
  codebases or of this project, its keys with or without DataParallel's 'module.'
- a Caffe2 pickle of video-nonlocal-net (see `caffe2`)
- names of mit-han-lab/temporal-shift-module: `base_model.layer1.0.conv1.net.weight`, `new_fc.weight`
- batch norms frozen as in pytorch-resnet3d, whose `weight` is called `scale`
"""

import codecs
import pickle
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from actlib.messages import did_you_mean
from actlib.models.parts.temporal import mit_tsm_key
from actlib.models.weights.caffe2 import Caffe2Error, caffe2_state, looks_like_caffe2, read_caffe2, unfrozen_key

LISTED = 20  # entries of each kind that an error message shows
FORMAT = "actlib checkpoint 1"  # stands under 'format' in a checkpoint of this project
UNSAID = {"channel_order": "rgb", "modality": "rgb"}  # preprocessing that older checkpoints do not tell


class WeightsError(ValueError):
    """A weights file that cannot be read, or whose tensors do not fit the model."""


class CheckpointError(ValueError):
    """A checkpoint that is missing, is not one of this project's, does not fit the run, or names code that nobody here
    did. Names the file."""


@dataclass(frozen=True)
class WeightsFile:
    """The tensors of a file under the names that the models here use, and what else it tells."""

    path: Path
    state: dict[str, torch.Tensor]
    ignored: int = 0  # entries that are no weights: momenta and counters of a Caffe2 pickle
    content: dict = field(default_factory=dict)  # what stands beside the 'state_dict' of a checkpoint
    kind: str = "state dict"  # in words, for reports
    tsm_placement: str = ""  # 'residual' or 'inplace' where the names of a TSM file tell

    @property
    def own(self) -> bool:
        """Whether it is a checkpoint of this project."""
        return self.content.get("format") == FORMAT

    @property
    def told(self) -> str:
        """The network that a checkpoint says it holds: ours its spec, the references' 'arch'. Empty if none."""
        model = self.content.get("model")
        told = model.get("spec") if isinstance(model, dict) else self.content.get("spec", self.content.get("arch"))
        return told if isinstance(told, str) else ""


def read_weights(path: str | Path) -> WeightsFile:
    """Read a file's tensors onto the CPU. Raises FileNotFoundError, naming similar files, and WeightsError for a file
    that is damaged, holds no weights, or would need arbitrary code to be read."""
    path = Path(path)
    _require_file(path)
    if looks_like_caffe2(path):
        try:
            arrays, ignored = caffe2_state(read_caffe2(path))
        except Caffe2Error as error:
            raise WeightsError(str(error)) from error
        state = {key: torch.from_numpy(np.ascontiguousarray(array)) for key, array in arrays.items()}
        return WeightsFile(path, state, ignored, kind="Caffe2 pickle")
    content = _load(path)
    state = _state_dict(content, path)
    nested = isinstance(content, dict) and "state_dict" in content
    beside = {key: value for key, value in content.items() if key != "state_dict"} if nested else {}
    if beside.get("format") == FORMAT:  # its names are its network's already, be it a user's own
        if isinstance(beside.get("preprocessing"), dict):
            beside["preprocessing"] = UNSAID | beside["preprocessing"]
        return WeightsFile(path, state, content=beside, kind="checkpoint of this project")
    kind, placement = "checkpoint" if nested else "state dict", ""
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    if any(key.startswith(("base_model.", "new_fc.")) for key in state):
        kind += " of temporal-shift-module"
        if any(re.search(r"layer\d+\.\d+\.net\.", key) for key in state):
            placement = "inplace"
        elif any(".net." in key for key in state):
            placement = "residual"
        state = {mit_tsm_key(key): tensor for key, tensor in state.items()}
    if any(key.endswith(".scale") and f"{key.removesuffix('scale')}running_mean" in state for key in state):
        kind += " with frozen batch norm"
        state = {unfrozen_key(key): tensor for key, tensor in state.items()}
    return WeightsFile(path, state, content=beside, kind=kind, tsm_placement=placement)


def _require_file(path: Path) -> None:
    if path.is_file():
        return
    folder = path.parent
    if not folder.is_dir():
        raise FileNotFoundError(f"no weights file {path}; the folder {folder} does not exist")
    names = [entry.name for entry in folder.iterdir() if entry.is_file()]
    raise FileNotFoundError(f"no weights file {path}{did_you_mean(path.name, names, cutoff=0.4)}")


def _numpy_globals() -> list:
    """What a pickled numpy number or array names: old checkpoints keep their best accuracy as one."""
    from numpy._core import multiarray

    kinds = [type(np.dtype(code)) for code in ("f2", "f4", "f8", "i4", "i8", "u1", "?")]
    plain = [np.ndarray, np.dtype, *kinds, codecs.encode]
    old = [(getattr(multiarray, name), f"numpy.core.multiarray.{name}") for name in ("scalar", "_reconstruct")]
    new = [(getattr(multiarray, name), f"numpy._core.multiarray.{name}") for name in ("scalar", "_reconstruct")]
    return plain + old + new


def _load(path: Path) -> object:
    try:
        with torch.serialization.safe_globals(_numpy_globals()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it holds a {found[1]}" if found else "it is damaged, or a pickle that torch.save did not write"
        raise WeightsError(
            f"{path} cannot be loaded as weights only: {reason}. It is not loaded in any other way, since a pickle of "
            "arbitrary objects can run any code. If you trust it, load it elsewhere and torch.save its state dict alone"
        ) from error
    except Exception as error:  # damaged bytes make the loader fail in many ways
        raise WeightsError(f"{path} is not a whole PyTorch file ({error!r}); fetch or save it again") from error


def _state_dict(content: object, path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file's content by the model's names."""
    state = content["state_dict"] if isinstance(content, dict) and "state_dict" in content else content
    if not isinstance(state, dict) or not state or not all(_is_entry(*item) for item in state.items()):
        what = type(content).__name__
        if isinstance(content, dict):
            what = (
                f"a dict with the keys {', '.join(map(repr, list(content)[:LISTED]))}" if content else "an empty dict"
            )
        raise WeightsError(
            f"{path} holds {what}, not a state dict: names with tensors are needed, alone or under the key 'state_dict'"
        )
    return {key: torch.as_tensor(value) for key, value in state.items()}


def _is_entry(key: object, value: object) -> bool:
    return isinstance(key, str) and isinstance(value, torch.Tensor | np.ndarray)
