"""What is asked of embeddings: neighbours counted by hand, a probe that learns what is there and nothing else."""

import numpy as np
import pandas as pd
import pytest

from actlib.analysis.plots import embedding_map
from actlib.features import Features, FeaturesError, knn_probe, linear_probe, nearest, plane, recall_at

CLASSES = ["a", "b", "c"]


def features_of(vectors, labels, subset="training", errors=None, **more) -> Features:
    names = [f"{subset}_{number}" for number in range(len(labels))]
    videos = {
        "video_id": names, "path": [f"/{name}.mp4" for name in names], "label": labels, "subset": subset, "start": 0,
        "end": 9, "clips": 1, "error": errors or "",
    }  # fmt: skip
    told = {"classes": CLASSES, "network": "net", "spec": "resnet10", "protocol": "centre clip", "preprocessing": {}}
    return Features(videos=pd.DataFrame(videos), vectors=np.array(vectors, dtype=np.float32), **told | more)


def drawn(count: int, seed: int, subset: str, apart: float = 6.0, size: int = 12) -> Features:
    """Videos of uneven classes, whose vectors lie about a centre each, on scales that differ."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(len(CLASSES), count, p=[0.6, 0.3, 0.1])
    centres = np.random.default_rng(7).normal(size=(len(CLASSES), size)) * apart
    vectors = (centres[labels] + rng.normal(size=(count, size))) * np.logspace(-2, 2, size) + 5
    return features_of(vectors, [CLASSES[label] for label in labels], subset, expected={subset: count + 1})


def test_nearest_and_recall_by_hand():
    nan = [np.nan, np.nan]
    train = features_of([[2, 0], [0, 3], [-1, 0], [1, 1], nan], list("aabba"), errors=["", "", "", "", "gone"])
    asked = features_of([[1, 0.2], [0.9, 1], nan, [-4, 0.1]], list("abba"), "validation", ["", "", "gone", ""])
    near = nearest(train, asked, k=2)
    assert near["query"].tolist() == [0, 0, 1, 1, 3, 3] and near["rank"].tolist() == [1, 2] * 3
    assert near["row"].tolist() == [0, 3, 3, 1, 2, 1] and near["label"].tolist() == list("abbaba")
    assert near["similarity"][0] == pytest.approx(1 / np.sqrt(1.04), abs=1e-6)
    # The first two are right at once; the one without a vector never; the last only with its second neighbour.
    assert recall_at(train, asked, (1, 2, 9)) == {1: 50.0, 2: 75.0, 9: 75.0}
    itself = nearest(train, train, k=4)
    assert not (itself["query"] == itself["row"]).any() and itself.groupby("query").size().tolist() == [3] * 4
    assert nearest(train, np.array([0, 1.0]), k=1)["video_id"].tolist() == ["training_1"]
    assert nearest(train, asked[2:3]).empty
    with pytest.raises(FeaturesError, match="cannot be compared: take one network's"):
        nearest(train, features_of([[1, 0]], ["a"], spec="resnet18"))
    with pytest.raises(FeaturesError, match="vectors of .3. numbers|vectors of .3,. numbers"):
        nearest(train, np.ones(3))


def test_a_probe_learns_what_is_there_and_nothing_else():
    train, test = drawn(150, 1, "training"), drawn(120, 2, "validation")
    probe, again = linear_probe(train, test), linear_probe(train, test)
    assert (probe.top1, probe.macro_f1, knn_probe(train, test, k=5).top(1) > 90) == (100.0, 100.0, True)
    assert probe.weight.equal(again.weight) and probe.scores.expected == 121 and probe.classes == CLASSES
    assert "weight decay" in probe.scores.protocol and probe.scores.protocol.endswith("centre clip")
    np.testing.assert_allclose(probe.softmax(test), probe.scores.scores, atol=1e-6)
    assert probe.answers(test)["class"].tolist() == test.videos["label"].tolist()

    rng = np.random.default_rng(3)
    for each in (train, test):  # labels dealt at random: the most frequent class is the best answer
        each.videos["label"] = rng.permutation(each.videos["label"].to_numpy())
    dealt, most = linear_probe(train, test), 100 * (test.videos["label"] == "a").mean()
    assert abs(dealt.top1 - most) < 12 and dealt.macro_f1 < 45 and dealt.strength > probe.strength


def test_videos_without_a_vector_and_classes_without_a_video():
    train, test = drawn(60, 1, "training"), drawn(40, 2, "validation")
    for each, row in ((train, 3), (test, 0)):
        each.vectors[row], each.videos.loc[row, "error"] = np.nan, "the file is empty"
    some = train[(train.videos["label"] != "c").to_numpy()]
    probe = linear_probe(some, test)
    found = probe.predictions
    assert probe.classes == ["a", "b"] and not found["correct"][0] and found["error"][0] == "the file is empty"
    assert probe.top1 == pytest.approx(100 * (test.videos["label"][1:] != "c").sum() / 40)
    assert probe.scores.num_scored == 39 and f"of {some.known.sum()} training videos" in probe.scores.protocol
    one = features_of([[0, 1], [1, 0]], list("ab"))
    assert linear_probe(one, one).strength == 0.1 and linear_probe(one, one, [2.0]).strength == 2.0
    with pytest.raises(FeaturesError, match="test: a probe needs videos, all with labels"):
        linear_probe(one, features_of([[0, 1]], [""]))
    with pytest.raises(FeaturesError, match="test: 'z': not among the classes"):
        linear_probe(one, features_of([[0, 1]], ["z"]))
    with pytest.raises(FeaturesError, match="no video of subset 'testing'.*there is 'training'"):
        one.of("testing")


def test_the_map_lays_what_varies_most_along_x():
    train, asked = drawn(60, 1, "training"), drawn(5, 2, "own")
    asked.videos["label"], asked.videos["subset"] = "", ""
    train.vectors[0], train.videos.loc[0, "error"] = np.nan, "gone"
    points, others = plane(train, asked)
    assert len(points) == 59 and len(others) == 5 and points["x"].std() > points["y"].std()
    exact = np.linalg.svd(train.vectors[1:] - train.vectors[1:].mean(axis=0))[1]
    np.testing.assert_allclose(np.linalg.norm(points[["x", "y"]], axis=0), exact[:2], rtol=1e-3)
    assert plane(train)[0].equals(points)
    table = pd.concat([points, others])
    ax = embedding_map(pd.concat([table, table.assign(network="other")]))
    assert [each.get_title() for each in ax.figure.axes] == ["net", "other"]
    named = [text.get_text() for text in ax.texts]
    assert sorted(named) == sorted(asked.videos["video_id"])
    legend = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    assert legend == [*CLASSES, "without a label"]
    with pytest.raises(FeaturesError, match="a map needs at least two videos"):
        plane(train[:1])
