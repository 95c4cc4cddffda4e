"""A synthetic action dataset: a two-coloured shape on a textured background, whose class is told by its motion alone.

No single frame tells the class, by construction. The world is a torus (a shape that leaves on one side returns on the
other) and a shape's log-size lives on a circle too (grown past the largest size, it is the smallest). Position,
orientation and log-size are uniform for every class; a motion adds to them something that does not depend on them,
and a uniform variable on a circle stays uniform. Look (kind, colours, textures) and noise never see the class.
The label set "colour_and_motion" is the one exception: a class is a colour, which any frame shows, and a direction,
which none does. Both colours are equally bright, so that optical flow, computed from grey frames, cannot tell them.

Reversing time turns left into right, up into down, clockwise into counterclockwise and grow into shrink: a spec
gives the state in the middle of the video and the rates of change, so its reversal negates the rates and no more.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from types import MappingProxyType

import av
import numpy as np
import pandas as pd

from actlib.datasets.vocabulary import LABEL_SETS, SUBSETS
from actlib.files import atomic_path, read_mapping, write_json
from actlib.messages import did_you_mean

HEIGHT, WIDTH, NUM_FRAMES, FPS, KEYFRAME_INTERVAL = 64, 64, 32, 16, 16
RECORD_NAME = "synthetic.json"
FORMAT_VERSION = 2  # raise it when the same seed would give other videos

# Per frame: fast enough to be seen within 16 frames, slow enough that 4 frames leave no doubt about the direction.
SPEED = (1.5, 3.0)  # px
SPIN = np.deg2rad((6.0, 9.0))  # 4 frames turn at most 36°: less than half of the 90° of square and cross
GROWTH = np.array((0.7, 0.98)) / (NUM_FRAMES - 1)  # share of the log-size circle: at most one wrap in a video
# What a label of the set "motion", or the last word of one of "colour_and_motion", means: which rate of the spec, its
# sign and its size.
_RATES = {
    "left": ("vx", -1, SPEED), "right": ("vx", 1, SPEED),
    "up": ("vy", -1, SPEED), "down": ("vy", 1, SPEED),
    "clockwise": ("spin", 1, SPIN), "counterclockwise": ("spin", -1, SPIN),
    "grow": ("growth", 1, GROWTH), "shrink": ("growth", -1, GROWTH),
}  # fmt: skip
# The first word of a label of "colour_and_motion": how far red, green and blue lie from a grey of the same luma.
_TINTS = {"orange": (0.25, 0.0, -0.25), "blue": (-0.25, 0.0, 0.25)}
DIAMETER = (0.3 * HEIGHT, 0.84 * HEIGHT)  # px, of the circle round the shape
PATCH = 56  # px, even; holds the largest shape

KINDS = ("disc", "square", "triangle", "ring", "cross")
INTERIORS = ("split", "stripes")
NOISE = 7.0  # grey noise is uniform in ±7 of 255 levels
LUMA = np.array((0.299, 0.587, 0.114))
# The streams drawn from a spec's seed.
_LOOK, _NOISE, _SHAKE = range(3)


@dataclass(frozen=True)
class MotionSpec:
    """One video. Lengths in px, angles in rad, rates per frame; x runs right and y down, a positive spin is clockwise.

    `x`, `y`, `angle` and `size` hold in the middle of the video. `size` is the place on the log-size circle: 0 is the
    smallest diameter, 1 the largest. `amplitude`, `period` (frames) and `phase` (turns) shape the paths of the label
    set "motion_finetune". `seed` decides the look and the noise; `noise_reversed` runs the noise backwards.
    """

    label: str
    seed: int
    x: float
    y: float
    angle: float
    size: float
    vx: float = 0.0
    vy: float = 0.0
    spin: float = 0.0
    growth: float = 0.0
    amplitude: float = 0.0
    period: float = 1.0
    phase: float = 0.0
    noise_reversed: bool = False


def sample_spec(label: str, rng: np.random.Generator) -> MotionSpec:
    """Draw a video of a class of any label set. Raises ValueError for an unknown label."""
    _check_name("label", label, [known for labels in LABEL_SETS.values() for known in labels])
    seed, x, y = int(rng.integers(2**63)), rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT)
    spec = MotionSpec(label, seed, x, y, angle=rng.uniform(0, 2 * np.pi), size=rng.uniform())
    return replace(spec, **_sample_motion(label, rng))


def _sample_motion(label: str, rng: np.random.Generator) -> dict[str, float]:
    """The fields of a spec that a label decides."""
    _, motion = _words(label)
    if motion in _RATES:
        rate, sign, size = _RATES[motion]
        return {rate: sign * rng.uniform(*size)}
    if label == "shake":
        return {"amplitude": rng.uniform(3.5, 7)}
    phase, turn = rng.uniform(), rng.choice((-1, 1))
    if label == "orbit":
        return {"amplitude": rng.uniform(8, 13), "period": turn * rng.uniform(16, 26), "phase": phase}
    if label == "bounce":
        motion = {"vx": rng.uniform(-0.4, 0.4), "amplitude": rng.uniform(16, 26)}
    else:  # zigzag
        speed, heading = rng.uniform(1.25, 2.0), rng.uniform(0, 2 * np.pi)
        motion = {"vx": speed * np.cos(heading), "vy": speed * np.sin(heading), "amplitude": rng.uniform(6, 10)}
    return motion | {"period": rng.uniform(10, 16), "phase": phase}


def _words(label: str) -> tuple[str, str]:
    """The colour in a label, empty where it names none, and the motion."""
    colour, _, motion = label.rpartition(" ")
    return colour, motion


def reverse(spec: MotionSpec) -> MotionSpec:
    """The spec that renders the frames of `spec` in reverse order, bit for bit, with the label of that motion.

    Raises ValueError for a label whose reversal has no label: those of "motion_finetune".
    """
    colour, motion = _words(spec.label)
    if motion not in _RATES:
        raise ValueError(f"no label is the time reversal of {spec.label!r}; reverse() knows {', '.join(_RATES)}")
    rate, sign, _ = _RATES[motion]
    opposite = next(other for other, (name, turned, _) in _RATES.items() if (name, turned) == (rate, -sign))
    rates = {name: -getattr(spec, name) for name in ("vx", "vy", "spin", "growth")}
    label = f"{colour} {opposite}".strip()
    return replace(spec, label=label, noise_reversed=not spec.noise_reversed, **rates)


def trajectory(spec: MotionSpec) -> dict[str, np.ndarray]:
    """The state at every frame, each float64 of shape (T,): `x` in [0, 64) px, `y` in [0, 64) px (the centre),
    `angle` in [0, 2π) rad, `size` in [0, 1) (the place on the log-size circle) and `diameter` in px.
    """
    time = np.arange(NUM_FRAMES) - (NUM_FRAMES - 1) / 2
    path_x, path_y = _path(spec, time)
    size = np.mod(spec.size + spec.growth * time, 1)
    return {
        "x": np.mod(spec.x + spec.vx * time + path_x, WIDTH),
        "y": np.mod(spec.y + spec.vy * time + path_y, HEIGHT),
        "angle": np.mod(spec.angle + spec.spin * time, 2 * np.pi),
        "size": size,
        "diameter": DIAMETER[0] * (DIAMETER[1] / DIAMETER[0]) ** size,
    }


def _path(spec: MotionSpec, time: np.ndarray) -> tuple[np.ndarray | float, np.ndarray | float]:
    """What a class of "motion_finetune" adds to the straight line, (x, y) in px."""
    turns = time / spec.period + spec.phase
    match spec.label:
        case "orbit":
            return spec.amplitude * np.cos(2 * np.pi * turns), spec.amplitude * np.sin(2 * np.pi * turns)
        case "bounce":  # parabolas between two touches of the ground, as under gravity
            return 0.0, -4 * spec.amplitude * (turns % 1) * (1 - turns % 1)
        case "zigzag":  # a triangle wave across the heading
            across = spec.amplitude * (4 * np.abs(turns % 1 - 0.5) - 1) / np.hypot(spec.vx, spec.vy)
            return -spec.vy * across, spec.vx * across
        case "shake":  # independent jumps rather than a fast wave, which a frame stride could make look slow
            jumps = np.random.default_rng((spec.seed, _SHAKE)).uniform(-1, 1, (2, NUM_FRAMES))
            return tuple(spec.amplitude * jumps)
    return 0.0, 0.0


def render(spec: MotionSpec) -> np.ndarray:
    """Draw a video: uint8 (T, H, W, 3), RGB. A pure function of the spec."""
    rng = np.random.default_rng((spec.seed, _LOOK))
    background = _background(rng)
    kind, interior = rng.choice(KINDS), rng.choice(INTERIORS)
    light, dark = _colour(rng, rng.uniform(0.85, 0.95), 0.3), _colour(rng, rng.uniform(0.45, 0.55), 0.3)
    if colour := _words(spec.label)[0]:  # of a luma at which no channel is cut off
        light, dark = (_tinted(rng.uniform(*lumas), np.array(_TINTS[colour])) for lumas in ((0.6, 0.7), (0.35, 0.45)))

    # Only a square patch round the shape is computed, with its first pixel at a whole place, `corner`.
    state = trajectory(spec)
    centre = np.stack((state["y"], state["x"]))  # (2, T)
    corner = np.floor(centre).astype(int) - PATCH // 2 + 1
    radius, cos, sin = (
        value.astype(np.float32)[:, None, None]
        for value in (state["diameter"] / 2, np.cos(state["angle"]), np.sin(state["angle"]))
    )
    dy, dx = ((corner - centre)[..., None] + np.arange(PATCH)).astype(np.float32)
    dx, dy = dx[:, None, :] / radius, dy[:, :, None] / radius
    u, v = cos * dx + sin * dy, cos * dy - sin * dx  # (T, P, P), in the shape's own axes; 1 is its radius
    cover = np.clip(0.5 - _distance(kind, u, v) * radius, 0, 1)
    pattern = _pattern(interior, u, v, rng)

    frames = np.empty((NUM_FRAMES, 3, HEIGHT, WIDTH), np.float32)  # channels first: the arithmetic is twice as fast
    for t, (row, column) in enumerate(corner.T):
        frame = np.roll(background, (-row, -column), (1, 2))  # rolled, the patch never crosses the border
        patch = frame[:, :PATCH, :PATCH]
        patch += cover[t] * (dark + pattern[t] * (light - dark) - patch)
        frames[t] = np.roll(frame, (row, column), (1, 2))

    noise = np.frombuffer(np.random.default_rng((spec.seed, _NOISE)).bytes(NUM_FRAMES * HEIGHT * WIDTH), np.int8)
    noise = noise.reshape(NUM_FRAMES, 1, HEIGHT, WIDTH)[:: -1 if spec.noise_reversed else 1]
    frames += noise * np.float32(NOISE / 128)
    return np.clip(frames, 0, 255, out=frames).astype(np.uint8).transpose(0, 2, 3, 1).copy()


def _colour(rng: np.random.Generator, luma: float, tint: float) -> np.ndarray:
    """A random colour of the given luma (0 to 1), about `tint` away from grey: float32 (3, 1, 1), 0 to 255."""
    return _tinted(luma, rng.uniform(-tint, tint, 3))


def _tinted(luma: float, offset: np.ndarray) -> np.ndarray:
    """The colour of the given luma (0 to 1) that lies `offset` (3) away from grey: float32 (3, 1, 1), 0 to 255."""
    return (255 * np.clip(luma + offset - offset @ LUMA, 0, 1)).astype(np.float32)[:, None, None]


def _background(rng: np.random.Generator) -> np.ndarray:
    """Mid-tone texture of low frequency: float32 (3, H, W), 0 to 255."""
    base, other = (_colour(rng, rng.uniform(0.1, 0.25), 0.15) for _ in range(2))
    coarse = rng.uniform(-0.5, 1.5, (7, 9))
    down, across = (_interpolation(n, m) for n, m in zip((HEIGHT, WIDTH), coarse.shape))
    weight = (down @ coarse @ across.T).astype(np.float32)
    return np.clip(base + weight * (other - base), 0, 255)


def _interpolation(num_pixels: int, num_points: int) -> np.ndarray:
    """The matrix (pixels, points) that interpolates between points without kinks."""
    place = np.linspace(0, num_points - 1, num_pixels)
    distance = np.minimum(np.abs(place[:, None] - np.arange(num_points)), 1)
    return (1 + np.cos(np.pi * distance)) / 2


def _distance(kind: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """How far outside of a shape of radius 1 a point is (negative inside), in radii."""
    match kind:
        case "disc":
            return np.sqrt(u * u + v * v) - 1
        case "ring":
            return np.abs(np.sqrt(u * u + v * v) - 0.7) - 0.3
        case "cross":
            longer, shorter = np.maximum(np.abs(u), np.abs(v)), np.minimum(np.abs(u), np.abs(v))
            return np.maximum(longer - 0.92, shorter - 0.36)
    num_sides, inner = {"triangle": (3, 0.5), "square": (4, 0.5**0.5)}[kind]  # a polygon's inside lies behind all sides
    headings = 2 * np.pi * np.arange(num_sides) / num_sides
    lines = (np.float32(np.cos(heading)) * u + np.float32(np.sin(heading)) * v for heading in headings)
    return reduce(np.maximum, lines) - np.float32(inner)


def _pattern(interior: str, u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The share of the light colour at a point, 0 to 1. No turn short of a whole one maps a pattern on itself."""
    wave = u
    if interior == "stripes":  # across one half only
        wave = np.where(u < 0, np.sin(rng.uniform(6, 9) * v), 1)
    return np.clip(0.5 + 6 * wave, 0, 1)


