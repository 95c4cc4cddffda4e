"""Writes weights files as torch 0.2 and 0.3 wrote them under Python 2 from a GPU: what the published ones are."""

import io
import pickle
import struct
from pathlib import Path

import torch

MAGIC = 0x1950A86A20F9469CFC6C


class _Storage:
    """Stands for one tensor's storage while pickling."""

    def __init__(self, tensor: torch.Tensor, key: str):
        self.tensor, self.key = tensor, key


class _Rebuilt:
    """Pickles as the call that rebuilt a tensor before torch 0.4."""

    def __init__(self, storage: _Storage):
        self.storage = storage

    def __reduce__(self):
        tensor = self.storage.tensor
        return torch._utils._rebuild_tensor, (self.storage, 0, tuple(tensor.shape), tensor.stride())


class _Pickler(pickle._Pickler):
    """Writes text as Python 2 wrote its `str`, and storages as a GPU's."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_str(self, text: str) -> None:
        content = text.encode("ascii")
        self.write(b"U" + struct.pack("<B", len(content)) + content)
        self.memoize(text)

    dispatch[str] = save_str

    def persistent_id(self, value: object):
        if not isinstance(value, _Storage):
            return None
        return "storage", torch.cuda.FloatStorage, value.key, "cuda:0", value.tensor.numel(), None


def save_old(content: dict, path: Path) -> None:
    """Write a checkpoint whose 'state_dict' holds float32 tensors."""
    storages = [
        _Storage(tensor.contiguous(), str(index)) for index, tensor in enumerate(content["state_dict"].values())
    ]
    state = {key: _Rebuilt(storage) for key, storage in zip(content["state_dict"], storages)}
    out = io.BytesIO()
    sizes = {"short": 2, "int": 4, "long": 8}
    for part in (
        MAGIC,
        1001,
        {"protocol_version": 1001, "little_endian": True, "type_sizes": sizes},
        content | {"state_dict": state},
        [storage.key for storage in storages],
    ):
        _Pickler(out, protocol=2).dump(part)
    for storage in storages:
        out.write(struct.pack("<q", storage.tensor.numel()) + storage.tensor.numpy().tobytes())
    path.write_bytes(out.getvalue())
