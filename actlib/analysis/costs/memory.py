"""Peak activation memory: the most bytes that the tensors of one pass take up at the same time.

Counted is the storage of every tensor that the pass makes, from its making until nothing refers to it any more, and
that of the input clips; not counted are parameters, buffers and the parameters' gradients (bytes of the same size as
the parameters), and the working memory inside one operation, which depends on the device's kernels. The pass runs on
tensors without storage, so any network at any input can be asked, on any machine.
"""

import weakref
from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from actlib.analysis.costs.flops import without_storage


class LiveBytes(TorchDispatchMode):
    """While active, adds up the bytes of the storages that operations put out and that are still alive; those of
    `ignored` tensors do not count.

    live, peak: the bytes alive now and at most so far.
    """

    def __init__(self, ignored: Iterable[torch.Tensor] = ()):
        super().__init__()
        self.live = self.peak = 0
        self._known = {id(tensor.untyped_storage()) for tensor in ignored}

    def watch(self, tensor: torch.Tensor) -> None:
        """Count the memory of `tensor` until it is freed; memory that is known already counts once."""
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._free, key, size).atexit = False

    def _free(self, key: int, size: int) -> None:
        self.live -= size
        self._known.remove(key)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(output):
            if isinstance(tensor, torch.Tensor):
                self.watch(tensor)
        return output


def peak_activation_bytes(
    model: nn.Module, input_shape: tuple[int, ...], batch_size: int = 1, training: bool = False
) -> int:
    """The peak for a batch of `batch_size` clips of `input_shape`, (C, T, H, W); the model stays as it is.

    Inference: a tensor is freed as soon as the code drops it. With `training`: forward, cross-entropy and backward,
    including what is saved for the backward pass; each parameter's gradient counts only while it is being made.
    """
    shadow, clips = without_storage(model, batch_size, *input_shape)
    shadow.train(training)
    labels = torch.zeros(batch_size, dtype=torch.long, device="meta")
    tracker = LiveBytes([*shadow.parameters(), *shadow.buffers(), labels])
    tracker.watch(clips)
    with torch.set_grad_enabled(training), tracker:
        logits = shadow(clips)
        if training:
            for parameter in shadow.parameters():
                if parameter.requires_grad:
                    parameter.register_post_accumulate_grad_hook(_drop_gradient)
            F.cross_entropy(logits, labels).backward()
    return tracker.peak


def _drop_gradient(parameter: torch.Tensor) -> None:
    parameter.grad = None
