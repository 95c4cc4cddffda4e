"""Evaluation protocols: the views of each reference, under names that tell them apart."""

import numpy as np
import pytest

from actlib.datasets.clips import sampling
from actlib.datasets.clips.crops import eval_boxes
from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.vocabulary import ORDERS, PROTOCOLS

HARA = (16, 1, 128, 112)
IBM = (8, 8, 293, 256)


@pytest.mark.parametrize(
    ("arguments", "options", "name"),
    [
        (("views", 32, 2, 256, 256, 10, 3), {}, "10 clips × 3 crops @ 256, 32 frames, stride 2"),
        (("views", *HARA), {}, "centre clip × centre crop @ 112, 16 frames"),
        (("video", *HARA), {}, "all non-overlapping clips × centre crop @ 112, 16 frames"),
        (("video", *HARA), {"step": 16}, "all non-overlapping clips × centre crop @ 112, 16 frames"),
        (("video", *HARA), {"step": 8}, "all clips in steps of 8 frames × centre crop @ 112, 16 frames"),
        (("video", *HARA), {"crop_position": "top_left"}, "all non-overlapping clips × top left crop @ 112, 16 frames"),
        (
            ("video", 16, 2, 112, 112),
            {"loop": "span"},
            "all non-overlapping clips × centre crop @ 112, 16 frames, stride 2, short videos looped before the stride",
        ),
        (
            ("video", *HARA),
            {"partial_windows": "drop"},
            "all non-overlapping clips × centre crop @ 112, 16 frames, last window left out if mostly repeated",
        ),
        (("clip", *HARA), {}, "centre clip × centre crop @ 112, 16 frames"),
        (("clip", *HARA), {"num_crops": 3}, "centre clip × 3 crops @ 112, 16 frames"),
        (("clip", *HARA), {"loop": "span"}, "centre clip × centre crop @ 112, 16 frames"),
        (("begin", *HARA), {}, "first clip × centre crop @ 112, 16 frames"),
        (("even", *HARA, 3), {}, "3 even clips × centre crop @ 112, 16 frames"),
        (
            ("dense", *IBM, 10, 3),
            {"average": "logits"},
            "10 dense clips × 3 crops @ 256, 8 frames, stride 8, logits averaged",
        ),
        (
            ("views", *HARA, 2),
            {"order": "frozen"},
            "2 clips × centre crop @ 112, 16 frames, one frame repeated",
        ),
        (("uniform", *IBM), {}, "uniform clip × centre crop @ 256, 8 frames"),
        (("uniform", *IBM, 3, 10), {}, "3 uniform clips × 10 crops @ 256, 8 frames"),
    ],
)
def test_a_protocol_says_what_it_is(arguments, options, name):
    assert str(Protocol(*arguments, **options)) == name


def test_names_tell_protocols_apart():
    """Whatever changes the views or their average changes the name."""
    several = [Protocol(kind, 8, 2, 64, 48, clips, 3) for kind in PROTOCOLS[3:] for clips in (2, 5)]
    one = [Protocol(kind, 8, 2, 64, 48, num_crops=crops) for kind in PROTOCOLS[:3] for crops in (1, 3, 5, 10)]
    base = ("video", 8, 2, 64, 48)
    options = [{"step": 4}, {"step": 5}, {"loop": "span"}, {"average": "logits"}, {"crop_position": "bottom_right"}]
    options += [{"partial_windows": "drop"}, *({"order": order} for order in ORDERS[1:])]
    all_of_them = several + one + [Protocol(*base, **each) for each in options]
    assert len({str(each) for each in all_of_them}) == len(all_of_them) == 29


