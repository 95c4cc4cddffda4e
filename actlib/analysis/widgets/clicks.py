"""Two small widgets with JavaScript of their own: HTML that reports clicks, and a video that plays by itself."""

from collections.abc import Callable
from pathlib import Path

import anywidget
import traitlets

_HERE = Path(__file__).parent


class Clicks(anywidget.AnyWidget):
    """HTML whose parts with a `data-key` report clicks: `on_click(callback)` is called as callback(key, more), `more`
    where Ctrl, Cmd or Shift was held. `click` does what a person does."""

    _esm, _css = _HERE / "clicks.js", _HERE / "clicks.css"
    html = traitlets.Unicode().tag(sync=True)

    def __init__(self, on_click: Callable[[str, bool], None], **more):
        super().__init__(**more)
        self._told = on_click
        self.on_msg(lambda widget, content, buffers: self.click(content["key"], content["more"]))

    def click(self, key: str, more: bool = False) -> None:
        """What a click on the part `key` does."""
        self._told(key, more)


class VideoCard(anywidget.AnyWidget):
    """A video (`mp4`: the file's bytes; empty for none) that plays in a loop without its sound, and HTML below it."""

    _esm, _css = _HERE / "card.js", _HERE / "clicks.css"
    mp4 = traitlets.Bytes().tag(sync=True)
    said = traitlets.Unicode().tag(sync=True)
