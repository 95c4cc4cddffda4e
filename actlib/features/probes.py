"""What frozen features tell of the classes: a linear probe, and the vote of the nearest neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from actlib.analysis.results.metrics import macro_f1
from actlib.analysis.results.scores import Scores
from actlib.features.embeddings import Features, FeaturesError
from actlib.features.retrieval import closest, require_alike
from actlib.messages import listed
from actlib.progress import told_if_slow

STRENGTHS = (10.0, 1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-5)  # of the weight decay, the strongest first
_FEW = 0.1  # where no class has two videos to choose the strength with
_HELD_OUT = 5  # one of so many training videos


@dataclass(kw_only=True, eq=False)
class LinearProbe:
    """A linear layer over the standardised features of the network `spec`. weight: float64 (C, D) and bias (C) of
    `classes`; mean, std: (D) of the training videos. strength: of the weight decay. scores: of the test videos."""

    spec: str
    classes: list[str]
    weight: torch.Tensor
    bias: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor
    strength: float
    scores: Scores

    @property
    def top1(self) -> float:
        """Percent of all test videos; one without a vector is wrong."""
        return self.scores.top(1)

    @property
    def macro_f1(self) -> float:
        return macro_f1(self.predictions)

    @property
    def predictions(self) -> pd.DataFrame:
        """A row a test video: see `Scores.table`."""
        return self.scores.table

    def softmax(self, features: Features) -> np.ndarray:
        """The scores of any videos: float64 (N, C), NaN where there is no vector. Raises FeaturesError."""
        require_alike(self.spec, self.weight.shape[1], features)
        return _softmax(features, self.weight, self.bias, self.mean, self.std)

    def answers(self, features: Features) -> pd.DataFrame:
        """What it says of any videos with a vector: video_id, network, class, score. Raises FeaturesError."""
        softmax, videos = self.softmax(features)[features.known], features.videos["video_id"][features.known]
        names = [self.classes[place] for place in softmax.argmax(axis=1)]
        told = {"network": features.network, "class": names, "score": softmax.max(axis=1)}
        return pd.DataFrame({"video_id": videos.tolist()} | told)


def linear_probe(train: Features, test: Features, strengths: Sequence[float] = STRENGTHS) -> LinearProbe:
    """Multinomial logistic regression on frozen features, standardised by the training videos':

        the mean over videos of −log softmax(W · x + b)[label], + strength / 2 · ‖W‖²

    in float64 by L-BFGS from zero, so the same on every run. The strength is that of `strengths` with the lowest
    cross-entropy on the last fifth of each class's training videos, in the table's order (data sets list one source's
    clips one after another: these then hardly share a source with the rest); it is fitted again on all of them.
    Training videos without a vector are left out; test videos without one are wrong. Classes without a training video
    get the score 0. All is in memory: 10,000 videos of a hundred classes take half a minute, Kinetics hours.

    Raises FeaturesError for features of different networks, for videos without a label, and for labels of `test` that
    are not among the classes of `train`.
    """
    labels = _labels(train, test)
    known = train.known
    present, targets = np.unique(labels[known], return_inverse=True)
    x, y = torch.from_numpy(train.vectors[known]).double(), torch.from_numpy(targets)
    mean, std = x.mean(dim=0), x.std(dim=0, correction=0)
    std = torch.where(std > 1e-6 * std.max(), std, 1.0)
    x = (x - mean) / std
    with told_if_slow(f"fitting a linear probe to {len(x):,} videos of {len(present):,} classes"):
        strength = _chosen(x, y, len(present), strengths)
        weight, bias = _fitted(x, y, len(present), strength)
    softmax, how = _softmax(test, weight, bias, mean, std), f"linear probe, weight decay {strength:g}"
    return LinearProbe(
        spec=train.spec, classes=[train.classes[place] for place in present], weight=weight, bias=bias, mean=mean,
        std=std, strength=strength, scores=_scores(train, test, present, softmax, how),
    )  # fmt: skip


def _softmax(features: Features, weight, bias, mean, std) -> np.ndarray:
    x = (torch.from_numpy(features.vectors).double() - mean) / std
    return (x @ weight.T + bias).softmax(dim=1).numpy()


def _fitted(x, y, classes: int, strength: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(weight, bias) of standardised x float64 (N, D) and labels y int64 (N)."""
    weight, bias = (torch.zeros(*shape).double().requires_grad_() for shape in ((classes, x.shape[1]), (classes,)))
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=300, tolerance_grad=1e-6, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(x @ weight.T + bias, y) + strength / 2 * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return weight.detach(), bias.detach()


