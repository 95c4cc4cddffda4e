"""The views of a video that an evaluation shows to a network, and what the network says of each."""

import html
from collections.abc import Callable
from dataclasses import replace

import IPython.display
import ipywidgets
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes

from actlib.analysis.plots.views import clip_panels
from actlib.analysis.widgets.chooser import NONE, VideoChooser
from actlib.analysis.widgets.player import COLORS, Player, box_of, by_score, strip, thin
from actlib.analysis.widgets.videos import show_video
from actlib.datasets.clips.crops import scaled
from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.clips.show import frames_of, pictures, span_of
from actlib.datasets.clips.views import EvaluationViews
from actlib.datasets.errors import DataError, VideoError
from actlib.datasets.vocabulary import NUM_CROPS, ONE_CLIP, POSITIONS, PROTOCOLS
from actlib.progress import is_interactive

MOST = 300  # views: more are neither drawn nor predicted here
SHOWN = 60  # views of which a picture is shown
BEST = 5
Score = Callable[[EvaluationViews, int], torch.Tensor]  # logits (views, classes) of a video of these


class ViewExplorer:
    """The views of a protocol (clips × crops): a row a clip on the timeline beside the playing video, the crops over
    it; after a prediction each with the score of the true class, and the five best classes of the video.

    The views are those of `EvaluationViews`, which an accuracy is measured with. `protocol`: where the controls begin;
    `classes`: the network's, in order; `score(views, index)`: its logits (views, classes) of one video. Headless the
    first video is predicted, and `picture()` and `table` are the plain form. The `widget` can be tested without a
    browser.
    """

    def __init__(
        self, videos: pd.DataFrame, classes: list[str], protocol: Protocol, score: Score | None = None, *,
        modality: str = "rgb", timeout: float | None = 60.0, backend: str = "auto", interactive: bool | None = None,
    ):  # fmt: skip
        self.videos, self.classes, self._protocol, self._score = videos.reset_index(drop=True), classes, protocol, score
        self._how = {"modality": modality, "timeout": timeout, "backend": backend}
        self.windows, self.boxes, self.pictures = np.empty((0, 0), int), [], []
        self.scores: np.ndarray | None = None  # of the views, (clips, crops, classes)
        self.video_scores: np.ndarray | None = None
        self.chooser = VideoChooser(self.videos, self.update)
        self._make_controls()
        self.player, self.strips = Player(), ipywidgets.HTML()
        self.message, self.best_text = ipywidgets.HTML(), ipywidgets.HTML()
        for name, each in {"strips": self.strips, "message": self.message, "best": self.best_text}.items():
            each.add_class(f"actlib-{name}")
        controls = [self.chooser.widget, *(ipywidgets.VBox(column) for column in self._columns), self.best_text]
        controls = ipywidgets.HBox(controls, layout={"flex_flow": "row wrap"})
        self.widget = ipywidgets.VBox([controls, self.message, self.player, self.strips])
        self.interactive = is_interactive() if interactive is None else interactive
        if self.interactive:
            IPython.display.display(self.widget)
        self.update()
        if score and not self.interactive:
            self.predict()

    def _make_controls(self) -> None:
        start, how = self._protocol, {"layout": {"width": "200px"}, "style": {"description_width": "84px"}}

        def choice(options, value, words: str):
            return ipywidgets.Dropdown(options=options, value=value, description=words, **how)

        def number(value: int, most: int, words: str):
            return ipywidgets.BoundedIntText(value, min=1, max=most, description=words, **how)

        self.controls = {
            "kind": choice(PROTOCOLS, start.kind, "protocol"),
            "num_clips": number(start.num_clips, 100, "clips"),
            "num_crops": choice(NUM_CROPS, start.num_crops, "crops"),
            "crop_position": choice(POSITIONS, start.crop_position, "position"),
            "num_frames": number(start.num_frames, 512, "frames"),
            "frame_stride": number(start.frame_stride, 512, "stride"),
        }
        self.button = ipywidgets.Button(
            description="predict", icon="play", button_style="primary", disabled=self._score is None,
            layout={"width": "200px"},
        )  # fmt: skip
        self.button.add_class("actlib-predict")
        self.button.on_click(lambda button: self.predict())
        places = list(self.controls.values())
        self._columns = [places[:4], [*places[4:], self.button]]
        for name, control in self.controls.items():
            control.add_class(f"actlib-{name.replace('_', '-')}")
            control.observe(lambda change: self.update(), names="value")

    @property
    def protocol(self) -> Protocol:
        """That of the controls. Raises ValueError for what does not go together."""
        values = {name: control.value for name, control in self.controls.items()}
        if values["kind"] in ONE_CLIP:
            values["num_clips"] = 1
        if values["num_crops"] != 1:
            values["crop_position"] = "center"
        return replace(self._protocol, step=0, **values)

    def update(self) -> None:
        """Show the views of what is chosen; the scores of others are gone."""
        self.controls["num_clips"].disabled = self.controls["kind"].value in ONE_CLIP
        self.controls["crop_position"].disabled = self.controls["num_crops"].value != 1
        self.controls["frame_stride"].disabled = self.controls["kind"].value == "uniform"
        self.scores = self.video_scores = None
        if self.chooser.row is None:
            self._show_nothing(NONE)
            return
        self.message.value = "decoding …"
        try:
            self._look()
        except (ValueError, RuntimeError) as error:  # of ours, or a size that a frame cannot have
            self._show_nothing(str(error))
        else:
            self._show()
            self.message.value = html.escape(f"{len(self.pictures)} views: {self.protocol}")
        if self.interactive:
            show_video(self.player, self._row, *self._how.values())

    @property
    def _row(self) -> pd.Series:
        if self.chooser.row is None:
            raise DataError(NONE)
        return self.videos.loc[self.chooser.row]

    @property
    def _views(self) -> EvaluationViews:
        """Of the chosen video alone."""
        return EvaluationViews(self.videos.loc[[self.chooser.row]], self.classes, {"views": self.protocol}, **self._how)

    def _look(self) -> None:
        """Which frames and pixels the views show, and the middle frame of each view as the network gets it."""
        protocol, views = self.protocol, self._views
        begin, end = views.segment(0)
        self.windows = begin + protocol.windows(end - begin)
        count = len(self.windows) * protocol.num_crops
        if count > MOST:
            raise DataError(f"{count:,} views are too many to look at; take {MOST} or fewer, with another protocol")
        ((_, self.frame),) = frames_of(self.videos.loc[[self.chooser.row]], 2, **self._how)  # the middle one
        found: dict[int, np.ndarray] = {}
        for chunk in views.chunks(0):
            if chunk.error:
                raise VideoError(self._row["path"], chunk.error)
            for clip, places in zip(chunk.clips, chunk.places):
                middle = clip[len(clip) // 2, None].permute(0, 2, 3, 1).numpy()
                found |= dict.fromkeys(places, pictures(middle)[0])
        self.pictures = [found[place] for place in range(count)]
        height, width = self.frame.shape[:2]
        height = height if self._how["modality"] == "rgb" else (height - 2) // 2  # x above y
        resized, upper = scaled(height, width, protocol.short_side), height / self.frame.shape[0]
        self.boxes = [
            (upper * top / resized[0], left / resized[1], upper * down / resized[0], right / resized[1])
            for (top, left, down, right), _ in protocol.boxes(height, width)
        ]

    def predict(self) -> None:
        """Ask the network for the scores of every view of the chosen video, and show them."""
        if self.chooser.row is None or not self.pictures:
            return
        self.message.value, protocol = f"the network looks at {len(self.pictures)} views …", self.protocol
        self.button.disabled = True
        try:
            logits = torch.as_tensor(self._score(self._views, 0), dtype=torch.float64)
        except (ValueError, RuntimeError) as error:  # torch's too: a network that does not take so many frames
            self.message.value = html.escape("\n".join(str(error).splitlines()[:3]))
            return
        finally:
            self.button.disabled = False
        scores = logits.softmax(-1).numpy()
        by_logits = protocol.average == "logits"
        self.video_scores = logits.mean(0).softmax(-1).numpy() if by_logits else scores.mean(0)
        self.scores = scores.reshape(len(self.windows), protocol.num_crops, -1)
        self._show()
        best, true = self.best, self._row["label"]
        said = "right" if best["right"].iloc[0] else "wrong"
        self.message.value = html.escape(f"{said}: {best['class'].iloc[0]!r}, and it is {true!r} ({protocol})")

    def _show_nothing(self, why: str) -> None:
        self.pictures, self.player.rows, self.player.boxes = [], [], []
        self.strips.value = self.best_text.value = ""
        self.message.value = html.escape(why)

    @property
    def true_scores(self) -> np.ndarray | None:
        """Of each view that of the video's class: float64 (clips, crops), 0 to 1; None before a prediction."""
        return None if self.scores is None else self.scores[..., self.classes.index(self._row["label"])]

    @property
    def best(self) -> pd.DataFrame | None:
        """The classes with the highest scores of the video: class, score, right; None before a prediction."""
        if self.video_scores is None:
            return None
        order = np.argsort(-self.video_scores, kind="stable")[:BEST]
        names = [self.classes[place] for place in order]
        right = [name == self._row["label"] for name in names]
        return pd.DataFrame({"class": names, "score": self.video_scores[order], "right": right})

    @property
    def table(self) -> pd.DataFrame:
        """A row a view: clip and crop, counted from 1, its first and last frame, and after a prediction the score of
        the true class, the class with the best score, and that score."""
        rows = []
        for number, window in enumerate(self.windows):
            for crop in range(len(self.boxes)):
                row = {"clip": number + 1, "crop": crop + 1, "first_frame": window.min(), "last_frame": window.max()}
                if self.scores is not None:
                    view = self.scores[number, crop]
                    row |= {"true_score": self.true_scores[number, crop], "best_class": self.classes[view.argmax()]}
                    row |= {"best_score": view.max()}
                rows.append(row)
        return pd.DataFrame(rows)

    def picture(self) -> Axes:
        """What is shown now as one figure. Raises ValueError or VideoError where there is nothing to show."""
        if not self.pictures:
            self._look()
        rows = [{"clip": f"clip {number}", "frame": int(frame)}
                for number, window in enumerate(self.windows, 1) for frame in window]  # fmt: skip
        ticks = pd.DataFrame(rows)
        if self.scores is not None:
            ticks["score"] = np.repeat(self.true_scores.mean(1), self.windows.shape[1])
        boxes = [(str(number), box) for number, box in enumerate(self.boxes, 1)]
        count = len(self.pictures)
        views = np.stack([self.pictures[place] for place in thin(count, 8)])
        strips = [(views, f"{len(views)} of {count}\nviews" if count > 8 else f"view{'s' if count > 1 else ''}")]
        title = f"{self._row['video_id']} ({self._row['label']}): {self.protocol}"
        return clip_panels(
            ticks, span_of(self._row), self.frame, boxes, strips, title=title, along="views →", best=self.best
        )

    def _show(self) -> None:
        begin, end = span_of(self._row)
        self.player.first, self.player.num_frames = begin, end - begin
        crops = len(self.boxes)
        texts, colors = [""] * len(self.windows), [COLORS[0]] * len(self.windows)
        captions = [f"clip {place // crops + 1}" + (f" · {place % crops + 1}" if crops > 1 else "")
                    for place in range(len(self.pictures))]  # fmt: skip
        if self.scores is not None:
            true = self.true_scores
            texts = [" ".join(f"{100 * score:.0f}" for score in row) + " %" for row in true]
            colors = [by_score(row.mean()) for row in true]
            captions = [f"{100 * score:.0f} %" for score in true.ravel()]
        self.player.rows = [
            {"name": f"clip {number}", "frames": window.tolist(), "color": color, "text": text}
            for number, (window, color, text) in enumerate(zip(self.windows, colors, texts), 1)
        ]
        self.player.boxes = [box_of(box, f"crop {number + 1}", COLORS[number % len(COLORS)])
                             for number, box in enumerate(self.boxes)]  # fmt: skip
        more = len(self.pictures) - SHOWN
        name = "views" + (f", {more} more" if more > 0 else "")
        self.strips.value = strip(self.pictures[:SHOWN], captions[:SHOWN], name=name)
        self.best_text.value = "" if self.best is None else _bars(self.best)


def _bars(best: pd.DataFrame) -> str:
    """The best classes as bars in HTML, the true one marked."""
    rows = "".join(
        f'<div style="display:flex;gap:6px;align-items:center;line-height:1.6">'
        f'<span style="width:130px;overflow:hidden;white-space:nowrap;text-overflow:ellipsis">'
        f"{'✓ ' if row.right else ''}{html.escape(row[1])}</span>"
        f'<span style="height:10px;width:{max(1, 110 * row.score):.0f}px;background:'
        f'{COLORS[2] if row.right else COLORS[7]}"></span><span>{100 * row.score:.1f} %</span></div>'
        for row in best.itertuples()
    )
    return f'<div class="actlib-best-five"><b>the video\'s best five</b>{rows}</div>'
