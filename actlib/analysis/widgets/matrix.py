"""A confusion matrix as SVG, whose cells report clicks (see `clicks.Clicks`) and follow JupyterLab's theme."""

import html

import pandas as pd

from actlib.analysis.results.metrics import UNDECODABLE

NAMED = 60  # classes whose names have room beside their rows
_LETTER, _LONGEST = 6.3, 26  # pixels a letter, letters of a name


def matrix_svg(counts: pd.DataFrame, shown: list[str], cell: tuple[str, str]) -> str:
    """The classes `shown`, in this order, of the counts of true classes (rows) by predicted ones (columns, see
    `metrics.confusion`): right ones on the diagonal, mistakes elsewhere, the darker the larger their share of the true
    class. Each cell that is not empty has the data-key `row,column`, its places in `counts`. `cell`: the (true class,
    prediction) with a ring around it.
    """
    columns = shown + [name for name in counts.columns if name == UNDECODABLE]
    size = max(4, min(30, 520 // max(1, len(shown))))
    named = len(shown) <= NAMED
    names = [html.escape(name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…") for name in columns]
    edge = min(_LONGEST, max(map(len, columns))) * _LETTER + 34 if named else 22
    parts = _names(names, len(shown), size, edge) if named else []
    numbers, totals = counts.to_numpy(), counts.sum(axis=1).to_numpy()
    across = [(column, counts.columns.get_loc(name), name) for column, name in enumerate(columns)]
    ring = ""
    for row, label in enumerate(shown):
        at = counts.index.get_loc(label)
        for column, place, name in across:
            if not (count := numbers[at, place]):
                continue
            x, y = round(edge + column * size), round(edge + row * size)
            said = f"{html.escape(label)} → {html.escape(name)}: {count} of {totals[at]}"
            kind, share = "right" if name == label else "wrong", count / totals[at]
            look = f'class="actlib-{kind}" fill-opacity="{0.2 + 0.6 * share:.2f}"'
            parts += [f'<g data-key="{at},{place}"><title>{said}</title><rect {look} {_square(x, y, size)}/>']
            if size >= 14:
                parts.append(f'<text x="{x + size / 2}" y="{y + size / 2 + 4}" text-anchor="middle">{count}</text>')
            parts.append("</g>")
            if (label, name) == cell:
                ring = f'<rect class="actlib-ring" {_square(x, y, size)}/>'
    wide, high = size * len(columns), size * len(shown)
    frame = f'<rect class="actlib-frame" x="{edge - 1:.0f}" y="{edge - 1:.0f}" width="{wide + 1}" height="{high + 1}"/>'
    titles = (
        f'<text x="{edge + wide / 2:.0f}" y="12" text-anchor="middle">predicted class</text>'
        f'<text transform="translate(12 {edge + high / 2:.0f}) rotate(-90)" text-anchor="middle">true class</text>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{edge + wide + 4:.0f}" height="{edge + high + 4:.0f}">'
        f"{''.join(parts)}{frame}{ring}{titles}</svg>"
    )


def _square(x: int, y: int, size: int) -> str:
    return f'x="{x}" y="{y}" width="{size - 1}" height="{size - 1}"'


def _names(names: list[str], rows: int, size: int, edge: float) -> list[str]:
    """Names right of the left edge, a row each, and upright below the top one, a column each."""
    places = [edge + number * size + size / 2 + 4 for number in range(len(names))]
    left = [
        f'<text x="{edge - 5:.0f}" y="{y:.0f}" text-anchor="end">{name}</text>' for name, y in zip(names[:rows], places)
    ]
    top = [
        f'<text transform="translate({x:.0f} {edge - 5:.0f}) rotate(-90)">{name}</text>'
        for name, x in zip(names, places)
    ]
    return left + top
