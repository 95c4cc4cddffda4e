"""The label set in which the colour decides half of a class and the motion the other half."""

from dataclasses import replace

import numpy as np
import pytest

from actlib.datasets.catalog import backwards_names, mirrored_names
from actlib.datasets.synthetic import LABEL_SETS, LUMA, MotionSpec, render, reverse, sample_spec

LABELS = LABEL_SETS["colour_and_motion"]
STILL = {"x": 32.0, "y": 32.0, "angle": 0.4, "size": 0.6}


def test_the_colour_is_in_the_label_alone_and_equally_bright():
    """Nothing but the shape's pixels differs between the colours, and of those hue alone, not luma."""
    for seed in range(4):
        orange, blue = (
            render(MotionSpec(f"{colour} left", seed, **STILL, vx=-2.0)).astype(float) for colour in ("orange", "blue")
        )
        changed = np.abs(orange - blue).max(axis=3) > 2
        assert 0.02 < changed.mean() < 0.5
        redness = (orange - blue)[changed] @ (1, 0, -1)
        assert redness.mean() > 150 and (redness > 0).all()
        assert np.abs((orange - blue) @ LUMA).max() < 2  # levels of 255: rounding


def test_the_motion_is_that_of_the_last_word():
    rng = np.random.default_rng(0)
    for label in LABELS:
        spec = sample_spec(label, rng)
        assert (spec.vx > 0) == label.endswith("right") and (spec.vy, spec.spin, spec.growth) == (0, 0, 0)
        turned = reverse(spec)
        assert turned.label.split()[0] == label.split()[0] and reverse(turned) == spec
        np.testing.assert_array_equal(render(turned), render(spec)[::-1])


def test_other_sets_know_no_colour():
    """A colour before a motion that has no reversal is no label."""
    spec = sample_spec("blue right", np.random.default_rng(1))
    assert not np.array_equal(render(spec), render(replace(spec, label="right")))
    with pytest.raises(ValueError, match="label 'green left'"):
        sample_spec("green left", np.random.default_rng(0))


def test_a_mirror_changes_the_direction_alone():
    assert mirrored_names(list(LABELS))["orange left"] == "orange right"
    assert backwards_names(list(LABELS))["blue right"] == "blue left"
