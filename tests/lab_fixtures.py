"""A real JupyterLab and a real browser for tests of widgets: pip install -e '.[browser]' and a Chromium.

A test module that uses them says `pytestmark = IN_A_BROWSER`.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
IN_A_BROWSER = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]


@pytest.fixture
def lab(tmp_path) -> Iterator[Callable[[dict[str, str]], str]]:
    """Starts a JupyterLab on `tmp_path` with the given notebooks, {name: source of its one cell}; returns its
    address."""
    servers = []

    def start(notebooks: dict[str, str]) -> str:
        kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
        for name, source in notebooks.items():
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
        servers.append(server)
        address = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{address}/api", timeout=2)
                return address
            except OSError:
                assert server.poll() is None, (tmp_path / "lab.log").read_text()
                time.sleep(0.5)
        raise TimeoutError((tmp_path / "lab.log").read_text())

    yield start
    for server in servers:
        server.terminate()
        server.wait(15)


@pytest.fixture
def page():
    """A page of a browser. Its `errors` are those of its console, and of its scripts."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.errors = []
        page.on("console", lambda said: page.errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        yield page
        browser.close()


def run_all(page, address: str, name: str) -> None:
    """Open a notebook in JupyterLab, and run all its cells."""
    page.goto(f"{address}/lab/tree/{name}.ipynb?reset", wait_until="domcontentloaded")
    page.wait_for_selector(".jp-Cell", timeout=90_000)
    page.wait_for_selector("text=Python 3 (ipykernel) | Idle", timeout=90_000)  # else Lab asks for a kernel
    page.locator('.lm-MenuBar-itemLabel:text-is("Run")').click()
    page.locator('.lm-Menu-itemLabel:text-is("Run All Cells")').click()
