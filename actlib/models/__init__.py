"""The networks, one file a family. Importing the package registers them all."""

from actlib.models import (  # noqa: F401  (each registers its models)
    c3d,
    csn,
    densenet,
    i3d,
    i3d_r50,
    i3d_resnet,
    inception_v1,
    mobilenet,
    mobilenetv2,
    preresnet,
    r2plus1d,
    r2plus1d_r50,
    resnet,
    resnet2d,
    resnext,
    s3d,
    s3d_resnet,
    shufflenet,
    shufflenetv2,
    slow,
    slowfast,
    squeezenet,
    timm_models,
    torchvision_models,
    transformers_models,
    wideresnet,
    x3d,
)
from actlib.models.registry import (
    ModelError,
    VideoModel,
    adopt,
    create_from_spec,
    format_spec,
    list_models,
    model_options,
    parse_spec,
    register_model,
)
from actlib.models.weights.checkpoint import CheckpointError, read_checkpoint, save_network
from actlib.models.weights.create import create_model
from actlib.models.weights.fetch import find_weights, weights_folder
from actlib.models.weights.load import LoadReport, WeightsError, load_weights
from actlib.models.weights.published import Published, find_published

__all__ = [
    "CheckpointError",
    "LoadReport",
    "ModelError",
    "Published",
    "VideoModel",
    "WeightsError",
    "adopt",
    "create_from_spec",
    "create_model",
    "find_published",
    "find_weights",
    "format_spec",
    "list_models",
    "load_weights",
    "model_options",
    "parse_spec",
    "read_checkpoint",
    "register_model",
    "save_network",
    "weights_folder",
]
