"""Measurements of storages, printed and never asserted as times: `make bench`. Side by side, best of several rounds."""

import time
from dataclasses import asdict

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop

from actlib.datasets.clips import sampling
from actlib.datasets.clips.transforms import as_clip, crop_resize, train_transform
from actlib.datasets.prepare.layout import Job, StorageOptions, stored_bytes
from actlib.datasets.prepare.write import convert_video
from actlib.datasets.video.reader import read_frames

CLIPS, ROUNDS, NUM_FRAMES, CROP = 24, 5, 16, 112
LENGTH, WIDTH, HEIGHT = 300, 340, 256


def scene(number: int, texture: np.ndarray, sprites: np.ndarray) -> np.ndarray:
    """A textured ground that the camera moves over, things that move on it, and the grain of a real camera."""
    rng = np.random.default_rng(number)
    shake = rng.integers(-2, 3, 2)
    y, x = 40 + int(30 * np.sin(number / 23)) + shake[0], 60 + int(50 * np.sin(number / 37)) + shake[1]
    image = texture[y : y + HEIGHT, x : x + WIDTH].copy()
    for place, sprite in enumerate(sprites):
        top = int((HEIGHT - 64) * (0.5 + 0.5 * np.sin(number / (11 + 3 * place) + place)))
        left = int((WIDTH - 64) * (0.5 + 0.5 * np.cos(number / (17 + 2 * place) + place)))
        image[top : top + 64, left : left + 64] = sprite
    grain = rng.normal(0, 5, (HEIGHT // 2, WIDTH // 2, 1)).repeat(2, axis=0).repeat(2, axis=1)
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def smooth(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Noise with as much of every size, as pictures of the world have it: uint8 (height, width, 3)."""
    total = np.zeros((height, width, 3))
    for scale in (2, 4, 8, 16, 32, 64):
        small = rng.normal(0, scale, (height // scale + 2, width // scale + 2, 3))
        large = torch.nn.functional.interpolate(
            torch.from_numpy(small).permute(2, 0, 1)[None], scale_factor=scale, mode="bicubic"
        )[0].permute(1, 2, 0)
        total += large[:height, :width].numpy()
    return np.clip(128 + total, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """340×256 H.264 as sets are resized to with ffmpeg's defaults, but a key frame every 90 frames; the grain brings it
    to the about 500 kbit/s that real ones have."""
    path = tmp_path_factory.mktemp("storage") / "v.mp4"
    rng = np.random.default_rng(0)
    texture, sprites = smooth(rng, HEIGHT + 80, WIDTH + 120), [smooth(rng, 64, 64) for _ in range(4)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "23", "sc_threshold": "0"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = WIDTH, HEIGHT, "yuv420p", 90
        for number in range(LENGTH):
            frame = av.VideoFrame.from_ndarray(scene(number, texture, sprites), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def converted(source, name, short_side):
    target = source.parent / f"{name}{short_side}" / ("v.mp4" if name == "short_gop" else "v")
    job = Job("v", str(source), str(target), LENGTH, 30.0, 0)
    options = StorageOptions(name, target.parent, short_side)
    begin = time.perf_counter()
    convert_video({"job": asdict(job), "options": asdict(options), "replace": False})
    return target, LENGTH / (time.perf_counter() - begin)


def read_with_pil(folder, frames):
    """As the references read JPEGs: each opened, cropped and resized by PIL."""
    images = [Image.open(folder / f"image_{number + 1:05d}.jpg").convert("RGB") for number in frames]
    width, height = images[0].size
    top, left, h, w = RandomResizedCrop.get_params(torch.empty(1).expand(1, height, width), [0.25, 1.0], [3 / 4, 4 / 3])
    box = (left, top, left + w, top + h)
    return np.stack([np.asarray(image.resize((CROP, CROP), Image.Resampling.BILINEAR, box)) for image in images])


def test_storages_side_by_side(original):
    torch.set_num_threads(1)
    short, encoded = converted(original, "short_gop", 128)
    jpegs, _ = converted(original, "frames", 240)
    small_jpegs, _ = converted(original, "frames", 128)
    transform = train_transform("random_resized", CROP, CROP)
    ways = {"JPEGs of 240 px, PIL": lambda frames: read_with_pil(jpegs, frames)}
    for name, path in (
        ("original", original),
        ("short_gop 128", short),
        ("frames 240", jpegs),
        ("frames 128", small_jpegs),
    ):
        ways[name] = lambda frames, path=path: transform(as_clip(read_frames(path, frames))).contiguous()
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(ROUNDS):
        for name, read in ways.items():
            rng = np.random.default_rng(0)
            windows = [sampling.training_window("random", LENGTH, NUM_FRAMES, 1, rng) for _ in range(CLIPS)]
            torch.manual_seed(0)
            begin = time.perf_counter()
            for frames in windows:
                read(frames)
            best[name] = min(best[name], (time.perf_counter() - begin) / CLIPS)
    sizes = {"original": original, "short_gop 128": short, "frames 240": jpegs, "frames 128": small_jpegs}
    print(f"\noriginal: {stored_bytes(original) * 8 * 30 / LENGTH / 1000:.0f} kbit/s")
    for name, seconds in best.items():
        size = f"{stored_bytes(sizes[name]) / 1e6:6.2f} MB" if name in sizes else ""
        print(f"{name:21s} {1 / seconds:6.1f} clips/s, {best['original'] / seconds:5.2f} times original {size}")
    share = stored_bytes(short) / stored_bytes(jpegs)
    print(f"short_gop 128: {best['original'] / best['short_gop 128']:.2f} times original (at least 4 wanted), "
          f"{best['JPEGs of 240 px, PIL'] / best['short_gop 128']:.2f} times JPEGs of 240 px through PIL (1.3), "
          f"{share:.3f} of their bytes (0.25)")  # fmt: skip
    print(f"short_gop 128: PSNR {quality(original, short):.1f} dB, encoded at {encoded:.0f} frames/s")
    assert all(seconds < float("inf") for seconds in best.values()) and 0 < share < 1


def quality(source, target):
    """PSNR (dB, RGB) of the stored frames against the source's resized to the same size."""
    stored = as_clip(read_frames(target, range(LENGTH)))
    frames = as_clip(read_frames(source, range(LENGTH)))
    expected = crop_resize(frames, 0, 0, *frames.shape[-2:], tuple(stored.shape[-2:]))
    return 10 * np.log10(255**2 / (stored.double() - expected.double()).square().mean().item())
