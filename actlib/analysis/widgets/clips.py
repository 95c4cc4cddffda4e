"""Training clips to look at: which frames, which pixels, and what augmentation makes of them."""

import html

import IPython.display
import ipywidgets
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from actlib.analysis.plots.views import clip_panels
from actlib.analysis.widgets.chooser import NONE, VideoChooser
from actlib.analysis.widgets.player import COLORS, Player, box_of, strip, thin
from actlib.analysis.widgets.videos import show_video
from actlib.datasets.clips.loaders import Drawn, TrainingClips
from actlib.datasets.clips.show import pictures, span_of
from actlib.datasets.clips.transforms import train_transform
from actlib.datasets.errors import DataError
from actlib.datasets.vocabulary import CROPS, SAMPLINGS
from actlib.progress import is_interactive

SHOWN = 8  # frames of a clip that the strips show
# What can be turned here, as notebook 02 names it, and where it begins.
CLIP = {
    "num_frames": 8, "frame_stride": 2, "short_side": 48, "crop_size": 48, "sampling": "random", "loop": "taken",
    "modality": "rgb", "crop": "random_resized", "scale_min": 0.8, "crop_scales": [1.0, 0.8409, 0.7071, 0.5946, 0.5],
    "short_side_max": 0, "color_jitter": 0.0, "rand_augment": 0, "random_erasing": 0.0,
}  # fmt: skip
TRANSFORM = ("crop", "short_side", "crop_size", "scale_min", "crop_scales", "short_side_max", "color_jitter",
             "rand_augment", "random_erasing")  # fmt: skip


