"""A form of a notebook's parameters, which writes them into the notebook's cell and into recipes."""

import ast
import html
import math
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import anywidget
import IPython.display
import ipywidgets
import traitlets

from actlib.files import write_text
from actlib.progress import is_interactive

# JupyterLab lets a page reach its notebooks where it was started with --LabApp.expose_app_in_browser=True, as
# `make lab` does. Lines that are no parameter's stay as they are.
_WRITER = """
function render({ model, el }) {
  model.on("change:lines", () => {
    const lines = model.get("lines");
    const panels = window.jupyterapp ? [...window.jupyterapp.shell.widgets("main")] : [];
    const panel = panels.find((each) => each.node.contains(el));
    const cells = panel?.content?.widgets ?? [];
    const cell = cells.find((each) => (each.model.getMetadata("tags") ?? []).includes("parameters"));
    if (cell) {
      const text = cell.model.sharedModel.getSource().split("\\n");
      cell.model.sharedModel.setSource(text.map((line) => lines[line.match(/^(\\w+) = /)?.[1]] ?? line).join("\\n"));
    }
    model.set("answer", { number: lines.number, written: Boolean(cell) });
    model.save_changes();
  });
}
export default { render };
"""


class _CellWriter(anywidget.AnyWidget):
    """Puts lines into the cell tagged `parameters` of the notebook in which it is shown."""

    _esm = _WRITER
    lines = traitlets.Dict().tag(sync=True)
    answer = traitlets.Dict().tag(sync=True)


class ParameterForm:
    """The parameters `p` of a notebook as sliders, choices and fields with their help, from their pydantic model.

    Each change is checked as a YAML file is, and what is wrong is said at once. One button writes what was changed into
    the notebook's parameters cell, the other saves what differs from the defaults as a recipe below `folder`. Headless
    only what differs from the defaults is printed. `p` is an `actlib.params.Params`.
    """

    def __init__(self, p, folder: str, interactive: bool | None = None):
        self.model, self.folder = type(p), Path(folder)
        self._first = p.model_dump()
        if not (is_interactive() if interactive is None else interactive):
            print("not the defaults: " + (p.as_yaml(only_changes=True).replace("\n", "  ").strip() or "none"))
            return
        self.controls = {name: _control(name, self.model.model_fields[name], value) for name, value in p}
        groups = self.model.groups()
        self.groups = ipywidgets.Accordion([ipywidgets.VBox(list(map(self._row, names))) for names in groups.values()])
        self.groups.titles, self.groups.selected_index = tuple(groups), None
        self.message = ipywidgets.HTML()
        self.write = ipywidgets.Button(description="Write into the cell", button_style="primary")
        self.recipe = ipywidgets.Text(f"{self.folder}/mine.yaml", continuous_update=False, layout={"width": "320px"})
        self.save = ipywidgets.Button(description="Save as recipe")
        self.writer = _CellWriter()
        self._saved: set[Path] = set()
        buttons = ipywidgets.HBox([self.write, self.save, self.recipe, self.writer])
        self.widget = ipywidgets.VBox([self.groups, self.message, buttons])
        for name in ("message", "write", "recipe", "save"):
            getattr(self, name).add_class(f"actlib-form-{name}")
        for control in self.controls.values():
            control.observe(lambda change: self.check(), names="value")
        self.write.on_click(lambda button: self._write())
        self.save.on_click(lambda button: self._save())
        self.writer.observe(lambda change: self._tell(change.new), names="answer")
        self.check()
        IPython.display.display(self.widget)

    @property
    def values(self) -> dict[str, Any]:
        """What the form holds, by name; a list that cannot be read is the text that was typed."""
        return {name: _read(control.value, self._first[name]) for name, control in self.controls.items()}

    def check(self):
        """The parameters that the form holds, and None where they are wrong; the message says so, and what changed."""
        try:
            p = self.model.build(self.values, "this form")
        except ValueError as error:
            self._say(str(error), wrong=True)
            p = None
        else:
            changed = ", ".join(self._changed(p)) or "nothing"
            self._say(f"changed here: {changed}")
        self.write.disabled = self.save.disabled = p is None
        return p

    def _changed(self, p) -> list[str]:
        """Of the values, those that this form changed, in the order of the cell."""
        values = p.model_dump()
        return [name for names in self.model.groups().values() for name in names if values[name] != self._first[name]]

    def _row(self, name: str) -> ipywidgets.HBox:
        told = html.escape(self.model.model_fields[name].description)
        told = f'<span style="color: var(--jp-ui-font-color2)">{told}</span>'
        label = ipywidgets.HTML(f"<code>{name}</code>", layout={"width": "150px"})
        self.controls[name].add_class(f"actlib-form-{name}")
        return ipywidgets.HBox([label, self.controls[name], ipywidgets.HTML(told)], layout={"align_items": "center"})

    def _write(self) -> None:
        if (p := self.check()) is not None:
            lines = self.model.lines(p.model_dump())
            self.writer.lines = {**lines, "number": self.writer.lines.get("number", 0) + 1}

    def _tell(self, answer: dict) -> None:
        if answer.get("written"):
            self._say("written into the parameters cell; Run All Cells takes them")
            return
        p = self.check()
        lines = "\n".join(self.model.lines(p.model_dump())[name] for name in self._changed(p)) if p else ""
        self._say(f"JupyterLab lets nobody write into its cells unless `make lab` started it. To paste:\n{lines}")

    def _save(self) -> None:
        p, path = self.check(), Path(self.recipe.value.strip())
        if p is None:
            return
        if path.suffix != ".yaml":
            self._say(f"{path}: a recipe's name ends in .yaml", wrong=True)
        elif path.exists() and path not in self._saved:
            self._say(f"{path} exists; choose another name, or delete it", wrong=True)
        else:
            try:
                write_text(path, p.as_yaml(only_changes=True))
            except OSError as error:
                self._say(str(error), wrong=True)
                return
            self._saved.add(path)
            self._say(f"saved as {path}; a batch or `papermill … -f {path}` runs it")

    def _say(self, text: str, wrong: bool = False) -> None:
        colour = "var(--jp-error-color1)" if wrong else "inherit"
        self.message.value = f'<span style="white-space: pre-wrap; color: {colour}">{html.escape(text)}</span>'


