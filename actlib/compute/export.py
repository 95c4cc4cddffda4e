"""A network for other programs: as ONNX, or as a program of torch.export. Each is run against the network first.

Needs the extra `export` (onnx, onnxscript, onnxruntime) for ONNX; torch.export comes with torch.
"""

import logging
import re
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from actlib.files import atomic_path

TOLERANCE = 1e-3  # largest difference, relative to the mean of the logits' absolute values
_NEEDED = "ONNX needs the extra 'export': pip install -e '.[export]' (onnx, onnxscript, onnxruntime)"


class ExportError(RuntimeError):
    """A network that cannot be exported, or whose export does not compute the same."""


def export_onnx(
    model: nn.Module, path: str | Path, input_shape: tuple[int, int, int, int], *, tolerance: float = TOLERANCE
) -> float:
    """Write `model` in evaluation mode as ONNX for clips (B, *input_shape), B any number; input `clips`, output
    `logits`, float32.

    input_shape: (3, T, H, W). Returns the largest difference between the logits of both on random clips, relative to
    the mean of their absolute values. Raises ExportError, and leaves no file, where that exceeds `tolerance`, where
    the network cannot be exported, or where the extra is not installed.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  (torch.onnx needs it)
    except ImportError as error:
        raise ExportError(f"{_NEEDED}: {error}") from error
    with _evaluating(model), atomic_path(path) as temporary:
        dynamic = ({0: torch.export.Dim.DYNAMIC},)
        with _quiet(), _named(model, "ONNX"):
            program = torch.onnx.export(
                model,
                (_clips(2, input_shape),),
                dynamo=True,
                dynamic_shapes=dynamic,
                input_names=["clips"],
                output_names=["logits"],
                verbose=False,
            )
            program.save(temporary, external_data=False)
            session = onnxruntime.InferenceSession(temporary, providers=["CPUExecutionProvider"])

        def run(clips: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(np.asarray(session.run(None, {"clips": clips.numpy()})[0]))

        return _check(model, run, input_shape, tolerance, path)


def export_program(
    model: nn.Module, path: str | Path, input_shape: tuple[int, int, int, int], *, tolerance: float = TOLERANCE
) -> float:
    """Write `model` in evaluation mode as a torch.export program (.pt2), which torch.export.load reads without this
    package. Arguments, return value and errors as for `export_onnx`."""
    with _evaluating(model), atomic_path(path) as temporary:
        with _quiet(), _named(model, "torch.export"):
            dynamic = ({0: torch.export.Dim.DYNAMIC},)
            program = torch.export.export(model, (_clips(2, input_shape),), dynamic_shapes=dynamic)
            torch.export.save(program, temporary)
            run = torch.export.load(temporary).module()
        return _check(model, run, input_shape, tolerance, path)


def _clips(batch_size: int, input_shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(batch_size, *input_shape, generator=torch.Generator().manual_seed(batch_size))


def _check(model: nn.Module, run, input_shape: tuple[int, ...], tolerance: float, path: str | Path) -> float:
    """The largest relative difference over batches of one and three, which were not used to export."""
    worst = 0.0
    for batch_size in (1, 3):
        clips = _clips(batch_size, input_shape)
        with torch.inference_mode():
            want, got = model(clips), run(clips)
        if got.shape != want.shape:
            raise ExportError(f"{path}: the export answers {tuple(got.shape)}, the network {tuple(want.shape)}")
        worst = max(worst, float((got - want).abs().max() / want.abs().mean().clamp_min(1e-12)))
    if not worst <= tolerance:
        raise ExportError(f"{path}: the export differs by {worst:.2g} of the logits' size, above {tolerance:g}")
    return worst


@contextmanager
def _evaluating(model: nn.Module):
    """Evaluation mode, on the CPU in float32 and plain layout as it must be; the mode is put back."""
    tensor = next(model.parameters())
    if tensor.device.type != "cpu" or tensor.dtype != torch.float32:
        raise ExportError(f"the network is on {tensor.device} in {tensor.dtype}: move it to the CPU in float32 first")
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@contextmanager
def _named(model: nn.Module, how: str):
    """Name the network and the way in whatever the exporter raises."""
    try:
        yield
    except Exception as error:
        name, cause = getattr(model, "spec", type(model).__name__), error
        while cause.__cause__ is not None:  # the exporters wrap the reason in general advice
            cause = cause.__cause__
        reason = re.sub(r"\x1b\[[0-9;]*m", "", str(cause)).strip().partition("\n")[0]
        raise ExportError(f"{name} cannot be exported as {how}: {reason}") from error


@contextmanager
def _quiet():
    """Without the exporters' notes on their own workings."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
