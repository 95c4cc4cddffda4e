import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from actlib.datasets import synthetic
from actlib.datasets.synthetic import (
    DIAMETER,
    HEIGHT,
    LABEL_SETS,
    NUM_FRAMES,
    WIDTH,
    MotionSpec,
    generate,
    render,
    reverse,
    sample_spec,
    trajectory,
)

MOTION = LABEL_SETS["motion"]
OPPOSITE = {"left": "right", "up": "down", "clockwise": "counterclockwise", "grow": "shrink"}
STATE = ("x", "y", "angle", "diameter")
FRAMES = (0, 7, 16, 31)  # a spec gives the state in the middle
COUNTS = {"training": 4, "validation": 1}


def samples(label, number, seed):
    """`number` specs of a label, and their states: a dict of arrays (number, T)."""
    rng = np.random.default_rng((seed, *label.encode()))
    specs = [sample_spec(label, rng) for _ in range(number)]
    states = [trajectory(spec) for spec in specs]
    return specs, {name: np.stack([state[name] for state in states]) for name in STATE}


def ks_excess(first, second):
    """Two-sample Kolmogorov-Smirnov statistic over its critical value at a significance of one in a million."""
    grid = np.sort(np.concatenate((first, second)))
    cumulative = [np.searchsorted(np.sort(sample), grid, side="right") / len(sample) for sample in (first, second)]
    critical = np.sqrt(-np.log(1e-6 / 2) / 2 * (len(first) + len(second)) / (len(first) * len(second)))
    return np.abs(cumulative[0] - cumulative[1]).max() / critical


def decode(path, pixels="rgb24"):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format=pixels) for frame in container.decode(video=0)])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("synthetic")
    return root, generate(root, videos_per_class=COUNTS, seed=5)


# Time reversal


@pytest.mark.parametrize("label", MOTION)
def test_a_reversed_spec_renders_the_frames_in_reverse_order(label):
    spec = sample_spec(label, np.random.default_rng(1))
    turned = reverse(spec)
    assert turned.label == (OPPOSITE | {b: a for a, b in OPPOSITE.items()})[label]
    assert reverse(turned) == spec
    np.testing.assert_array_equal(render(turned), render(spec)[::-1])
    assert not np.array_equal(render(turned), render(spec))


def test_all_rates_of_a_spec_are_reversed():
    spec = MotionSpec("right", 7, x=20.0, y=3.5, angle=1.0, size=0.5, vx=3.0, vy=-1.0, spin=0.1, growth=0.02)
    np.testing.assert_array_equal(render(reverse(spec)), render(spec)[::-1])


def test_a_label_without_a_reversal_is_refused():
    with pytest.raises(ValueError, match="bounce"):
        reverse(sample_spec("bounce", np.random.default_rng(0)))


@pytest.mark.parametrize(("label", "opposite"), OPPOSITE.items())
def test_one_class_reversed_is_distributed_like_its_opposite(label, opposite):
    specs, states = samples(label, 3000, seed=2)
    others, other_states = samples(opposite, 3000, seed=3)
    for name in STATE:
        for frame in FRAMES:
            assert ks_excess(states[name][:, NUM_FRAMES - 1 - frame], other_states[name][:, frame]) < 1, (name, frame)
    rates = {name: [getattr(spec, name) for spec in others] for name in ("vx", "vy", "spin", "growth")}
    for name, values in rates.items():
        assert ks_excess([getattr(reverse(spec), name) for spec in specs], values) < 1, name
    # The same check without the reversal tells the two classes apart.
    assert max(ks_excess([getattr(spec, name) for spec in specs], values) for name, values in rates.items()) > 5


# What one frame shows


def marginal_excess(states):
    """The worst KS statistic, over its critical value, between the first class and another, of any value and frame."""
    first, *others = states
    return max(ks_excess(first[name][:, t], other[name][:, t]) for other in others for name in STATE for t in FRAMES)


@pytest.mark.parametrize("label_set", LABEL_SETS)
def test_place_orientation_and_size_in_a_frame_do_not_depend_on_the_class(label_set):
    states = [samples(label, 2000, seed=4)[1] for label in LABEL_SETS[label_set]]
    assert marginal_excess(states) < 1
    uniform = {"x": (0, WIDTH), "y": (0, HEIGHT), "angle": (0, 2 * np.pi)}
    for name, (low, high) in uniform.items():
        assert ks_excess(states[0][name][:, 0], np.linspace(low, high, 2000)) < 1, name
    assert ks_excess(states[0]["diameter"][:, 0], np.geomspace(*DIAMETER, 2000)) < 1


