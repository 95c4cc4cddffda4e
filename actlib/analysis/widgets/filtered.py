"""A table of texts, of which a person chooses the rows to see."""

import IPython.display
import ipywidgets
import pandas as pd

from actlib.progress import is_interactive

# Names stand at the left and the longest text at the right; long names are broken anywhere, so that all columns have
# room. !important: JupyterLab's own style of tables and widgets.
_STYLE = """<style>.actlib-filtered {max-height: 34em; overflow: auto}
  .actlib-filtered :is(td, th) {text-align: left !important; vertical-align: top !important;
  padding: 2px 6px !important; min-width: 3.6em; white-space: normal !important; line-height: 1.3 !important}
  .actlib-filtered :is(td, th):nth-child(-n+2) {min-width: 9em}
  .actlib-filtered :is(td, th):last-child {min-width: 13em}
  .actlib-filtered thead th {position: sticky; top: 0; background: var(--jp-layout-color0, white)}
  .actlib-filtered td {overflow-wrap: anywhere}</style>"""


class FilteredTable:
    """A table with a choice of values for some of its columns; the rows that fit all of them follow at once.

    `table` holds texts alone. `chosen`: the columns to choose by, each with the value at first, "" for all; a column
    with a value is not shown. Headless, the rows of that first choice are shown as they are. `rows`: those that are
    shown. Can be tested without a browser: setting the value of one of the `choices` does what a person does.
    """

    def __init__(self, table: pd.DataFrame, chosen: dict[str, str], interactive: bool | None = None):
        self.table, self.rows = table, table
        self.choices = {
            name: ipywidgets.Dropdown(
                options=[(f"all ({len(table):,})", ""), *_values(table[name])], value=value, description=name,
                layout={"width": "420px"},
            )
            for name, value in chosen.items()
        }  # fmt: skip
        self.html = ipywidgets.HTML()
        self.widget = ipywidgets.VBox([ipywidgets.HBox(list(self.choices.values())), self.html])
        for each in self.choices.values():
            each.observe(self._draw, names="value")
        self._draw()
        shown = is_interactive() if interactive is None else interactive
        IPython.display.display(self.widget if shown else IPython.display.HTML(self.html.value))

    def _draw(self, change=None) -> None:
        fits = pd.Series(True, index=self.table.index)
        for name, choice in self.choices.items():
            fits &= (self.table[name] == choice.value) | (choice.value == "")
        alike = [name for name, choice in self.choices.items() if choice.value]
        self.rows = self.table[fits].drop(columns=alike)
        with pd.option_context("display.max_colwidth", None):
            page = self.rows.to_html(index=False, border=0)
        self.html.value = f'{_STYLE}<div class="actlib-filtered">{page}</div>'


def _values(column: pd.Series) -> list[tuple[str, str]]:
    """The values of a column, in their order, each with how often it is there."""
    counts = column.value_counts()
    return [(f"{value} ({counts[value]:,})", value) for value in column.drop_duplicates()]
