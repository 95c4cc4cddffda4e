"""What publications call the FLOPs of a network, where that is not `flops.count_macs`.

Most sources of `literature` count something else than the MACs of convolutions, linear layers and attention. Here the
counts are made by their rules, so that a difference between their numbers and ours can be told from an error.
"""

from torch import nn

from actlib.analysis.costs.flops import Step
from actlib.models import VideoModel

# Efficient-3DCNNs writes these networks' max-pools as kernel_size=3 and those of the others as (3, 3, 3); its counter
# multiplies the numbers that stand there, so that a cube of side 3 counts as 3.
_POOLS_BY_SIDE = {"squeezenet", "shufflenet", "shufflenetv2"}
# Its counter sees modules alone, and of this network's ReLUs the stem's is a module, the others are function calls.
_STEM_RELU_ALONE = {"mobilenet"}
# For the same reason it sees the last mean of these alone.
_MEAN_IS_A_MODULE = ("resnet", "resnext", "squeezenet")


def count_as(rule: str, model: VideoModel, steps: list[Step]) -> int:
    """The count of `steps`, the executed ones of `model` for one clip, by one of COUNTING_RULES."""
    return _COUNTERS[rule](model, steps)


def _thop(model: VideoModel, steps: list[Step]) -> int:
    """What the counter of okankop/Efficient-3DCNNs reports, the "FLOPs" of arXiv:1904.02422.

    The MACs of convolutions, and 1 more an output where they have a bias; 2 an element for a norm, 1 for ReLU and
    ReLU6; kernel volume − 1 an output for a max-pool and the volume for an average pool; 2 × input features − 1 an
    output for a linear layer. Sums are invisible to it. The exceptions for single networks stand above.
    Equal to what that counter reports but for its sums in float32, and for C3D's two norms over features, which it
    does not see: 1e-6 of the total.
    """
    whole = {"convolution_bias", "avg_pool3d"} | ({"mean"} if model.name.startswith(_MEAN_IS_A_MODULE) else set())
    total = relus = 0
    for kind, name, outputs, work in steps:
        if name in ("relu", "hardtanh"):
            relus += 1
            total += 0 if relus > 1 and model.name in _STEM_RELU_ALONE else work
        elif kind == "conv" or name in whole:
            total += work
        elif kind == "linear":
            total += 2 * work - outputs
        elif kind == "norm":
            total += 2 * work
        elif name == "max_pool3d_with_indices":
            volume = work // outputs
            total += outputs * ((round(volume ** (1 / 3)) if model.name in _POOLS_BY_SIDE else volume) - 1)
    return total


def _convolutions(model: VideoModel, steps: list[Step]) -> int:
    """The MACs of the convolutions, without the last layer where that is one: the "Flops" in the tables of
    IBM/action-recognition-pytorch."""
    convs = [step.work for step in steps if step.kind == "conv"]
    head = model.get_submodule(model.classifier_name)
    return sum(convs[:-1] if isinstance(head, nn.Conv2d | nn.Conv3d) else convs)


def _macs(model: VideoModel, steps: list[Step]) -> int:
    return sum(step.work for step in steps if step.kind in ("conv", "linear", "attention"))


def _macs_and_norms(model: VideoModel, steps: list[Step]) -> int:
    return _macs(model, steps) + 2 * sum(step.work for step in steps if step.kind == "norm")


def _fvcore(model: VideoModel, steps: list[Step]) -> int:
    """What fvcore's counter reports of a network in training mode: most "FLOPs" of PyTorchVideo's model zoo."""
    return _macs(model, steps) + 5 * sum(step.work for step in steps if step.kind == "norm")


_COUNTERS = {
    "thop": _thop,
    "convolutions": _convolutions,
    "macs": _macs,
    "macs_and_norms": _macs_and_norms,
    "fvcore": _fvcore,
}
COUNTING_RULES = {
    "thop": "adds norms, ReLU, pooling and bias to the MACs, and doubles linear layers",
    "convolutions": "counts convolutions alone, without the last layer",
    "macs": "counts MACs",
    "macs_and_norms": "adds 2 for every normalised element to the MACs",
    "fvcore": "adds 5 for every normalised element to the MACs",
}
