"""Run folders to look through: a table that is searched and sorted, and what the chosen ones hold side by side."""

import base64
import html

import IPython.display
import ipywidgets
import pandas as pd
from matplotlib.colors import to_hex

from actlib.analysis.display import for_display
from actlib.analysis.plots.training import curves_of_runs
from actlib.analysis.results import run_files
from actlib.analysis.results.runs import survey_runs
from actlib.analysis.widgets.clicks import Clicks
from actlib.analysis.widgets.live import png_of
from actlib.messages import cut, listed
from actlib.progress import is_interactive

# The columns of `survey_runs` that are shown, with their heads; a head and a cell in the order of the table.
COLUMNS = {
    "run": "run", "state": "state", "kind": "kind", "model": "model", "dataset": "data set",
    "accuracy": "accuracy, %", "measure": "which", "protocol": "protocol", "videos": "videos",
    "gmacs": "GMACs", "params_m": "parameters, M", "when": "last change",
}  # fmt: skip
NUMBERS = ("accuracy", "gmacs", "params_m")
MOST_ROWS, MOST_RUNS, AT_FIRST = 200, 10, 6  # rows shown, runs side by side, runs chosen before anybody chooses


class RunBrowser:
    """All run folders that shell patterns name, as a table: type to filter, click a column's head to sort, a row to
    look at its run, with Ctrl or Shift at several of them.

    Of the chosen runs it shows the curves of their trainings in one plot, their numbers with what they were measured
    on, the parameters in which they differ, and their pictures. A run that failed or stopped says why, and a folder
    that cannot be read is named. Headless, the table is shown. `table`: of `survey_runs`, all runs; `history`: the
    curves of the chosen ones (`run_files.read_histories`). Can be tested without a browser: `choose` and `sort_by` do
    what clicks do.
    """

    def __init__(self, patterns: list[str], interactive: bool | None = None):
        self.patterns, self.chosen, self._sort = patterns, [], ("when", True)
        wide = {"layout": {"width": "400px"}}
        self.find = ipywidgets.Text(placeholder="words that all are in the row: failed resnet10 motion", **wide)
        self.again = ipywidgets.Button(description="Read again", tooltip="what has changed in the run folders since")
        self.count, self.message = ipywidgets.HTML(), ipywidgets.HTML()
        self.rows = Clicks(self._clicked)
        self.curves = ipywidgets.Image(format="png", layout={"width": "960px", "display": "none"})
        self.numbers, self.parameters, self.pictures = (ipywidgets.HTML() for _ in range(3))
        self.picture = ipywidgets.Dropdown(options=[], description="picture", layout={"display": "none"})
        head = ipywidgets.HBox([self.find, self.again, self.count])
        parts = [self.curves, self.numbers, self.parameters, self.picture, self.pictures]
        self.widget = ipywidgets.VBox([head, self.rows, self.message, *parts])
        for name in ("find", "again", "count", "message", "rows", "curves", "numbers", "parameters", "picture",
                     "pictures"):  # fmt: skip
            getattr(self, name).add_class(f"actlib-runs-{name}")
        self.reload()
        self.choose(self._first_choice())
        self.find.observe(lambda change: self._draw_rows(), names="value")
        self.picture.observe(lambda change: self._draw_pictures(), names="value")
        self.again.on_click(lambda button: self.reload() or self.choose(self.chosen))
        if is_interactive() if interactive is None else interactive:
            IPython.display.display(self.widget)
        else:
            IPython.display.display(for_display(self.table[list(COLUMNS)].rename(columns=COLUMNS)))
            unlike = self.table[self.table["why"].fillna("") != ""].head(MOST_RUNS)
            print(*self._problems(), *_reasons(unlike), sep="\n")

    def reload(self) -> None:
        """Read the run folders anew."""
        self.table, self._unnamed = survey_runs(self.patterns)
        shown = for_display(self.table[list(COLUMNS)])
        self._texts = shown.assign(why=self.table["why"].fillna(""), folder=self.table["folder"])
        self._searched = (
            self._texts.astype(str).agg(" ".join, axis=1).str.lower() if len(shown) else pd.Series(dtype=str)
        )
        self._draw_rows()

    def sort_by(self, column: str) -> None:
        """Sort by a column of COLUMNS, numbers and times from the highest down; asked again, the other way round."""
        before, falling = self._sort
        self._sort = column, not falling if column == before else column in (*NUMBERS, "when")
        self._draw_rows()

    def choose(self, folders: list[str]) -> None:
        """Look at these runs, named by their folders."""
        here = set(self.table["folder"])
        self.chosen = [folder for folder in folders if folder in here]
        self._draw_rows()
        self._draw_details()

    def _first_choice(self) -> list[str]:
        newest = self.table.sort_values("when", ascending=False, na_position="last")["folder"]
        trained = (folder for folder in newest if run_files.has_history(folder))
        return [folder for folder, _ in zip(trained, range(AT_FIRST))]

    def _clicked(self, key: str, more: bool) -> None:
        kind, _, name = key.partition(":")
        if kind == "sort":
            self.sort_by(name)
        elif kind == "tick" or more:
            self.choose([each for each in self.chosen if each != name] + [name] * (name not in self.chosen))
        else:
            self.choose([name])

    def _colours(self) -> dict[str, str]:
        return {folder: to_hex(f"C{number}") for number, folder in enumerate(self.chosen[:MOST_RUNS])}

    def _draw_rows(self) -> None:
        fits = self._searched.map(lambda text: all(word in text for word in self.find.value.lower().split()))
        column, falling = self._sort
        keys = self.table.loc[fits.astype(bool), column]
        keys = pd.to_numeric(keys, errors="coerce") if column in NUMBERS else keys.fillna("").astype(str).str.lower()
        order = keys.sort_values(ascending=not falling, kind="stable", na_position="last").index
        marks = {column: " ▼" if falling else " ▲"}
        heads = "".join(
            f'<th><button data-key="sort:{name}">{html.escape(head)}{marks.get(name, "")}</button></th>'
            for name, head in COLUMNS.items()
        )
        colours = self._colours()
        rows = "".join(self._row(row, colours) for row in self._texts.loc[order[:MOST_ROWS]].to_dict("records"))
        self.rows.html = f"<table><thead><tr><th></th>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        more = f", the first {MOST_ROWS} are shown" if len(order) > MOST_ROWS else ""
        self.count.value = f"{len(order):,} of {len(self.table):,} runs{more}"

    def _row(self, row: dict[str, str], colours: dict[str, str]) -> str:
        folder = html.escape(row["folder"])
        chosen = row["folder"] in self.chosen
        colour = f' style="border-left:6px solid {colours[row["folder"]]}"' if row["folder"] in colours else ""
        tick = f'<td{colour}><input type="checkbox" data-key="tick:{folder}"{" checked" * chosen}></td>'
        cells = "".join(f"<td{CLASS_OF_NUMBERS * (name in NUMBERS)}>{html.escape(row[name])}</td>" for name in COLUMNS)
        title = html.escape("\n".join(filter(None, (row["protocol"], row["why"], row["folder"]))))
        look = ' class="actlib-chosen"' * chosen
        return f'<tr data-key="row:{folder}" title="{title}"{look}>{tick}{cells}</tr>'

    def _problems(self) -> list[str]:
        damaged = self.table[self.table["state"] == "damaged"]
        found = [f"{len(damaged):,} damaged: {listed(damaged['run'].tolist())}"] if len(damaged) else []
        return self._unnamed + found

    def _draw_details(self) -> None:
        chosen = self.table.set_index("folder").loc[self.chosen]
        names = run_files.names_of(self.chosen[:MOST_RUNS])
        said = _reasons(chosen[chosen["state"] != "done"])
        said += [f"{len(self.chosen)} runs are chosen, the first {MOST_RUNS} are shown"] * (len(chosen) > MOST_RUNS)
        self.history, bad = run_files.read_histories(names)
        numbers, more = run_files.read_numbers(names)
        differing, others, worse = run_files.compare_parameters(names)
        self.message.value = _paragraphs([*self._problems(), *said, *bad, *more, *worse])
        self.curves.layout.display = None if len(self.history) else "none"
        if len(self.history):
            colours = self._colours()
            by_name = {name: colours[folder] for name, folder in names.items()}
            self.curves.value = png_of(curves_of_runs(self.history, colours=by_name))
        self.numbers.value = _section("Numbers", numbers)
        title = f"Parameters that differ ({others} others do not)" if len(names) > 1 else "Parameters"
        self.parameters.value = _section(title, differing.reset_index(), folded=len(names) == 1)
        self._found = {name: run_files.pictures_of(folder) for name, folder in names.items()}
        options = list(dict.fromkeys(picture for found in self._found.values() for picture in found))
        kept = self.picture.value if self.picture.value in options else next(iter(options), None)
        self.picture.options, self.picture.value = options, kept
        self.picture.layout.display = None if options else "none"
        self._draw_pictures()

    def _draw_pictures(self) -> None:
        shown = []
        for name, found in self._found.items():
            try:
                data = found[self.picture.value].read_bytes() if self.picture.value in found else b""
            except OSError as error:
                shown.append(f"<p>{html.escape(f'{name}: {error}')}</p>")
                continue
            source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
            look = "max-width:100%;max-height:480px;width:auto;height:auto;margin:0"
            caption = f"<figcaption>{html.escape(name)}</figcaption>"
            shown += [
                f'<figure style="margin:4px;max-width:48%">{caption}<img src="{source}" style="{look}"></figure>'
            ] * bool(data)
        self.pictures.value = f'<div style="display:flex;flex-wrap:wrap">{"".join(shown)}</div>'


CLASS_OF_NUMBERS = ' class="actlib-number"'


def _reasons(runs: pd.DataFrame) -> list[str]:
    """Why each of these runs is not done, as far as it says so."""
    return [cut(f"{row.run}: {row.state}. {row.why}".removesuffix(". ")) for row in runs.itertuples()]


def _paragraphs(sentences: list[str]) -> str:
    return "".join(f"<div>{html.escape(cut(each, 600))}</div>" for each in sentences)


def _section(title: str, table: pd.DataFrame, folded: bool = False) -> str:
    """A table below a title; nothing of an empty one."""
    if table.empty:
        return ""
    with pd.option_context("display.max_colwidth", 160):
        shown = f'<div class="jp-RenderedHTMLCommon">{for_display(table).to_html(index=False, border=0)}</div>'
    if folded:
        return f"<details><summary>{html.escape(title)}</summary>{shown}</details>"
    return f"<b>{html.escape(title)}</b>{shown}"