@pytest.mark.parametrize("n", [1, 20, 100])
def test_windows_are_those_of_the_rule(n):
    def windows(kind, *clips, **options):
        found = Protocol(kind, 8, 4, 64, 48, *clips, **options).windows(n)
        assert found.dtype == np.int64 and found.shape[1] == 8 and found.min() >= 0 and found.max() < n
        return found.tolist()

    for loop in sampling.LOOPS:
        assert windows("clip", loop=loop) == [sampling.center_window(n, 8, 4, loop).tolist()]
        assert windows("begin", loop=loop) == [sampling.begin_window(n, 8, 4, loop).tolist()]
        assert windows("video", loop=loop) == sampling.sliding_windows(n, 8, 4, None, loop).tolist()
        assert windows("video", step=5, loop=loop) == sampling.sliding_windows(n, 8, 4, 5, loop).tolist()
        wanted = sampling.sliding_windows(n, 8, 4, None, loop, "drop").tolist()
        assert windows("video", partial_windows="drop", loop=loop) == wanted
        assert windows("even", 3, loop=loop) == sampling.even_windows(n, 8, 4, 3, loop).tolist()
        assert windows("views", 3, loop=loop) == sampling.centred_windows(n, 8, 4, 3, loop).tolist()
    assert windows("dense", 3) == sampling.dense_windows(n, 8, 4, 3).tolist()
    assert windows("uniform", 3) == sampling.uniform_windows(n, 8, 3).tolist()


def test_the_frames_of_every_clip_in_other_orders():
    def windows(order, video=0, num_frames=8):
        return Protocol("video", num_frames, 2, 64, 48, order=order).windows(64, video)

    forward = windows("forward")
    assert np.array_equal(windows("reversed"), forward[:, ::-1])
    assert windows("frozen").tolist() == [[number] * 8 for number in (8, 24, 40, 56)]
    shuffled = windows("shuffled")
    assert np.array_equal(np.sort(shuffled), forward) and np.array_equal(shuffled, windows("shuffled"))
    orders = {tuple(order) for video in range(5) for order in windows("shuffled", video) % 16}
    assert len(orders) == 5 * 4  # no two clips alike, of one video or of several
    assert all(windows(order, num_frames=1).shape == (32, 1) for order in ORDERS)


def test_crops_are_of_the_protocols_places():
    for kind, places in (("views", [0, 22, 43]), ("dense", [0, 40, 20]), ("uniform", [0, 40, 20])):
        boxes = Protocol(kind, 8, 2, 40, 40, 2, 3).boxes(40, 83)
        assert boxes == [((0, place, 40, 40), False) for place in places]
        assert Protocol(kind, 8, 2, 40, 40, 2, 3).boxes(80, 166) == boxes  # of the resized frame
    corner = Protocol("video", 8, 2, 40, 32, crop_position="bottom_right").boxes(40, 83)
    assert corner == [((8, 51, 32, 32), False)]
    assert Protocol("clip", 8, 2, 40, 32).boxes(40, 83) == eval_boxes(40, 83, 32, 1)


def test_a_crop_that_is_larger_than_the_frame_is_found_before_any_video_is_read():
    with pytest.raises(ValueError, match="crop_size 256 is larger than short_side 224"):
        Protocol("dense", 8, 8, 224, 256)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("vidio", {}, "protocol 'vidio': expected one of clip, begin, video, even, views, dense, uniform"),
        ("clip", {"num_clips": 3}, "num_clips 3 belongs to protocols even, views, dense, uniform; clip has its own"),
        ("views", {"num_clips": 0}, "num_clips is 0"),
        ("views", {"num_crops": 4}, "num_crops 4: expected one of 1, 3, 5, 10"),
        ("views", {"step": 4}, "step 4 belongs to protocol video"),
        ("video", {"step": -1}, "step -1"),
        ("clip", {"loop": "both"}, "loop 'both'"),
        ("video", {"partial_windows": "none"}, "partial_windows 'none': expected one of keep, drop"),
        ("even", {"partial_windows": "drop", "num_clips": 3}, "partial_windows drop belongs to protocol video"),
        ("clip", {"average": "scores"}, "average 'scores'"),
        ("clip", {"order": "backwards"}, "order 'backwards': expected one of forward, reversed, shuffled, frozen"),
        ("clip", {"crop_position": "left"}, "crop_position 'left': expected one of center, top_left"),
        ("clip", {"crop_position": "top_left", "num_crops": 3}, "crop_position top_left belongs to num_crops 1"),
    ],
)
def test_what_does_not_go_together_is_named(kind, options, message):
    with pytest.raises(ValueError, match=message):
        Protocol(kind, *HARA, **options)
