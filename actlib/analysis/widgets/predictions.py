"""What a network got right and wrong, video by video: a confusion matrix to click into, and the videos playing."""

import html
from collections.abc import Callable

import IPython.display
import ipywidgets
import numpy as np
import pandas as pd

from actlib.analysis.display import for_display
from actlib.analysis.playable import modality_of, playable_mp4
from actlib.analysis.results.metrics import confusion
from actlib.analysis.results.predictions import ORDERS, SHOWN, most_confused, read_predictions
from actlib.analysis.results.scores import ScoresError
from actlib.analysis.widgets.clicks import Clicks, VideoCard
from actlib.analysis.widgets.matrix import matrix_svg
from actlib.datasets.clips.show import frames_of
from actlib.datasets.errors import VideoError
from actlib.datasets.video.reader import probe
from actlib.messages import cut
from actlib.progress import is_interactive

PAGE, BEST = 4, 5  # videos at a time, classes beside each
ZOOMS = (10, 20, 40, 60)  # most confused classes
ANY = "(any)"


class PredictionBrowser:
    """The predictions of a run folder of notebook 04 or 09: right, wrong, sure or unsure, by true and predicted class.

    A click on a cell of the confusion matrix plays its videos, a handful at a time, each with its five best scores;
    with many classes the matrix shows those of the most frequent mistakes. Headless, the table of the surest mistakes
    is shown. `selected`: the videos that fit what is chosen, in order (see `Predictions.select`). Can be tested without
    a browser: `show_cell` does what a click does, the controls take values. A run without scores is said so.
    """

    def __init__(self, folder: str, interactive: bool | None = None):
        interactive = is_interactive() if interactive is None else interactive
        self.message = ipywidgets.HTML()
        self.widget = ipywidgets.VBox([self.message])
        self.message.add_class("actlib-predictions-message")
        self.selected, self.predictions, self.skipped = pd.DataFrame(), None, []
        try:
            self.predictions = read_predictions(folder)
        except ScoresError as error:
            self.message.value = html.escape(str(error))
        else:
            self._build()
        if interactive:
            IPython.display.display(self.widget)
            return
        told = [self._about(), *self.predictions.notes] if self.predictions else [html.unescape(self.message.value)]
        print(*told, sep="\n")
        if len(self.selected):
            columns = ["video_id", "label", "prediction", "score", "margin", "rank"]
            IPython.display.display(for_display(self.selected[columns].head(10)))

    def _build(self) -> None:
        found = self.predictions
        classes = found.scores.classes
        self.counts = confusion(found.table, classes)
        wrong = bool(len(found.select("wrong", ORDERS[0])))
        self.shown = ipywidgets.ToggleButtons(options=SHOWN, value="wrong" if wrong else "all")
        self.order = ipywidgets.ToggleButtons(options=ORDERS)
        for buttons in (self.shown, self.order):
            buttons.style.button_width = "130px"
        narrow = {"layout": {"width": "280px"}}
        self.label = ipywidgets.Dropdown(options=[ANY, *classes], description="true class", **narrow)
        self.prediction = ipywidgets.Dropdown(options=[ANY, *self.counts.columns], description="taken for", **narrow)
        zooms = [(f"the {most} most confused", most) for most in ZOOMS if most < len(classes)]
        options = [(f"all {len(classes)} classes", len(classes)), *zooms]
        first = len(classes) if len(classes) <= 30 else 20
        self.zoom = ipywidgets.Dropdown(options=options, value=first, description="matrix", **narrow)
        self.matrix = Clicks(lambda key, more: self.show_cell(*self._names_of(key)))
        self.count = ipywidgets.HTML()
        self.back = ipywidgets.Button(description="back", layout={"width": "80px"})
        self.more = ipywidgets.Button(description="more", layout={"width": "80px"})
        self.cards = [VideoCard(layout={"width": "47%", "margin": "4px"}) for _ in range(PAGE)]
        choices = ipywidgets.HBox([self.label, self.prediction, self.zoom])
        pages = ipywidgets.HBox([self.back, self.more, self.count])
        toggles = ipywidgets.HBox([self.shown, self.order])
        shelf = ipywidgets.HBox(self.cards, layout={"flex_flow": "row wrap"})
        videos = ipywidgets.VBox([pages, shelf], layout={"flex": "1 1 420px"})
        both = ipywidgets.HBox([self.matrix, videos], layout={"flex_flow": "row wrap"})
        self.widget.children = [self.message, toggles, choices, both]
        for name in ("shown", "order", "label", "prediction", "zoom", "matrix", "count", "back", "more"):
            getattr(self, name).add_class(f"actlib-predictions-{name}")
        self.message.value = "".join(f"<div>{html.escape(each)}</div>" for each in [self._about(), *found.notes])
        self.page, self._quiet = 0, False
        for control in (self.shown, self.order, self.label, self.prediction):
            control.observe(self._follow(self.update), names="value")
        self.zoom.observe(self._follow(self._draw_matrix), names="value")
        self.more.on_click(lambda button: self._turn(+1))
        self.back.on_click(lambda button: self._turn(-1))
        self.update()

    def _follow(self, do: Callable[[], None]) -> Callable:
        return lambda change: None if self._quiet else do()

    def _about(self) -> str:
        scores = self.predictions.scores
        expected = scores.expected or len(scores.video_ids)
        on = f"{scores.protocol}, {scores.num_scored:,} of {expected:,} videos"
        return f"{scores.name}: video top-1 {scores.top(1):.4g} %, macro-F1 {scores.macro_f1():.4g} % ({on})"

    def show_cell(self, label: str, prediction: str) -> None:
        """Show the videos of one true class that were taken for another; all again if these are shown."""
        again = (self.label.value, self.prediction.value) == (label, prediction)
        self._quiet = True  # three controls change, the videos are read once
        self.shown.value = "all"
        self.label.value, self.prediction.value = (ANY, ANY) if again else (label, prediction)
        self._quiet = False
        self.update()

    def _names_of(self, key: str) -> tuple[str, str]:
        row, column = map(int, key.split(","))
        return self.counts.index[row], self.counts.columns[column]

    def update(self) -> None:
        """Show what is chosen, from the first video on."""
        label, prediction = (None if each.value == ANY else each.value for each in (self.label, self.prediction))
        self.selected = self.predictions.select(self.shown.value, self.order.value, label, prediction)
        self.page = 0
        self._draw_matrix()
        self._draw_page()

    def _draw_matrix(self) -> None:
        few = self.zoom.value < len(self.counts)
        shown = most_confused(self.counts, self.zoom.value) if few else list(self.counts.index)
        self.matrix.html = matrix_svg(self.counts, shown, (self.label.value, self.prediction.value))

    def _turn(self, by: int) -> None:
        self.page += by
        self._draw_page()

    def _draw_page(self) -> None:
        first, count = self.page * PAGE, len(self.selected)
        rows = list(self.selected.iloc[first : first + PAGE].itertuples())
        self.count.value = f"{first + 1:,} to {first + len(rows):,} of {count:,} videos" if rows else "no such video"
        self.back.disabled, self.more.disabled = self.page == 0, first + PAGE >= count
        for card, row in zip(self.cards, [*rows, *[None] * PAGE]):
            card.mp4, card.said = b"", self._said(row) if row else ""
            card.layout.display = None if row else "none"
        for card, row in zip(self.cards, rows):
            try:
                card.mp4 = self._video(row)
            except VideoError as error:
                card.said = f"<p>cannot be shown: {html.escape(cut(str(error)))}</p>" + card.said

    @staticmethod
    def _video(row) -> bytes:
        if not row.path:
            raise VideoError(row.video_id, "nobody knows where this video lies")
        return playable_mp4(row, modality=modality_of(row.path))

    def _said(self, row) -> str:
        """Of one video what it is, what it was taken for, and its best scores as bars."""
        name, label = html.escape(cut(row.video_id, 80)), html.escape(row.label)
        lines = [f'<div title="{html.escape(row.path)}"><b>{label}</b> · {name}</div>']
        best = self.predictions.best(row.Index, BEST)
        for each, score in best:
            true = " actlib-true" * (each == row.label)
            words = f"<span><span>{html.escape(each)}</span><span>{score:.2f}</span></span>"
            lines.append(f'<div class="actlib-bar{true}"><i style="width:{100 * score:.1f}%"></i>{words}</div>')
        if row.error:
            lines.append(f"<div>not decoded: {html.escape(cut(row.error))}</div>")
        elif row.label not in dict(best):
            lines.append(f"<div>{label} is in place {row.rank}</div>")
        return "".join(lines)

    def strips(self, count: int = 6, frames: int = 8) -> tuple[list[np.ndarray], list[str]]:
        """(clips, titles) of the first `count` selected videos that can be read, for `plots.film_strip`; a clip is
        uint8 (frames, H, W, 3). `skipped` names those that cannot."""
        clips, titles, self.skipped = [], [], []
        for row in self.selected.itertuples():
            if len(clips) == count or len(self.skipped) == count:
                break
            try:
                videos, modality = pd.DataFrame([row._asdict()]), modality_of(row.path)
                if videos["num_frames"].isna().any():
                    videos["num_frames"] = probe(row.path, modality).num_frames
                clips += frames_of(videos, frames, modality=modality)
                titles.append(f"{row.label}\n→ {row.prediction} ({row.score:.2f})")
            except VideoError as error:
                self.skipped.append(str(error))
        return clips, titles
