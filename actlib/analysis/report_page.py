"""A page of HTML that can be mailed: everything is in it, and every text is escaped."""

import base64
import html
import io

from actlib.messages import printable

_STYLE = """
:root { color-scheme: light; --line: #d8dde3; --soft: #f4f6f8; --dim: #5b6673; --bad: #b3261e; --good: #1b7a3d; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px; max-width: 1240px; color: #1c232b; background: #fff;
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { margin: 0 0 4px; font-size: 26px; overflow-wrap: anywhere; }
h2 { margin: 34px 0 8px; padding-bottom: 4px; font-size: 19px; border-bottom: 2px solid var(--line); }
h3 { margin: 22px 0 6px; font-size: 16px; overflow-wrap: anywhere; }
p { margin: 6px 0; }
code, pre { font: 12.5px/1.4 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
pre { margin: 6px 0; padding: 10px; background: var(--soft); border-radius: 6px; white-space: pre-wrap; }
.dim { color: var(--dim); font-size: 13px; }
.counts { display: flex; flex-wrap: wrap; gap: 8px; margin: 12px 0; }
.counts span, .state { padding: 2px 10px; border-radius: 12px; background: var(--soft); white-space: nowrap; }
.state { padding: 0 8px; font-size: 13px; }
.done, .skipped { color: var(--good); } .failed, .stopped, .damaged, .blocked { color: var(--bad); }
.failure { margin: 12px 0; padding: 2px 0 2px 14px; border-left: 4px solid var(--bad); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13.5px; }
th { text-align: left; background: var(--soft); position: sticky; top: 0; }
th, td { padding: 5px 10px; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
td.number { text-align: right; white-space: nowrap; }
td { min-width: 56px; max-width: 420px; }
td.name { min-width: 130px; font-weight: 600; }
td.numbers { min-width: 230px; }
.figures { display: flex; flex-wrap: wrap; gap: 12px; }
figure { margin: 0; flex: 1 1 420px; max-width: 720px; }
figure img { width: 100%; height: auto; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 8px 0; padding: 0; list-style: none; }
.legend i { display: inline-block; width: 22px; height: 4px; margin-right: 6px; vertical-align: middle;
  border-radius: 2px; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
details { margin: 4px 0; }
@media (max-width: 700px) {
  body { padding: 14px; }
  .runs thead { display: none; }
  .runs, .runs tbody, .runs tr, .runs td { display: block; width: 100%; max-width: none; }
  .runs tr { margin: 10px 0; padding: 6px 10px; border: 1px solid var(--line); border-radius: 8px; }
  .runs td, .runs td.number { padding: 3px 0; border: 0; text-align: left; white-space: normal; }
  .runs td::before { content: attr(data-head) ": "; color: var(--dim); }
  .runs td.name::before, .runs td:empty { content: none; display: none; }
  figure { flex-basis: 100%; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  table { font-size: 8pt; } th { position: static; } td { max-width: none; }
  .wide { overflow: visible; }
  h2, h3 { break-after: avoid; } figure, tr, .failure pre { break-inside: avoid; }
}
"""


def esc(text) -> str:
    return html.escape(printable(str(text)))


def page(title: str, parts: list[str]) -> str:
    """The whole file."""
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{esc(title)}</title>\n<style>{_STYLE}</style>"
    body = "\n".join(parts)
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def table(heads: list[str], rows: list[list[str]], classes: list[str], kind: str = "runs") -> str:
    """Rows of cells that are HTML already under `heads` of plain text, with a class a column. On a narrow screen a row
    of `runs` is a card, with the heads beside its cells."""
    names = [esc(head) for head in heads]
    top = "".join(f"<th>{name}</th>" for name in names)
    looks = [f'<td class="{each}" data-head="{name}">' for each, name in zip(classes, names)]
    body = "\n".join("<tr>" + "".join(f"{look}{cell}</td>" for look, cell in zip(looks, row)) + "</tr>" for row in rows)
    return f'<div class="wide"><table class="{kind}"><thead><tr>{top}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def legend(colours: dict[str, str], words: dict[str, str]) -> str:
    """The names of the colours, each with words beside it."""
    items = (
        f'<li><i style="background:{colour}"></i>{esc(name)} <span class="dim">{esc(words.get(name, ""))}</span></li>'
        for name, colour in colours.items()
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


def new_axes(width: float, height: float):
    """Matplotlib axes of a figure that no window or notebook knows of, in inches."""
    from matplotlib.figure import Figure  # takes half a second, and a batch need not have a picture

    return Figure(figsize=(width, height), layout="constrained").subplots()


def picture(axes, words: str) -> str:
    """The figure of matplotlib `axes` within the page; `words` say what it shows."""
    buffer = io.BytesIO()
    axes.figure.savefig(buffer, dpi=160, format="png")
    source = base64.b64encode(buffer.getvalue()).decode()
    return f'<figure><img alt="{esc(words)}" src="data:image/png;base64,{source}"></figure>'
