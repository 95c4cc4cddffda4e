"""Notebook 02 while it trains, in a real JupyterLab and browser: watched, stopped by a click, and gone on with."""

import json

import nbformat
import pandas as pd
from lab_fixtures import IN_A_BROWSER, run_all
from training import TINY, assert_same_weights, params, run, weights

pytestmark = IN_A_BROWSER
EPOCHS = 6


def notebook_02(root, path, values: dict) -> None:
    """Notebook 02 with other values in its parameters cell."""
    notebook = nbformat.read(root / "notebooks" / "02_train.ipynb", 4)
    cell = next(each for each in notebook.cells if "parameters" in each.metadata.get("tags", []))
    cell.source += "".join(f"\n{name} = {value!r}" for name, value in values.items())
    nbformat.write(notebook, path)


def written(path):
    return json.loads(path.read_text()) if path.is_file() else {}


def wait_for_state(page, folder, states: set[str], seconds: int = 400) -> None:
    for _ in range(2 * seconds):
        if written(folder / "status.json").get("state") in states:
            return
        page.wait_for_timeout(500)
    raise AssertionError(written(folder / "status.json"))


def test_a_click_ends_after_the_epoch_and_running_all_again_goes_on(page, lab, root, tmp_path, motion_table):
    for name in ("notebooks", "params"):  # a project of its own
        (tmp_path / name).mkdir()
    folder = tmp_path / "outputs" / "run"
    values = TINY | {"epochs": EPOCHS, "num_workers": 1, "table": str(motion_table), "run_dir": "outputs/run"}
    notebook_02(root, tmp_path / "train.ipynb", values | {"tensorboard": False})
    address = lab({})
    run_all(page, address, "train")
    page.wait_for_selector(".actlib-text:has-text('epoch   1 of')", timeout=300_000)
    page.locator(".actlib-stop").click()
    page.wait_for_selector(".actlib-stop-said:has-text('epoch')", timeout=120_000)
    assert page.locator(".actlib-stop").is_disabled()
    assert page.locator(".actlib-clip").count() == 6
    assert page.locator(".actlib-answer:has-text('✓'), .actlib-answer:has-text('✗')").count() == 6
    assert page.evaluate("document.querySelector('img.actlib-image').naturalWidth") > 600
    wait_for_state(page, folder, {"stopped", "done", "failed"})
    page.screenshot(path=tmp_path / "stopped.png")
    result = written(folder / "result.json")
    done = len(pd.read_csv(folder / "metrics.csv"))
    assert 1 <= done < EPOCHS and result["stopped"] == f"stopped after {done} of {EPOCHS} epochs"
    assert written(folder / "status.json")["why"] == result["stopped"]
    assert f"best of {done} epochs" in result["numbers"]["val_top1"]["protocol"]
    for name in ("curves.png", "answers.png", "answers.csv", "checkpoints/best.pt"):
        assert (folder / name).is_file(), name

    page.locator('.lm-MenuBar-itemLabel:text-is("Run")').click()
    page.locator('.lm-Menu-itemLabel:text-is("Run All Cells")').click()
    wait_for_state(page, folder, {"running"})
    wait_for_state(page, folder, {"done", "stopped", "failed"})
    assert written(folder / "status.json")["state"] == "done" and "stopped" not in written(folder / "result.json")
    assert pd.read_csv(folder / "metrics.csv")["epoch"].tolist() == list(range(1, EPOCHS + 1))
    run(params(motion_table, tmp_path / "whole", epochs=EPOCHS))
    assert_same_weights(weights(tmp_path / "whole"), weights(folder))
    assert page.errors == []


def test_another_rate_is_refused_in_the_first_cell(page, lab, root, tmp_path, motion_table):
    for name in ("notebooks", "params"):
        (tmp_path / name).mkdir()
    run(params(motion_table, tmp_path / "outputs" / "run", epochs=1))
    values = TINY | {"epochs": 1, "table": str(motion_table), "run_dir": "outputs/run", "lr": 0.02}
    notebook_02(root, tmp_path / "train.ipynb", values)
    run_all(page, lab({}), "train")
    page.wait_for_selector("text=lr is 0.02, was 0.01", timeout=300_000)
    said = page.locator(".jp-OutputArea-output", has_text="was 0.01").last.inner_text()
    assert "ParamsError: outputs/run/checkpoints/last.pt is of a run with other parameters" in said
    assert "Use another run_dir" in said and "Traceback" not in said and "folder.py" not in said
    assert not (tmp_path / "outputs" / "run" / "status.json").exists(), "nothing was begun"