def _chosen(x, y, classes: int, strengths: Sequence[float]) -> float:
    """The strength with the lowest cross-entropy on the held-out fifth of each class, of two videos or more at least
    one."""
    place = pd.Series(y.numpy()).groupby(y.numpy()).cumcount().to_numpy()
    counts = np.bincount(y.numpy())
    out = np.where(counts > 1, np.maximum(1, counts // _HELD_OUT), 0)
    held_out = place >= (counts - out)[y.numpy()]
    if len(strengths) == 1 or not held_out.any():
        return strengths[0] if len(strengths) == 1 else _FEW
    losses = []
    for strength in strengths:
        weight, bias = _fitted(x[~held_out], y[~held_out], classes, strength)
        losses.append(F.cross_entropy(x[held_out] @ weight.T + bias, y[held_out]).item())
    return strengths[int(np.argmin(losses))]


def knn_probe(train: Features, test: Features, k: int = 20, temperature: float = 0.07) -> Scores:
    """The scores of the vote of the `k` nearest training videos, each weighing exp(cosine / temperature), as Wu et al.
    have it (Unsupervised Feature Learning via Non-Parametric Instance Discrimination, CVPR 2018). Raises as
    `linear_probe`."""
    labels, votes = _labels(train, test), np.zeros((len(test), len(train.classes)))
    for begin, similar, rows in closest(train, test, k):
        weights = np.exp((similar - 1.0) / temperature)
        np.add.at(votes, (begin + np.arange(len(rows))[:, None], labels[rows]), weights)
    votes[~test.known] = np.nan
    places = np.arange(len(train.classes))
    return _scores(train, test, places, votes / votes.sum(axis=1, keepdims=True), f"vote of {k} nearest neighbours")


def _labels(train: Features, test: Features) -> np.ndarray:
    """The place of each training video's label among the classes: int (N)."""
    require_alike(train.spec, train.vectors.shape[1], test)
    for name, each in (("train", train), ("test", test)):
        if each.videos.empty or not (each.videos["label"] != "").all():
            raise FeaturesError(f"{name}: a probe needs videos, all with labels; make the features of a labelled table")
        if unknown := sorted(set(each.videos["label"]) - set(train.classes)):
            raise FeaturesError(f"{name}: {listed(unknown, quote=True)}: not among the classes of the training videos")
    if not train.known.any():
        raise FeaturesError(f"train: none of its {len(train):,} videos has a vector")
    return pd.Index(train.classes).get_indexer(train.videos["label"])


def _scores(train: Features, test: Features, places: np.ndarray, softmax: np.ndarray, how: str) -> Scores:
    """The test videos' `Scores`. softmax: (videos, classes of these places)."""
    scores = np.zeros((len(test), len(train.classes)), dtype=np.float32)
    scores[:, places] = softmax
    scores[~test.known] = np.nan
    videos, subsets = test.videos, list(dict.fromkeys(test.videos["subset"]))
    return Scores(
        test.network, videos["video_id"].tolist(), videos["label"].tolist(), train.classes, scores,
        f"{how}, of {train.known.sum():,} training videos; {test.protocol}", ", ".join(subsets),
        test.expected.get(subsets[0]) if len(subsets) == 1 else None, paths=videos["path"].tolist(),
        views=videos["clips"].to_numpy(), errors=videos["error"].tolist(),
    )  # fmt: skip
