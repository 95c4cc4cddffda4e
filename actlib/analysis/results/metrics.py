"""Tables out of tables: accuracies, confusions and per-class figures of a predictions table.

A predictions table has a row a video (see `scores.Scores.table`): `label`, `prediction`, `rank` (place of the true
label among the scores, empty where the video could not be decoded), `correct`, `error`. All accuracies are in percent
of all its videos: one that could not be decoded counts as wrong.
"""

import numpy as np
import pandas as pd

from actlib.datasets.catalog import backwards_names

UNDECODABLE = "(not decodable)"


def top_k(predictions: pd.DataFrame, k: int) -> float:
    """Percent of videos whose label is among the k best. NaN for an empty table."""
    return 100 * float((predictions["rank"] <= k).fillna(False).mean()) if len(predictions) else float("nan")


def per_class(predictions: pd.DataFrame) -> pd.DataFrame:
    """Videos, top-1 accuracy and the most frequent wrong answer of each class, the worst class first."""
    right = predictions["correct"].astype(bool)
    wrong = predictions["prediction"].replace("", UNDECODABLE).mask(right)
    classes = predictions.assign(top1=100.0 * right, wrong=wrong).groupby("label")
    table = classes.agg(
        videos=("top1", "size"), top1=("top1", "mean"),
        mostly_taken_for=("wrong", lambda each: next(iter(each.mode()), "")),
    )  # fmt: skip
    return table.reset_index().sort_values(["top1", "label"], ignore_index=True)


def macro_f1(predictions: pd.DataFrame) -> float:
    """The mean of the classes' F1 scores in percent, each class counting the same however few videos it has; NaN for an
    empty table. F1 of a class: 2 · right / (its videos + the answers that name it), that is the harmonic mean of
    precision and recall. As scikit-learn's, the classes are those that are true or answered somewhere."""
    right = predictions.loc[predictions["correct"].astype(bool), "label"].value_counts()
    true, answered = predictions["label"].value_counts(), predictions["prediction"].replace("", np.nan).value_counts()
    return 100 * float((2 * right).div(true.add(answered, fill_value=0), fill_value=0).mean())


def confusion(predictions: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """Counts, true class (rows) by predicted class (columns), with a last column for undecodable videos if any."""
    predicted = predictions["prediction"].replace("", UNDECODABLE)
    columns = [*classes, UNDECODABLE] if (predicted == UNDECODABLE).any() else list(classes)
    return pd.crosstab(predictions["label"], predicted).reindex(index=classes, columns=columns, fill_value=0)


def worst(predictions: pd.DataFrame, count: int) -> pd.DataFrame:
    """The `count` worst videos: undecodable ones, then wrong ones, the surest of their wrong answer first."""
    wrong = predictions[~predictions["correct"].astype(bool)]
    key = wrong["score"].fillna(np.inf)
    return wrong.loc[key.sort_values(ascending=False, kind="stable").index].head(count).reset_index(drop=True)


def by_order(tables: dict[str, pd.DataFrame], classes: list[str]) -> pd.DataFrame:
    """Top-1 accuracy of predictions with the frames of each clip in different orders, a row an order of `tables`.

    `top1`: against the label; `top1_backwards`: against the class that the video played backwards shows, the label
    itself where that is no other of `classes` (see `catalog.backwards_names`). Two classes of one pair share their
    frames: only their order tells them apart.
    """
    rows, backwards = [], backwards_names(classes)
    for order, table in tables.items():
        turned = table["label"].map(lambda label: backwards.get(label, label))
        rows.append((order, top_k(table, 1), 100 * float((table["prediction"] == turned).mean())))
    return pd.DataFrame(rows, columns=["order", "top1", "top1_backwards"])


def pareto_front(cost: pd.Series, gain: pd.Series, groups: pd.Series) -> pd.Series:
    """Whether each point is on the front of its group: no other of the group has at most its cost and at least its
    gain, one of them better. Points without a number are not. Accuracies on other videos are another group's.
    """
    known = cost.notna() & gain.notna()
    front = pd.Series(False, index=cost.index)
    for here in cost.index[known]:
        as_good = known & (groups == groups[here]) & (cost <= cost[here]) & (gain >= gain[here])
        front[here] = not (as_good & ((cost < cost[here]) | (gain > gain[here]))).any()
    return front