def generate(
    root: str | Path,
    *,
    label_set: str = "motion",
    videos_per_class: Mapping[str, int] = MappingProxyType({"training": 40, "validation": 10}),
    seed: int = 0,
    workers: int = 2,
    progress: Callable[..., Iterable] | None = None,
) -> pd.DataFrame:
    """Write the videos that are missing as `root/<label>/<label>_<subset>_<0000>.mp4`; return the annotation table.

    H.264, 64 × 64 px, 32 frames at 16 fps, a keyframe every 16. A video depends on its name, the label set and the
    seed alone: neither on `workers` nor on how many videos there are. `progress(iterable, total=n)` wraps the loop
    over the videos written, as `tqdm` does. The table has a row a video: video_id, path, label,
    subset, start and end (frames; end is exclusive), num_frames, fps, width, height.

    Raises ValueError for a bad argument and for a root that holds videos of another seed, label set or format.
    """
    _check_name("label_set", label_set, LABEL_SETS)
    for subset, count in videos_per_class.items():
        _check_name("subset", subset, SUBSETS)
        _check_integer(f"videos_per_class[{subset!r}]", count, 0)
    _check_integer("seed", seed, 0)
    _check_integer("workers", workers, 1)

    root = Path(root).resolve()
    rows = [
        {"video_id": video_id, "path": str(root / label / f"{video_id}.mp4"), "label": label, "subset": subset}
        for label in LABEL_SETS[label_set]
        for subset, count in videos_per_class.items()
        for video_id in (f"{label}_{subset}_{index:04d}" for index in range(count))
    ]
    _check_record(root, label_set, int(seed))
    missing = [row for row in rows if not Path(row["path"]).exists()]
    # Threads, not processes: rendering and encoding spend their time outside the interpreter's lock, and a thread is
    # safe in a notebook, in a script without a __main__ guard, and beside libraries that keep threads of their own.
    with ThreadPoolExecutor(workers) as pool:
        jobs = [
            pool.submit(_write_video, Path(row["path"]), _spec_of(row["video_id"], row["label"], label_set, seed))
            for row in missing
        ]
        done = as_completed(jobs)
        try:
            for job in progress(done, total=len(jobs)) if progress else done:
                job.result()
        finally:  # after an error or an interrupt, what has not begun shall not begin
            pool.shutdown(cancel_futures=True)
    columns = ["video_id", "path", "label", "subset"]
    return pd.DataFrame(rows, columns=columns).assign(
        start=0, end=NUM_FRAMES, num_frames=NUM_FRAMES, fps=float(FPS), width=WIDTH, height=HEIGHT
    )


