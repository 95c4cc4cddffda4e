"""Videos with what a network says drawn in: its answer below the picture, or where it looks over it."""

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from actlib.analysis.playable import write_mp4
from actlib.datasets.video.reader import iter_frames
from actlib.files import atomic_path

USUAL_FPS = 25  # of frames whose rate nobody knows
SMALLEST, LARGEST = 400, 640  # pixels of a drawn video's width: a face of text has to fit, and a browser to play it
SHOWN = 3  # classes of each network
_LINE, BAR = 18, 90  # pixels: a line of text, and a bar of score 1
_DARK, _LIGHT, _DIM = (24, 24, 27), (244, 244, 245), (161, 161, 170)
_COLOURS = [tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5)) for colour in ("#4c9be8", "#f2a541", "#59b36b")]


def write_drawn(
    path: str | Path, video, windows: Sequence, *, timeout: float | None = 60.0, backend: str = "auto"
) -> Path:
    """Write the video as an H.264 mp4 in which the best classes of each network stand below every frame, those of the
    window whose middle is nearest to it.

    `video`: a row of a table with path, num_frames and fps. `windows`: of each network an object with network, starts,
    ends (frames), classes and scores (windows, classes), as `loops.predict.Windows`. One frame is held at a time.
    Raises VideoError and DiskFull.
    """
    frames = _drawn_frames(video, windows, timeout, backend)
    with atomic_path(path) as temporary:
        write_mp4(os.fspath(temporary), frames, float(video["fps"]) or USUAL_FPS)
    return Path(path)


def _drawn_frames(video, windows: Sequence, timeout, backend) -> Iterator[np.ndarray]:
    middles = [(each.starts + each.ends) / 2 for each in windows]
    numbers, shown, panel = np.arange(int(video["num_frames"])), None, None
    number = 0
    for piece in iter_frames(video["path"], numbers, timeout=timeout, backend=backend):
        for frame in piece:
            picture = sized(frame)
            places = tuple(int(np.abs(middle - number).argmin()) if len(middle) else -1 for middle in middles)
            if places != shown:
                shown, panel = places, _panel(windows, places, picture.shape[1])
            yield np.concatenate([picture, panel])
            number += 1


def sized(frame: np.ndarray) -> np.ndarray:
    """A frame uint8 (H, W, 3), enlarged or reduced to a width from SMALLEST to LARGEST, with even sides."""
    height, width = frame.shape[:2]
    scale = np.clip(width, SMALLEST, LARGEST) / width
    scale = min(scale, LARGEST / height)
    size = [max(2, 2 * round(side * scale / 2)) for side in (width, height)]
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR))


def _panel(windows: Sequence, places: Sequence[int], width: int) -> np.ndarray:
    """The best classes of one window of each network: uint8 (h, width, 3), h the same for all windows."""
    height = sum(_LINE * (1 + min(SHOWN, len(each.classes))) + 8 for each in windows)
    image = Image.new("RGB", (width, height + height % 2), _DARK)
    draw, top = ImageDraw.Draw(image), 4
    for each, place, colour in zip(windows, places, _COLOURS * len(windows)):
        draw.text((8, top), _fitted(each.network, width - 16, 12), font=_font(12), fill=_DIM)
        top += _LINE
        scores = each.scores[place] if place >= 0 else np.full(len(each.classes), np.nan)
        for row in np.argsort(-scores, kind="stable")[:SHOWN].tolist():
            score = float(scores[row])
            if np.isfinite(score):
                draw.rectangle((8, top + 3, 8 + round(BAR * score), top + _LINE - 4), fill=colour)
            words = f"{100 * score:.0f} %" if np.isfinite(score) else "–"
            draw.text((8 + BAR + 6, top), words, font=_font(13), fill=_LIGHT)
            draw.text((BAR + 58, top), _fitted(each.classes[row], width - BAR - 62, 13), font=_font(13), fill=_LIGHT)
            top += _LINE
        top += 8
    return np.asarray(image)


def _fitted(text: str, width: int, size: int) -> str:
    """`text`, cut to so many pixels."""
    while len(text) > 1 and _font(size).getlength(text) > width:
        text = text[:-2].rstrip("…") + "…"
    return text


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and has most alphabets."""
    return ImageFont.truetype(os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)


def heat(frames: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Frames uint8 (T, H, W, 3) under maps (T, H, W), 0 to 1, in colours: the higher, the less of the frame shows.
    Returns uint8 (T, H, W, 3)."""
    colours = matplotlib.colormaps["inferno"](maps)[..., :3] * 255
    opaque = 0.7 * maps[..., None]
    return np.round((1 - opaque) * frames + opaque * colours).astype(np.uint8)


def write_heat(path: str | Path, frames: np.ndarray, maps: np.ndarray, fps: float) -> Path:
    """Write the clip and the same under its map (see `heat`), side by side, as an H.264 mp4."""
    pairs = (np.hstack([sized(one), sized(other)]) for one, other in zip(frames, heat(frames, maps)))
    with atomic_path(path) as temporary:
        write_mp4(os.fspath(temporary), pairs, fps or USUAL_FPS)
    return Path(path)
