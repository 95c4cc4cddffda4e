"""The pickles of Caffe2 networks: read without running anything in them, and their blobs' names in PyTorch's words.

facebookresearch/video-nonlocal-net published its networks as pickles of Python 2: {'blobs': {name: array, …}}, with the
optimiser's momenta and counters among the blobs. A pickle names the functions that build its objects; here none of
them is called. A dtype, an array and its bytes are put together from what the file says, by the few lines below, and
every other name is refused.
"""

import math
import pickle
import pickletools
import re
from pathlib import Path
from typing import BinaryIO

import numpy as np

from actlib.messages import kind_of, shown

LARGEST_FILE = 4 << 30  # bytes; the published networks have a tenth of that
HEAD = 1 << 16  # bytes in which `looks_like_caffe2` looks


class Caffe2Error(ValueError):
    """A file that is no whole Caffe2 pickle, or that holds something else than arrays and numbers."""


# --- reading --------------------------------------------------------------------------------------------------


def looks_like_caffe2(path: str | Path) -> bool:
    """Whether a file begins like a pickle with the key 'blobs'. Reads its first 64 KiB and unpickles nothing."""
    with open(path, "rb") as file:
        head = file.read(HEAD)
    try:
        return any(argument in ("blobs", b"blobs") for _, argument, _ in pickletools.genops(head))
    except (ValueError, OverflowError):  # another format, or the end of the head before the key
        return False


def read_caffe2(path: str | Path) -> dict[str, np.ndarray]:
    """All blobs of a Caffe2 pickle, momenta and counters too: name to array; a number becomes an array of no axes.

    Blobs that are neither (text, lists) are left out. Raises FileNotFoundError, and Caffe2Error for a file that is
    damaged, is laid out in another way or asks for anything that plain arrays do not need.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise Caffe2Error(f"{path} has {size / 2**30:.1f} GiB: the published Caffe2 networks have less than 1 GiB")
    try:
        with open(path, "rb") as file:
            _check_places(file)
            file.seek(0)
            content = _ArrayUnpickler(file, encoding="latin1").load()
        blobs = content.get("blobs") if isinstance(content, dict) else None
        if not isinstance(blobs, dict):
            what = f"a dict with the keys {shown(list(content))}" if isinstance(content, dict) else kind_of(content)
            raise Caffe2Error(f"it holds {what}; a dict with the key 'blobs' is expected")
        if sum(blob.num_bytes for blob in blobs.values() if isinstance(blob, _Array)) > size:
            raise Caffe2Error("its arrays together would be larger than the file itself")
        arrays = {name: _array(blob) for name, blob in blobs.items() if isinstance(blob, _Array | bool | int | float)}
    except Caffe2Error as error:
        raise Caffe2Error(f"{path} is not read as a Caffe2 network: {error}") from None
    except Exception as error:  # damaged bytes make the unpickler fail in many ways, MemoryError among them
        reason = f"{type(error).__name__}: {str(error)[:120]}"
        raise Caffe2Error(f"{path} is no whole Caffe2 pickle ({reason}); delete it, and fetch it again") from error
    if not all(isinstance(name, str) for name in arrays):
        raise Caffe2Error(f"{path} is not read as a Caffe2 network: it has blobs whose names are no text")
    return arrays


def _check_places(file: BinaryIO) -> None:
    """Raise Caffe2Error where the pickle keeps an object at a place beyond their number: Python would make room for all
    places before it, and a damaged byte can make that gigabytes."""
    for count, (code, place, _) in enumerate(pickletools.genops(file)):
        if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and place > count:
            raise Caffe2Error("it is damaged")


class _Dtype:
    """Stands for numpy.dtype: the code, such as 'f4', then the byte order from the state."""

    def __init__(self, code: str | bytes, *_: object):
        code = code.decode("latin1") if isinstance(code, bytes) else code
        if not isinstance(code, str) or not re.fullmatch(r"b1|[iu][1248]|f[248]", code):
            raise Caffe2Error(f"it holds an array of dtype {shown(code)}; numbers alone are read")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        if _text(state[1]) == ">":
            self.dtype = self.dtype.newbyteorder(">")


class _Array:
    """Stands for numpy.ndarray, whose parts arrive as the state (version, shape, dtype, Fortran order, bytes)."""

    num_bytes = 0

    def __init__(self, *_: object):
        """The arguments of numpy's `_reconstruct` (a class, a shape of 0, a code) tell nothing."""

    def __setstate__(self, state: tuple) -> None:
        shape, dtype, fortran_order, data = state[-4:]
        self._fill(data, dtype, shape, "F" if fortran_order else "C")

    @classmethod
    def from_buffer(cls, data: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str, *_: object) -> "_Array":
        """As numpy writes arrays with pickle protocol 5."""
        array = cls()
        array._fill(data, dtype, shape, _text(order))
        return array

    def _fill(self, data: str | bytes, dtype: _Dtype, shape: tuple[int, ...], order: str) -> None:
        self.data, self.shape, self.dtype, self.order = data, shape, dtype.dtype, order
        self.num_bytes = len(data)
        if math.prod(shape) * self.dtype.itemsize != self.num_bytes or min(shape, default=0) < 0:
            raise Caffe2Error(f"an array of shape {shown(shape)} has {self.num_bytes} bytes; it is damaged")

    def as_numpy(self) -> np.ndarray:
        """In the machine's byte order, and writable."""
        data = self.data.encode("latin1") if isinstance(self.data, str) else self.data
        flat = np.frombuffer(data, self.dtype)
        return flat.reshape(self.shape, order=self.order).astype(self.dtype.newbyteorder("="), order="C")


