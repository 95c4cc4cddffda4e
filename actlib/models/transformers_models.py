"""The video classifiers of transformers (the extra `hf`) under the names `hf_…`, built from their options alone.

hf_videomae: "VideoMAE" (Tong et al., NeurIPS 2022); hf_timesformer: "Is Space-Time Attention All You Need for Video
Understanding?" (Bertasius et al., ICML 2021); hf_vivit: "ViViT" (Arnab et al., ICCV 2021); hf_vjepa2: "V-JEPA 2"
(Assran et al., 2025), its encoder and attentive pooler; hf_videoprism: "VideoPrism" (Zhao et al., ICML 2024).
transformers builds each network, and one of `transformers_networks` adds the interface that every model here has. So
state dicts equal transformers' (V-JEPA 2's without the predictor, which a classifier does not use).

The options are the scalar fields of transformers' config class with its defaults, in OPTIONS, since the import takes
several seconds; a test holds them to the library. Left out are the fields that a classifier does not use. The house's
words stand for num_frames (also `frames_per_clip`), crop_size (`image_size`) and patch_size and tubelet_size (together
one list in some). The number of channels is the option `in_channels`, which every model has.
"""

from functools import partial

from actlib.models.parts.options import ModelError, check_positive
from actlib.models.parts.variants import register_of_library
from actlib.models.registry import Scalar, VideoModel

_SHAPE = {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
}  # fmt: skip
_REST = {
    "hidden_act": "gelu", "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.02,
    "layer_norm_eps": 1e-6, "qkv_bias": True,
}  # fmt: skip
_VIDEOMAE_REST = {name: value for name, value in _REST.items() if name != "qkv_bias"}
# By transformers' model_type. Sizes come first: they are what a person changes.
OPTIONS: dict[str, dict[str, Scalar]] = {
    "videomae": {
        "num_frames": 16, "crop_size": 224, "patch_size": 16, "tubelet_size": 2, **_SHAPE, **_VIDEOMAE_REST,
        "layer_norm_eps": 1e-12, "qv_bias": True, "use_mean_pooling": True,
    },
    "timesformer": {
        "num_frames": 8, "crop_size": 224, "patch_size": 16, **_SHAPE, **_REST,
        "attention_type": "divided_space_time", "drop_path_rate": 0,
    },
    "vivit": {
        "num_frames": 32, "crop_size": 224, "patch_size": 16, "tubelet_size": 2, **_SHAPE, **_REST,
        "hidden_act": "gelu_fast",
    },
    "vjepa2": {
        "num_frames": 64, "crop_size": 256, "patch_size": 16, "tubelet_size": 2, "hidden_size": 1024,
        "num_hidden_layers": 24, "num_attention_heads": 16, "mlp_ratio": 4.0, "num_pooler_layers": 3,
        "hidden_act": "gelu", "attention_probs_dropout_prob": 0.0, "attention_dropout": 0.0, "drop_path_rate": 0.0,
        "initializer_range": 0.02, "layer_norm_eps": 1e-6, "qkv_bias": True,
    },
    "videoprism_vision_model": {
        "num_frames": 16, "crop_size": 288, "patch_size": 18, "tubelet_size": 1, "hidden_size": 768,
        "num_spatial_layers": 12, "num_temporal_layers": 4, "num_attention_heads": 12, "intermediate_size": 3072,
        **_REST, "hidden_act": "gelu_python", "attn_logit_softcapping": 50.0,
    },
}  # fmt: skip
# The field of the config class that an option sets, where it has another name.
FIELDS = {kind: {"crop_size": "image_size"} for kind in OPTIONS} | {"vjepa2": {"num_frames": "frames_per_clip"}}
IN_LISTS = ("vivit", "videoprism_vision_model")  # tubelet_size is [tubelet_size, patch_size, patch_size] there
NAMES = {kind: f"hf_{kind.removesuffix('_vision_model')}" for kind in OPTIONS}
# What the names of all tensors but the head's begin with in the state dict of a network.
BODIES = {name: "vision_model" if name == "hf_videoprism" else kind for kind, name in NAMES.items()}


def config_fields(kind: str, options: dict[str, Scalar]) -> dict:
    """The fields of the config class of a model_type that complete options stand for."""
    fields = {FIELDS[kind].get(name, name): value for name, value in options.items()}
    if kind in IN_LISTS:
        patch = fields.pop("patch_size")
        fields["tubelet_size"] = [fields["tubelet_size"], patch, patch]
    return fields


def options_of(kind: str, fields: dict) -> dict[str, Scalar]:
    """The options of a config, whose fields may be incomplete and more; the inverse of `config_fields`. Raises
    ModelError for clips or patches that are not square, and for a value of another type than the option's."""
    fields = dict(fields)
    if kind in IN_LISTS and "tubelet_size" in fields:
        frames, *patch = fields["tubelet_size"]
        fields |= {"tubelet_size": frames, "patch_size": patch}
    found = {}
    for option, default in OPTIONS[kind].items():
        field = FIELDS[kind].get(option, option)
        value = fields.get(field, default)
        if isinstance(value, list | tuple) and len(set(value)) == 1:
            value = value[0]
        value = float(value) if isinstance(default, float) and type(value) is int else value
        value = int(value) if type(default) is int and type(value) is float and value == int(value) else value
        if type(value) is not type(default):
            raise ModelError(f"{field} is {value!r}; {NAMES[kind]} here takes a value such as {default!r}")
        found[option] = value
    return found


def _build(kind: str, num_classes: int, **options: Scalar) -> VideoModel:
    for option, value in options.items():
        if option in ("num_frames", "crop_size", "patch_size", "tubelet_size", *_SHAPE):
            check_positive(option, value)
    for option, part in (("num_frames", "tubelet_size"), ("crop_size", "patch_size")):
        if options[option] % options.get(part, 1):
            raise ModelError(f"{option}={options[option]}: a multiple of {part} is needed, {options[part]}")
    from actlib.models.transformers_networks import built

    return built(kind, num_classes, options, config_fields(kind, options))


for _kind, _options in OPTIONS.items():
    register_of_library("transformers", "hf", NAMES[_kind], _options, partial(_build, _kind))
