"""What the lesson of the first layer measures: a filter made for one direction, and filters that cannot have any."""

import numpy as np
import pytest
import torch
from torch import nn

from actlib.lessons import what_a_3d_kernel_sees as first_layers
from actlib.lessons.networks import at_width, open_network, title_of

SPEEDS = [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0]


def follower(step: int) -> nn.Conv3d:
    """A filter of one bright line that moves by `step` pixels a frame."""
    layer = nn.Conv3d(3, 1, (3, 7, 7), padding=(1, 3, 3), bias=False)
    layer.weight.data.zero_()
    for frame in range(3):
        layer.weight.data[:, :, frame, :, 3 + step * (frame - 1)] = 1
    return layer


def test_the_bar_moves_the_way_it_should_and_backwards():
    right, left = (first_layers.moving_bar(speed, 6, 24) for speed in (2.0, -2.0))
    assert right.shape == (4, 3, 6, 24, 24) and torch.equal(left, right.flip(2))
    assert right[0, 0, :, 0].argmax(dim=1).tolist() == [0, 2, 4, 6, 8, 10]


@pytest.mark.parametrize("step", [2, -2])
def test_a_filter_that_moves_prefers_its_own_way_and_speed(step):
    layer = follower(step)
    answers = first_layers.tuning(layer, SPEEDS)
    assert answers.loc[answers["answer"].idxmax(), "speed"] == step and answers["answer"].max() == pytest.approx(100)
    index = first_layers.direction_index(answers)
    assert index["index"].item() * step > 0.6 and index["speed"].item() == 2
    films = first_layers.films(layer)
    assert films.shape == (1, 3, 7, 7, 3) and films[0, 0, 0, 3 - step].tolist() == [255] * 3
    assert films[0, 0, 0, 3].tolist() == [128] * 3  # a weight of zero is grey


def test_a_network_of_single_frames_prefers_no_direction():
    names = ["resnet10 widen_factor=0.0625", "tsn_resnet18 width_mult=0.0625"]
    answers, index = first_layers.answers_of(names, 3.0)
    largest = index.groupby("network", sort=False)["index"].agg(lambda each: each.abs().max())
    assert largest.index.tolist() == [title_of(name) for name in names]
    assert largest.iloc[0] > 0.1 and largest.iloc[1] < 1e-6
    assert sorted(set(answers["speed"])) == list(np.arange(-3, 3.5, 0.5))
    films, titles, _ = first_layers.shown(names[0], index, 2, colours=True)
    assert len(films) == len(titles) == 2 and b"NETSCAPE2.0" in first_layers.play(films).data  # it plays on and on


def test_networks_by_name(tmp_path):
    assert at_width("resnet10", 0.5) == "resnet10 widen_factor=0.5"
    assert at_width("tsn_resnet18 width_mult=0.25", 0.5) == "tsn_resnet18 width_mult=0.25"
    assert at_width("densenet121", 0.5) == "densenet121"
    one, two = (open_network("resnet10", width=0.0625) for _ in range(2))
    assert not one.training and torch.equal(one.conv1.weight, two.conv1.weight)
    assert title_of("outputs/demo/train_x/checkpoints/best.pt") == "train_x" and title_of("c3d") == "c3d (untrained)"