@pytest.mark.parametrize("field", ["x", "y", "angle", "size"])
def test_the_check_of_a_frame_catches_a_biased_sampler(field):
    specs, fair = samples("right", 2000, seed=4)
    period = {"x": WIDTH, "y": HEIGHT, "angle": 2 * np.pi, "size": 1}[field]
    # Ten percent of the range is never drawn.
    biased = [trajectory(replace(spec, **{field: 0.1 * period + 0.9 * getattr(spec, field)})) for spec in specs]
    assert marginal_excess([fair, {name: np.stack([state[name] for state in biased]) for name in STATE}]) > 1


# What the motion shows


def speeds(state, name, period):
    """Differences from frame to frame on a circle."""
    return (np.diff(state[name]) + period / 2) % period - period / 2


@pytest.mark.parametrize(
    ("label", "name", "sign", "period"),
    [
        ("left", "x", -1, WIDTH),
        ("right", "x", 1, WIDTH),
        ("up", "y", -1, HEIGHT),
        ("down", "y", 1, HEIGHT),
        ("clockwise", "angle", 1, 2 * np.pi),
        ("counterclockwise", "angle", -1, 2 * np.pi),
        ("grow", "size", 1, 1),
        ("shrink", "size", -1, 1),
    ],
)
def test_a_label_means_its_motion_at_any_stride_up_to_four(label, name, sign, period):
    for seed in range(50):
        state = trajectory(sample_spec(label, np.random.default_rng(seed)))
        step = sign * speeds(state, name, period)
        assert (step > 0).all() and 4 * step.max() < period / 4
        assert np.sum(np.abs(np.diff(state["size"])) > 0.5) <= 1  # a size wraps at most once
        for other in {"x", "y", "angle", "size"} - {name}:
            assert np.ptp(state[other]) == 0


def circular_mean(weights):
    """The centre of weights (T, N) on a circle of N places, as an angle."""
    return np.angle(weights @ np.exp(2j * np.pi * np.arange(weights.shape[1]) / weights.shape[1]))


@pytest.mark.parametrize("kind", synthetic.KINDS)
@pytest.mark.parametrize("interior", synthetic.INTERIORS)
def test_the_drawing_follows_the_trajectory(kind, interior, monkeypatch):
    """Against a flat background without noise: the centre, the size and the turn of what is drawn."""
    monkeypatch.setattr(synthetic, "KINDS", (kind,))
    monkeypatch.setattr(synthetic, "INTERIORS", (interior,))
    monkeypatch.setattr(synthetic, "NOISE", 0.0)
    monkeypatch.setattr(synthetic, "_background", lambda rng: np.full((3, HEIGHT, WIDTH), 128, np.float32))
    spec = MotionSpec("right", 7, x=150.25, y=3.5, angle=1.0, size=0.8, vx=3.0, spin=0.1, growth=0.01)
    state = trajectory(spec)
    image = render(spec).astype(float) - 128
    shape = np.abs(image).max(axis=-1) > 20
    for name, axis, period in (("x", 1, WIDTH), ("y", 2, HEIGHT)):
        error = circular_mean(shape.sum(axis=axis)) - 2 * np.pi * state[name] / period
        assert np.abs(np.angle(np.exp(1j * error)) * period / (2 * np.pi)).max() < 1.5, name
    root_area = np.sqrt(shape.sum(axis=(1, 2)))
    assert np.std(root_area / state["diameter"]) < 0.02 * np.mean(root_area / state["diameter"])
    # The light and the dark side, about the centre, turn with the shape; a positive turn is clockwise on the screen.
    dx = (np.arange(WIDTH) - state["x"][:, None] + WIDTH / 2) % WIDTH - WIDTH / 2
    dy = (np.arange(HEIGHT) - state["y"][:, None] + HEIGHT / 2) % HEIGHT - HEIGHT / 2
    light = image.mean(axis=-1)
    turn = np.angle(np.einsum("thw,tw->t", light, dx) + 1j * np.einsum("thw,th->t", light, dy))
    assert np.ptp(np.unwrap(turn) - 0.1 * np.arange(NUM_FRAMES)) < 0.25  # of 3.1 rad in all


