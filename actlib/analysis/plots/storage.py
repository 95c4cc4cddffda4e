"""A plot of what storages bring. As in `plots`: a table in, the axes out, nothing shown."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

NAMES = {
    "original": "original",
    "short_gop": "short_gop\nH.264, key frames close together",
    "frames": "frames\na folder of JPEGs a video",
    "lmdb": "lmdb\nthe JPEGs in one file",
    "flow": "flow\npairs of grey JPEGs",
}
ROW = 0.62  # inches a storage takes


def storage_bars(measured: pd.DataFrame) -> Axes:
    """Clips/s and bytes of each storage side by side, the original's marked by a line, a row a storage of
    `datasets.storage.measure_storages`; one that could not be measured says why. Returns the first panel's axes."""
    size = (10, ROW * len(measured) + 1.2)
    figure, (speed, disk) = plt.subplots(1, 2, figsize=size, sharey=True, layout="constrained")
    rate, place = measured["clips_per_s"], range(len(measured))
    speeds = [f"{rate:,.0f}" + _times(each, " times") for rate, each in zip(rate, measured["times_original"])]
    shares = measured["share_of_original"]
    sizes = [f"{mb:,.3g} MB" + _times(each, " times") for mb, each in zip(measured["mb"], shares)]
    _panel(speed, rate, speeds, measured, "C0", "clips/s, one process (more is better)")
    _panel(disk, measured["mb"], sizes, measured, "C1", "MB of these videos (less is better)")
    speed.set_zorder(disk.get_zorder() + 1)
    speed.patch.set_visible(False)
    for row, note in zip(place, measured["note"]):
        if note:
            # The words run into the other panel, where this row has no bar; they must not narrow the panels.
            text = speed.text(0, row, f"  {_short(note)}", va="center", color="0.4", style="italic", fontsize="small")
            text.set_in_layout(False)
    speed.set_yticks(place, [NAMES.get(name, name) for name in measured["storage"]])
    speed.set_ylim(len(measured) - 0.5, -0.5)
    return speed


def _panel(ax: Axes, values: pd.Series, words: list[str], measured: pd.DataFrame, colour: str, label: str) -> None:
    first = measured["storage"] == "original"
    bars = ax.barh(range(len(values)), values.fillna(0), 0.6, color=colour)
    for bar, is_first in zip(bars, first):
        bar.set_alpha(0.45 if is_first else 1.0)
    for row, (value, text) in enumerate(zip(values, words)):
        if value == value:
            ax.text(value, row, f"  {text}", va="center")
    if first.any():
        ax.axvline(values[first].iloc[0], color="0.3", linewidth=1, linestyle=":", zorder=0)
    ax.set_xlim(0, 1.8 * max(values.max(), 1e-9))
    ax.set_xlabel(label)
    ax.spines[["top", "right"]].set_visible(False)


def _times(factor: float, of: str) -> str:
    return "" if factor == 1 or factor != factor else f"  ({factor:.2g}{of})"


def _short(note: str, length: int = 110) -> str:
    return note if len(note) <= length else note[: length - 1] + "…"
