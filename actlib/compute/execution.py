"""How a network is run: numeric precision, memory layout, and whether torch.compile takes it over."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import torch
from torch import nn

from actlib.compute.vocabulary import MEMORY_FORMATS, PRECISIONS

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Execution:
    """A precision, a memory format (`contiguous` or `channels_last`) and whether the network is compiled.

    float32: IEEE float32 throughout, on a GPU too · tf32: the products of matrices and convolutions with 10 bits of
    mantissa (CUDA devices of capability 8.0 and newer) · bf16, fp16: torch's autocast; fp16 trains with scaled losses.
    """

    precision: str = "float32"
    memory_format: str = "contiguous"
    compile: bool = False

    def __str__(self) -> str:
        return f"{self.precision}, {self.memory_format}" + (", compiled" if self.compile else "")

    def check(self, device: torch.device) -> None:
        """Raises ValueError for a word that is not known, or what `device` cannot do, naming the parameter."""
        for name, value, known in (
            ("precision", self.precision, PRECISIONS),
            ("memory_format", self.memory_format, MEMORY_FORMATS),
        ):
            if value not in known:
                raise ValueError(f"{name} {value!r}: expected one of {', '.join(known)}")
        if self.precision == "tf32" and not (device.type == "cuda" and capability(device) >= (8, 0)):
            raise ValueError(f"precision tf32: only CUDA devices of capability 8.0 and newer have it, not {device}")
        if self.compile and not has_compiler(device):
            raise ValueError(
                f"compile: true: torch.compile needs a C++ compiler for {device}, and there is none on the PATH; "
                "install one (Debian: apt install g++), name it in CXX, or set compile: false"
            )

    def apply_to(self, model: nn.Module) -> nn.Module:
        """Lay out the parameters of `model` in place: 4-D and 5-D ones as channels last, or as torch makes them; and
        let torch.compile take its calls over. Its state dict, and copies of it, are those of any network."""
        last = self.memory_format == "channels_last"
        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        for parameter in model.parameters():
            if parameter.dim() in formats:
                layout = formats[parameter.dim()] if last else torch.contiguous_format
                parameter.data = parameter.data.contiguous(memory_format=layout)
        if self.compile:
            model.compile()
        return model

    def layout_of_clips(self) -> torch.memory_format:
        """The layout of (B, C, T, H, W)."""
        return torch.channels_last_3d if self.memory_format == "channels_last" else torch.contiguous_format

    def autocast(self, device: torch.device):
        """The context to run the forward pass in."""
        dtype = AUTOCAST.get(self.precision)
        return torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None)

    def scaler(self, device: torch.device) -> torch.amp.GradScaler:
        """Scales the loss of fp16, whose small gradients would vanish; without effect in other precisions."""
        return torch.amp.GradScaler(device.type, enabled=self.precision == "fp16")

    def switches(self) -> dict[str, object]:
        """torch's switches while such a network computes, forward and backward, by name, in the order of setting."""
        return _fp32_switches("tf32" if self.precision == "tf32" else "ieee") | {"torch.backends.cudnn.benchmark": True}

    @contextmanager
    def switched(self) -> Iterator[None]:
        """Set `switches`, which are the whole process's, and put back what they were."""
        with _switched(self.switches()):
            yield

    def describe(self, device: torch.device) -> dict:
        """All of it as environment.json holds it."""
        told = {"precision": self.precision, "memory_format": self.memory_format, "compile": self.compile}
        return told | {"device": str(device), "loss_scaling": self.precision == "fp16"} | self.switches()


MATMUL = "torch.float32_matmul_precision"  # has a getter and a setter


def _fp32_switches(precision: str) -> dict[str, object]:
    """What float32 means: `ieee` or `tf32`. cuDNN's convolutions take TF32 unless they are told otherwise.

    torch's older switches go first: each sets several of the newer ones, and refuses to answer where these differ from
    it, so they have to agree.
    """
    tf32 = precision == "tf32"
    older = {MATMUL: "high" if tf32 else "highest", "torch.backends.cudnn.allow_tf32": tf32}
    newer = [f"torch.backends.{each}.fp32_precision" for each in ("cuda.matmul", "cudnn.conv", "cudnn.rnn")]
    on_a_cpu = [f"torch.backends.mkldnn.{each}.fp32_precision" for each in ("matmul", "conv")]
    return older | dict.fromkeys(newer, precision) | dict.fromkeys(on_a_cpu, "ieee")


@contextmanager
def ieee_float32() -> Iterator[None]:
    """Float32 as IEEE has it, on any device: for answers that are held against each other."""
    with _switched(_fp32_switches("ieee")):
        yield


@contextmanager
def _switched(switches: dict[str, object]) -> Iterator[None]:
    before = {}
    for name in switches:
        with suppress(RuntimeError):  # an older switch, where the user's newer ones differ from it
            before[name] = _switch(name)
    try:
        for name, value in switches.items():
            _switch(name, value)
        yield
    finally:
        for name, value in before.items():
            _switch(name, value)


def _switch(name: str, *value):
    """The value of a switch; with `value`, set it."""
    if name == MATMUL:
        return torch.set_float32_matmul_precision(*value) if value else torch.get_float32_matmul_precision()
    *places, attribute = name.split(".")[1:]
    owner = torch
    for place in places:
        owner = getattr(owner, place)
    return setattr(owner, attribute, *value) if value else getattr(owner, attribute)


def capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


def has_compiler(device: torch.device) -> bool:
    """Whether torch.compile finds what it needs: a C++ compiler on a CPU, for CUDA one of C too, which Triton calls."""
    names = {"cpu": (os.environ.get("CXX", ""), "g++", "clang++", "c++")}
    found = names.get(device.type, (os.environ.get("CC", ""), "gcc", "clang", "cc"))
    return any(name and shutil.which(name) for name in found)
