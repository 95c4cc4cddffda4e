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
    """Of each class that has videos its label, videos (the support), recall, precision and F1 in percent and its most
    frequent wrong answer, the lowest recall first.

    recall: right of its videos, which is its top-1 accuracy; precision: right of the answers that name it; F1: their
    harmonic mean, 2 · right / (its videos + the answers that name it). As scikit-learn's with zero_division 0, a class
    that no answer names has precision and F1 of 0.
    """
    wrong = predictions["prediction"].replace("", UNDECODABLE).mask(predictions["correct"].astype(bool))
    mostly = wrong.groupby(predictions["label"]).agg(lambda each: next(iter(each.mode()), ""))
    right, videos, answers = _counts(predictions)
    table = pd.DataFrame({
        "videos": videos, "recall": 100 * right / videos, "precision": 100 * right / answers.clip(lower=1),
        "f1": 200 * right / (videos + answers), "mostly_taken_for": mostly,
    })  # fmt: skip
    there = table[table["videos"] > 0].rename_axis("label").reset_index()
    return there.sort_values(["recall", "label"], ignore_index=True)


def macro_f1(predictions: pd.DataFrame) -> float:
    """The mean of the classes' F1 (see `per_class`) in percent, each class counting the same however few videos it has;
    NaN for an empty table.

    As scikit-learn's f1_score(average="macro", zero_division=0), the classes are those that are true or answered
    somewhere: one without videos counts as 0 where an answer names it, and not at all where none does. A video that
    could not be decoded is an answer for none, and so lowers the recall of its class.
    """
    right, videos, answers = _counts(predictions)
    return 100 * float((2 * right / (videos + answers)).mean())


def _counts(predictions: pd.DataFrame) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Right answers, videos, and answers, of each class that is true or answered somewhere."""
    right = predictions.loc[predictions["correct"].astype(bool), "label"]
    answered = predictions["prediction"].replace("", np.nan)
    counted = [each.value_counts() for each in (right, predictions["label"], answered)]
    names = counted[1].index.union(counted[2].index)
    return tuple(each.reindex(names, fill_value=0) for each in counted)


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
