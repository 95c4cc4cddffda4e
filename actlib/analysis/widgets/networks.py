"""Networks to pick, whose costs follow at once; without a screen those of the first choice."""

import html

import IPython.display
import ipywidgets
import pandas as pd

from actlib.analysis.costs.networks import spec_at, try_to_describe
from actlib.analysis.display import for_display
from actlib.analysis.plots.costs import COSTS, cost_panels
from actlib.analysis.widgets.live import png_of
from actlib.models import list_models
from actlib.progress import is_interactive


class NetworkExplorer:
    """Networks, frames and size to choose; the table and plot of their costs follow at once.

    Everything is counted without running a network (`costs.networks.describe_model`), and each of the list at each
    input once; what is typed and may stand in a file of one's own is counted anew. A network that does not take the
    input is named with the reason. Headless, table and plot of the first choice are shown as they are. The `widget` can
    be tested without a browser: setting a control's value does what a person does.
    """

    SHOWN = ["model", *COSTS, "attention_gmacs", "pooling_m", "norm_m", "elementwise_m", "moved_m"]

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
        listed = list_models()
        names = {name: name for name in listed} | {spec_at(name, num_frames, crop_size): name for name in listed}
        wide, narrow = {"layout": {"width": "300px"}}, {"layout": {"width": "180px"}}
        self.picked = ipywidgets.SelectMultiple(
            options=listed, value=[names[s] for s in specs if s in names], rows=10, description="networks", **wide
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
        interactive = is_interactive() if interactive is None else interactive
        if interactive:
            IPython.display.display(self.widget)  # first, so that it says that it counts
        self.update()
        for control in (self.picked, self.typed, self.frames, self.size):
            control.observe(lambda change: self.update(), names="value")
        if interactive:
            return
        IPython.display.display(IPython.display.HTML(self.message.value + self.table.value))
        if self.image.value:
            IPython.display.display(IPython.display.Image(self.image.value))

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
        rows, shown, picture = pd.DataFrame([row for row, _ in counted.values() if row]), "", b""
        if len(rows):
            shown, picture = for_display(rows[self.SHOWN]).to_html(index=False, border=0), png_of(cost_panels(rows))
        # JupyterLab knows tables by this class; inside a widget it does not put it there itself.
        self.table.value = f'<div class="jp-RenderedHTMLCommon">{shown}</div>'
        self.image.value, self.image.layout.display = picture, None if picture else "none"
        self.message.value = "<br>".join(refused) if counted else "choose a network"  # last: it says that all is there

    def _count(self, spec: str) -> tuple[dict, str]:
        shape = (self.frames.value, self.size.value, self.size.value)
        if (spec, shape) not in self._counted or spec.split()[0] not in self.picked.options:
            self._counted[spec, shape] = try_to_describe(spec, self.num_classes, shape)
        return self._counted[spec, shape]
