"""A batch that is followed in a real JupyterLab and browser, in a light and a dark page."""

from lab_fixtures import IN_A_BROWSER, run_all
from runfolders import status, training

from actlib import batch_progress
from actlib.run_progress import Told

pytestmark = IN_A_BROWSER
FOLLOWS = """
import asyncio
from actlib.analysis.widgets import BatchProgress
before = globals().get("progress")
progress = BatchProgress("outputs/b", every_s=0.2)
await asyncio.sleep(0.5)  # so that what is cancelled ends
print("the one before follows:", before and before.follows, "- this one follows:", progress.follows)
"""


def test_a_batch_is_followed(page, lab, tmp_path):
    batch = batch_progress.BatchProgress.begin(tmp_path / "outputs" / "b", "params/b.yaml", ["late", "bad", "trains"])
    for name in ("notebooks", "params"):  # a project of its own
        (tmp_path / name).mkdir()
    training(batch.folder / "trains", epochs=8, top1=62.5)
    status(batch.folder / "trains", "running")
    (batch.folder / "trains" / "log.txt").write_text("epoch 9: 5 of 9")
    status(batch.folder / "bad", "failed", why="ValueError: no videos of <class> 7 can be decoded")
    batch.runs |= {"trains": Told("running", "tcp://10.0.0.7:40123"), "bad": Told("failed")}
    batch.dashboard, batch.left = "http://10.0.0.1:8787/status", 340.0
    batch.write()

    run_all(page, lab({"follow": FOLLOWS}, "--LabApp.expose_app_in_browser=True"), "follow")
    page.wait_for_selector("text=the one before follows: None - this one follows: True", timeout=180_000)
    head, rows = page.locator(".actlib-batch-head"), page.locator(".actlib-batch-rows tbody tr")
    assert "b: 1 running · 1 failed · 1 waiting" in head.inner_text() and "left · http://10.0.0.1" in head.inner_text()
    told = " ".join(rows.first.inner_text().split())
    assert told.startswith("trains ● running tcp://10.0.0.7:40123 8 of 8 62.5 val top-1"), told
    rows.first.click()
    page.wait_for_selector(".actlib-batch-log:has-text('epoch 9: 5 of 9')", timeout=60_000)
    (batch.folder / "trains" / "log.txt").write_text("epoch 9: 9 of 9")
    page.wait_for_selector(".actlib-batch-log:has-text('epoch 9: 9 of 9')", timeout=60_000)
    for theme in ("Light", "Dark"):
        command = f"jupyterapp.commands.execute('apputils:change-theme', {{theme: 'JupyterLab {theme}'}})"
        page.evaluate(command)
        page.wait_for_selector(f"body[data-jp-theme-name='JupyterLab {theme}']", state="attached", timeout=60_000)
        page.wait_for_timeout(500)  # until its style sheet has come
        page.screenshot(path=tmp_path / f"{theme}.png")
    ground, ink = (page.evaluate(f"getComputedStyle({where}).{what}") for where, what in (
        ("document.querySelector('.jp-Notebook')", "backgroundColor"),
        ("document.querySelector('.actlib-batch-rows td')", "color"),
    ))  # fmt: skip
    assert ground != ink

    page.locator('.lm-MenuBar-itemLabel:text-is("Run")').click()
    page.locator('.lm-Menu-itemLabel:text-is("Run All Cells")').click()
    page.wait_for_selector("text=the one before follows: False - this one follows: True", timeout=120_000)
    batch.runs |= {"trains": Told("done"), "late": Told("blocked")}
    batch.end()
    page.wait_for_selector(".actlib-batch-head:has-text('1 failed · 1 blocked · 1 done · done 20')", timeout=60_000)
    assert not page.errors
