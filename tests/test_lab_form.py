"""The parameter form in a real browser: what is set in it stands in the notebook's own cell."""

import nbformat
from lab_fixtures import IN_A_BROWSER, run_all
from nbformat.v4 import new_code_cell, new_notebook

from actlib.params import TrainParams

pytestmark = IN_A_BROWSER
FORM = """
from actlib.analysis.widgets import ParameterForm
from actlib.params import TrainParams
form = ParameterForm(TrainParams.from_notebook(globals()), "recipes")
"""
CELL = "jupyterapp.shell.currentWidget.content.widgets[0].model.sharedModel.getSource()"


def test_the_form_writes_into_the_cell_and_into_a_recipe(page, lab, tmp_path):
    parameters = new_code_cell(f"{TrainParams.cell()}\nmine = 1", metadata={"tags": ["parameters"]})
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    nbformat.write(new_notebook(cells=[parameters, new_code_cell(FORM)], metadata=kernel), tmp_path / "train.ipynb")
    run_all(page, lab({}, "--LabApp.expose_app_in_browser=True"), "train")
    page.wait_for_selector(".actlib-form-message:has-text('changed here: nothing')", timeout=120_000)
    page.get_by_text("start here", exact=True).click()
    page.locator(".actlib-form-lr input").fill("-1")
    page.locator(".actlib-form-lr input").blur()
    page.wait_for_selector(".actlib-form-message:has-text('greater than 0')")
    assert page.locator("button.actlib-form-write").is_disabled()
    page.locator(".actlib-form-lr input").fill("0.02")
    page.locator(".actlib-form-lr input").blur()
    page.get_by_text("augmentation", exact=True).click()
    page.locator(".actlib-form-color_jitter .noUi-handle").press("ArrowRight")  # a slider
    page.locator(".actlib-form-crop select").select_option("center")
    page.wait_for_selector(".actlib-form-message:has-text('changed here: lr, crop, color_jitter')")
    page.locator("button.actlib-form-write").click()
    page.wait_for_selector(".actlib-form-message:has-text('written into')")
    source = page.evaluate(CELL)
    assert "\nlr = 0.02  # " in source and '\ncrop = "center"  # ' in source and source.endswith("\nmine = 1")
    page.locator("button.actlib-form-save").click()
    page.wait_for_selector(".actlib-form-message:has-text('saved as recipes/mine.yaml')")
    p = TrainParams.from_file(tmp_path / "recipes" / "mine.yaml")
    assert (p.lr, p.crop) == (0.02, "center") and 0 < p.color_jitter < 0.1
    page.screenshot(path=tmp_path / "form.png")
    assert not page.errors
