"""Plots of embeddings: a map of videos on which those that a network finds alike lie together."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from actlib.analysis.plots.drawing import label_points
from actlib.messages import shorter

COLOURED = 10  # classes with a colour of their own
NAMED = 12  # videos without a label that are named
MARKERS = {"training": "o", "validation": "^", "testing": "s"}
LONGEST = 24  # characters of a name


def embedding_map(points: pd.DataFrame) -> Axes:
    """Videos on a plane, a panel a network: those with a label in the colour of their class, the others as stars with
    their names. `points`: network, video_id, label and subset (empty where nobody told them), x, y; as
    `features.plane`. Of many classes the most frequent have colours."""
    networks = list(dict.fromkeys(points["network"]))
    labelled = points[points["label"] != ""]
    classes = sorted(labelled["label"].value_counts().index[:COLOURED])
    colours = {name: f"C{number}" for number, name in enumerate(classes)}
    figure, axes = plt.subplots(
        1, len(networks), figsize=(4.6 * len(networks) + (2.2 if classes else 0), 4.4), layout="constrained",
        squeeze=False,
    )  # fmt: skip
    for ax, network in zip(axes[0], networks):
        ours = labelled[labelled["network"] == network]
        for subset, rows in ours.groupby("subset", sort=False):
            how = {"marker": MARKERS.get(subset, "o"), "s": 22, "alpha": 0.7, "linewidth": 0}
            ax.scatter(rows["x"], rows["y"], color=[colours.get(each, "0.75") for each in rows["label"]], **how)
        unlabelled = points[(points["network"] == network) & (points["label"] == "")]
        ax.scatter(unlabelled["x"], unlabelled["y"], marker="*", s=110, color="black", linewidth=0, zorder=3)
        ax.set_title(shorter(network, LONGEST), fontsize=10, parse_math=False)
        ax.set_xlabel("first principal component")
        ax.set_xticks([])
        ax.set_yticks([])
        ax.margins(0.12)
    axes[0, 0].set_ylabel("second principal component")
    _legend(figure, colours, labelled, len(points) > len(labelled))
    for ax, network in zip(axes[0], networks):  # last: names are placed by the size that the axes have then
        named = points[(points["network"] == network) & (points["label"] == "")]
        if 0 < len(named) <= NAMED:
            label_points(ax, named["x"], named["y"], named["video_id"].map(lambda name: shorter(name, LONGEST)))
    return axes[0, 0]


def _legend(figure, colours: dict[str, str], labelled: pd.DataFrame, stars: bool) -> None:
    if not colours:
        return
    how = {"linestyle": "", "markersize": 6}
    entries = [(name, {"marker": "o", "color": colour}) for name, colour in colours.items()]
    if more := labelled["label"].nunique() - len(colours):
        entries.append((f"{more} other classes", {"marker": "o", "color": "0.75"}))
    subsets = [each for each in MARKERS if each in set(labelled["subset"])]
    entries += [(each, {"marker": MARKERS[each], "color": "0.3"}) for each in subsets if len(subsets) > 1]
    if stars:
        entries.append(("without a label", {"marker": "*", "color": "black"}))
    handles = [plt.Line2D([], [], label=shorter(name, LONGEST), **how, **look) for name, look in entries]
    legend = figure.legend(handles=handles, loc="outside right center", fontsize=8, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
