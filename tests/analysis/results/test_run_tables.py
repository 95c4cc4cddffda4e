"""Run folders as one table, and tables as a person reads them."""

import json

import numpy as np
import pandas as pd
import pytest

from actlib.analysis.display import for_display
from actlib.analysis.results.runs import describe_accuracy, labels_of, read_runs


def run_of(folder, state="done", **result):
    folder.mkdir(parents=True)
    (folder / "status.json").write_text(json.dumps({"state": state}))
    if result:
        (folder / "result.json").write_text(json.dumps(result))


def test_any_run_folders_become_one_table(tmp_path):
    accuracy = {"value": 71.2, "protocol": "10 clips × 3 crops @ 256", "videos": 9, "expected": 10}
    run_of(
        tmp_path / "a", kind="video_accuracy", model="x w=1", dataset="d", gmacs=2.0, numbers={"video_top1": accuracy}
    )
    run_of(tmp_path / "b", kind="video_accuracy", model="x w=1", dataset="d", numbers={"video_top1": accuracy})
    run_of(tmp_path / "c", state="failed")
    found = read_runs([str(tmp_path)]).set_index("run")
    assert found.loc["a", ["video_top1", "gmacs", "videos", "expected"]].tolist() == [71.2, 2.0, 9, 10]
    assert found.loc["a", "protocol"] == "10 clips × 3 crops @ 256" and found.loc["c", "state"] == "failed"
    assert len(read_runs([str(tmp_path / "*"), str(tmp_path / "a")])) == 3
    runs = read_runs([f"{tmp_path}/[ab]"])
    assert labels_of(runs) == ["x\nw=1\n(a)", "x\nw=1\n(b)"]
    assert describe_accuracy(runs, "video_top1") == ("video top-1 accuracy, %", "10 clips × 3 crops @ 256")
    mixed = runs.assign(protocol=["one", "other"])
    assert describe_accuracy(mixed, "video_top5") == (
        "video top-5 accuracy, %",
        "several protocols: see runs.csv",
    )
    with pytest.raises(ValueError, match="names no run folder"):
        read_runs([str(tmp_path / "nothing*")])
    (tmp_path / "a" / "result.json").write_text("{")
    with pytest.raises(ValueError, match="a/result.json: not valid JSON"):
        read_runs([str(tmp_path)])


def test_tables_for_people():
    table = pd.DataFrame({"a": [1.0, np.nan], "b": [0.04771, 93.75], "c": ["x", None], "d": [18434.0, 2.0]})
    assert for_display(table).to_numpy().tolist() == [["1", "0.0477", "x", "18,434"], ["", "93.8", "", "2"]]
