"""Widgets for JupyterLab, each with a plain form without a screen: curves that grow while a network trains, and
networks to pick whose costs follow."""

import html
import io
from collections.abc import Iterable, Iterator

import ipywidgets
import matplotlib.pyplot as plt
import pandas as pd

from actlib.analysis.costs.speed import spec_at, try_to_describe
from actlib.analysis.plots.costs import COSTS, cost_panels
from actlib.analysis.plots.plots import training_curves
from actlib.analysis.results.compare import for_display
from actlib.models import list_models
from actlib.progress import is_interactive, progress


class LiveCurves:
    """Shows one row after another of a training history.

    With a person watching it displays a bar, the newest numbers and the curves, redrawn at each `update`; headless
    it prints a line an epoch. The `widget` can be tested without a browser: its children hold all that is shown.
    """

    def __init__(self, epochs: int, interactive: bool | None = None):
        self.epochs = epochs
        self.rows: list[dict] = []
        self.interactive = is_interactive() if interactive is None else interactive
        self.bar = ipywidgets.IntProgress(0, 0, epochs, description="epochs", layout={"width": "500px"})
        self.batches = ipywidgets.IntProgress(0, 0, 1, description="batches", layout={"width": "500px"})
        self.text = ipywidgets.HTML("waiting for the first epoch …")
        self.image = ipywidgets.Image(format="png", layout={"width": "640px"})
        self.image.layout.visibility = "hidden"
        self.widget = ipywidgets.VBox([self.bar, self.batches, self.text, self.image])
        if self.interactive:
            from IPython.display import display

            display(self.widget)

    def progress(self, items: Iterable, *, total: int, desc: str = "") -> Iterator:
        """Iterate over the batches of an epoch and show how far it is; for `loops.train.train`'s `progress`."""
        if not self.interactive:
            yield from progress(items, total=total, desc=desc)
            return
        self.batches.max, self.batches.value = total, 0
        for item in items:
            yield item
            self.batches.value += 1

    def update(self, row: dict) -> None:
        """Take in one row of `loops.train.train`."""
        self.rows.append(row)
        line = describe_row(row, self.epochs)
        if not self.interactive:
            print(line, flush=True)
            return
        self.bar.value = row["epoch"]
        self.bar.description = f"{row['epoch']} of {self.epochs}"
        self.text.value = line
        self.image.value = _png(training_curves(pd.DataFrame(self.rows), epochs=self.epochs))
        self.image.layout.visibility = "visible"


def describe_row(row: dict, epochs: int) -> str:
    """One readable line an epoch."""
    replaced = f", {row['replaced']} clips replaced" if row["replaced"] else ""
    return (
        f"epoch {row['epoch']:>3} of {epochs}: loss {row['loss']:.3f}, top-1 {row['top1']:5.1f} %, "
        f"val loss {row['val_loss']:.3f}, val top-1 {row['val_top1']:5.1f} %, lr {row['lr']:.2g}, "
        f"{row['clips_per_s']:.3g} clips/s, {100 * row['data_wait']:.0f} % waiting for data{replaced}"
    )


def _png(axes) -> bytes:
    buffer = io.BytesIO()
    axes.figure.savefig(buffer, dpi=110)
    plt.close(axes.figure)
    return buffer.getvalue()


def _as_lab_shows_it(table: pd.DataFrame) -> str:
    """HTML with the class by which JupyterLab knows tables; inside a widget it does not put it there itself."""
    return f'<div class="jp-RenderedHTMLCommon">{table.to_html(index=False, border=0)}</div>'


class NetworkExplorer:
    """Networks, frames and size to choose; the table and plot of their costs follow at once.

    Everything is counted without running a network (`speed.describe_model`), and each network at each input once. A
    network that does not take the input is named with the reason. Headless, table and plot of the first choice are
    shown as they are. The `widget` can be tested without a browser: setting a control's value does what a person does.
    """

    SHOWN = ("model", *COSTS, "attention_gmacs", "pooling_m", "norm_m", "elementwise_m", "moved_m")

    def __init__(
        self,
        specs: list[str],
        num_frames: int,
        crop_size: int,
        num_classes: int = 400,
        interactive: bool | None = None,
    ):
        self.num_classes = num_classes
        self._counted: dict[tuple, tuple[dict, str]] = {}
        names = {spec_at(name, num_frames, crop_size): name for name in list_models()}
        names |= {name: name for name in list_models()}
        by_name = [names[spec] for spec in specs if spec in names]
        wide, narrow = {"layout": {"width": "300px"}}, {"layout": {"width": "180px"}}
        self.picked = ipywidgets.SelectMultiple(
            options=list_models(), value=by_name, rows=10, description="networks", **wide
        )
        self.typed = ipywidgets.Textarea(
            "\n".join(spec for spec in specs if spec not in names), rows=6, description="with options",
            placeholder="one a line: resnet18 shortcut=A", continuous_update=False, **wide,
        )  # fmt: skip
        self.frames = ipywidgets.BoundedIntText(num_frames, min=1, max=512, description="frames", **narrow)
        self.size = ipywidgets.BoundedIntText(crop_size, min=16, max=1024, step=16, description="size", **narrow)
        self.message, self.table = ipywidgets.HTML(), ipywidgets.HTML()
        self.image = ipywidgets.Image(format="png", layout={"width": "960px"})
        controls = ipywidgets.HBox([self.picked, self.typed, ipywidgets.VBox([self.frames, self.size])])
        self.widget = ipywidgets.VBox([controls, self.message, self.table, self.image])
        for name in ("picked", "typed", "frames", "size", "message", "table", "image"):
            getattr(self, name).add_class(f"actlib-{name}")
        self.update()
        for control in (self.picked, self.typed, self.frames, self.size):
            control.observe(lambda change: self.update(), names="value")
        self._show(is_interactive() if interactive is None else interactive)

    @property
    def specs(self) -> list[str]:
        """The networks chosen, in the order of the list, then as typed."""
        named = [spec_at(name, self.frames.value, self.size.value) for name in self.picked.value]
        typed = [line.strip() for line in self.typed.value.splitlines() if line.strip()]
        return list(dict.fromkeys(named + typed))

    def update(self) -> None:
        """Count what is chosen, and show it."""
        self.message.value = "counting …"
        counted = {spec: self._count(spec) for spec in self.specs}
        refused = [html.escape(f"{spec}: {why}") for spec, (row, why) in counted.items() if not row]
        self.message.value = "<br>".join(refused) if counted else "choose a network"
        table = pd.DataFrame([row for row, _ in counted.values() if row])
        self.table.value = "" if table.empty else _as_lab_shows_it(for_display(table[list(self.SHOWN)]))
        self.image.value = b"" if table.empty else _png(cost_panels(table))
        self.image.layout.display = "none" if table.empty else None

    def _count(self, spec: str) -> tuple[dict, str]:
        shape = (self.frames.value, self.size.value, self.size.value)
        if (spec, shape) not in self._counted:
            self._counted[spec, shape] = try_to_describe(spec, self.num_classes, shape)
        return self._counted[spec, shape]

    def _show(self, interactive: bool) -> None:
        from IPython.display import HTML, Image, display

        if interactive:
            display(self.widget)
            return
        display(HTML(self.message.value + self.table.value))
        if self.image.value:
            display(Image(self.image.value))
