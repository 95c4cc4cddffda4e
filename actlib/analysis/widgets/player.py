"""A video that plays beside a timeline of its frames, and rows of pictures; both follow the theme of JupyterLab."""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import anywidget
import numpy as np
import traitlets
from PIL import Image

COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf")
HEIGHT = 152  # pixels of a picture in a strip, which shows them half as large: sharp on fine screens
Share = tuple[float, float, float, float]  # of a frame: top, left, height, width


class Player(anywidget.AnyWidget):
    """`video`: bytes of an H.264 mp4, empty for none; `made`: how it was made, or why there is none. Its `num_frames`
    frames are numbered from `first`. `rows`: dicts of name, frames (their numbers), color and text; `boxes`: dicts of
    top, left, height, width (shares of a frame), color and name. A click on a row jumps there."""

    _esm = Path(__file__).with_name("player.js")
    _css = Path(__file__).with_name("player.css")
    video = traitlets.Bytes(b"").tag(sync=True)
    made = traitlets.Unicode("").tag(sync=True)
    first = traitlets.Int(0).tag(sync=True)
    num_frames = traitlets.Int(1).tag(sync=True)
    rows = traitlets.List().tag(sync=True)
    boxes = traitlets.List().tag(sync=True)


def box_of(share: Share, name: str, color: str) -> dict:
    """A box as `Player` takes it."""
    return dict(zip(("top", "left", "height", "width"), map(float, share))) | {"name": name, "color": color}


def by_score(score: float) -> str:
    """A colour from red (0) to green (1) that is seen on white and on black."""
    return f"hsl({120 * score:.0f}, 75%, 45%)"


def strip(
    images: Iterable[np.ndarray], captions: Sequence[str], *, name: str = "", boxes: Sequence[Share] = (),
    color: str = COLORS[0],
) -> str:  # fmt: skip
    """A row of pictures uint8 (H, W, 3) as HTML, each under its caption, all with the same `boxes` drawn over them;
    left of it its `name`."""
    over = "".join(
        f'<div style="position:absolute;box-sizing:border-box;border:2px solid {color};top:{100 * top:.2f}%;'
        f'left:{100 * left:.2f}%;height:{100 * height:.2f}%;width:{100 * width:.2f}%"></div>'
        for top, left, height, width in boxes
    )
    figures = "".join(
        f'<figure>{html.escape(caption)}<div class="actlib-strip-frame"><img src="{_address(image)}">{over}</div>'
        "</figure>"
        for image, caption in zip(images, captions)
    )
    return f'<div class="actlib-strip"><span class="actlib-strip-name">{html.escape(name)}</span>' + (
        f'<div class="actlib-strip-frames">{figures}</div></div>'
    )


def thin(count: int, most: int) -> list[int]:
    """At most `most` of the places 0 … count − 1, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()


def _address(image: np.ndarray) -> str:
    picture, encoded = Image.fromarray(np.ascontiguousarray(image)), io.BytesIO()
    if picture.height > HEIGHT:
        picture = picture.resize((max(1, round(picture.width * HEIGHT / picture.height)), HEIGHT))
    kind = "png" if picture.height < 100 else "jpeg"  # a small one must stay sharp
    picture.save(encoded, kind, quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(encoded.getvalue()).decode()}"
