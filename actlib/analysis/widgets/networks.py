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
    input is named with the reason, and a kind of work that none of them does is left out. Headless, table and plot of
    the first choice are shown as they are. The `widget` can be tested without a browser: setting a control's value does
    what a person does.
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
        self._listed = list_models()
        names = {spec_at(name, num_frames, crop_size): name for name in self._listed}
        wide, narrow = {"layout": {"width": "300px"}}, {"layout": {"width": "180px"}}
        self.find = ipywidgets.Combobox(
            options=self._listed, placeholder=f"type a part of a name ({len(self._listed)})", continuous_update=False,
            description="add", **wide,
        )  # fmt: skip
        self.typed = ipywidgets.Textarea(
            "\n".join(names.get(spec, spec) for spec in specs), rows=6, description="networks",
            placeholder="one a line: resnet18 shortcut=A", continuous_update=False, **wide,
        )  # fmt: skip
        self.frames = ipywidgets.BoundedIntText(num_frames, min=1, max=512, description="frames", **narrow)
        self.size = ipywidgets.BoundedIntText(crop_size, min=16, max=1024, step=16, description="size", **narrow)
        self.message, self.table = ipywidgets.HTML(), ipywidgets.HTML()
        self.image = ipywidgets.Image(format="png", layout={"width": "960px"})
        networks, inputs = [self.find, self.typed], [self.frames, self.size]
        controls = ipywidgets.HBox([ipywidgets.VBox(networks), ipywidgets.VBox(inputs)])
        self.widget = ipywidgets.VBox([controls, self.message, self.table, self.image])
        for name in ("find", "typed", "frames", "size", "message", "table", "image"):
            getattr(self, name).add_class(f"actlib-{name}")
        interactive = is_interactive() if interactive is None else interactive
        if interactive:
            IPython.display.display(self.widget)  # first, so that it says that it counts
        self.update()
        for control in (self.typed, self.frames, self.size):
            control.observe(lambda change: self.update(), names="value")
        self.find.observe(lambda change: self._add(change.new), names="value")
        if interactive:
            return
        IPython.display.display(IPython.display.HTML(self.message.value + self.table.value))
        if self.image.value:
            IPython.display.display(IPython.display.Image(self.image.value))

    @property
    def specs(self) -> list[str]:
        """The networks chosen, in the order of their lines; a name alone is built for the frames and size chosen."""
        lines = [line.strip() for line in self.typed.value.splitlines() if line.strip()]
        frames, size = self.frames.value, self.size.value
        return list(dict.fromkeys(spec_at(line, frames, size) if line in self._listed else line for line in lines))

    def _add(self, name: str) -> None:
        """Put a network that was found among those chosen, and empty the field for the next."""
        if name in self._listed:
            self.typed.value = "\n".join([*filter(None, self.typed.value.splitlines()), name])
            self.find.value = ""

    def update(self) -> None:
        """Count what is chosen, and show it."""
        self.message.value = "counting …"
        counted = {spec: self._count(spec) for spec in self.specs}
        refused = [html.escape(f"{spec}: {why}") for spec, (row, why) in counted.items() if not row]
        rows, shown, picture = pd.DataFrame([row for row, _ in counted.values() if row]), "", b""
        if len(rows):
            some = [name for name in self.SHOWN if name == "model" or rows[name].any()]
            shown, picture = for_display(rows[some]).to_html(index=False, border=0), png_of(cost_panels(rows))
        # JupyterLab knows tables by this class; inside a widget it does not put it there itself.
        self.table.value = f'<div class="jp-RenderedHTMLCommon">{shown}</div>'
        self.image.value, self.image.layout.display = picture, None if picture else "none"
        self.message.value = "<br>".join(refused) if counted else "choose a network"  # last: it says that all is there

    def _count(self, spec: str) -> tuple[dict, str]:
        shape = (self.frames.value, self.size.value, self.size.value)
        if (spec, shape) not in self._counted or spec.split()[0] not in self._listed:
            self._counted[spec, shape] = try_to_describe(spec, self.num_classes, shape)
        return self._counted[spec, shape]
