"""The widgets in a real JupyterLab, in a real browser: pip install -e '.[browser]' and a Chromium."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

CURVES = """
from actlib.analysis.widgets import LiveCurves
live = LiveCurves(2)
for epoch in (1, 2):
    list(live.progress([1, 2, 3], total=3))
    live.update(dict(epoch=epoch, loss=2.0 / epoch, top1=40.0 * epoch, val_loss=2.0, val_top1=30.0 * epoch,
                     lr=0.1, clips_per_s=9.0, data_wait=0.5, replaced=0))
"""
EXPLORER = """
from actlib.analysis.widgets import NetworkExplorer
explorer = NetworkExplorer(["resnet10", "mobilenetv2 width_mult=0.45"], 16, 112)
"""


@pytest.fixture
def lab(tmp_path):
    """The address of a JupyterLab on a folder with two notebooks."""
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    for name, source in {"curves": CURVES, "explorer": EXPLORER}.items():
        nbformat.write(new_notebook(cells=[new_code_cell(source)], metadata=kernel), tmp_path / f"{name}.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", "--allow-root", f"--port={port}", f"--notebook-dir={tmp_path}"]
    options += ["--IdentityProvider.token=", "--ServerApp.ip=127.0.0.1"]  # loopback, a folder of its own
    environment = {name: value for name, value in os.environ.items() if name != "ACTLIB_HEADLESS"}
    command = [sys.executable, "-m", "jupyter", "lab", *options]
    with open(tmp_path / "lab.log", "w") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/api", timeout=2)
                break
            except OSError:
                assert server.poll() is None, (tmp_path / "lab.log").read_text()
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(15)


@pytest.fixture
def page():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser.new_page(viewport={"width": 1400, "height": 1000})
        browser.close()


def run_all(page, address: str, name: str) -> None:
    page.goto(f"{address}/lab/tree/{name}.ipynb?reset", wait_until="domcontentloaded")
    page.wait_for_selector(".jp-Cell", timeout=90_000)
    page.wait_for_selector("text=Python 3 (ipykernel) | Idle", timeout=90_000)  # else Lab asks for a kernel
    page.locator('.lm-MenuBar-itemLabel:text-is("Run")').click()
    page.locator('.lm-Menu-itemLabel:text-is("Run All Cells")').click()


pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]


def test_the_curves_grow_in_the_browser(page, lab):
    run_all(page, lab, "curves")
    page.wait_for_selector("text=epoch   2 of 2", timeout=120_000)
    assert "val top-1 60.0 %" in " ".join(page.inner_text(".widget-html-content").split())
    assert page.evaluate("document.querySelector('img.widget-image').naturalWidth") > 300


def test_the_costs_follow_what_is_picked(page, lab, tmp_path):
    run_all(page, lab, "explorer")
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
    assert rows.count() == 3
