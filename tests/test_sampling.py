"""The frames that make a clip: equal to the references' published rules, and right at the edges."""

import json
from pathlib import Path

import numpy as np
import pytest

from actlib.datasets import sampling

VECTORS = json.loads((Path(__file__).parent / "data" / "sampling.json").read_text())


@pytest.mark.parametrize("case", VECTORS["center_crop"]["cases"], ids=str)
def test_center_window_is_the_references(case):
    found = sampling.center_window(case["num_frames"], case["size"])
    assert found.tolist() == case["indices"]


@pytest.mark.parametrize("case", VECTORS["center_clip"]["cases"], ids=str)
def test_center_window_is_pytorch_resnet3ds(case):
    assert sampling.center_window(case["num_frames"], case["clip_len"]).tolist() == case["indices"]


LONG_ENOUGH = [
    case for case in VECTORS["strided_center_crop"]["cases"] if case["num_frames"] >= case["size"] * case["downsample"]
]


@pytest.mark.parametrize("case", LONG_ENOUGH, ids=str)
def test_strided_center_window_is_the_references(case):
    found = sampling.center_window(case["num_frames"], case["size"], case["downsample"])
    assert found.tolist() == case["indices"]


@pytest.mark.parametrize("case", VECTORS["sliding_window"]["cases"], ids=str)
def test_sliding_windows_are_the_references(case):
    found = sampling.sliding_windows(case["num_frames"], case["size"], step=case["stride"] or None)
    assert [[window[0], max(window)] for window in found.tolist()] == case["windows"]
    assert found[-1].tolist() == case["last_window"]


@pytest.mark.parametrize("case", VECTORS["ten_clips"]["cases"], ids=str)
def test_even_windows_start_as_the_references(case):
    found = sampling.even_windows(case["num_frames"], case["clip_len"], 1, case["num_clips"])
    assert found[:, 0].tolist() == case["starts"]
    assert (np.diff(found, axis=1) == 1).all()


def test_vectors_are_there():
    assert len(LONG_ENOUGH) > 5 and all(len(VECTORS[name]["cases"]) > 2 for name in VECTORS if name != "note")


def test_random_windows_reach_every_start():
    rng = np.random.default_rng(0)
    starts = {int(sampling.random_window(20, 4, 3, rng)[0]) for _ in range(500)}
    assert starts == set(range(20 - (3 * 3 + 1) + 1))  # the last window ends on frame 19
    clip = sampling.random_window(20, 4, 3, rng)
    assert np.diff(clip).tolist() == [3, 3, 3]


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_short_videos_are_looped(n):
    clip = sampling.random_window(n, 8, 2, np.random.default_rng(0))
    taken = list(range(0, n, 2))
    assert clip.tolist() == (taken * 8)[:8]


def test_one_even_window_is_the_centre_one():
    assert sampling.even_windows(100, 8, 2, 1).tolist() == [sampling.center_window(100, 8, 2).tolist()]
    assert sampling.even_windows(5, 8, 2, 3).tolist() == [[0, 2, 4, 0, 2, 4, 0, 2]] * 3


@pytest.mark.parametrize("n", range(1, 70, 7))
@pytest.mark.parametrize("stride", [1, 2, 5])
def test_every_window_stays_inside(n, stride):
    rng = np.random.default_rng(n)
    windows = [
        sampling.random_window(n, 8, stride, rng)[None],
        sampling.center_window(n, 8, stride)[None],
        sampling.sliding_windows(n, 8, stride),
        sampling.even_windows(n, 8, stride, 4),
    ]
    for found in windows:
        assert found.shape[1] == 8 and found.dtype == np.int64
        assert found.min() >= 0 and found.max() < n


def test_sliding_windows_cover_the_video():
    assert set(sampling.sliding_windows(50, 8).ravel()) == set(range(50))


def test_bad_numbers_are_named():
    with pytest.raises(ValueError, match="number of frames in the video is 0"):
        sampling.center_window(0, 8)
    with pytest.raises(ValueError, match="frame stride is 0"):
        sampling.sliding_windows(10, 8, 0)
    with pytest.raises(ValueError, match="num_clips is 0"):
        sampling.even_windows(10, 8, 1, 0)
    with pytest.raises(ValueError, match="step is -1"):
        sampling.sliding_windows(10, 8, 1, -1)
