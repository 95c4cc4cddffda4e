"""From a published row to the plot: `actlib ledger run` on real videos, a real file of weights, real notebooks."""

import json
import shutil

import matplotlib
import pytest
import torch
import yaml

from actlib.analysis.plots import published_and_reproduced
from actlib.datasets.dataset_info import DatasetInfo, write_dataset_info
from actlib.datasets.table import class_names, read_table, write_table
from actlib.ledger.table import read_ledger
from actlib.models import create_model

matplotlib.use("Agg")
SPEC = "resnet10 widen_factor=0.0625 conv1_t_size=3"
# As published.yaml has it: a group of files, its protocol for all of them.
PUBLISHED = {
    "dataset": "Motion-8",
    "num_classes": 8,
    "num_frames": 4,
    "frame_stride": 2,
    "short_side": 32,
    "crop_size": 32,
    "mean": [0.4, 0.4, 0.4],
    "std": [0.2, 0.2, 0.2],
    "page": "here",
    "protocol": "centre clip",
    "rests_on": "the test",
    "evaluation": {"protocol": "clip"},
    "files": [
        {
            "file": "tiny.pth",
            "spec": SPEC,
            "accuracies": [
                {"top1": 20.0, "top5": 70.0},
                {"top1": 30.0, "protocol": "two clips", "evaluation": {"protocol": "views", "num_clips": 2}},
            ],
        },
        {"file": "by_hand.pth", "spec": SPEC, "accuracies": [{"top1": 40.0}]},
    ],
}
LEDGER = """
import os, sys
from pathlib import Path

os.environ["ACTLIB_WEIGHTS"] = str(Path("weights").resolve())
from actlib.ledger import figures
from actlib.models.weights import published

published.REFERENCES = Path("published.yaml").resolve()
published._reference_table.cache_clear()
figures.published_table = published._reference_table  # without torchvision's
from actlib.__main__ import main

sys.exit(main(["ledger", *sys.argv[1:]]))
"""


@pytest.fixture
def project(tmp_path, root, motion_table):
    """A project with the workbook's notebooks, a file of weights, and the table of a data set."""
    (tmp_path / "notebooks").symlink_to(root / "notebooks")
    for name in ("params", "weights"):
        (tmp_path / name).mkdir()
    torch.manual_seed(0)
    torch.save({"state_dict": create_model(SPEC, 8).state_dict()}, tmp_path / "weights" / "tiny.pth")
    (tmp_path / "published.yaml").write_text(yaml.safe_dump([PUBLISHED]))
    table = read_table(motion_table)
    write_table(table, tmp_path / "outputs" / "motion" / "table.csv")
    info = DatasetInfo("motion_8", "motion 8", class_names(table), {"validation": {"listed": 17}})
    write_dataset_info(info, tmp_path / "outputs" / "motion")
    return tmp_path


@pytest.mark.slow
def test_what_lies_on_the_disk_is_measured_and_stands_in_ledger_and_plot(project, warmed):
    def ledger(*arguments) -> tuple[int, str]:
        started = warmed.start(LEDGER, *arguments, cwd=project, errors=project / "errors.txt")
        said = started.stdout.read()
        return started.wait(), said + (project / "errors.txt").read_text()

    how = ("num_workers=0", "batch_size=8", "precision=float32", "memory_format=contiguous", "worst=0")
    code, said = ledger("run", "--set", *how)
    assert code == 0 and "3 figures: 2 can be measured with what is here, 2 are to be run" in said, said
    path = project / "params" / "ledger.yaml"
    text, rows = path.read_text(), read_ledger(path).set_index(["file", "top1"])
    assert rows.loc["by_hand.pth", "state"].tolist() == ["not run: weights need a person"]
    for top1, protocol in ((20.0, "clip"), (30.0, "video")):
        row = rows.loc[("tiny.pth", top1)]
        folder = project / "outputs" / "ledger" / f"tiny.pth-{top1:g}"
        number = json.loads((folder / "result.json").read_text())["numbers"][f"{protocol}_top1"]
        assert row["ours_top1"] == round(number["value"], 2) and row["difference"] == round(number["value"] - top1, 2)
        assert (row["videos"], row["state"]) == ("16 of 17", "measured") and f"{number['protocol']}\n" in text
        assert yaml.safe_load((folder / "params.yaml").read_text())["batch_size"] == 8
    assert f"({rows.loc[('tiny.pth', 20.0), 'difference']:+g}), 16 of 17 videos, " in said and "2 measured" in said

    path.unlink()  # what was computed is in the run folders, whatever became of the ledger
    code, said = ledger("run")
    assert code == 0 and "2 can be measured with what is here, 0 are to be run" in said and path.read_text() == text
    shutil.rmtree(project / "outputs")  # what is in the ledger is not measured again
    code, said = ledger("update")
    assert code == 0 and path.read_text() == text

    ax = published_and_reproduced(read_ledger(path))
    drawn = {}
    for each in ax.collections:
        face = each.get_facecolors()
        if len(points := each.get_offsets()) and len(face):
            drawn.setdefault("hollow" if face[0][:3].min() == 1 else "filled", []).extend(points[:, 1].tolist())
    assert sorted(drawn["hollow"]) == [20, 30, 40]
    assert sorted(drawn["filled"]) == sorted(rows.loc["tiny.pth", "ours_top1"])
    joined = {tuple(line.get_ydata()) for line in ax.lines}
    assert joined == {(top1, rows.loc[("tiny.pth", top1), "ours_top1"]) for top1 in (20.0, 30.0)}


def test_the_command_says_what_is_wrong_before_it_runs_anything(project, monkeypatch, capsys):
    from actlib.__main__ import main

    monkeypatch.chdir(project)
    assert main(["ledger", "show"]) == 2
    assert "params/ledger.yaml: no such ledger; `python -m actlib ledger update` writes it" in capsys.readouterr().err
    for wrong, words in (
        ("protocol=views", "changes no figure; there are batch_size, "),
        ("batchsize=3", "did you mean batch_size?"),
        ("device", "did you mean device"),
    ):
        assert main(["ledger", "run", "--set", wrong]) == 2 and words in capsys.readouterr().err
    (project / "params" / "ledger.yaml").write_text("figures: 3\n")
    assert main(["ledger", "show"]) == 2 and "no ledger: expected `figures`, a list of rows" in capsys.readouterr().err
    assert not (project / "outputs" / "ledger").exists()
