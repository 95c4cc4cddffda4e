"""The networks, one file a family. Importing the package registers them all."""

from actlib.models import mobilenetv2, resnet, resnet2d  # noqa: F401  (each registers its models)
from actlib.models.registry import (
    ModelError,
    VideoModel,
    create_from_spec,
    create_model,
    format_spec,
    list_models,
    model_options,
    parse_spec,
)
from actlib.models.weights import LoadReport, WeightsError, load_weights

__all__ = [
    "LoadReport",
    "ModelError",
    "VideoModel",
    "WeightsError",
    "create_from_spec",
    "create_model",
    "format_spec",
    "list_models",
    "load_weights",
    "model_options",
    "parse_spec",
]
