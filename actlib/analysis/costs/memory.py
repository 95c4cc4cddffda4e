"""Peak activation memory: the most bytes that the tensors of one pass take up at the same time.

Counted is the storage of every tensor that the pass makes, from its making until nothing refers to it any more, and
that of the input clips; not counted are parameters, buffers and the parameters' gradients (bytes of the same size as
the parameters), and the working memory inside one operation, which depends on the device's kernels. The pass runs on
tensors without storage, so any network at any input can be asked, on any machine.
"""

import weakref

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from actlib.analysis.costs.flops import without_storage


class LiveBytes(TorchDispatchMode):
    """While active, adds up the bytes of the storages that operations put out and that are still alive.

    live, peak: the bytes alive now and at most so far. Storages given to `ignore` do not count.
    """

    def __init__(self):
        super().__init__()
        self.live = self.peak = 0
        self._known: dict[int, weakref.finalize | None] = {}

    def ignore(self, tensor: torch.Tensor) -> None:
        """Count the memory of `tensor` neither now nor later; if it counts already, take it away."""
        key = id(tensor.untyped_storage())
        counting = self._known.get(key)
        if counting is not None:
            counting()
        self._known[key] = None

    def watch(self, tensor: torch.Tensor) -> None:
        """Count the memory of `tensor` until it is freed; memory that is known already counts once."""
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._known:
            return
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        counting = weakref.finalize(storage, self._free, key, size)
        counting.atexit = False
        self._known[key] = counting

    def _free(self, key: int, size: int) -> None:
        self.live -= size
        del self._known[key]

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(output):
            if isinstance(tensor, torch.Tensor):
                self.watch(tensor)
        return output


def peak_activation_bytes(
    model: nn.Module, input_shape: tuple[int, ...], batch_size: int = 1, training: bool = False
) -> int:
    """The peak for a batch of `batch_size` clips of `input_shape`, (3, T, H, W); the model stays as it is.

    Inference: a tensor is freed as soon as the code drops it. With `training`: forward, cross-entropy and backward,
    including what is saved for the backward pass; each parameter's gradient counts only while it is being made.
    """
    shadow, dtype = without_storage(model)
    shadow.train(training)
    clips = torch.empty(batch_size, *input_shape, device="meta", dtype=dtype)
    tracker = LiveBytes()
    tracker.watch(clips)
    for tensor in (*shadow.parameters(), *shadow.buffers()):
        tracker.ignore(tensor)
    for parameter in shadow.parameters() if training else ():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(_drop_gradient)
    if not training:
        with torch.no_grad(), tracker:
            shadow(clips)
        return tracker.peak
    labels = torch.zeros(batch_size, dtype=torch.long, device="meta")
    tracker.ignore(labels)
    with tracker:
        F.cross_entropy(shadow(clips), labels).backward()
    return tracker.peak


def _drop_gradient(parameter: torch.Tensor) -> None:
    parameter.grad = None
