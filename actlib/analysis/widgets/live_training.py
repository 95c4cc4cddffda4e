"""A training as it is watched: curves, some validation clips with the network's present answer, a button to stop."""

import html
import io
from collections.abc import Iterable, Iterator

import ipywidgets
import numpy as np
import pandas as pd
from PIL import Image

from actlib.analysis.plots.clips import RIGHT, WRONG
from actlib.analysis.widgets.live import LiveCurves
from actlib.analysis.widgets.stop_button import StopButton, kernel_id
from actlib.datasets.clips.show import pictures

CLIPS = 6
FRAME_MS = 120  # how long a frame of a clip is shown
WIDTH = 132  # pixels of a clip


class LiveTraining(LiveCurves):
    """Shows how a `loops.Job` trains: `for row in train(job, live.progress): live.update(row)`.

    The clips are some of the job's own validation clips, spread over its videos and decoded once; what the network says
    of them is taken from the scores of each validation, so that looking costs no computation and changes nothing.
    Headless it prints a line an epoch; `clips` and `answers` are there all the same.
    """

    def __init__(self, job, interactive: bool | None = None):
        self.job = job
        self.clips: list[np.ndarray] = []  # uint8 (T, H, W, 3) each
        self._places: list[int] = []  # which videos of the validation they are of
        self._answers: list[dict] = []
        for place in np.linspace(0, len(job.val_data) - 1, min(CLIPS, len(job.val_data))).astype(int).tolist():
            views = job.val_data[place]
            if views.clips is not None:
                self.clips.append(pictures(views.clips[0].permute(0, 2, 3, 1).numpy()))
                self._places.append(place)
        if job.execution.compile:
            self.first_step = "compiling the network, which takes a minute or two …"
        self.stop = StopButton(kernel=kernel_id(), otherwise=f"use ■ instead, or make {job.stop.file}")
        labels = job.val_data.table["label"].iloc[self._places]
        self.boxes = [_box(clip, label) for clip, label in zip(self.clips, labels)]
        super().__init__(job.p.epochs, interactive)

    def _display(self) -> None:
        bars = ipywidgets.HBox([ipywidgets.VBox([self.bar, self.batches]), self.stop])
        shown = ipywidgets.HBox(self.boxes, layout={"flex_flow": "row wrap"})
        self.widget.children = (bars, self.now, self.text, shown, self.image)
        super()._display()

    def progress(self, items: Iterable, *, total: int, desc: str = "") -> Iterator:
        self.stop.state = "running" if self.stop.state == "idle" else self.stop.state
        for item in super().progress(items, total=total, desc=desc):
            yield item
            if self.interactive and self.job.stop.asked and self.stop.state == "running":
                self.stop.state, self.stop.said = "asked", "ends after this epoch; ■ ends at once"

    def update(self, row: dict) -> None:
        """Take in one row of `loops.train`, the newest epoch, and what its validation says of the clips."""
        super().update(row)
        scores = self.job.val_scores
        # The rows of epochs that were trained before come without scores.
        if scores is not None and row["epoch"] == len(self.job.history):
            for place, box in zip(self._places, self.boxes):
                answer = {"epoch": row["epoch"], **_answer(scores, place)}
                self._answers.append(answer)
                if self.interactive:
                    _tell(box, answer)
        over = row["epoch"] == self.epochs or self.job.stop.asked
        if over and row["epoch"] == len(self.job.history):
            self.stop.state, self.stop.said = "over", self.job.stopped
            self.now.value = self.job.stopped and f"{self.job.stopped}: run all cells again, and it goes on there"

    @property
    def answers(self) -> pd.DataFrame:
        """What the network said of the clips: a row an epoch and clip, epoch, video_id, label, prediction, score. Empty
        where no epoch was trained."""
        return pd.DataFrame(self._answers, columns=["epoch", "video_id", "label", "prediction", "score"])

    @property
    def last_answers(self) -> pd.DataFrame:
        """Those of the last epoch, a row a clip in the order of `clips`."""
        return self.answers.tail(len(self.clips))


def _answer(scores, place: int) -> dict:
    """What a network says of a video; of one that it could not be shown an empty prediction."""
    row = scores.scores[place]
    known = not np.isnan(row).any()
    told = {"prediction": scores.classes[row.argmax()], "score": float(row.max())}
    told = told if known else {"prediction": "", "score": float("nan")}
    return {"video_id": scores.video_ids[place], "label": scores.labels[place], **told}


def _box(clip: np.ndarray, label: str) -> ipywidgets.VBox:
    """A clip that plays, its class, and room for the answer."""
    film = ipywidgets.Image(value=_film(clip), format="webp", layout={"width": f"{WIDTH}px"})
    texts = [ipywidgets.HTML(_line(label)), ipywidgets.HTML(_line("…"))]
    box = ipywidgets.VBox([film, *texts], layout={"border": "3px solid gray", "margin": "3px"})
    texts[1].add_class("actlib-answer")
    box.add_class("actlib-clip")
    return box


def _tell(box: ipywidgets.VBox, answer: dict) -> None:
    right = answer["prediction"] == answer["label"]
    box.layout.border = f"3px solid {RIGHT if right else WRONG}"
    box.children[2].value = _line(f"{'✓' if right else '✗'} {answer['score']:.2f} {answer['prediction']}")


def _line(text: str) -> str:
    """One line, cut off where it is too long; all of it where the mouse rests."""
    shown = html.escape(text)
    style = "overflow: hidden; text-overflow: ellipsis; white-space: nowrap; line-height: 1.3; padding: 0 4px"
    return f'<div style="{style}; max-width: {WIDTH - 8}px" title="{shown}">{shown}</div>'


def _film(clip: np.ndarray) -> bytes:
    """uint8 (T, H, W, 3) as a picture that moves."""
    first, *others = [Image.fromarray(frame) for frame in clip]
    buffer = io.BytesIO()
    first.save(buffer, "webp", save_all=True, append_images=others, duration=FRAME_MS, loop=0, quality=80)
    return buffer.getvalue()