def _spec_of(video_id: str, label: str, label_set: str, seed: int) -> MotionSpec:
    digest = hashlib.sha256(f"{seed}/{label_set}/{video_id}".encode()).digest()
    return sample_spec(label, np.random.default_rng(int.from_bytes(digest[:16])))


def _write_video(path: Path, spec: MotionSpec) -> None:
    frames = render(spec)
    with atomic_path(path) as temporary, av.open(str(temporary), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, width=WIDTH, height=HEIGHT, pix_fmt="yuv420p")
        gop = f"keyint={KEYFRAME_INTERVAL}:min-keyint={KEYFRAME_INTERVAL}:scenecut=0"
        # Without B-frames and deblocking: quick to decode; at this quality motion leaves little on a frame's edges.
        stream.options = {"preset": "ultrafast", "crf": "18", "x264-params": gop}
        stream.thread_count = 1  # the pool has the cores already
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def _check_record(root: Path, label_set: str, seed: int) -> None:
    """Hold the root's record against what is asked for; write the record into a fresh root."""
    path = root / RECORD_NAME
    asked = {"format_version": FORMAT_VERSION, "label_set": label_set, "seed": seed}
    asked |= {"height": HEIGHT, "width": WIDTH, "num_frames": NUM_FRAMES, "fps": FPS}
    fix = "give another root, or delete this one to make it anew"
    if not path.exists():
        if any(root.glob("*/*.mp4")):
            raise ValueError(f"{root} holds videos but no {RECORD_NAME}, so their seed is unknown: {fix}")
        write_json(path, asked)
        return
    try:
        found = read_mapping(path)
    except ValueError as error:
        raise ValueError(f"{path} is not a JSON object ({error}): {fix}") from error
    for field, value in asked.items():
        if found.get(field) != value:
            raise ValueError(f"{path}: {field} is {found.get(field)!r}, asked for is {value!r}: {fix}")


def _check_name(what: str, name: str, known: Iterable[str]) -> None:
    known = list(known)
    if name not in known:
        near = did_you_mean(str(name), known, 1, quote=True)
        raise ValueError(f"unknown {what} {name!r}{near} (known: {', '.join(known)})")


def _check_integer(what: str, value: int, minimum: int) -> None:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < minimum:
        raise ValueError(f"{what} is {value!r}: it must be an integer of at least {minimum}")
