"""Networks of transformers with their weights: folders as its `save_pretrained` writes them and as its hub holds them.

A folder has config.json (the network, and its classes in `id2label`), the weights (model.safetensors or
pytorch_model.bin, in one file or several), and mostly the preprocessing (preprocessor_config.json or
video_preprocessor_config.json). transformers itself reads the weights, since it renames those of its older versions.
What belongs to the pre-training alone is left out; weights without a head, as of self-supervised pre-training, are
known, and so are those of the body alone. `hf:ORGANISATION/NAME` is a folder of the hub, fetched into its own cache.
"""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import torch

from actlib.models.parts.options import ModelError
from actlib.models.transformers_models import NAMES, OPTIONS, options_of
from actlib.models.weights.file import DamagedFileError, WeightsError, WeightsFile, read_weights

HUB = "hf:"
_PREPROCESSING = ("video_preprocessor_config.json", "preprocessor_config.json")
_WEIGHTS = r"(model|pytorch_model)(-\d+-of-\d+)?\.(safetensors|bin)(\.index\.json)?"
# Frames from one to the next, which the files do not tell: those of the papers on Kinetics, by model_type and
# num_frames.
_STRIDES = {
    ("videomae", 16): 4, ("vivit", 32): 2, ("timesformer", 8): 32, ("timesformer", 16): 16, ("timesformer", 96): 4,
}  # fmt: skip


# --- the hub --------------------------------------------------------------------------------------------------


def is_on_hub(name: str | Path) -> bool:
    """Whether it names a folder of the hub, `hf:ORGANISATION/NAME`."""
    return str(name).startswith(HUB)


def fetch_from_hub(name: str) -> Path:
    """The folder `hf:ORGANISATION/NAME` of the hub in the hub's own cache on this machine (`HF_HOME`), fetched where it
    is not there; without a connection, what is there. Raises WeightsError."""
    repository = str(name).removeprefix(HUB)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise WeightsError(f"{name}: a network of the hub is written hf:ORGANISATION/NAME")
    _require("huggingface_hub", name)
    from huggingface_hub import HfApi, snapshot_download

    try:
        files = [each.rfilename for each in HfApi().model_info(repository).siblings]
        wanted = [each for each in files if each in ("config.json", *_PREPROCESSING)]
        weights = [each for each in files if re.fullmatch(_WEIGHTS, each)]
        safe = [each for each in weights if "safetensors" in each]
        return Path(snapshot_download(repository, allow_patterns=wanted + (safe or weights)))
    except Exception as error:  # of the hub's client, of what it is made of, and of the system
        reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
    try:
        folder = Path(snapshot_download(repository, allow_patterns=["config.json"], local_files_only=True))
    except Exception:
        raise WeightsError(
            f"{name}: cannot be fetched from the hub, and is not in its cache: {reason}. Where another machine has a "
            "connection, download config.json, preprocessor_config.json and model.safetensors there, put them into "
            "one folder here, and name that folder instead"
        ) from None
    if not _weights_of(folder):
        raise WeightsError(f"{name}: its weights are not in the cache {folder}, and cannot be fetched: {reason}")
    return folder


# --- folders and files ----------------------------------------------------------------------------------------


def read_pretrained(path: str | Path) -> WeightsFile:
    """`read_weights`, and folders of transformers; its weights file in such a folder stands for the folder. Raises what
    `read_weights` raises."""
    path = Path(path)
    if path.is_dir() and (path / "config.json").is_file():
        return _read_folder(path)
    if path.is_file() and re.fullmatch(_WEIGHTS, path.name) and _model_type(path.parent) in OPTIONS:
        return _read_folder(path.parent)
    return read_weights(path)


def is_folder(path: str | Path) -> bool:
    """Whether it is a folder of transformers, by its config.json."""
    return (Path(path) / "config.json").is_file()


def _model_type(folder: Path) -> str:
    """What the folder's config.json is of; empty without one."""
    return str(_json(folder / "config.json").get("model_type", "")) if is_folder(folder) else ""


