"""Which frames make a clip: pure functions from a number of frames to index arrays.

All indices count from 0; `n` is the number of frames there are (of the video or of its annotated segment),
`num_frames` the T of a clip and `stride` the step between its frames, so that a window spans T · stride frames.
All functions raise ValueError for n, num_frames or stride below 1.

A window that has fewer frames than it needs repeats its own frames in order, in one of two ways (`loop`):
`taken` takes every stride-th frame of the window and repeats those until there are T; `span` repeats the window's
frames until there are T · stride and takes every stride-th of them, so that a short clip walks through frames that
the first round passed over. Without a stride the two are one. 3D-ResNets-PyTorch has no stride in its windows;
Efficient-3DCNNs means `span`.
"""

import numpy as np

from actlib.datasets.vocabulary import LOOPS, PARTIAL_WINDOWS, SAMPLINGS


def _check(n: int, num_frames: int, stride: int, num_clips: int = 1) -> None:
    for name, value in (
        ("number of frames in the video", n),
        ("num_frames", num_frames),
        ("frame stride", stride),
        ("num_clips", num_clips),
    ):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")


def loop_padding(indices: np.ndarray, size: int) -> np.ndarray:
    """`indices`, repeated from their first on until there are `size`; never shortened. Returns int64 (≥ size,).

    Efficient-3DCNNs' and 3D-ResNets-PyTorch's LoopPadding.
    """
    return np.resize(indices, max(size, len(indices)))


def subsample(n: int, stride: int) -> np.ndarray:
    """Every `stride`-th frame from the first on, int64 (⌈n / stride⌉,). 3D-ResNets-PyTorch (master), sub-sampling."""
    _check(n, 1, stride)
    return np.arange(0, n, stride)


def window(begin: int, n: int, num_frames: int, stride: int = 1, loop: str = "taken") -> np.ndarray:
    """The clip that starts at `begin`: every `stride`-th frame of [begin, begin + T · stride), cut at n, looped.

    Returns int64 (T,). Raises ValueError for another `loop` than taken or span.
    """
    if loop not in LOOPS:
        raise ValueError(f"loop {loop!r}: expected one of {', '.join(LOOPS)}")
    span = num_frames * stride
    end = min(begin + span, n)
    if loop == "span":
        return loop_padding(np.arange(begin, end), span)[::stride]
    return loop_padding(np.arange(begin, end, stride), num_frames)


def _windows(begins, n: int, num_frames: int, stride: int, loop: str) -> np.ndarray:
    return np.array([window(int(begin), n, num_frames, stride, loop) for begin in begins], dtype=np.int64)


# One clip.


def begin_window(n: int, num_frames: int, stride: int = 1, loop: str = "taken") -> np.ndarray:
    """The clip that starts with the first frame. Returns int64 (T,).

    3D-ResNets-PyTorch's TemporalBeginCrop; with loop `span`, Efficient-3DCNNs'.
    """
    _check(n, num_frames, stride)
    return window(0, n, num_frames, stride, loop)


