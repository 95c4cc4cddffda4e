"""The ledger's file: it follows the table of published weights, reads back as it was written, and loses no row."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from actlib.ledger.book import HEADER, PATH, UPDATE, Entry, Figures, Ours, change_book, read_book
from actlib.ledger.figures import count_gmacs, make_entries, published_figures
from actlib.params import ParamsError

ROW = "figures:\n- {file: a.pth, network: x, clip: y, data: z"
OURS = {
    "top1": 89.1, "top5": 99.0, "difference": -0.13, "videos": "14,700 of 14,787", "state": "measured",
    "protocol": "centre clip × centre crop @ 112", "date": "2026-11-28", "table": "table.csv", "run": "outputs/x",
    "versions": "torch 2",
}  # fmt: skip


def entry(file="a.pth", top1: float | None = 89.23, ours=OURS, **more) -> Entry:
    facts = {"network": "shufflenet width_mult=0.5", "clip": "16×2 @112", "data": "Jester", "gmacs": 0.07169}
    published = Figures() if top1 is None else Figures(top1=top1)
    values = {"file": file, "published": published, "recipe": {"protocol": "clip"}, "ours": ours}
    return Entry.build(facts | values | more, "test")


def test_the_ledger_in_the_repository_is_that_of_the_published_table(root):
    before, figures = read_book(root / PATH), published_figures()
    named = {each.input for each in figures}
    known = count_gmacs([], before)
    made = make_entries(figures, before, {}, known)
    told = [each.model_dump(exclude={"ours"}) for each in before]
    assert told == [each.model_dump(exclude={"ours"}) for each in made], f"the table has changed: run `{UPDATE}`"
    assert {each.input for each in figures if not each.row.image} == named & set(known), f"run `{UPDATE}`"
    few = [each for each in figures if "shufflenetv2_0.25x" in each.row.file]
    assert len(few) == 2 and count_gmacs(few) == {each.input: known[each.input] for each in few}


def test_what_is_written_reads_back_and_is_written_the_same(tmp_path):
    path = tmp_path / "ledger.yaml"
    rows = [
        entry(rests_on="the file's own: 89.227 # not a comment", protocol="- 10 clips: × 3 crops, 'softmax'"),
        entry("b.pth", None, "not run: no figure is published", recipe={}),
        entry("b.pth", 1e-3, "not run", recipe={"num_clips": 10, "average": "logits", "order_check": []}),
    ]
    change_book(path, lambda before: [*before, *rows])
    text = path.read_text()
    assert text.startswith(HEADER) and read_book(path) == rows
    path.write_text("# my own words\n\n# and more\n" + text)
    stamp = path.stat().st_mtime_ns
    assert change_book(path, lambda before: before) == rows
    assert path.stat().st_mtime_ns == stamp and path.read_text().startswith("# my own words\n\n# and more\n")
    change_book(path, lambda before: [before[0], entry("new.pth"), *before[1:]])
    lines = path.read_text().splitlines()
    kept = [line for line in ("# my own words\n\n# and more\n" + text).splitlines() if line in lines]
    assert len(lines) - len(kept) == len(entry("new.pth").model_dump(exclude_none=True)["ours"]) + 9
    change_book(path, lambda before: [])
    assert path.read_text().endswith("figures: []\n") and read_book(path) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n", "expected lines of the form name: value"),
        ("rows: []\n", "no ledger: expected `figures`"),
        ("figures: [1]\n", "no ledger"),
        (f"{ROW}, our: not run}}\n", r"(?s)row 1 \(a.pth\).*our: no such parameter; did you mean ours"),
        (f"{ROW}, ours: {{top1: high}}}}\n", r"ours\.Ours\.top1: 'high'"),
    ],
)  # fmt: skip
def test_what_is_no_ledger_is_refused_and_stays(tmp_path, text, words):
    path = tmp_path / "ledger.yaml"
    path.write_text(text)
    with pytest.raises(ParamsError) as error:
        change_book(path, lambda before: [entry()])
    assert re.search(words, str(error.value)) and str(path) in str(error.value) and path.read_text() == text


def test_a_figure_stands_there_once_and_a_changed_book_that_fails_stays(tmp_path):
    path = tmp_path / "ledger.yaml"
    change_book(path, lambda before: [entry(), entry(top1=90.0)])
    text = path.read_text()
    with pytest.raises(ZeroDivisionError):
        change_book(path, lambda before: [entry(top1=1 / 0)])
    assert path.read_text() == text and not list(tmp_path.glob(".part-*"))
    path.write_text(text.replace("top1: 90.0}", "top1: 89.23}"))
    with pytest.raises(ParamsError, match="row 2 .*stands there twice"):
        read_book(path)


ADDS = """
import sys
from actlib.ledger.book import Entry, change_book
for number in range(30):
    row = Entry(file=f"{sys.argv[2]}-{number}", network="x", clip="y", data="z", ours="not run")
    change_book(sys.argv[1], lambda before: [*before, row])
"""


def test_two_commands_at_once_lose_no_row(tmp_path, root):
    path, names = tmp_path / "ledger.yaml", ("one", "two")
    command = [sys.executable, "-c", ADDS, str(path)]
    how = {"cwd": root, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    started = [subprocess.Popen([*command, name], **how) for name in names]
    said = [each.communicate(timeout=300)[0] for each in started]
    assert [each.returncode for each in started] == [0, 0], said
    files = [each.file for each in read_book(path)]
    assert sorted(files) == sorted(f"{name}-{number}" for name in names for number in range(30))


def test_what_was_measured_stays_if_it_was_by_this_recipe(capsys):
    (figure, *_) = [each for each in published_figures() if each.row.file.startswith("jester_shufflenet_0.5x")]
    of = {"file": figure.row.file, "recipe": figure.recipe | {"num_crops": 1}}  # a default that is written down
    other = entry("gone.pth")
    (kept, gone) = make_entries([figure], [entry(**of), other, entry("forgotten.pth", ours="not run")], {}, {})
    assert kept.result == Ours(**OURS) and kept.recipe == figure.recipe and gone == other
    fewer = Ours(**OURS | {"videos": "14 of 14,787", "state": "partial", "top1": 100.0})
    (kept,) = make_entries([figure], [entry(**of)], {figure.key: fewer}, {})
    assert kept.result.top1 == 89.1, "what has more videos"
    more = Ours(**OURS | {"videos": "14,787 of 14,787", "top1": 89.2})
    assert make_entries([figure], [entry(**of)], {figure.key: more}, {})[0].result == more
    of["recipe"] = {"protocol": "video"}
    assert make_entries([figure], [entry(**of)], {figure.key: "failed: why"}, {})[0].ours == "not run: failed: why"
    assert "by another recipe, {'protocol': 'video'}: left out" in capsys.readouterr().out


def test_the_reasons_why_a_figure_was_not_run(root):
    states = {each.file: each.ours for each in make_entries(published_figures(), [], {}, {})}
    assert states["r3d18_K_200ep.pth"] == "not run: no figure is published"
    assert states["resnet18-f37072fd.pth"] == "not run: a figure of images"
    assert states["K400-I3D-ResNet-50-f32.pth.tar"] == "not run: weights need a person"
    assert states["r3d_18-b3b3357e.pth"] == "not run: the data set is not here"
    assert Path(root / PATH).read_text().count("not run: weights need a person") > 60