def _read_folder(folder: Path) -> WeightsFile:
    config, kind = _json(folder / "config.json"), _model_type(folder)
    if kind not in OPTIONS:
        raise WeightsError(
            f"{folder}: config.json is of model_type {kind!r}, no video classifier that is known here: "
            f"{', '.join(OPTIONS)}"
        )
    if not _weights_of(folder):
        raise WeightsError(f"{folder}: no model.safetensors or pytorch_model.bin beside config.json")
    _require("transformers", folder)
    try:
        options = options_of(kind, config)
    except ModelError as error:
        raise WeightsError(f"{folder}: config.json: {error}") from None
    state, missing, unexpected = _loaded(folder, kind)
    classes = _classes(config)
    headless = "classifier.weight" in missing
    num_classes = None if headless else len(state["classifier.weight"])
    preprocessing, note = _preprocessing(folder, kind, options)
    network = {
        "name": NAMES[kind],
        "options": options,
        "num_classes": num_classes,
        "preprocessing": preprocessing,
        "classes": classes if len(classes or ()) == num_classes else None,
    }
    kept = {key: tensor for key, tensor in state.items() if key not in missing}
    return WeightsFile(folder, kept, unexpected, kind="folder of transformers", network=network, note=note)


def _loaded(folder: Path, kind: str) -> tuple[dict[str, torch.Tensor], set[str], int]:
    """The tensors that transformers makes of a folder; the names of those that it drew at random; and how many entries
    of the files are of no use."""
    from actlib.models.transformers_networks import original, quiet

    try:
        with torch.random.fork_rng(devices=[]), quiet():
            model, found = original(kind).from_pretrained(
                folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
            )
    except Exception as error:  # damaged bytes and wrong shapes make it fail in many ways
        reason = str(error).strip().partition("\n")[0][:300]
        raise DamagedFileError(folder, f"transformers cannot load it ({type(error).__name__}: {reason})") from error
    state = model.state_dict()
    unused = [key for key in state if key.startswith("vjepa2.predictor.")]
    for key in unused:
        del state[key]
    in_file = [key for key in unused if key not in found["missing_keys"]]
    return state, set(found["missing_keys"]), len(found["unexpected_keys"]) + len(in_file)


def _weights_of(folder: Path) -> list[Path]:
    return [each for each in folder.iterdir() if re.fullmatch(_WEIGHTS, each.name)]


def _require(library: str, what: str | Path) -> None:
    if find_spec(library) is None:
        raise WeightsError(f"{what}: is read by transformers: pip install -e '.[hf]'")


def _json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not names and values")
    return content


# --- classes and preprocessing --------------------------------------------------------------------------------


def _classes(config: dict) -> list[str] | None:
    """The names of `id2label` in index order; None where they are none, or stand there twice."""
    labels = config.get("id2label") or {}
    try:
        names = [str(labels[key]) for key in sorted(labels, key=int)]
    except ValueError:
        return None
    named = len(set(names)) == len(names) and not all(re.fullmatch(r"LABEL_\d+", name) for name in names)
    return names if named else None


def _preprocessing(folder: Path, kind: str, options: dict) -> tuple[dict, str]:
    """Of the clips that the weights were trained on, as far as the folder tells, and what was taken from elsewhere, in
    words. transformers computes (x · rescale_factor - offset - image_mean) / image_std of x from 0 to 255."""
    found = {"num_frames": options["num_frames"], "crop_size": options["crop_size"]}
    note = "the files tell no frame_stride"
    if stride := _STRIDES.get((kind, options["num_frames"])):
        found["frame_stride"] = stride
        note += f"; {stride} is the paper's on Kinetics"
    file = next((folder / each for each in _PREPROCESSING if (folder / each).is_file()), None)
    if file is None:
        return found, f"{note}; no {_PREPROCESSING[1]}, so mean, std and short_side are not known"
    told = _json(file)
    rescale = told.get("do_rescale", True)
    shifts = rescale and told.get("offset", "Vivit" in str(told.get("video_processor_type", "")))
    scale = 255 * told.get("rescale_factor", 1 / 255) if rescale else 255.0
    normal = told.get("do_normalize", True)
    mean, std = (told.get("image_mean"), told.get("image_std")) if normal else (0.0, 1.0)
    if mean is not None and std is not None:
        found["mean"] = [(shifts + each) / scale for each in _numbers(mean)]
        found["std"] = [each / scale for each in _numbers(std)]
    return found | {"short_side": max(_pixels(told.get("size")), options["crop_size"])}, note


def _numbers(value: float | list[float]) -> list[float]:
    return value if isinstance(value, list) else [value]


def _pixels(size: object) -> int:
    """The short side of {"shortest_edge": 224}, {"height": 224, "width": 224} or 224; 0 where it tells none."""
    if isinstance(size, dict):
        size = size.get("shortest_edge") or min(size.get("height", 0), size.get("width", 0))
    return size if type(size) is int else 0
