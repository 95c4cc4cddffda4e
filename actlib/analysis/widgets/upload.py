"""One more video, given in the notebook and answered at once; and videos that play there."""

import html
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import IPython.display
import ipywidgets
import pandas as pd

from actlib.analysis.drawn_video import write_drawn
from actlib.analysis.plots.predictions import best_bars, score_curves
from actlib.analysis.widgets.live import png_of
from actlib.datasets.table import VIDEO_SUFFIXES
from actlib.files import atomic_path
from actlib.progress import is_interactive


class Upload:
    """A button that takes a video from the disk of whoever looks, and a field for a path or web address; what the
    networks say of it follows at once: the best classes, a curve over time, and the video with the answer drawn in.

    `answer(path or address)` gives a row of a table and the scores of each network, as
    `loops.predict.Predicting.score_named`. What is uploaded is written into `folder`, and so is what is drawn. Errors
    of ours are shown as their sentence. Headless there is nobody to ask, and a line says so. The `widget` can be tested
    without a browser: setting a control's value does what a person does.
    """

    def __init__(
        self, folder: str | Path, answer: Callable[[str], tuple[pd.Series, Sequence]], interactive: bool | None = None
    ):
        self.folder, self._answer = Path(folder), answer
        suffixes = ",".join(sorted(VIDEO_SUFFIXES))
        self.upload = ipywidgets.FileUpload(accept=suffixes, description="a video of mine", layout={"width": "180px"})
        self.typed = ipywidgets.Text(
            placeholder="or a path, or a web address, and Enter", continuous_update=False, layout={"width": "420px"}
        )
        self.message = ipywidgets.HTML("the server takes up to about 10 MB at once; of a larger file type the path")
        as_it_is = {"max_width": "100%", "align_self": "flex-start"}  # a box would stretch it
        self.bars, self.curves = (ipywidgets.Image(format="png", layout=as_it_is) for _ in range(2))
        self.video = ipywidgets.Video(format="mp4", autoplay=False, loop=False, layout=as_it_is)
        self.shown = ipywidgets.VBox()  # a player without a video would be an error in the browser's console
        for name in ("upload", "typed", "message", "bars", "curves", "video"):
            getattr(self, name).add_class(f"actlib-upload-{name}")
        controls = ipywidgets.HBox([self.upload, self.typed])
        self.widget = ipywidgets.VBox([controls, self.message, self.shown])
        self.upload.observe(lambda change: self._take_upload(change.new), names="value")
        self.typed.observe(lambda change: self.take(change.new.strip()), names="value")
        if is_interactive() if interactive is None else interactive:
            IPython.display.display(self.widget)
        else:
            print("in JupyterLab a button stands here that takes a video of yours, and a field for a path or address")

    def take(self, name: str) -> None:
        """Answer the video at this path or address, as the field does."""
        if not name:
            return
        self.shown.children = ()
        self.message.value = f"{html.escape(name)}: reading and scoring …"
        try:
            video, windows = self._answer(name)
            self._draw(video, windows)
        except Exception as error:
            ours = type(error).__module__.split(".")[0] == __name__.split(".")[0]
            self.message.value = html.escape(str(error) if ours else f"{type(error).__name__}: {error}")
            if not ours and not isinstance(error, OSError):
                raise  # to the log, with its traceback

    def _take_upload(self, files: Sequence[dict]) -> None:
        if not files:
            return
        name = re.sub(r"[^\w. -]+", "_", Path(files[0]["name"]).name).lstrip(".") or "video.mp4"
        with atomic_path(self.folder / name) as temporary:
            temporary.write_bytes(files[0]["content"])
        self.upload.value = ()  # so that the same name can come again
        self.take(str(self.folder / name))

    def _draw(self, video: pd.Series, windows: Sequence) -> None:
        self.bars.value = png_of(best_bars(pd.concat([each.best() for each in windows])))
        over_time = pd.concat([each.over_time() for each in windows])
        several = max(len(each.starts) for each in windows) > 1
        self.curves.value = png_of(score_curves(over_time)) if several else b""
        self.shown.children = pictures = [self.bars, *([self.curves] if several else [])]
        self.message.value = "drawing the video …"
        path = write_drawn(self.folder / f"{Path(video['path']).stem}_drawn.mp4", video, windows)
        self.video.value = path.read_bytes()
        self.shown.children = [*pictures, self.video]
        broken = "".join(f"; {each.network}: {each.error}" for each in windows if each.error)
        told = f"{video['video_id']}: {int(video['num_frames']):,} frames; drawn: {path}{broken}"
        self.message.value = html.escape(told)  # last: it says that all is there


def play(videos: dict[str, bytes | str | Path], width: int = 320, interactive: bool | None = None) -> None:
    """Show videos, mp4 files or their bytes by title, side by side in players; headless say where the files lie."""
    if not (is_interactive() if interactive is None else interactive):
        for title, each in videos.items():
            print(title if isinstance(each, bytes) else f"{title}: {each}")
        return
    boxes = []
    for title, each in videos.items():
        content = each if isinstance(each, bytes) else Path(each).read_bytes()
        player = ipywidgets.Video(value=content, autoplay=False, loop=True, layout={"width": f"{width}px"})
        player.add_class("actlib-player")
        words = ipywidgets.HTML(f'<div style="line-height: 1.3">{html.escape(title)}</div>')
        boxes.append(ipywidgets.VBox([words, player], layout={"width": f"{width + 8}px"}))
    IPython.display.display(ipywidgets.HBox(boxes, layout={"flex_flow": "row wrap", "grid_gap": "8px"}))
