"""Fine-tuning: a trained network with a new head, of which a part may stay as it is or learn at a rate of its own."""

import copy

import pandas as pd
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from actlib.datasets.same_class import same_classes
from actlib.datasets.vocabulary import CHANNELS
from actlib.models import ModelError, VideoModel, create_model, find_published
from actlib.models.registry import change_channels
from actlib.models.weights.checkpoint import CheckpointError
from actlib.params import FinetuneParams, PredictParams, TrainingParams, VideoAccuracyParams

PREPROCESSING = ("num_frames", "frame_stride", "short_side", "crop_size", "mean", "std", "channel_order", "modality")


# --- the network, its clips and its head ----------------------------------------------------------------------


def open_pretrained(p: FinetuneParams, classes: list[str]) -> VideoModel:
    """The network of `p.pretrained` with its weights and its own head. `p.model` need only be set for weights of an
    image network, which are inflated into it. Raises WeightsError or ModelError."""
    row = find_published(p.pretrained)
    num_classes = len(classes) if row and row.image else None  # None: as many as the file has
    model = create_model(p.model or None, num_classes, pretrained=p.pretrained, untold_classes=len(classes))
    print(model.load_report)
    return model


def inherit_preprocessing(p: FinetuneParams | PredictParams | VideoAccuracyParams, model: VideoModel, source: str):
    """`p` with each preprocessing parameter that is 0 or empty taken from `model`, opened from the weights `source`.

    Raises CheckpointError where nothing tells what `p` leaves open, or where the weights are of another modality,
    whose mean and std would be wrong. Weights of an unknown origin are taken for RGB ones.
    """
    missing = [each for each in PREPROCESSING if each in type(p).model_fields and not getattr(p, each)]
    found = model.preprocessing or {"modality": "rgb"}
    untold = [each for each in missing if each not in found]
    if untold:
        raise CheckpointError(
            f"{source}: weights alone, which do not tell what clips they were trained on; set {', '.join(untold)}"
        )
    if {"mean", "std"} & set(missing) and p.modality and p.modality != found["modality"]:
        example = "[0.5] and [0.226]" if p.modality == "flow" else "[0.485, 0.456, 0.406] and [0.229, 0.224, 0.225]"
        raise CheckpointError(
            f"{source}: trained on {found['modality']} clips; for modality {p.modality} set mean and std, such as "
            f"{example}"
        )
    return p.model_copy(update={each: found[each] for each in missing})


def fit_to_data(model: VideoModel, p: FinetuneParams, classes: list[str]) -> None:
    """Give `model` a fresh head unless it was trained on these very classes, the dropout before it that `p` says (-1
    leaves the network's own), and a first convolution for the channels of `p.modality`."""
    dropout = None if p.head_dropout < 0 else p.head_dropout
    if not same_classes(model.classes or [], classes):
        model.reset_classifier(len(classes), dropout=dropout)
        print(f"fresh head of {len(classes)} classes")
    elif dropout is not None:
        model.get_submodule(model.dropout_name).p = dropout
    channels = CHANNELS[p.modality]
    if model.in_channels != channels:
        print(f"first convolution from {model.in_channels} to {channels} channels: each filter its mean over them")
        change_channels(model, channels, keep=True)


# --- what is trained ------------------------------------------------------------------------------------------


def find_module(model: VideoModel, name: str, option: str) -> str:
    """The full name of a module with parameters: `head` is the classifier, `features.denseblock4` a name in full,
    `denseblock4` the end of one. Raises ModelError, beginning with `option`, for none or several."""
    if name == "head":
        return model.classifier_name
    names = [each for each, _ in model.named_modules() if each]
    found = [name] if name in names else [each for each in names if each.endswith(f".{name}")]
    if not found:
        known = [each for each in names if list(model.get_submodule(each).parameters())]
        top = [each for each in known if "." not in each]
        shown = top if len(top) > 3 else [each for each in known if each.count(".") <= 1]
        words = "all, head" if option == "train_from" else "head"
        raise ModelError(f"{option} {name!r}: no such module; {words}, or one of {', '.join(shown)}")
    if len(found) > 1:
        more = f" and {len(found) - 8} more" if len(found) > 8 else ""
        raise ModelError(f"{option} {name!r}: several modules end so, write one in full: {', '.join(found[:8])}{more}")
    if not list(model.get_submodule(found[0]).parameters()):
        raise ModelError(f"{option} {name!r}: this module has no parameters, nothing would be trained")
    return found[0]


class _Reached(Exception):
    """Carries the inputs of a module out of a forward pass that need not go on."""


def parameters_before(model: VideoModel, name: str, clip_shape: tuple[int, int, int, int]) -> set[str]:
    """The names of the parameters that the input of the module `name` is computed from, for clips (C, T, H, W).

    The order of the state dict would not do: there, TAM comes last in its block, but runs first. So a forward pass
    is made without storage up to the module (where a family takes the members of a Sequential one by one, up to
    the first of them), and autograd's graph of its input tells. A module that is never called, because another
    one uses its weights, counts as that other one.
    """
    twin = copy.deepcopy(model).to("meta").eval().requires_grad_(True)

    def stop(module, args, kwargs):
        raise _Reached([each for each in (*args, *kwargs.values()) if isinstance(each, torch.Tensor)])

    for module in twin.get_submodule(name).modules():
        module.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        with torch.enable_grad():
            twin(torch.empty(2, *clip_shape, device="meta"))
    except _Reached as reached:
        inputs = [each.sum() for each in reached.args[0] if each.requires_grad]
    else:
        parent = name.rpartition(".")[0]
        return parameters_before(model, parent, clip_shape) if parent else set()
    names, weights = zip(*twin.named_parameters())
    gradients = torch.autograd.grad(inputs, weights, allow_unused=True) if inputs else [None] * len(names)
    return {each for each, gradient in zip(names, gradients) if gradient is not None}


