"""Weights of an image network for a video network: 2-D kernels inflated to 3-D ones over time.

A kernel w of k×k becomes one of t×k×k: w repeated t times ("repeat", as IBM/action-recognition-pytorch starts from
ImageNet), or that divided by t ("mean": "Quo Vadis, Action Recognition?", Carreira and Zisserman, CVPR 2017), with
which a still clip gives the responses of the image, away from the first and last frames.
The names are those of the image network: torchvision's resnet{18..152} for the ResNets, its googlenet for i3d, s3d and
inception_v1. Layers that only a video network has keep their values: `conv_t`, `bn_t`, `tam…`.
"""

import re

import torch

METHODS = ("repeat", "mean")
# Temporal convolutions and norms of s3d and s3d_resnet (conv_t, bn2_t), and the aggregation modules of TAM.
_TEMPORAL = re.compile(r"(^|\.)(tam\w*|(conv|bn)\d*_t)\.")
_AUXILIARY = ("aux1.", "aux2.")  # googlenet's heads in the middle, used in its training alone


def is_image_network(state: dict[str, torch.Tensor]) -> bool:
    """Whether the tensors are those of a 2-D network without any layer over time."""
    dims = {tensor.ndim for key, tensor in state.items() if key.endswith("weight")}
    return 4 in dims and 5 not in dims and not any(_TEMPORAL.search(key) for key in state)


def temporal_layers(expected: dict[str, torch.Tensor]) -> set[str]:
    """The entries that an image network cannot have."""
    return {key for key in expected if _TEMPORAL.search(key)}


def drop_auxiliary(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: tensor for key, tensor in state.items() if not key.startswith(_AUXILIARY)}


def inflate(
    state: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], method: str = "repeat"
) -> tuple[dict[str, torch.Tensor], int]:
    """The tensors with every (out, in, k, k) kernel whose namesake in `expected` is (out, in, t, k, k) repeated t
    times, and how many got a time axis. Kernels that differ otherwise stay as they are, for the caller to name."""
    if method not in METHODS:
        raise ValueError(f"inflate={method!r}: use one of {', '.join(METHODS)}")
    inflated, count = {}, 0
    for key, tensor in state.items():
        target = expected.get(key)
        if tensor.ndim == 4 and target is not None and target.ndim == 5:
            times = target.shape[2]
            if tensor.shape == target.shape[:2] + target.shape[3:]:
                tensor = tensor.unsqueeze(2).expand(target.shape) / (times if method == "mean" else 1)
                count += 1
        inflated[key] = tensor
    return inflated, count
