"""The widgets in a real JupyterLab, in a real browser."""

from lab_fixtures import IN_A_BROWSER, run_all

pytestmark = IN_A_BROWSER

CURVES = """
from actlib.analysis.widgets import LiveCurves
live = LiveCurves(2)
for epoch in (1, 2):
    list(live.progress([1, 2, 3], total=3))
    live.update(dict(epoch=epoch, loss=2.0 / epoch, top1=40.0 * epoch, val_loss=2.0, val_top1=30.0 * epoch,
                     lr=0.1, clips_per_s=9.0, data_wait=0.5, replaced=0))
"""
GUESS = """
from actlib.analysis.widgets import Guess
which, many = Guess("Which falls furthest?", ["TSN", "TAM"]), Guess("How many are right?")
which.compare("TAM")
many.compare(91.4)
"""
EXPLORER = """
from actlib.analysis.widgets import NetworkExplorer
explorer = NetworkExplorer(["resnet10", "mobilenetv2 width_mult=0.45"], 16, 112)
"""


def test_the_curves_grow_in_the_browser(page, lab):
    run_all(page, lab({"curves": CURVES}), "curves")
    page.wait_for_selector("text=epoch   2 of 2", timeout=120_000)
    assert "val top-1 60.0 %" in " ".join(" ".join(page.locator(".widget-html-content").all_inner_texts()).split())
    assert page.evaluate("document.querySelector('img.widget-image').naturalWidth") > 300
    assert page.errors == []


def test_the_costs_follow_what_is_picked(page, lab, tmp_path):
    run_all(page, lab({"explorer": EXPLORER}), "explorer")
    rows = page.locator(".actlib-table tbody tr")
    rows.nth(1).wait_for(timeout=120_000)
    before = rows.first.inner_text()
    assert "resnet10" in before
    picture = page.locator("img.actlib-image").get_attribute("src")
    page.locator(".actlib-frames input").fill("8")
    page.locator(".actlib-frames input").press("Enter")
    page.wait_for_function("before => document.querySelector('.actlib-table tbody tr').innerText != before", arg=before)
    page.wait_for_function("before => document.querySelector('img.actlib-image').src != before", arg=picture)
    for name in ("resnet34", "i3d_r50"):
        page.locator(".actlib-find input").fill(name)
        page.locator(".actlib-find input").press("Enter")
        page.wait_for_selector(f".actlib-table td:text-is('{name}')", timeout=60_000)
    assert page.locator(".actlib-find input").input_value() == ""
    page.locator(".actlib-typed textarea").fill("c3d\ni3d_r50\nresnet18\nresnet18 shortcut=C")
    page.locator(".actlib-typed textarea").blur()
    page.wait_for_selector(".actlib-message:has-text('use one of A, B')", timeout=60_000)
    page.screenshot(path=tmp_path / "explorer.png")
    assert rows.count() == 3 and page.errors == []


def test_a_guess_is_taken_before_and_after(page, lab):
    run_all(page, lab({"guess": GUESS}), "guess")
    answers = page.locator(".actlib-guess-answer")
    answers.nth(1).wait_for(timeout=120_000)
    assert "no guess was made" in answers.nth(0).inner_text()
    page.locator(".actlib-guess-control input[type=radio]").nth(1).click()
    page.locator(".actlib-guess-button").nth(0).click()
    page.wait_for_selector(".actlib-guess-answer:has-text('You guessed TAM.')")
    page.locator(".actlib-guess-control .noUi-handle").press("ArrowRight")
    page.locator(".actlib-guess-button").nth(1).click()
    page.wait_for_selector(".actlib-guess-answer:has-text('91.4 %. You guessed 51 %.')")
    assert not page.errors