def _control(name: str, field, value) -> ipywidgets.ValueWidget:
    """What suits a field of a pydantic model: its type and its bounds decide."""
    wide = {"layout": {"width": "260px"}}
    if get_origin(field.annotation) is Literal:
        return ipywidgets.Dropdown(options=get_args(field.annotation), value=value, **wide)
    if isinstance(value, bool):
        return ipywidgets.Checkbox(value, indent=False, **wide)
    if name == "model":
        from actlib.models import list_models

        return ipywidgets.Combobox(value=value, options=list_models(), continuous_update=False, **wide)
    if isinstance(value, str | list):
        text = value if isinstance(value, str) else repr(value)
        return ipywidgets.Text(text, continuous_update=False, **wide)
    least, above, most = (next((getattr(each, kind) for each in field.metadata if hasattr(each, kind)), None)
                          for kind in ("ge", "gt", "le"))  # fmt: skip
    low, high = above if least is None else least, most
    slides = low is not None and high is not None and high - low <= 100
    if isinstance(value, int) and slides:
        return ipywidgets.IntSlider(value, min=low, max=high, **wide)
    if isinstance(value, int):
        return ipywidgets.BoundedIntText(value, min=low or 0, max=high or 2**31 - 1, **wide)
    if slides and above is None:
        how = {"step": (high - low) / 100, "readout_format": ".2f"}
        return ipywidgets.FloatSlider(value, min=low, max=high, **how, **wide)
    return ipywidgets.FloatText(value, step=_step(value), **wide)


def _step(value: float) -> float:
    """What an arrow adds to a number: one of its leading digit."""
    return 10.0 ** math.floor(math.log10(abs(value))) if value else 0.1


def _read(shown, first):
    """What a control holds; of a list, written with or without its brackets, the values."""
    if isinstance(first, list) and isinstance(shown, str):
        try:
            value = ast.literal_eval(shown)
            return list(value) if isinstance(value, tuple) else value
        except (ValueError, SyntaxError):
            return shown
    return shown