def freeze(model: VideoModel, p: FinetuneParams) -> list[nn.Module]:
    """Freeze what `p.train_from` and `p.batch_norm` say; returns the batch norms to keep in evaluation mode.

    train_from: `all` freezes nothing, `head` all but the classifier, a module's name (`layer4`, `denseblock4`) all
    that the module's input is computed from. What runs beside it, such as the shortcut of its block, is trained.
    batch_norm: `tuned` keeps no norm back, so that the statistics of frozen layers follow the new videos too (as
    in 3D-ResNets-PyTorch and Efficient-3DCNNs); `frozen_layers` keeps the statistics of frozen layers; `frozen`
    those of all layers, with the norms' weights (as in video-nonlocal-net, where I3D comes from).

    Raises ModelError for a module that is not there, naming those that are, and where nothing would be trained.
    """
    first = "" if p.train_from == "all" else find_module(model, p.train_from, "train_from")
    shape = (model.in_channels, p.num_frames, p.crop_size, p.crop_size)
    before = parameters_before(model, first, shape) if first else set()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in before or name.startswith(f"{first}."))
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if p.batch_norm == "tuned":
        return []
    if p.batch_norm == "frozen":
        for norm in norms:
            norm.requires_grad_(False)
        if not trainable(model):
            raise ModelError(f"batch_norm 'frozen' with train_from {p.train_from!r}: nothing would be trained")
        return norms
    return [norm for norm in norms if not trainable(norm)]


def trainable(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


# --- at which rate --------------------------------------------------------------------------------------------


def parameter_groups(model: VideoModel, p: TrainingParams) -> list[dict]:
    """The trainable parameters as an optimiser takes them: {"name", "params", "lr", "weight_decay"} a group.

    `lr_factors` of fine-tuning map modules to factors of `base_lr`. The innermost module that holds a parameter counts;
    parameters in none are the group "rest". With no_decay `norms_and_biases` the parameters of one axis are in groups
    of their own, without weight decay (as in timm; "Bag of Tricks", He et al., 2019).
    Raises ModelError for a module that is not there, is named twice, or has nothing to train.
    """
    factors: dict[str, float] = {}
    for name, factor in (p.factors if isinstance(p, FinetuneParams) else {}).items():
        module = find_module(model, name, "lr_factors")
        if module in factors:
            raise ModelError(f"lr_factors {name!r}: {module} is named twice")
        factors[module] = factor
    groups: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            holders = [module for module in factors if name.startswith(f"{module}.")]
            groups.setdefault(max(holders, key=len, default="rest"), []).append(parameter)
    for module in factors:
        if module not in groups:
            raise ModelError(
                f"lr_factors {module!r}: nothing of it is trained at this rate; its parameters are frozen "
                f"(train_from: {p.train_from}, batch_norm: {p.batch_norm}) or all in other entries"
            )
    found = []
    for name, parameters in groups.items():
        lr = p.base_lr * factors.get(name, 1.0)
        least = 2 if p.no_decay == "norms_and_biases" else 0  # axes of a parameter that decays
        decayed = [each for each in parameters if each.ndim >= least]
        spared = [each for each in parameters if each.ndim < least]
        for suffix, members, decay in (("", decayed, p.weight_decay), (", no decay", spared, 0.0)):
            if members:
                found.append({"name": name + suffix, "params": members, "lr": lr, "weight_decay": decay})
    return found


def overview(model: VideoModel, groups: list[dict]) -> pd.DataFrame:
    """What is trained and how fast, a row a module: parameters, how many of them are trained, lr (0: frozen) before the
    schedule. `groups`: those of an optimiser, or of `parameter_groups`.

    A module whose parts differ is shown by its parts; frozen batch norms in a trained module do not make it so.
    """
    rates = {id(parameter): group.get("initial_lr", group["lr"]) for group in groups for parameter in group["params"]}
    norms = {id(each) for module in model.modules() if isinstance(module, _BatchNorm) for each in module.parameters()}
    rows = []

    def add(name: str, parameters: list[nn.Parameter]) -> None:
        trained = [each for each in parameters if id(each) in rates]
        lr = rates[id(trained[0])] if trained else 0.0
        rows.append((name, sum(each.numel() for each in parameters), sum(each.numel() for each in trained), lr))

    def walk(prefix: str, module: nn.Module) -> None:
        for name, parameter in module.named_parameters(recurse=False):
            add(prefix + name, [parameter])
        for name, part in module.named_children():
            parameters = list(part.parameters())
            found = {rates.get(id(each), 0.0) for each in parameters if id(each) in rates or id(each) not in norms}
            if len(found) > 1:
                walk(f"{prefix}{name}.", part)
            elif parameters:
                add(prefix + name, parameters)

    walk("", model)
    return pd.DataFrame(rows, columns=["module", "parameters", "trained", "lr"])