def test_the_paths_for_fine_tuning_differ_in_kind():
    def path(label, seed):
        state = trajectory(sample_spec(label, np.random.default_rng(seed)))
        return np.cumsum([speeds(state, "x", WIDTH), speeds(state, "y", HEIGHT)], axis=1)

    def turning(label, seed):
        """Share of the steps that turn by less than 30°."""
        step = np.diff(path(label, seed)[0] + 1j * path(label, seed)[1])
        return np.mean(np.abs(np.angle(step[1:] / step[:-1])) < np.pi / 6)

    for seed in range(20):
        zigzag, bounce = path("zigzag", seed), path("bounce", seed)
        assert np.hypot(*(zigzag[:, -1] - zigzag[:, 0])) > 20  # it gets somewhere; bounce only up and down
        assert np.ptp(bounce[0]) < 12.5 < np.ptp(bounce[1])
        assert turning("orbit", seed) == 1  # round
        assert 0.6 < turning("zigzag", seed) < 1  # straight but for the corners
        assert turning("shake", seed) < 0.5


# The files


def test_the_table_and_the_files(dataset):
    root, table = dataset
    timing, size = ["start", "end", "num_frames", "fps"], ["width", "height"]
    assert list(table) == ["video_id", "path", "label", "subset", *timing, *size]
    assert len(table) == 8 * 5 and table.video_id.is_unique
    row = table.set_index("video_id").loc["left_training_0003"]
    assert (row.path, row.label, row.subset) == (str(root / "left/left_training_0003.mp4"), "left", "training")
    assert (row.start, row.end, row.num_frames, row.fps, row.width, row.height) == (0, 32, 32, 16.0, 64, 64)
    assert sorted(table.path) == sorted(str(path) for path in root.glob("*/*"))
    assert json.loads((root / "synthetic.json").read_text())["seed"] == 5


def test_a_file_holds_what_was_rendered(dataset):
    root, table = dataset
    for video_id, label, path in table[["video_id", "label", "path"]].iloc[::9].itertuples(index=False):
        with av.open(path) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
            assert (stream.width, stream.height, stream.average_rate, stream.frames) == (64, 64, 16, 32)
            frames = list(container.decode(stream))
        assert [frame.key_frame for frame in frames] == [index % 16 == 0 for index in range(32)]
        assert [float(frame.time) for frame in frames] == [index / 16 for index in range(32)]
        images = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
        expected = render(synthetic._spec_of(video_id, label, "motion", 5))
        # Grey values: 4:2:0 blurs colour, by how much depends on the colours alone.
        error = (images.astype(float) - expected) @ synthetic.LUMA
        assert 10 * np.log10(255**2 / np.mean(error**2)) > 38, video_id


def file_statistics(folder, label, number):
    """What can be measured in every frame of the files of `number` videos, each (videos, T)."""
    values = {"brightness": [], "activity": [], "x": [], "y": []}
    rng = np.random.default_rng((8, *label.encode()))
    for index in range(number):
        path = folder / f"{label}_{index}.mp4"
        synthetic._write_video(path, sample_spec(label, rng))
        images = decode(path, "gray").astype(np.float32)
        moving = np.abs(images - np.median(images, axis=0))
        moving[moving < 15] = 0  # noise
        values["brightness"].append(images.mean(axis=(1, 2)))
        values["activity"].append(moving.mean(axis=(1, 2)))
        values["x"].append(circular_mean(moving.sum(axis=1)))
        values["y"].append(circular_mean(moving.sum(axis=2)))
    return {name: np.stack(value) for name, value in values.items()}


def test_files_of_left_backwards_look_like_files_of_right(tmp_path):
    left, right = (file_statistics(tmp_path, label, 20) for label in ("left", "right"))
    for name in right:
        for frame in FRAMES:
            assert ks_excess(left[name][:, NUM_FRAMES - 1 - frame], right[name][:, frame]) < 1, (name, frame)

    def shift(x):
        return np.median(np.angle(np.exp(1j * np.diff(x))), axis=1)

    assert ks_excess(shift(left["x"][:, ::-1]), shift(right["x"])) < 1
    assert ks_excess(shift(left["x"]), shift(right["x"])) > 1


