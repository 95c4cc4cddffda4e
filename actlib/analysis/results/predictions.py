"""The predictions of one run video by video: chosen, ordered and joined with what it takes to show the videos."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from actlib.analysis.results.metrics import UNDECODABLE
from actlib.analysis.results.runs import read_parameters
from actlib.analysis.results.scores import SCORES, Scores, load_scores
from actlib.datasets.table import read_table
from actlib.files import project_root
from actlib.messages import cut

SHOWN = ("all", "right", "wrong", "not decoded")
ORDERS = ("surest first", "least sure first")
_PLACE = ["start", "end", "num_frames", "fps"]  # of a table of videos: which part of the file is shown


@dataclass(frozen=True, eq=False)
class Predictions:
    """One run's predictions. `table`: that of `Scores.table` with `margin` (the highest score less the second), path,
    start, end, num_frames and fps (empty where they are unknown), the videos in the order of `scores`. `notes`: what is
    not known of them, and why."""

    scores: Scores
    table: pd.DataFrame
    notes: list[str]

    def select(self, shown: str, order: str, label: str | None = None, prediction: str | None = None) -> pd.DataFrame:
        """The rows of `table` that are `shown` (of SHOWN), of this true class and this prediction (UNDECODABLE for
        none) where they are given, in this `order` (of ORDERS): the highest score first, or the lowest margin. Videos
        without scores come last."""
        table = self.table
        right, decoded = table["correct"], table["error"] == ""
        fits = {"all": right | ~right, "right": right, "wrong": ~right & decoded, "not decoded": ~decoded}[shown]
        if label is not None:
            fits = fits & (table["label"] == label)
        if prediction is not None:
            fits = fits & (table["prediction"].replace("", UNDECODABLE) == prediction)
        column, rising = ("score", False) if order == ORDERS[0] else ("margin", True)
        return table[fits].sort_values(column, ascending=rising, kind="stable")

    def best(self, row: int, count: int = 5) -> list[tuple[str, float]]:
        """The classes with the highest scores of a video (its index in `table`), and these; empty without scores."""
        scores = self.scores.scores[row]
        if np.isnan(scores).any():
            return []
        return [
            (self.scores.classes[place], float(scores[place])) for place in np.argsort(-scores, kind="stable")[:count]
        ]


def read_predictions(folder: str | Path) -> Predictions:
    """What a run of notebook 04 or 09 left: scores.npz, predictions.csv, and the table of videos that its parameters
    name. Raises ScoresError where there are no scores; of the others the notes say what is missing."""
    folder, notes = Path(folder), []
    scores = load_scores(folder / SCORES)
    told = _predictions_csv(folder / "predictions.csv", notes)
    errors = told["error"].reindex(scores.video_ids).fillna("").tolist()
    scores = replace(scores, errors=errors)
    table = scores.table
    second = np.partition(scores.scores, -2, axis=1)[:, -2] if len(scores.classes) > 1 else 0.0
    table["margin"] = table["score"] - second
    videos = _videos_of(folder, notes).reindex(scores.video_ids)
    paths = videos["path"].fillna(told["path"].reindex(scores.video_ids))
    table["path"] = paths.fillna("").to_numpy()
    return Predictions(scores, table.join(videos[_PLACE].reset_index(drop=True)), notes)


def _predictions_csv(path: Path, notes: list[str]) -> pd.DataFrame:
    """Path and error by video_id, as far as the file tells."""
    names = ["path", "error"]
    try:
        told = pd.read_csv(path, dtype=str, keep_default_na=False)  # a class may be called nan
        return told.drop_duplicates("video_id").set_index("video_id").reindex(columns=names)
    except (OSError, ValueError, KeyError) as error:
        notes.append(f"{path}: cannot be read, so the videos' errors are unknown ({cut(str(error), 200)})")
        return pd.DataFrame(columns=names, dtype=str)


def _videos_of(folder: Path, notes: list[str]) -> pd.DataFrame:
    """The table of videos that the run's parameters name, by video_id; without rows where there is none."""
    nothing = pd.DataFrame(columns=["path", *_PLACE])
    try:
        name = read_parameters(folder).get("table", "")
        if not name:
            return nothing
        return read_table(project_root() / name).set_index("video_id")
    except (OSError, ValueError) as error:
        notes.append(f"{cut(str(error), 300)}; whole files are shown where the run says that they lie")
        return nothing


def most_confused(counts: pd.DataFrame, most: int) -> list[str]:
    """At most `most` classes of a confusion matrix (`metrics.confusion`), those of the most frequent mistakes first:
    two classes that are taken for each other stand side by side."""
    square = counts[counts.index].to_numpy(copy=True)
    np.fill_diagonal(square, 0)
    together = np.triu(square + square.T)
    order = np.argsort(-together, axis=None, kind="stable")[: np.count_nonzero(together)]
    pairs = np.column_stack(np.unravel_index(order, together.shape)).ravel().tolist()
    return [counts.index[place] for place in dict.fromkeys([*pairs, *range(len(counts))])][:most]
