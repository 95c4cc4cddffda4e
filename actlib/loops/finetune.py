"""Fine-tuning: a trained network with a new head, of which a part may stay as it is."""

import torch
from torch import nn

from actlib.loops.checkpoint import CheckpointError, ForeignFileError, read_checkpoint
from actlib.models import ModelError, VideoModel, create_from_spec, load_weights

PREPROCESSING = ("num_frames", "frame_stride", "short_side", "crop_size", "mean", "std")


def inherit_preprocessing(p, source: str = "pretrained"):
    """`p` with each preprocessing parameter that is 0 or empty taken from the checkpoint `getattr(p, source)`.

    Parameters without such a checkpoint (training from scratch) come back as they are. Raises CheckpointError
    where the file has no preprocessing (weights from elsewhere) and `p` leaves something open.
    """
    path = getattr(p, source, "")
    missing = [name for name in PREPROCESSING if hasattr(p, name) and not getattr(p, name)]
    if not path or not missing:
        return p
    found = read_checkpoint(path)["preprocessing"]
    return p.model_copy(update={name: found[name] for name in missing})


def pretrained_model(p, classes: list[str]) -> VideoModel:
    """The network of `p.pretrained` with its weights, and a fresh head unless it was trained on these very classes."""
    content = _own_checkpoint(p.pretrained)
    if content is None and not p.model:
        raise CheckpointError(f"{p.pretrained}: weights without a description; say which network it is with model:")
    spec = p.model or content["model"]["spec"]
    if content is not None and content["classes"] == classes:
        model = create_from_spec(spec, len(classes))
        print(load_weights(model, p.pretrained))
        return model
    model = create_from_spec(spec, content["model"]["num_classes"] if content else len(classes))
    print(load_weights(model, p.pretrained, replace_head=True))
    model.reset_classifier(len(classes))
    return model


def _own_checkpoint(path) -> dict | None:
    """The content of a checkpoint of this project, None for weights from elsewhere."""
    try:
        return read_checkpoint(path)
    except ForeignFileError:
        return None


def freeze(model: VideoModel, train_from: str, frozen_bn: bool) -> list[nn.Module]:
    """Freeze what lies before `train_from` in the order of the state dict: `all` freezes nothing, `head` all but
    the classifier, a module's name (`layer4`, `features.18`) all before it.

    Returns the batch-norm modules to keep in evaluation mode (none unless `frozen_bn`). Raises ModelError for a
    module that is not there, naming those that are.
    """
    if train_from == "all":
        return []
    first = model.classifier_name if train_from == "head" else train_from
    names = [name for name, _ in model.named_modules() if name]
    if first not in names:
        shallow = [name for name in names if name.count(".") <= 1 and list(model.get_submodule(name).parameters())]
        raise ModelError(f"train_from {train_from!r}: no such module; all, head, or one of {', '.join(shallow)}")
    trained = False
    for name, parameter in model.named_parameters():
        trained = trained or name.startswith(f"{first}.")
        parameter.requires_grad_(trained)
    if not trainable(model):
        raise ModelError(f"train_from {train_from!r}: this module has no parameters, nothing would be trained")
    if not frozen_bn:
        return []
    return [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not any(p.requires_grad for p in module.parameters())
    ]


def trainable(model: nn.Module) -> list[torch.nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