class ClipExplorer:
    """A video of a table and the clips that training draws of it, one an epoch: its frames on a timeline beside the
    playing video, the crop over them, and what augmentation makes of it.

    The clips are those of `TrainingClips`, with the draws of `seed`: of training videos the very ones that notebook 02
    with the same parameters trains on. `videos`: all rows of one subset or more of an annotation table; `clip`: the
    parameters of notebook 02 that are to differ from `CLIP`. Headless `picture()` and `table` are its plain form. The
    `widget` can be tested without a browser: setting a control's value does what a person does.
    """

    def __init__(
        self, videos: pd.DataFrame, classes: list[str], *, seed: int = 0, draws: int = 4, timeout: float | None = 60.0,
        backend: str = "auto", interactive: bool | None = None, **clip,
    ):  # fmt: skip
        self.videos, self.classes, self.draws = videos.reset_index(drop=True), classes, draws
        self._settings = CLIP | clip
        self._how = {"seed": seed, "timeout": timeout, "backend": backend}
        self._data: dict[str, TrainingClips] = {}
        self.epoch, self.drawn = 0, []
        self.chooser = VideoChooser(self.videos, self.update)
        self._make_controls()
        self.player, self.strips, self.message = Player(), ipywidgets.HTML(), ipywidgets.HTML()
        self.strips.add_class("actlib-strips")
        self.message.add_class("actlib-message")
        controls = [self.chooser.widget, *(ipywidgets.VBox(column) for column in self._columns)]
        controls = ipywidgets.HBox(controls, layout={"flex_flow": "row wrap"})
        self.widget = ipywidgets.VBox([controls, self.message, self.player, self.strips])
        self.interactive = is_interactive() if interactive is None else interactive
        if self.interactive:
            IPython.display.display(self.widget)  # first, so that it says what it waits for
        self.update()

    def _make_controls(self) -> None:
        start, how = self._settings, {"layout": {"width": "200px"}, "style": {"description_width": "84px"}}
        slider = how | {"layout": {"width": "280px"}}

        def number(name: str, low: int, high: int, words: str):
            return ipywidgets.BoundedIntText(start[name], min=low, max=high, description=words, **how)

        def share(name: str, low: float, words: str):
            more = {"step": 0.05, "readout_format": ".2f", "continuous_update": False}
            return ipywidgets.FloatSlider(start[name], min=low, max=1, description=words, **more, **slider)

        self.controls = {
            "sampling": ipywidgets.Dropdown(options=SAMPLINGS, value=start["sampling"], description="sampling", **how),
            "num_frames": number("num_frames", 1, 512, "frames"),
            "frame_stride": number("frame_stride", 1, 512, "stride"),
            "crop": ipywidgets.Dropdown(options=CROPS, value=start["crop"], description="crop", **how),
            "crop_size": number("crop_size", 16, 1024, "crop size"),
            "short_side": number("short_side", 16, 2048, "short side"),
            "scale_min": share("scale_min", 0.05, "scale min"),
            "color_jitter": share("color_jitter", 0, "colour jitter"),
            "rand_augment": ipywidgets.IntSlider(
                start["rand_augment"], min=0, max=30, description="RandAugment", continuous_update=False, **slider),
            "random_erasing": share("random_erasing", 0, "erasing"),
        }  # fmt: skip
        self.again = ipywidgets.Button(description="new draws", icon="refresh", layout={"width": "200px"})
        self.again.add_class("actlib-again")
        self.again.on_click(lambda button: self._draw_more())
        places = list(self.controls.values())
        self._columns = [[*places[:3], self.again], places[3:7], places[7:]]
        for name, control in self.controls.items():
            control.add_class(f"actlib-{name.replace('_', '-')}")
            control.observe(lambda change: self.update(), names="value")

    @property
    def settings(self) -> dict:
        """The parameters of the clip as they are now, by the names of notebook 02."""
        return self._settings | {name: control.value for name, control in self.controls.items()}

    def _draw_more(self) -> None:
        self.epoch += self.draws
        self.update()

    def update(self) -> None:
        """Draw the clips of what is chosen, and show them."""
        settings = self.settings
        self.controls["frame_stride"].disabled = settings["sampling"].startswith("segments")
        self.controls["short_side"].disabled = settings["crop"] not in ("random", "center")
        self.controls["scale_min"].disabled = settings["crop"] != "random_resized"
        if self.chooser.row is None:
            self._show_nothing(NONE)
            return
        self.message.value = "decoding …"
        try:
            self.drawn = self._draw(settings)
        except (ValueError, RuntimeError) as error:  # of ours: a video that cannot be decoded, numbers that cannot be
            self._show_nothing(str(error))
        else:
            self._show()
            self.message.value = ""
        if self.interactive:
            show_video(self.player, self._row, settings["modality"], self._how["timeout"], self._how["backend"])

    @property
    def _row(self) -> pd.Series:
        if self.chooser.row is None:
            raise DataError(NONE)
        return self.videos.loc[self.chooser.row]

    def _draw(self, settings: dict) -> list[Drawn]:
        subset = self._row["subset"]
        rows = self.videos.index[self.videos["subset"] == subset]
        if subset not in self._data:
            self._data[subset] = TrainingClips(
                self.videos.loc[rows], self.classes, num_frames=1, frame_stride=1, transform=lambda clip: clip,
                modality=settings["modality"], loop=settings["loop"], **self._how,
            )  # fmt: skip
        data = self._data[subset]
        data.sampling, data.num_frames = settings["sampling"], settings["num_frames"]
        data.frame_stride = settings["frame_stride"]
        data.transform = train_transform(**{name: settings[name] for name in TRANSFORM})
        drawn = []
        for epoch in range(self.epoch, self.epoch + self.draws):
            data.set_epoch(epoch)
            drawn.append(data.draw(rows.get_loc(self.chooser.row)))
        return drawn

    def _show_nothing(self, why: str) -> None:
        self.drawn, self.player.rows, self.player.boxes, self.strips.value = [], [], [], ""
        self.message.value = html.escape(why)

    @property
    def names(self) -> list[str]:
        """Of the draws: the epochs of a training, counted from 1, that would show them."""
        return [f"epoch {self.epoch + number}" for number in range(1, len(self.drawn) + 1)]

    @property
    def table(self) -> pd.DataFrame:
        """A row a frame of each draw: draw, position in the clip, frame (its number in the file), and the crop: the box
        in pixels, and the size that the frames had when it was cut out."""
        rows = []
        for name, drawn in zip(self.names, self.drawn):
            (height, width), box = drawn.crop
            sizes = dict(zip(("crop_top", "crop_left", "crop_height", "crop_width"), box))
            sizes |= {"of_height": height, "of_width": width}
            rows += [{"draw": name, "position": place, "frame": int(frame)} | sizes
                     for place, frame in enumerate(drawn.frames)]  # fmt: skip
        return pd.DataFrame(rows)

    def picture(self) -> Axes:
        """What is shown now as one figure: the timeline, the crops over a frame, the frames and the augmented clips.
        Raises DataError or VideoError where there is nothing to show."""
        if not self.drawn:
            self.drawn = self._draw(self.settings)
        ticks = self.table.rename(columns={"draw": "clip"})
        decoded = pictures(self.drawn[0].decoded.permute(0, 2, 3, 1).numpy())
        boxes = list(zip(self.names, (share_of(each, decoded.shape) for each in self.drawn)))
        row = self._row
        strips = [(decoded, f"{self.names[0]}\ndecoded")]
        strips += [(_pictures(each), f"{name}\naugmented") for name, each in zip(self.names, self.drawn)]
        title = f"{row['video_id']} ({row['label']})"
        return clip_panels(ticks, span_of(row), decoded[len(decoded) // 2], boxes, strips, title=title)

    def _show(self) -> None:
        decoded = pictures(self.drawn[0].decoded.permute(0, 2, 3, 1).numpy())
        shares = [share_of(each, decoded.shape) for each in self.drawn]
        colors = [COLORS[number % len(COLORS)] for number in range(len(self.drawn))]
        begin, end = span_of(self._row)
        self.player.first, self.player.num_frames = begin, end - begin
        self.player.rows = [
            {"name": name, "frames": each.frames.tolist(), "color": color, "text": ""}
            for name, each, color in zip(self.names, self.drawn, colors)
        ]
        self.player.boxes = [box_of(*each) for each in zip(shares, self.names, colors)]
        shown = []
        for name, each, color, share in zip(self.names, self.drawn, colors, shares):
            clip = _pictures(each)
            places = thin(len(clip), SHOWN)
            if each is self.drawn[0]:
                frames = [f"frame {each.frames[place]}" for place in places]
                shown.append(strip(decoded[places], frames, name=f"{name}, decoded", boxes=[share], color=color))
            shown.append(strip(clip[places], [f"{each.frames[place]}" for place in places], name=name))
        self.strips.value = "".join(shown)


def _pictures(drawn: Drawn) -> np.ndarray:
    return pictures(drawn.clip.permute(0, 2, 3, 1).numpy())


def share_of(drawn: Drawn, shape: tuple[int, ...]) -> tuple[float, float, float, float]:
    """The crop as shares (top, left, height, width) of a picture of `shape` (T, H, W, 3); of optical flow of its upper
    half, x."""
    (height, width), (top, left, down, right) = drawn.crop
    upper = drawn.decoded.shape[2] / shape[1]
    return upper * top / height, left / width, upper * down / height, right / width
