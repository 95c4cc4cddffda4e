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


def drop_auxiliary(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: tensor for key, tensor in state.items() if not key.startswith(_AUXILIARY)}


def for_video(
    state: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], method: str = "repeat"
) -> tuple[dict[str, torch.Tensor], int, set[str]]:
    """A file's tensors as the network `expected` wants them; how many of them got a time axis; and the names in
    `expected` that need not be among them, since an image network cannot have them.

    Every (out, in, k, k) kernel whose namesake is (out, in, t, k, k) is repeated t times. Kernels that differ otherwise
    stay as they are, for the caller to name, and so does a file that is not an image network's.
    """
    if method not in METHODS:
        raise ValueError(f"inflate={method!r}: use one of {', '.join(METHODS)}")
    if not is_image_network(state):
        return state, 0, set()
    if not expected.keys() >= state.keys():  # a network of the user's may have such layers itself
        state = drop_auxiliary(state)
    found, count = {}, 0
    for key, tensor in state.items():
        shape = expected[key].shape if key in expected else ()
        if tensor.ndim == 4 and len(shape) == 5 and tensor.shape == shape[:2] + shape[3:]:
            tensor = tensor.unsqueeze(2).expand(shape) / (shape[2] if method == "mean" else 1)
            count += 1
        found[key] = tensor
    return found, count, {key for key in expected if _TEMPORAL.search(key)}