def _scalar(dtype: _Dtype, data: str | bytes) -> _Array:
    return _Array.from_buffer(data, dtype, (), "C")


def _latin1_bytes(text: str, encoding: str) -> bytes:
    """Stands for `_codecs.encode`, by which protocols before 3 write bytes."""
    if encoding != "latin1":
        raise Caffe2Error(f"it asks for the encoding {shown(encoding)}; latin1 is the one that arrays use")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Stands for `bytes`, which the same protocols call without arguments for an empty array's."""
    return b""


_STAND_INS = {("_codecs", "encode"): _latin1_bytes, ("__builtin__", "bytes"): _no_bytes}
for _package in ("numpy.core", "numpy._core"):  # before NumPy 2, and since
    _STAND_INS[f"{_package}.multiarray", "_reconstruct"] = _Array
    _STAND_INS[f"{_package}.multiarray", "scalar"] = _scalar
    _STAND_INS[f"{_package}.numeric", "_frombuffer"] = _Array.from_buffer
_STAND_INS["numpy", "ndarray"] = _Array
_STAND_INS["numpy", "dtype"] = _Dtype


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise Caffe2Error(
                f"it asks for {module[:100]}.{name[:100]}, and a pickle can run any code by such names; "
                "plain arrays need nothing of the kind, so it is refused"
            ) from None


def _array(blob: _Array | float) -> np.ndarray:
    if isinstance(blob, _Array):
        return blob.as_numpy()
    return np.asarray(blob, np.float64 if isinstance(blob, float) else np.int64)


def _text(value: str | bytes) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else value


# --- names ----------------------------------------------------------------------------------------------------

_NORM_SUFFIXES = {"s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}
_LAYER_SUFFIXES = {"w": "weight", "b": "bias"}
_STEM_AND_HEAD = {"conv1": "conv1", "res_conv1_bn": "bn1", "pred": "fc"}
_BRANCHES = {"1": "downsample.0", "1_bn": "downsample.1"}
_BRANCHES |= {f"2{letter}": f"conv{number}" for number, letter in enumerate("abc", start=1)}
_BRANCHES |= {f"2{letter}_bn": f"bn{number}" for number, letter in enumerate("abc", start=1)}


def caffe2_key(blob: str) -> str | None:
    """The state-dict key of `i3d_r50` and `i3d_r50_nl` that a blob belongs to; None for what is no parameter.

    Caffe2 counts the stem as the first stage, so `res2` is `layer1`.
    """
    layer, _, suffix = blob.rpartition("_")
    suffixes = _NORM_SUFFIXES if layer.endswith("_bn") else _LAYER_SUFFIXES
    if suffix not in suffixes:
        return None
    if layer in _STEM_AND_HEAD:
        return f"{_STEM_AND_HEAD[layer]}.{suffixes[suffix]}"
    found = re.fullmatch(r"res([2-5])_(\d+)_branch(1|2[abc])(_bn)?", layer)
    if found:
        module = _BRANCHES[found[3] + (found[4] or "")]
    else:
        found = re.fullmatch(r"nonlocal_conv([2-5])_(\d+)_(theta|phi|g|out|bn)", layer)
        if not found:
            return None
        module = f"nl.{found[3]}"
    return f"layer{int(found[1]) - 1}.{found[2]}.{module}.{suffixes[suffix]}"


def caffe2_state(blobs: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], int]:
    """The parameters among a network's blobs by their state-dict keys, and how many blobs are none.

    The head becomes a matrix where the file has it as a 1×1×1 convolution, as Caffe2 tests such networks.
    """
    state = {key: array for blob, array in blobs.items() if (key := caffe2_key(blob)) is not None}
    if "fc.weight" in state:
        state["fc.weight"] = state["fc.weight"].reshape(len(state["fc.weight"]), -1)
    return state, len(blobs) - len(state)


def unfrozen_key(key: str) -> str:
    """The usual name of an entry that pytorch-resnet3d saved after freezing its norms: `bn1.scale` is `bn1.weight`.

    Nothing else is named differently there: a frozen norm has no `num_batches_tracked`, and those of the shortcuts
    (`downsample.1`) are not frozen and keep their names.
    """
    return key.removesuffix(".scale") + ".weight" if key.endswith(".scale") else key
