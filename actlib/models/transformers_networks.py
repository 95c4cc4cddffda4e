"""transformers' video classifiers with the interface that every model here has: the way to the logits in two halves,
and the head.

To be imported where such a network is built, as `transformers_models` does: the import takes several seconds.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import transformers
from torch import nn

from actlib.models.parts.heads import PooledClassifier
from actlib.models.parts.options import ModelError


class _Adapted(PooledClassifier):
    """What a class of transformers' gets in front of it. Clips have the one size that the config says."""

    classifier_name = "classifier"
    clip_size: tuple[int, int, int]  # T, H, W
    grid: tuple[int, int, int]  # of patches: T', H', W'

    def adapt(self, options: dict) -> None:
        """Called once on the finished network, with its complete options."""
        num_frames, side = options["num_frames"], options["crop_size"]
        self.clip_size = (num_frames, side, side)
        patches = side // options["patch_size"]
        self.grid = (num_frames // options.get("tubelet_size", 1), patches, patches)
        self.dropout = nn.Dropout(0.0)  # none in transformers; reset_classifier can set one for fine-tuning

    def new_classifier(self, in_features: int, num_classes: int) -> nn.Linear:
        linear = nn.Linear(in_features, num_classes)
        nn.init.trunc_normal_(linear.weight, std=self.config.initializer_range)
        nn.init.zeros_(linear.bias)
        return linear

    def tokens(self, clips: torch.Tensor) -> torch.Tensor:
        """Clips (B, T, C, H, W), as transformers has them, to tokens (B, N, C)."""
        return self.base_model(clips).last_hidden_state

    def checked(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T, H, W) to (B, T, C, H, W). Raises ModelError for a clip of another size."""
        if tuple(x.shape[2:]) != self.clip_size:
            found, built = ("×".join(map(str, shape)) for shape in (x.shape[2:], self.clip_size))
            raise ModelError(
                f"the clip has T×H×W {found}, but this network was built for {built}; its options num_frames and "
                "crop_size set another size"
            )
        return x.transpose(1, 2)


class _OfClassToken(_Adapted):
    """The features are the class token alone, (B, C, 1, 1, 1)."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.tokens(self.checked(x))[:, 0, :, None, None, None]

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        return self.classify(features.flatten(1))


class _OfPatches(_Adapted):
    """The features are the tokens of all patches, (B, C, T', H', W')."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.tokens(self.checked(x)).transpose(1, 2).unflatten(2, self.grid)

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        return self.classify(self.pooled(features.flatten(2).transpose(1, 2)))

    def pooled(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, N, C) to (B, C)."""
        raise NotImplementedError


class VideoMAE(_OfPatches, transformers.VideoMAEForVideoClassification):
    before_head = ("fc_norm.",)

    @property
    def in_channels(self) -> int:
        return self.videomae.embeddings.patch_embeddings.num_channels

    @in_channels.setter
    def in_channels(self, number: int) -> None:
        self.videomae.embeddings.patch_embeddings.num_channels = number  # which it compares each clip with

    def pooled(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens[:, 0] if self.fc_norm is None else self.fc_norm(tokens.mean(1))


class TimeSformer(_OfClassToken, transformers.TimesformerForVideoClassification):
    pass


class ViViT(_OfClassToken, transformers.VivitForVideoClassification):
    pass


class VJEPA2(_OfPatches, transformers.VJEPA2ForVideoClassification):
    """Without the predictor of the pre-training, which would never get a gradient."""

    before_head = ("pooler.",)

    def adapt(self, options: dict) -> None:
        super().adapt(options)
        del self.vjepa2.predictor

    def tokens(self, clips: torch.Tensor) -> torch.Tensor:
        return self.vjepa2.encoder(clips).last_hidden_state

    def pooled(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.pooler(tokens)


class VideoPrism(_OfPatches, transformers.VideoPrismForVideoClassification):
    before_head = ("head.", "head_layernorm.")

    def tokens(self, clips: torch.Tensor) -> torch.Tensor:
        return self.vision_model(clips).last_hidden_state

    def pooled(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head_layernorm(self.head(tokens)[0])[:, 0]


ADAPTED: dict[str, type[_Adapted]] = {
    "videomae": VideoMAE,
    "timesformer": TimeSformer,
    "vivit": ViViT,
    "vjepa2": VJEPA2,
    "videoprism_vision_model": VideoPrism,
}


def original(kind: str) -> type[transformers.PreTrainedModel]:
    """transformers' own class of a model_type."""
    return ADAPTED[kind].__bases__[1]


def built(kind: str, num_classes: int, options: dict, fields: dict) -> _Adapted:
    """The network of a model_type with complete options, which are the `fields` of its config, randomly initialised as
    transformers does it. Raises ModelError for what transformers refuses."""
    try:
        config = original(kind).config_class(**fields, num_labels=num_classes)
        network = original(kind)(config)
    except (ArithmeticError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"transformers refuses these options: {type(error).__name__}: {error}") from error
    network.__class__ = ADAPTED[kind]
    network.num_classes = num_classes
    network.adapt(options)
    return network


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' own reports and bars on loading weights; what they say is said here in other words."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
