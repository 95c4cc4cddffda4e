"""Which frames make a clip: pure functions from a number of frames to index arrays.

All indices count from 0; `n` is the number of frames there are (of the video or of its annotated segment),
`num_frames` the T of a clip and `stride` the step between its frames, so that a window spans T · stride frames.
A window with fewer frames than T is filled up by repeating its own frames in order ("looped"), as
3D-ResNets-PyTorch does. All functions raise ValueError for n, num_frames or stride below 1.
"""

import numpy as np


def _check(n: int, num_frames: int, stride: int) -> None:
    for name, value in (("number of frames in the video", n), ("num_frames", num_frames), ("frame stride", stride)):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")


def window(begin: int, n: int, num_frames: int, stride: int = 1) -> np.ndarray:
    """The clip that starts at `begin`: every `stride`-th frame of [begin, begin + T · stride), cut at n, looped.

    Returns int64 (T,).
    """
    taken = np.arange(begin, min(begin + num_frames * stride, n), stride)
    return np.resize(taken, num_frames)  # np.resize repeats from the beginning


def random_window(n: int, num_frames: int, stride: int, rng: np.random.Generator) -> np.ndarray:
    """A clip at a random place, each possible start equally likely, the last one included. Returns int64 (T,)."""
    _check(n, num_frames, stride)
    last_start = max(0, n - ((num_frames - 1) * stride + 1))
    return window(int(rng.integers(last_start + 1)), n, num_frames, stride)


def center_window(n: int, num_frames: int, stride: int = 1) -> np.ndarray:
    """The clip in the middle: begins at max(0, ⌊n/2⌋ − ⌊T · stride / 2⌋). Returns int64 (T,).

    3D-ResNets-PyTorch's TemporalCenterCrop; with a stride, Efficient-3DCNNs' for videos that are long enough.
    """
    _check(n, num_frames, stride)
    return window(max(0, n // 2 - num_frames * stride // 2), n, num_frames, stride)


def sliding_windows(n: int, num_frames: int, stride: int = 1, step: int | None = None) -> np.ndarray:
    """Clips that begin every `step` frames (by default every T · stride: they touch but do not overlap).

    The first window that would run past the end is kept, looped, and is the last. Returns int64 (K, T).
    3D-ResNets-PyTorch (master), TemporalSlidingWindow; this is the protocol behind its video accuracies.
    """
    _check(n, num_frames, stride)
    span = num_frames * stride
    step = span if step is None else step
    if step < 1:
        raise ValueError(f"step is {step}; it must be at least 1")
    whole = 0 if n < span else 1 + (n - span) // step  # windows that end inside the video
    begins = [begin for begin in range(0, (whole + 1) * step, step) if begin < n]
    return np.stack([window(begin, n, num_frames, stride) for begin in begins])


def even_windows(n: int, num_frames: int, stride: int, num_clips: int) -> np.ndarray:
    """`num_clips` clips spread evenly from the first to the last possible place; one clip is the centre one.

    Returns int64 (num_clips, T). For n ≥ T · stride their starts are those of pytorch-resnet3d's ten clips.
    """
    _check(n, num_frames, stride)
    if num_clips < 1:
        raise ValueError(f"num_clips is {num_clips}; it must be at least 1")
    if num_clips == 1:
        return center_window(n, num_frames, stride)[None]
    half = num_frames * stride / 2
    begins = np.trunc(np.linspace(half, max(half, n - half), num_clips)) - np.trunc(half)
    return np.stack([window(int(begin), n, num_frames, stride) for begin in begins])
