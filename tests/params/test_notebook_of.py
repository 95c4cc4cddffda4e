"""Which notebook a recipe belongs to: by its folder, else by the names in it, else as the command says."""

import pytest

from actlib.__main__ import main
from actlib.params import NOTEBOOKS, ParamsError, notebook_of


def recipe(folder, text, name="x.yaml"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_recipe_elsewhere_is_known_by_its_names(tmp_path):
    for text, notebook in (
        ("annotations: lists\ndataset: jester\n", "01_data_prep"),
        ("checkpoint: a.pt\norder_check: [reversed]\nwindow_step: 4\n", "04_video_accuracy"),
        ("train_from: layer4\nlr: 0.1\n", "03_finetune"),
        ("networks: [a.pt]\nexplain: 1\n", "08_predict"),
        ("runs: [a, b]\nweights: [1, 2]\n", "09_fusion"),
    ):
        assert notebook_of(recipe(tmp_path, text)) == notebook, text
    assert notebook_of(recipe(tmp_path, "lr: 0.1\n"), among=["02_train", "04_video_accuracy"]) == "02_train"
    assert notebook_of(recipe(tmp_path, "lr: 0.1\n", "finetune/x.yaml")) == "03_finetune"  # the folder comes first


def test_several_or_none_are_said(tmp_path):
    with pytest.raises(ParamsError, match="x.yaml: its parameters fit 02_train, 03_finetune alike; put it under"):
        notebook_of(recipe(tmp_path, "lr: 0.1\nepochs: 3\n"))
    with pytest.raises(ParamsError, match=f"its parameters fit {', '.join(NOTEBOOKS)} alike"):
        notebook_of(recipe(tmp_path, "# nothing yet\n"))
    with pytest.raises(ParamsError, match="fit none of 01_.*03_finetune has 2 of 3, not epoch; did you mean epochs"):
        notebook_of(recipe(tmp_path, "train_from: head\nlr: 0.1\nepoch: 3\n"))
    with pytest.raises(ParamsError, match="its folder .* names no notebook"):
        notebook_of(tmp_path / "none.yaml")


def test_check_takes_files_from_anywhere(tmp_path, capsys):
    good = recipe(tmp_path, "source: folders\ndata_root: videos\nvalidation: 0.3\n", "mine.yaml")
    either = recipe(tmp_path, "lr: 0.01\nepochs: 3\n", "either.yaml")
    assert main(["check", str(good)]) == 0
    assert capsys.readouterr().out == f"{good}: good for 01_data_prep\n"
    assert main(["check", str(either)]) == 2
    said = capsys.readouterr().err
    assert "fit 02_train, 03_finetune alike" in said and said.endswith("or say whose with --notebook\n")
    assert main(["check", "--notebook", "02_train", str(either)]) == 0
    assert capsys.readouterr().out == f"{either}: good for 02_train\n"
    assert main(["check", "--notebook", "02_train", str(good)]) == 2
    assert "source: no such parameter" in capsys.readouterr().err
    assert main(["check", str(recipe(tmp_path, "source: foldrs\nvalidation: 0.3\n"))]) == 2
    assert "source: 'foldrs'" in capsys.readouterr().err
