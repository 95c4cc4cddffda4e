"""Plots of what networks make of time: how far they see."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

REACH = "#d95f02"


def receptive_fields(table: pd.DataFrame) -> Axes:
    """What the middle position behind each layer sees of a clip, a panel a network: in blue the measured influence of
    each frame, the strongest of a layer darkest, between orange marks what the arithmetic allows. `table` has the
    columns of `receptive_field.fields_beside_influence` and `network`. Returns the first panel's axes."""
    groups = list(table.groupby("network", sort=False))
    across = min(3, len(groups))
    down = -(-len(groups) // across)
    most = max(len(rows) for _, rows in groups)
    size = (3.9 * across, down * (0.27 * most + 1.1))
    figure, panels = plt.subplots(down, across, figsize=size, sharex=True, squeeze=False, layout="constrained")
    for ax, (network, rows) in zip(panels.flat, groups):
        _field_panel(ax, network, rows)
    for ax in panels.flat[len(groups) :]:
        ax.set_visible(False)
    for column in range(across):
        lowest = max(row for row in range(down) if panels[row, column].get_visible())
        panels[lowest, column].set_xlabel("frame of the clip")
        panels[lowest, column].tick_params(labelbottom=True)
    figure.suptitle("blue: influence, measured; orange: reach, computed, in frames", fontsize=10)
    return panels[0, 0]


def _field_panel(ax: Axes, network: str, rows: pd.DataFrame) -> None:
    influence = np.stack(rows["influence"])
    frames = influence.shape[1]
    shown = influence / influence.max(axis=1, keepdims=True)
    ax.imshow(shown, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    for place, row in enumerate(rows.itertuples()):
        for end, limit, way in ((row.first - 0.5, -0.5, -1), (row.last + 0.5, frames - 0.5, 1)):
            if way * end <= way * limit:
                ax.plot([end, end], [place - 0.38, place + 0.38], color=REACH, linewidth=2, clip_on=False)
            else:  # beyond the clip
                ax.plot([limit - way], [place], "<>"[way > 0], color=REACH, markersize=5)
        ax.text(frames + 1, place, f"{row.frames}", color=REACH, va="center", fontsize=9)
    ax.set_xlim(-0.5, frames - 0.5)
    ax.set_yticks(range(len(rows)), rows["layer"], parse_math=False, fontsize=8)
    ax.set_title("\n".join(textwrap.wrap(network, 34)), fontsize=9, parse_math=False)
    ax.spines[["top", "right"]].set_visible(False)


def kernel_films(films: np.ndarray, titles: list[str], colours: list | None = None, *, across: int = 4) -> Axes:
    """Filters as little films, each as its frames side by side with a title above and a frame in its colour: `films` is
    uint8 (N, T, H, W, 3). Returns the first one's axes."""
    frames, height, width = films.shape[1:4]
    down = -(-len(films) // across)
    each = 10.5 / across
    figure, panels = plt.subplots(
        down, across, figsize=(10.5, down * (0.9 * each * height / (frames * (width + 1)) + 0.35)),
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for ax in panels.flat[len(films) :]:
        ax.set_visible(False)
    for ax, film, title, colour in zip(panels.flat, films, titles, colours or ["0.6"] * len(films)):
        strip = np.full((height, frames, width + 1, 3), 255, dtype=np.uint8)
        strip[:, :, :width] = film.transpose(1, 0, 2, 3)
        ax.imshow(strip.reshape(height, -1, 3)[:, :-1], interpolation="nearest")
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set(color=colour, linewidth=2.5)
        ax.set_title(title, fontsize=9, parse_math=False)
    figure.supxlabel("each: its frames, time →", fontsize=9)
    return panels[0, 0]


def tuning_curves(answers: pd.DataFrame, index: pd.DataFrame, *, most: int = 2) -> Axes:
    """What filters answer to a bar at several speeds. To the left the curves of the first network's `most` filters that
    prefer left and right most, and in grey the last network's that prefers left most; to the right the direction index
    of all filters.

    `answers`: network, filter, speed (pixels a frame, right above 0), answer (% of the filter's largest one). `index`:
    network, filter, index (−1 left, 1 right), of each network in rising order. Returns the left panel's axes.
    """
    networks = list(dict.fromkeys(index["network"]))
    figure, (ax, beside) = plt.subplots(
        1, 2, figsize=(11, 4.2), layout="constrained", gridspec_kw={"width_ratios": [1.2, 1]}
    )
    ranked = index[index["network"] == networks[0]]["filter"].tolist()
    chosen = [(name, "C0") for name in ranked[:most]] + [(name, "C3") for name in ranked[::-1][:most]]
    for number, (name, colour) in enumerate(chosen):
        rows = answers[(answers["network"] == networks[0]) & (answers["filter"] == name)]
        style = ["-", "--", ":"][number % most % 3]
        ax.plot(rows["speed"], rows["answer"], style, color=colour, label=f"filter {name}")
    if len(networks) > 1:
        name = index[index["network"] == networks[-1]]["filter"].iloc[0]
        rows = answers[(answers["network"] == networks[-1]) & (answers["filter"] == name)]
        ax.plot(rows["speed"], rows["answer"], color="0.55", label=f"filter {name} of {networks[-1]}", zorder=1)
    ax.axvline(0, color="0.8", linewidth=0.8, zorder=0)
    ax.set_xlabel("the bar's speed, pixels a frame   (← left · right →)")
    ax.set_ylabel("answer, % of the filter's largest")
    ax.set_ylim(0, 105)
    legend = ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncol=3, frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)
    for place, network in enumerate(networks):
        values = index[index["network"] == network]["index"].to_numpy()
        spread = np.linspace(-0.22, 0.22, len(values)) if len(values) > 1 else np.zeros(1)
        beside.scatter(values, place + spread, c=values, cmap="coolwarm", vmin=-1, vmax=1, s=34, edgecolors="0.35")
    names = ["\n".join(textwrap.wrap(network, 30)) for network in networks]
    beside.set_yticks(range(len(networks)), names, parse_math=False, fontsize=8)
    beside.set_ylim(len(networks) - 0.5, -0.5)
    beside.set_xlim(-1.05, 1.05)
    beside.set_xticks([-1, -0.5, 0, 0.5, 1])
    beside.set_xlabel("direction index: −1 left alone, 1 right alone")
    beside.axvline(0, color="0.8", linewidth=0.8, zorder=0)
    for panel in (ax, beside):
        panel.spines[["top", "right"]].set_visible(False)
    return ax


def order_panels(orders: pd.DataFrame) -> Axes:
    """Top-1 accuracy with the frames in each order, a panel a network: `orders` has the columns of `metrics.by_order`
    and `network`. Returns the first panel's axes."""
    groups = list(orders.groupby("network", sort=False))
    size = (2.5 * len(groups) + 0.8, 3.1)
    figure, panels = plt.subplots(1, len(groups), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for ax, (network, rows) in zip(panels[0], groups):
        for number, column in enumerate(("top1", "top1_backwards")):
            places = np.arange(len(rows)) + (number - 0.5) * 0.38
            label = ("the label", "the class of the video played backwards")[number]
            ax.barh(places, rows[column], 0.36, color=f"C{number}", label=label)
            for place, value in zip(places, rows[column]):
                ax.text(value, place, f" {value:.0f}", va="center", fontsize=8)
        ax.set_yticks(range(len(rows)), rows["order"])
        ax.set_ylim(len(rows) - 0.45, -0.55)
        ax.set_xlim(0, 119)
        ax.set_xticks([0, 50, 100])
        ax.set_title("\n".join(textwrap.wrap(network, 20)), fontsize=9, parse_math=False)
        ax.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("share of the videos, %, whose prediction is …", fontsize=9)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncol=2, frameon=False)
    return panels[0, 0]
