"""The two ways from feature maps to logits: over the mean of all positions, or frame by frame."""

import torch
from torch import nn

from actlib.models.parts.layers import normal_linear
from actlib.models.registry import VideoModel

SMALL_HEAD_STD = 0.001  # of a new linear layer's weights, in TSM and in IBM's 3-D networks


class PooledClassifier(VideoModel):
    """A network that averages its feature maps over T, H and W; then dropout and a linear layer."""

    head_std: float | None = None  # a new head's standard deviation, its bias then 0; None leaves nn.Linear's own

    def __init__(self, num_classes: int):
        super().__init__()
        self.num_classes = num_classes

    def new_classifier(self, in_features: int, num_classes: int) -> nn.Linear:
        if self.head_std is None:
            return nn.Linear(in_features, num_classes)
        return normal_linear(in_features, num_classes, self.head_std)

    def classify(self, vectors: torch.Tensor) -> torch.Tensor:
        """(N, C) to logits (N, num_classes), through dropout and the linear layer wherever the family keeps them."""
        return self.get_submodule(self.classifier_name)(self.get_submodule(self.dropout_name)(vectors))

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        return self.classify(features.mean(dim=(2, 3, 4)))


class SequentialClassifier(PooledClassifier):
    """The same with both layers in `classifier`, as okankop/Efficient-3DCNNs names them, and all else in `features`."""

    classifier_name = "classifier.1"
    dropout_name = "classifier.0"

    def add_head(self, channels: int) -> None:
        self.classifier = nn.Sequential(nn.Dropout(0.2), self.new_classifier(channels, self.num_classes))

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x)


class FrameClassifier(PooledClassifier):
    """A network that classifies each frame of its feature maps and averages the logits."""

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        frames = features.mean(dim=(3, 4)).transpose(1, 2)  # (B, T', C)
        return self.classify(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).mean(dim=1)