def center_window(n: int, num_frames: int, stride: int = 1, loop: str = "taken") -> np.ndarray:
    """The clip in the middle: begins at max(0, ⌊n/2⌋ − ⌊T · stride / 2⌋). Returns int64 (T,).

    3D-ResNets-PyTorch's TemporalCenterCrop and pytorch-resnet3d's clip for validation; with loop `span`,
    Efficient-3DCNNs' TemporalCenterCrop.
    """
    _check(n, num_frames, stride)
    return window(max(0, n // 2 - num_frames * stride // 2), n, num_frames, stride, loop)


def random_start(n: int, num_frames: int, stride: int, rng: np.random.Generator) -> int:
    """Where a clip at a random place begins, each start whose T frames exist equally likely, the last included (the
    references never reach it)."""
    _check(n, num_frames, stride)
    return int(rng.integers(max(0, n - ((num_frames - 1) * stride + 1)) + 1))


def random_window(n: int, num_frames: int, stride: int, rng: np.random.Generator, loop: str = "taken") -> np.ndarray:
    """A clip at a random place. Returns int64 (T,). The TemporalRandomCrop of 3D-ResNets-PyTorch; with loop `span`,
    Efficient-3DCNNs'."""
    return window(random_start(n, num_frames, stride, rng), n, num_frames, stride, loop)


def random_dense_window(n: int, num_frames: int, stride: int, rng: np.random.Generator) -> np.ndarray:
    """A clip at a random place; one that is longer than the video goes on at its beginning: index modulo n.

    Returns int64 (T,). action-recognition-pytorch's dense sampling in training.
    """
    return (random_start(n, num_frames, stride, rng) + stride * np.arange(num_frames)) % n


def random_segments(n: int, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """One frame of each of T equal segments of the video, drawn at random. Returns int64 (T,), rising.

    TSN's sampling in training. A video shorter than T shows its frames in order, each about equally often.
    """
    _check(n, num_frames, 1)
    borders = np.arange(num_frames + 1) * n // num_frames
    return rng.integers(borders[:-1], np.maximum(borders[1:], borders[:-1] + 1))


def regular_segments(n: int, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """The frame at one drawn place of each of T segments, the same place in all. Returns int64 (T,), rising.

    action-recognition-pytorch's uniform sampling in training: segments are ⌊n/T⌋ frames long, so that the frames after
    the last one are never seen, and a video shorter than T shows frames drawn with replacement, in order.
    """
    _check(n, num_frames, 1)
    length = n // num_frames
    if length == 0:
        return np.sort(rng.integers(n, size=num_frames))
    return np.arange(num_frames) * length + rng.integers(length)


def training_window(
    kind: str, n: int, num_frames: int, stride: int, rng: np.random.Generator, *, loop: str = "taken"
) -> np.ndarray:
    """The frames of one training clip by rule `kind`, one of SAMPLINGS. Returns int64 (T,).

    `dense` and the two of segments have their own way with short videos and leave `loop` alone; segments have no
    stride. The choice depends on `rng` alone. Raises ValueError for another `kind`.
    """
    if kind == "random":
        return random_window(n, num_frames, stride, rng, loop)
    if kind == "center":
        return center_window(n, num_frames, stride, loop)
    if kind == "begin":
        return begin_window(n, num_frames, stride, loop)
    if kind == "dense":
        return random_dense_window(n, num_frames, stride, rng)
    if kind == "segments":
        return random_segments(n, num_frames, rng)
    if kind == "segments_regular":
        return regular_segments(n, num_frames, rng)
    raise ValueError(f"sampling {kind!r}: expected one of {', '.join(SAMPLINGS)}")


# Several clips.


def sliding_windows(
    n: int,
    num_frames: int,
    stride: int = 1,
    step: int | None = None,
    loop: str = "taken",
    partial_windows: str = "keep",
) -> np.ndarray:
    """Clips that begin every `step` frames (by default every T · stride: they touch but do not overlap).

    The first window that would run past the end is the last, and looped. `partial_windows`: `keep` keeps it, however
    few frames it has, as the references do; `drop` leaves it out where the video has less than half of its T · stride
    frames, so that most of it would be a repetition, unless it is the only one. Returns int64 (K, T), K ≥ 1.
    3D-ResNets-PyTorch (master), SlidingWindow; this is the protocol behind its video accuracies.
    """
    _check(n, num_frames, stride)
    if partial_windows not in PARTIAL_WINDOWS:
        raise ValueError(f"partial_windows {partial_windows!r}: expected one of {', '.join(PARTIAL_WINDOWS)}")
    span = num_frames * stride
    step = span if step is None else step
    if step < 1:
        raise ValueError(f"step is {step}; it must be at least 1")
    whole = 0 if n < span else 1 + (n - span) // step  # windows that end inside the video
    begins = [begin for begin in range(0, (whole + 1) * step, step) if begin < n]
    if partial_windows == "drop" and len(begins) > 1 and 2 * (n - begins[-1]) < span:
        begins.pop()
    return _windows(begins, n, num_frames, stride, loop)


def _even_step(n: int, span: int, num_clips: int) -> int:
    """Frames from one window to the next for about `num_clips` from the first frame to the last."""
    return max(1, -(-(n - 1 - span) // (num_clips - 1)))


def even_windows(n: int, num_frames: int, stride: int, num_clips: int, loop: str = "taken") -> np.ndarray:
    """At most `num_clips` sliding windows, their step such that they reach the end: ⌈(n − 1 − span) / (clips − 1)⌉.

    A short video has fewer; where the division leaves no rest, the very last frame is in none. One clip is the first
    one. Returns int64 (K, T). 3D-ResNets-PyTorch (master), TemporalEvenCrop (its validation).
    """
    _check(n, num_frames, stride, num_clips)
    if num_clips == 1:
        return begin_window(n, num_frames, stride, loop)[None]
    step = _even_step(n, num_frames * stride, num_clips)
    return sliding_windows(n, num_frames, stride, step, loop)[:num_clips]


def dataset_windows(n: int, num_frames: int, num_clips: int = 0, loop: str = "taken") -> np.ndarray:
    """The windows that 3D-ResNets-PyTorch (CVPR2018) and Efficient-3DCNNs cut a video into before sampling: of T
    frames, beginning every T frames (num_clips 0) or every ⌈(n − 1 − T) / (num_clips − 1)⌉ (num_clips above 1).

    Every begin before frame n − 1 has one, the last ones cut at the end and looped; a last frame that would stand
    alone has none, and neither has a video of one frame. Returns int64 (K, T), K from 0 on. `sliding_windows` and
    `even_windows` leave nothing out: for evaluation take those.
    """
    _check(n, num_frames, 1)
    if num_clips < 0 or num_clips == 1:
        raise ValueError(f"num_clips is {num_clips}; it must be 0 (as many as there are) or at least 2")
    step = _even_step(n, num_frames, num_clips) if num_clips else num_frames
    return _windows(range(0, n - 1, step), n, num_frames, 1, loop).reshape(-1, num_frames)


def centred_windows(n: int, num_frames: int, stride: int, num_clips: int, loop: str = "taken") -> np.ndarray:
    """`num_clips` clips whose centres are spread evenly from the first to the last possible place; one clip is the
    centre one.

    Returns int64 (num_clips, T). For n ≥ T · stride their starts are those of pytorch-resnet3d's ten clips; shorter
    videos (whose clips there are ragged) show the same looped clip num_clips times.
    """
    _check(n, num_frames, stride, num_clips)
    if num_clips == 1:
        return center_window(n, num_frames, stride, loop)[None]
    half = num_frames * stride / 2
    begins = np.trunc(np.linspace(half, max(half, n - half), num_clips)) - np.trunc(half)
    return _windows(begins, n, num_frames, stride, loop)


def dense_windows(n: int, num_frames: int, stride: int, num_clips: int) -> np.ndarray:
    """`num_clips` clips whose starts are spread evenly over [0, n − T · stride]; indices are taken modulo n, so that a
    short video goes on at its beginning. One clip starts at frame 0.

    Returns int64 (num_clips, T). action-recognition-pytorch's dense sampling in validation and test.
    """
    _check(n, num_frames, stride, num_clips)
    starts = np.linspace(0, max(0, n - num_frames * stride), num_clips, dtype=np.int64)
    return (starts[:, None] + stride * np.arange(num_frames)) % n


def uniform_windows(n: int, num_frames: int, num_clips: int) -> np.ndarray:
    """One frame of each of T equal segments: its middle, or in the other clips so many frames before or after it (in
    steps of one frame, never beyond the segment). Returns int64 (num_clips, T), each clip rising.

    action-recognition-pytorch's uniform sampling in validation and test. For n ≤ T it draws frames at random there,
    after reseeding NumPy's global generator; here the same rule goes on: frames in order, evenly repeated.
    """
    _check(n, num_frames, 1, num_clips)
    tick = n / num_frames
    offsets = np.arange(-num_clips // 2 + 1, num_clips // 2 + 1)
    offsets = np.clip(offsets, -tick / 2, tick / 2 - 1e-4)
    return np.trunc(tick / 2 + offsets[:, None] + tick * np.arange(num_frames)).astype(np.int64)
