"""The frames that make a clip: equal to the references' published rules, and right at the edges."""

import json
from pathlib import Path

import numpy as np
import pytest

from actlib.datasets.clips import sampling
from actlib.datasets.vocabulary import LOOPS, SAMPLINGS

VECTORS = json.loads((Path(__file__).parents[2] / "data" / "sampling.json").read_text())
HARA, MASTER = "3D-ResNets-PyTorch (both branches)", "3D-ResNets-PyTorch (branch master)"
CVPR2018, EFFICIENT = "3D-ResNets-PyTorch (branch CVPR2018)", "Efficient-3DCNNs"
IBM, TUSHAR = "action-recognition-pytorch", "pytorch-resnet3d"


def ends(windows) -> list[list[int]]:
    """[first frame, last frame before looping] of each window, as the vectors list them."""
    return [[window[0], max(window)] for window in windows.tolist()]


def sliding(case, windows):
    return {"windows": ends(windows), "last_window": windows[-1].tolist()}


def ten_clips(case):
    windows = sampling.centred_windows(case["num_frames"], case["clip_len"], 1, case["num_clips"])
    assert (np.diff(windows, axis=1) == 1).all()
    return {"starts": windows[:, 0].tolist(), "centers": (windows[:, 0] + case["clip_len"] // 2).tolist()}


# What our functions make of a case, under the names that its expected values have.
RULES = {
    (IBM, "uniform"): lambda case: {
        "indices": sampling.uniform_windows(case["num_frames"], case["num_groups"], case["num_clips"]).ravel().tolist()
    },
    (IBM, "dense"): lambda case: {
        "indices": sampling.dense_windows(
            case["num_frames"], case["num_groups"], case["frames_per_group"], case["num_clips"]
        )
        .ravel()
        .tolist()
    },
    (HARA, "loop_padding"): lambda case: {
        "indices": sampling.loop_padding(np.arange(case["num_frames"]), case["size"]).tolist()
    },
    (HARA, "begin_crop"): lambda case: {
        "indices": sampling.begin_window(case["num_frames"], case["size"]).tolist(),
    },
    (HARA, "center_crop"): lambda case: {
        "indices": sampling.center_window(case["num_frames"], case["size"]).tolist(),
    },
    (MASTER, "sliding_window"): lambda case: sliding(
        case, sampling.sliding_windows(case["num_frames"], case["size"], step=case["stride"] or None)
    ),
    (MASTER, "even_crop"): lambda case: sliding(
        case, sampling.even_windows(case["num_frames"], case["size"], 1, case["n_samples"])
    ),
    (MASTER, "subsampling"): lambda case: {"indices": sampling.subsample(case["num_frames"], case["stride"]).tolist()},
    (CVPR2018, "dataset_windows"): lambda case: {
        "windows": ends(sampling.dataset_windows(case["num_frames"], case["size"], case["n_samples"]))
    },
    (EFFICIENT, "begin_crop"): lambda case: {
        "indices": sampling.begin_window(case["num_frames"], case["size"], case["downsample"], "span").tolist()
    },
    (EFFICIENT, "center_crop"): lambda case: {
        "indices": sampling.center_window(case["num_frames"], case["size"], case["downsample"], "span").tolist()
    },
    (TUSHAR, "center_clip"): lambda case: {
        "indices": sampling.center_window(case["num_frames"], case["clip_len"]).tolist()
    },
    (TUSHAR, "ten_clips"): ten_clips,
}
GROUPS = [
    (reference, name)
    for reference, groups in VECTORS.items()
    if isinstance(groups, dict)
    for name in groups
]  # fmt: skip
CASES = [(*key, case) for key in GROUPS for case in VECTORS[key[0]][key[1]]["cases"]]
INPUTS = {"num_frames", "num_groups", "frames_per_group", "num_clips", "size", "clip_len", "n_samples"}
INPUTS |= {"stride", "downsample"}


@pytest.mark.parametrize(("reference", "group", "case"), CASES, ids=lambda part: str(part)[:60])
def test_a_case_of_the_references(reference, group, case):
    expected = {name: value for name, value in case.items() if name not in INPUTS}
    assert expected and RULES[reference, group](case) == expected


def test_no_group_of_the_vectors_is_left_out():
    assert set(GROUPS) == set(RULES) and len(GROUPS) == 13
    assert all(len(VECTORS[reference][group]["cases"]) > 3 for reference, group in GROUPS)
    assert len(CASES) == 397 and VECTORS["index_base"] == 0


def test_random_windows_reach_every_start():
    rng = np.random.default_rng(0)
    for kind in ("random", "dense"):
        starts = {int(sampling.training_window(kind, 20, 4, 3, rng)[0]) for _ in range(500)}
        assert starts == set(range(20 - (3 * 3 + 1) + 1))  # the last window ends on frame 19
        assert np.diff(sampling.training_window(kind, 20, 4, 3, rng)).tolist() == [3, 3, 3]


def test_a_window_of_training_is_the_rule_of_its_name():
    def clip(kind, n, *more, **options):
        return sampling.training_window(kind, n, *more, np.random.default_rng(3), **options).tolist()

    assert clip("center", 40, 8, 2) == sampling.center_window(40, 8, 2).tolist()
    assert clip("begin", 40, 8, 2) == list(range(0, 16, 2))
    assert clip("random", 40, 8, 2) == clip("random", 40, 8, 2)  # by its generator alone
    assert len({tuple(sampling.training_window("random", 40, 8, 2, np.random.default_rng(s))) for s in range(9)}) > 3
    assert clip("dense", 10, 8, 2) == [0, 2, 4, 6, 8, 0, 2, 4]
    assert clip("dense", 9, 8, 2) == [0, 2, 4, 6, 8, 1, 3, 5]  # round the end, not back to the window's first frame
    for kind in ("random", "center", "begin"):
        assert clip(kind, 9, 8, 2) == [0, 2, 4, 6, 8, 0, 2, 4]
        assert clip(kind, 9, 8, 2, loop="span") == [0, 2, 4, 6, 8, 1, 3, 5]
    with pytest.raises(ValueError, match="sampling 'centre': expected one of random, center, begin, dense, segments"):
        clip("centre", 9, 8, 2)
    with pytest.raises(ValueError, match="loop 'spam': expected one of taken, span"):
        clip("random", 9, 8, 2, loop="spam")


def test_each_segment_gives_one_frame_at_random():
    rng = np.random.default_rng(0)
    found = np.array([sampling.training_window("segments", 22, 4, 1, rng) for _ in range(400)])
    assert (np.diff(found, axis=1) > 0).all()
    borders = [0, 5, 11, 16, 22]
    for begin, end, frames in zip(borders, borders[1:], found.T):
        assert set(frames) == set(range(begin, end))  # every frame of the video is seen
    assert len({tuple(row - row[0]) for row in found}) > 50  # each segment has its own draw
    assert sampling.training_window("segments", 3, 8, 5, rng).tolist() == [0, 0, 0, 1, 1, 1, 2, 2]


def test_uniform_clips_of_short_videos_are_in_order_and_always_the_same():
    state = np.random.get_state()[1].tolist()
    assert sampling.uniform_windows(3, 8, 1).tolist() == [[0, 0, 0, 1, 1, 2, 2, 2]]
    assert sampling.uniform_windows(8, 8, 3).tolist() == [list(range(8))] * 3
    assert np.random.get_state()[1].tolist() == state  # the reference reseeds NumPy here


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_short_videos_are_looped(n):
    clip = sampling.random_window(n, 8, 2, np.random.default_rng(0))
    taken = list(range(0, n, 2))
    assert clip.tolist() == (taken * 8)[:8]
    spanned = sampling.random_window(n, 8, 2, np.random.default_rng(0), "span")
    assert spanned.tolist() == (list(range(n)) * 16)[:16:2]


def test_one_clip_of_several():
    assert sampling.centred_windows(100, 8, 2, 1).tolist() == [sampling.center_window(100, 8, 2).tolist()]
    assert sampling.centred_windows(5, 8, 2, 3).tolist() == [[0, 2, 4, 0, 2, 4, 0, 2]] * 3
    assert sampling.even_windows(100, 8, 2, 1).tolist() == [list(range(0, 16, 2))]
    assert sampling.dense_windows(100, 8, 2, 1).tolist() == [list(range(0, 16, 2))]


@pytest.mark.parametrize("n", range(1, 70, 7))
@pytest.mark.parametrize("stride", [1, 2, 5])
@pytest.mark.parametrize("loop", LOOPS)
def test_every_window_stays_inside(n, stride, loop):
    rng = np.random.default_rng(n)
    windows = [sampling.training_window(kind, n, 8, stride, rng, loop=loop)[None] for kind in SAMPLINGS]
    windows += [
        sampling.sliding_windows(n, 8, stride, loop=loop),
        sampling.sliding_windows(n, 8, stride, step=3, loop=loop),
        sampling.even_windows(n, 8, stride, 4, loop),
        sampling.centred_windows(n, 8, stride, 4, loop),
        sampling.dense_windows(n, 8, stride, 4),
        sampling.uniform_windows(n, 8, 4),
        sampling.dataset_windows(max(2, n), 8, 0, loop),
    ]
    for found in windows:
        assert found.shape[1] == 8 and found.dtype == np.int64
        assert found.min() >= 0 and found.max() < max(2, n)


def test_sliding_windows_cover_the_video():
    assert set(sampling.sliding_windows(50, 8).ravel()) == set(range(50))
    assert set(sampling.even_windows(50, 8, 1, 10).ravel()) == set(range(50))


@pytest.mark.parametrize("loop", LOOPS)
def test_a_last_window_of_less_than_half_its_frames_can_be_left_out(loop):
    """T 16, stride 2: a window of 32 frames. A video of Jester has about 36, its second window 4 of them."""

    def begins(n, step=None):
        kept = sampling.sliding_windows(n, 16, 2, step, loop)
        dropped = sampling.sliding_windows(n, 16, 2, step, loop, "drop")
        assert np.array_equal(dropped, kept[: len(dropped)])  # of those that stay no frame changes
        return kept[:, 0].tolist(), dropped[:, 0].tolist()

    assert begins(36) == begins(47) == ([0, 32], [0])
    assert begins(48) == begins(63) == begins(64) == ([0, 32], [0, 32])  # half of it is not less than half
    assert begins(79) == ([0, 32, 64], [0, 32])
    assert begins(1) == begins(15) == begins(32) == ([0], [0])  # a video keeps its only window
    assert begins(40, step=8) == ([0, 8, 16], [0, 8, 16])  # windows this close have most of their frames
    assert begins(53, step=24) == ([0, 24], [0, 24]) and begins(63, step=24) == ([0, 24, 48], [0, 24])
    with pytest.raises(ValueError, match="partial_windows 'none': expected one of keep, drop"):
        sampling.sliding_windows(36, 16, 2, partial_windows="none")


def test_a_video_of_one_frame_has_no_dataset_window_but_all_others():
    assert sampling.dataset_windows(1, 8).shape == (0, 8)
    assert sampling.dataset_windows(17, 8)[:, 0].tolist() == [0, 8]  # frame 16 would stand alone
    assert sampling.sliding_windows(17, 8)[:, 0].tolist() == [0, 8, 16]
    assert sampling.sliding_windows(1, 8).tolist() == [[0] * 8]


def test_bad_numbers_are_named():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="number of frames in the video is 0"):
        sampling.center_window(0, 8)
    for kind in SAMPLINGS:
        with pytest.raises(ValueError, match="number of frames in the video is 0"):
            sampling.training_window(kind, 0, 8, 1, rng)
    with pytest.raises(ValueError, match="frame stride is 0"):
        sampling.sliding_windows(10, 8, 0)
    with pytest.raises(ValueError, match="num_clips is 0"):
        sampling.centred_windows(10, 8, 1, 0)
    with pytest.raises(ValueError, match="step is -1"):
        sampling.sliding_windows(10, 8, 1, -1)
    with pytest.raises(ValueError, match="num_clips is 1; it must be 0"):
        sampling.dataset_windows(10, 8, 1)


def test_regular_segments_share_one_place():
    """action-recognition-pytorch: offset drawn once from the segment's length, segments of n // T frames from 0 on."""
    drawn = np.array([sampling.regular_segments(43, 8, np.random.default_rng(seed)) for seed in range(200)])
    assert (np.diff(drawn, axis=1) == 5).all() and set(drawn[:, 0]) == set(range(5))
    short = np.array([sampling.regular_segments(3, 8, np.random.default_rng(seed)) for seed in range(50)])
    assert (np.diff(short, axis=1) >= 0).all() and set(short.ravel()) == {0, 1, 2}
    assert len({tuple(row) for row in short}) > 10  # drawn with replacement, in order