# Determinism, resuming, refusals


def test_a_video_depends_on_its_name_and_the_seed_alone(dataset, tmp_path):
    root, _ = dataset
    generate(tmp_path / "fewer", videos_per_class={"validation": 1, "training": 2}, seed=5, workers=1)
    generate(tmp_path / "other", videos_per_class={"training": 1}, seed=6, workers=1)
    fewer = sorted((tmp_path / "fewer").glob("*/*.mp4"))
    assert len(fewer) == 8 * 3
    for path in fewer:
        assert path.read_bytes() == (root / path.parent.name / path.name).read_bytes()
    for path in (tmp_path / "other").glob("*/*.mp4"):
        assert not np.array_equal(decode(path), decode(root / path.parent.name / path.name))


def test_no_video_is_shared(dataset):
    root, table = dataset
    assert len({Path(path).read_bytes() for path in table.path}) == len(table)


def test_resuming_writes_only_what_is_missing(tmp_path):
    class Progress:
        def __call__(self, jobs, total):
            self.total = total
            return jobs

    counts = {"training": 2}
    table = generate(tmp_path, label_set="motion_finetune", videos_per_class=counts)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.glob("*/*.mp4")}
    gone = {tmp_path / "orbit" / "orbit_training_0001.mp4", tmp_path / "shake" / "shake_training_0000.mp4"}
    for path in gone:
        path.unlink()
    progress = Progress()
    again = generate(tmp_path, label_set="motion_finetune", videos_per_class=counts, progress=progress)
    assert progress.total == 2
    assert again.equals(table)
    for path, (content, modified) in before.items():
        assert path.read_bytes() == content
        assert (path.stat().st_mtime_ns == modified) == (path not in gone)


def test_a_failure_stops_the_work_and_leaves_no_half_file(tmp_path, monkeypatch):
    def fail(spec):
        raise RuntimeError("no memory")

    monkeypatch.setattr(synthetic, "render", fail)
    with pytest.raises(RuntimeError, match="no memory"):
        generate(tmp_path, videos_per_class={"training": 3})
    assert not [path for path in tmp_path.glob("*/*") if path.is_file()]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, ["seed", "0", "1"]),
        ({"label_set": "motion_finetune"}, ["label_set", "'motion'", "'motion_finetune'"]),
    ],
)
def test_a_root_made_otherwise_is_refused(tmp_path, change, words):
    generate(tmp_path, videos_per_class={})
    with pytest.raises(ValueError) as caught:
        generate(tmp_path, videos_per_class={}, **change)
    assert all(word in str(caught.value) for word in [str(tmp_path / "synthetic.json"), "delete", *words])


def test_a_root_without_a_readable_record_is_refused(tmp_path):
    generate(tmp_path, videos_per_class={"training": 1}, label_set="motion_finetune")
    record = tmp_path / "synthetic.json"
    for content in ("{", "[1, 2]"):
        record.write_text(content)
        with pytest.raises(ValueError, match="synthetic.json is not a JSON object"):
            generate(tmp_path, videos_per_class={"training": 1}, label_set="motion_finetune")
    record.unlink()
    with pytest.raises(ValueError, match="no synthetic.json"):
        generate(tmp_path, videos_per_class={"training": 1}, label_set="motion_finetune")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label_set": "motoin"}, "label_set 'motoin'; did you mean 'motion'"),
        ({"videos_per_class": {"train": 1}}, "subset 'train'; did you mean 'training'"),
        ({"videos_per_class": {"training": -1}}, r"videos_per_class\['training'\] is -1"),
        ({"videos_per_class": {"training": 1.5}}, r"videos_per_class\['training'\] is 1.5"),
        ({"seed": -1}, "seed is -1"),
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_written(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        generate(tmp_path / "root", **arguments)
    assert not (tmp_path / "root").exists()


def test_an_unknown_label_is_refused():
    with pytest.raises(ValueError, match="label 'lefft'; did you mean 'left'"):
        sample_spec("lefft", np.random.default_rng(0))


def test_a_script_without_a_main_guard_works_and_needs_no_torch(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from actlib.datasets.synthetic import generate\n"
        f"table = generate({str(tmp_path / 'root')!r}, videos_per_class={{'training': 1}})\n"
        "print(len(table), 'torch' in sys.modules)\n"
    )
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["8", "False"]
