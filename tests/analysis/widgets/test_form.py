"""The parameter form: what is typed is checked at once, and comes out as lines of the cell and as a recipe."""

import ast

import pytest

from actlib.analysis.widgets import ParameterForm
from actlib.params import NOTEBOOKS, TrainParams, VideoAccuracyParams


@pytest.fixture
def shown(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    return shown


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_notebooks_parameters_come_out_as_they_went_in(name, shown):
    p = NOTEBOOKS[name]()
    form = ParameterForm(p, "params/x", interactive=True)
    assert form.check() == p and shown == [form.widget] and "changed here: nothing" in form.message.value
    assert sorted(form.controls) == sorted(NOTEBOOKS[name].model_fields)


def test_a_change_is_checked_and_written(shown, tmp_path):
    form = ParameterForm(TrainParams(), tmp_path, interactive=True)
    form.controls["lr"].value = -1.0
    assert "lr: -1.0" in form.message.value and form.write.disabled and form.save.disabled
    form.controls["lr"].value = 0.02
    form.controls["model"].value = "resnet10 widen_factor=0.5 conv1_t_size=3"
    form.controls["mean"].value = "[0.5, 0.5, 0.5]"
    assert "changed here: model, lr, mean" in form.message.value and not form.write.disabled
    form.write.click()
    cell = dict(form.writer.lines)
    assert cell.pop("number") == 1 and cell["lr"].startswith("lr = 0.02  # ")
    assert cell["model"].startswith('model = "resnet10 widen_factor:0.5 conv1_t_size:3"  # ')
    found = {name: ast.literal_eval(line.split(" = ", 1)[1]) for name, line in cell.items()}
    assert TrainParams(**found) == form.check()
    form.writer.answer = {"number": 1, "written": False}
    assert "lr = 0.02" in form.message.value and "epochs" not in form.message.value
    form.writer.answer = {"number": 1, "written": True}
    assert "written into" in form.message.value

    form.controls["mean"].value = "0.5, 0.4, 0.5"
    assert form.check().mean == [0.5, 0.4, 0.5]
    form.controls["mean"].value = "half"
    assert "mean: &#x27;half&#x27;" in form.message.value and form.write.disabled


def test_a_recipe_holds_what_differs_and_replaces_no_others(shown, tmp_path):
    form = ParameterForm(TrainParams(epochs=3), tmp_path, interactive=True)
    form.controls["lr"].value = 0.02
    form.save.click()
    recipe = tmp_path / "mine.yaml"
    assert TrainParams.from_file(recipe) == TrainParams(epochs=3, lr=0.02)
    assert sorted(line.split(":")[0] for line in recipe.read_text().splitlines()) == ["epochs", "lr"]
    form.controls["lr"].value = 0.03
    form.save.click()  # its own may be written again
    assert TrainParams.from_file(recipe).lr == 0.03
    other = ParameterForm(TrainParams(), tmp_path, interactive=True)
    other.save.click()
    assert "exists" in other.message.value and TrainParams.from_file(recipe).lr == 0.03
    other.recipe.value = str(tmp_path / "mine.json")
    other.save.click()
    assert "ends in .yaml" in other.message.value and not (tmp_path / "mine.json").exists()


def test_headless_it_says_what_is_not_the_default(capsys):
    ParameterForm(VideoAccuracyParams(subset="testing"), "params/video_accuracy", interactive=False)
    ParameterForm(VideoAccuracyParams(), "params/video_accuracy", interactive=False)
    assert capsys.readouterr().out.splitlines() == ["not the defaults: subset: testing", "not the defaults: none"]
