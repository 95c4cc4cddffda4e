"""Weights from a file into a model: all of them, or a clear account of what does not fit."""

import difflib
import pickle
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from actlib.models.registry import VideoModel

LISTED = 20  # entries of each kind that an error message shows


class WeightsError(ValueError):
    """A weights file that cannot be read, or whose tensors do not fit the model."""


@dataclass(frozen=True)
class LoadReport:
    """What `load_weights` did. Counts are of state-dict entries, parameters and buffers alike."""

    path: Path
    matched: int  # entries taken from the file
    total: int  # entries of the model
    skipped: tuple[str, ...]  # the head's entries that keep the model's own values
    missing_counters: int  # num_batches_tracked entries that an old file does not have; they keep their values

    def __str__(self) -> str:
        line = f"{self.path}: {self.matched} of {self.total} tensors loaded"
        if self.skipped:
            line += f"; the head is the model's own ({', '.join(self.skipped)})"
        if self.missing_counters:
            line += f"; {self.missing_counters} num_batches_tracked not in the file"
        return line


def load_weights(model: VideoModel, path: str | Path, *, replace_head: bool = False) -> LoadReport:
    """Copy a file's tensors into `model`, which stays untouched where anything is wrong.

    The file holds a state dict, plain or under the key 'state_dict' (as a checkpoint with its other entries ignored),
    its keys with or without DataParallel's 'module.' in front. It must be readable with `weights_only=True`.
    replace_head: skip the file's classifier and leave the model's own, for another number of classes.

    Raises FileNotFoundError, naming similar files; WeightsError for a file that cannot be read, and for missing
    keys, unexpected keys and other shapes, all in one message.
    """
    path = Path(path)
    content = _read(path)
    found = _state_dict(content, path)
    expected = model.state_dict()
    head = {key for key in expected if key.startswith(f"{model.classifier_name}.")}
    skipped = tuple(key for key in expected if key in head) if replace_head else ()
    found = {key: tensor for key, tensor in found.items() if key not in skipped}

    missing = [key for key in expected if key not in found and key not in skipped]
    counters = [key for key in missing if key.endswith(".num_batches_tracked")]
    missing = [key for key in missing if key not in counters]
    unexpected = [key for key in found if key not in expected]
    reshaped = [key for key in found if key in expected and found[key].shape != expected[key].shape]
    if missing or unexpected or reshaped:
        lines = [f"{path} does not fit {model.spec} with {model.num_classes} classes{_told_network(content)}:"]
        lines += _listing("missing in the file", missing)
        lines += _listing("in the file, unknown to the model", unexpected)
        shapes = [f"{key} {_shape(found[key])} in the file, {_shape(expected[key])} in the model" for key in reshaped]
        lines += _listing("of another shape", shapes)
        if reshaped and not missing and not unexpected and head.issuperset(reshaped):
            lines.append("Only the head differs: replace_head=True loads the rest and leaves the model's own head.")
        raise WeightsError("\n".join(lines))

    model.load_state_dict(found, strict=False)
    return LoadReport(path, len(found), len(expected), skipped, len(counters))


def _read(path: Path) -> object:
    if not path.is_file():
        folder = path.parent
        names = [entry.name for entry in folder.iterdir() if entry.is_file()] if folder.is_dir() else []
        near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        hint = hint if folder.is_dir() else f"; the folder {folder} does not exist"
        raise FileNotFoundError(f"no weights file {path}{hint}")
    try:
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
    if all(key.startswith("module.") for key in state):
        return {key.removeprefix("module."): tensor for key, tensor in state.items()}
    return dict(state)


def _is_entry(key: object, value: object) -> bool:
    return isinstance(key, str) and isinstance(value, torch.Tensor)


def _told_network(content: dict) -> str:
    """What a checkpoint says about its own network, where it does: ours under 'spec', the references under 'arch'."""
    told = content.get("spec", content.get("arch"))
    return f" (the file says it holds {told!r})" if isinstance(told, str) else ""


def _listing(title: str, entries: list[str]) -> list[str]:
    if not entries:
        return []
    more = [f"… and {len(entries) - LISTED} more"] if len(entries) > LISTED else []
    return [f"  {title} ({len(entries)}): " + ", ".join(entries[:LISTED] + more)]


def _shape(tensor: torch.Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "scalar"
