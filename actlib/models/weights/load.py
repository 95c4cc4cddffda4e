"""Weights from a file into a model: all of them, or a clear account of what does not fit."""

from dataclasses import dataclass
from pathlib import Path

import torch

from actlib.messages import listed, shown
from actlib.models.registry import VideoModel, is_builtin
from actlib.models.weights.file import LISTED, WeightsError, WeightsFile
from actlib.models.weights.hub import read_pretrained
from actlib.models.weights.identify import fits
from actlib.models.weights.inflate import for_video

__all__ = ["LoadReport", "WeightsError", "load_weights"]


@dataclass(frozen=True)
class LoadReport:
    """What `load_weights` did. Counts are of state-dict entries, parameters and buffers alike."""

    path: Path
    matched: int  # entries taken from the file
    total: int  # entries of the model
    skipped: tuple[str, ...] = ()  # the head's entries that keep the model's own values
    missing_counters: int = 0  # num_batches_tracked entries that an old file does not have; they keep their values
    inflated: int = 0  # kernels of an image network that got a time axis
    method: str = ""  # how: repeat or mean
    kept: tuple[str, ...] = ()  # entries that an image network cannot have; they keep the model's own values
    ignored: int = 0  # entries of the file that are no weights of the network: momenta, auxiliary heads
    note: str = ""  # what a person should know of the file besides
    not_finite: tuple[str, ...] = ()  # entries with a NaN or an infinity: of a network that diverged, or damaged

    def __str__(self) -> str:
        line = f"{self.path}: {self.matched} of {self.total} tensors loaded"
        if self.inflated:
            how = "repeated over time" if self.method == "repeat" else "repeated over time and divided by its length"
            line += f"; {self.inflated} 2-D kernels {how}"
        if self.kept:
            line += f"; {len(self.kept)} tensors of temporal layers keep their initial values"
        if self.skipped:
            line += f"; the head is the model's own ({listed(self.skipped, 6)})"
        if self.missing_counters:
            line += f"; {self.missing_counters} num_batches_tracked not in the file"
        if self.ignored:
            line += f"; {self.ignored} entries of the file ignored, which are no weights of the network"
        if self.note:
            line += f"; {self.note}"
        if self.not_finite:
            line += f"; NOT ALL ARE FINITE NUMBERS: {listed(self.not_finite, 5)}, so its scores may be none either"
        return line


def load_weights(
    model: VideoModel, path: str | Path | WeightsFile, *, replace_head: bool = False, inflate: str = "repeat"
) -> LoadReport:
    """Copy a file's tensors into `model`, which stays untouched where anything is wrong.

    path: of any file or folder that `weights.hub.read_pretrained` knows, or one that is read already. The tensors of an
    image network (see `inflate`) are inflated.
    replace_head: skip the file's classifier and leave the model's own, for another number of classes.
    inflate: "repeat" or "mean".

    Raises FileNotFoundError, naming similar files; WeightsError for a file that cannot be read, and for missing
    keys, unexpected keys and other shapes, all in one message; ValueError for another way to inflate.
    """
    file = path if isinstance(path, WeightsFile) else read_pretrained(path)
    expected = model.state_dict()
    head = [key for key in expected if key.startswith(f"{model.classifier_name}.")]
    if replace_head:
        head += [key for key in expected if key.startswith(model.before_head) and key not in file.state]
    skipped = tuple(head) if replace_head else ()
    found, inflated, optional = for_video(file.state, expected, inflate)
    ignored = file.ignored + len(file.state) - len(found)
    found = {key: tensor for key, tensor in found.items() if key not in skipped}

    missing = [key for key in expected if key not in found and key not in skipped]
    kept = tuple(key for key in missing if key in optional)
    counters = [key for key in missing if key.endswith(".num_batches_tracked") and key not in optional]
    missing = [key for key in missing if key not in counters and key not in kept]
    unexpected = [key for key in found if key not in expected]
    reshaped = [key for key in found if key in expected and found[key].shape != expected[key].shape]
    if missing or unexpected or reshaped:
        told = f" (the file says it holds {shown(file.told)})" if file.told else ""
        lines = [f"{file.path} does not fit {model.spec} with {model.num_classes} classes{told}:"]
        lines += _listing("missing in the file", [f"{key} {_shape(expected[key])}" for key in missing])
        lines += _listing("in the file, unknown to the model", [f"{key} {_shape(found[key])}" for key in unexpected])
        shapes = [f"{key} {_shape(found[key])} in the file, {_shape(expected[key])} in the model" for key in reshaped]
        lines += _listing("of another shape", shapes)
        if reshaped and not missing and not unexpected and set(reshaped) <= set(head):
            lines.append("Only the head differs: replace_head=True loads the rest and leaves the model's own head.")
        elif is_builtin(model.name) and (others := [each.spec for each in fits(file, names=[model.name])]):
            lines.append(f"It fits {' or '.join(others)}.")
        raise WeightsError("\n".join(lines))

    model.load_state_dict(found, strict=False)
    method = inflate if inflated else ""
    odd = tuple(key for key, tensor in found.items() if not tensor.isfinite().all())
    return LoadReport(
        file.path, len(found), len(expected), skipped, len(counters), inflated, method, kept, ignored, file.note, odd
    )  # fmt: skip


def _listing(title: str, entries: list[str]) -> list[str]:
    if not entries:
        return []
    more = [f"… and {len(entries) - LISTED} more"] if len(entries) > LISTED else []
    return [f"  {title} ({len(entries)}): " + ", ".join([each[:120] for each in entries[:LISTED]] + more)]


def _shape(tensor: torch.Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "scalar"
