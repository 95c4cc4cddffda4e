"""Every kind of weights file that is known, read into names and tensors; nothing else is ever unpickled.

- a state dict of torch.save (any version since 0.4), alone or under 'state_dict' as in a checkpoint of the reference
  codebases or of this project, its keys with or without DataParallel's 'module.'
- the same under 'model_state', as facebookresearch/pytorchvideo's and PySlowFast's checkpoints have it; PySlowFast puts
  'model.' before the names of PyTorchVideo's networks
- a state dict in a file of safetensors, as timm has them (of transformers' folders see `hub`)
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

from actlib.messages import did_you_mean, kind_of, listed, shown
from actlib.models.parts.temporal import mit_tsm_key
from actlib.models.weights.archive import HEAD, DamagedError, check_archive, is_archive, what_it_is
from actlib.models.weights.caffe2 import Caffe2Error, caffe2_state, looks_like_caffe2, read_caffe2, unfrozen_key
from actlib.models.weights.fields import FORMAT, UNSAID, check_fields

WRAPPERS = ("state_dict", "model_state")  # the keys that a state dict stands under in a checkpoint
LISTED = 10  # entries of each kind that an error message shows
LONGEST_NAME = 300  # characters of a tensor's


class WeightsError(ValueError):
    """A weights file that cannot be read, or whose tensors do not fit the model."""


class DamagedFileError(WeightsError):
    """A file that is not whole, or no file of weights at all. `why`: the reason alone."""

    def __init__(self, path: Path, why: str):
        super().__init__(f"{path} is no whole file of weights: {why}; delete it, and fetch or save it again")
        self.why = why


@dataclass(frozen=True)
class WeightsFile:
    """The tensors of a file under the names that the models here use, and what else it tells."""

    path: Path
    state: dict[str, torch.Tensor]
    ignored: int = 0  # entries that are no weights: momenta and counters of a Caffe2 pickle
    content: dict = field(default_factory=dict)  # what stands beside the state dict in a checkpoint
    kind: str = "state dict"  # in words, for reports
    tsm_placement: str = ""  # 'residual' or 'inplace' where the names of a TSM file tell
    network: dict | None = None  # what a folder tells of it: name, options, num_classes, preprocessing, classes
    note: str = ""  # what a person should know of it besides

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
    """Read a file's tensors onto the CPU; of a zip archive the checksums are compared first.

    Raises FileNotFoundError, naming similar files; WeightsError for a file that is damaged, holds no weights, or would
    need arbitrary code to be read; CheckpointError for a checkpoint of this project with wrong fields (see `fields`).
    """
    path = Path(path)
    _require_file(path)
    try:
        _require_whole(path)
        if looks_like_caffe2(path):
            arrays, ignored = caffe2_state(read_caffe2(path))
            state = {key: torch.from_numpy(np.ascontiguousarray(array)) for key, array in arrays.items()}
            return WeightsFile(path, state, ignored, kind="Caffe2 pickle")
        if path.suffix == ".safetensors":
            return WeightsFile(path, _load_safetensors(path), kind="state dict")
        content = _load(path)
    except Caffe2Error as error:
        raise WeightsError(str(error)) from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    state = _state_dict(content, path)
    wrapper = _wrapper(content)
    beside = {key: value for key, value in content.items() if key != wrapper} if wrapper else {}
    if beside.get("format") == FORMAT:  # its names are its network's already, be it a user's own
        check_fields(path, beside, state)
        if beside.get("preprocessing"):
            beside["preprocessing"] = UNSAID | beside["preprocessing"]
        return WeightsFile(path, state, content=beside, kind="checkpoint of this project")
    kind, placement = "checkpoint" if wrapper else "state dict", ""
    for prefix in ("module.", "model."):
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
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
    if path.is_dir():
        raise FileNotFoundError(f"no weights file {path}: it is a folder; name a file in it")
    folder = path.parent
    if not folder.is_dir():
        raise FileNotFoundError(f"no weights file {path}; the folder {folder} does not exist")
    names = [entry.name for entry in folder.iterdir() if entry.is_file()]
    raise FileNotFoundError(f"no weights file {path}{did_you_mean(path.name, names, cutoff=0.4)}")


def _require_whole(path: Path) -> None:
    with open(path, "rb") as file:
        head = file.read(HEAD)
    if why := what_it_is(head):
        raise DamagedFileError(path, why)
    if is_archive(head):
        try:
            check_archive(path)
        except DamagedError as error:
            raise DamagedFileError(path, str(error)) from error


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
        reason = f"it holds a {found[1][:200]}" if found else "it is damaged, or a pickle that torch.save did not write"
        raise WeightsError(
            f"{path} cannot be loaded as weights only: {reason}. It is not loaded in any other way, since a pickle of "
            "arbitrary objects can run any code. If you trust it, load it elsewhere and torch.save its state dict alone"
        ) from error
    except Exception as error:  # damaged bytes make the loader fail in many ways
        raise DamagedFileError(path, f"torch cannot load it ({type(error).__name__}: {str(error)[:200]})") from error


def _load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError:
        raise WeightsError(f"{path}: a file of safetensors: pip install -e '.[hf]', or '.[timm]'") from None
    try:
        return _state_dict(load_file(path), path)
    except SafetensorError as error:
        raise DamagedFileError(path, f"safetensors cannot load it ({str(error)[:200]})") from error


def _wrapper(content: object) -> str:
    """The key of a checkpoint that its state dict stands under; empty where the file is one alone."""
    return next((key for key in WRAPPERS if isinstance(content, dict) and key in content), "")


def _state_dict(content: object, path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file's content by the model's names."""
    wrapper = _wrapper(content)
    state = content[wrapper] if wrapper else content
    if not isinstance(state, dict) or not state or not all(_is_entry(*item) for item in state.items()):
        what = kind_of(content)
        if isinstance(content, dict):
            keys = ", ".join(map(shown, list(content)[:LISTED]))
            what = f"a dict with the keys {keys}" if content else "an empty dict"
        raise WeightsError(
            f"{path} holds {what}, not a state dict: names with tensors are needed, alone or under the key "
            "'state_dict' or 'model_state'"
        )
    if odd := [f"{key} is {what}" for key, value in state.items() if (what := _odd(value))]:
        raise WeightsError(f"{path}: {listed(odd, 5)}; dense tensors of real numbers are needed")
    return {key: torch.as_tensor(value) for key, value in state.items()}


def _is_entry(key: object, value: object) -> bool:
    named = isinstance(key, str) and len(key) <= LONGEST_NAME and key.isprintable()
    return named and isinstance(value, torch.Tensor | np.ndarray)


def _odd(value: torch.Tensor | np.ndarray) -> str:
    """What an entry is that can be no weights; empty for one that can."""
    if isinstance(value, np.ndarray):
        return "" if value.dtype.kind in "biuf" and value.dtype.isnative else f"an array of {value.dtype}"
    kinds = {"meta": value.is_meta, "nested": value.is_nested, "quantised": value.is_quantized}
    kinds |= {"complex": value.is_complex(), "sparse": value.layout != torch.strided}
    return next((f"a {kind} tensor" for kind, found in kinds.items() if found), "")
