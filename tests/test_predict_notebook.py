"""Notebook 08 as people run it headless, at its smallest."""

import csv
import json

import pandas as pd
import pytest
import torch

from actlib.datasets.video.reader import probe
from actlib.features import load_features
from actlib.models import create_model, save_network

SIZES = {"num_frames": 4, "frame_stride": 2, "short_side": 32, "crop_size": 32, "mean": [0.5] * 3, "std": [0.2] * 3}


def test_notebook_08(root, tmp_path, motion_table, run_notebook):
    classes = [path.name for path in sorted((motion_table.parent / "videos").iterdir()) if path.is_dir()]
    networks = {"one": "resnet10 widen_factor=0.0625", "two": "tam_resnet18 width_mult=0.125 temporal_stride=false"}
    for name, spec in networks.items():
        torch.manual_seed(0)
        path = tmp_path / name / "checkpoints" / "best.pt"
        save_network(create_model(spec, 8), path, classes=classes, preprocessing=SIZES)
    values = {
        "run_dir": str(tmp_path / "run"), "videos": [f"{motion_table.parent}/videos/*/*_validation_0000.mp4"],
        "networks": [str(tmp_path / name) for name in networks], "num_workers": 0, "explain": 1,
        "table": str(motion_table), "table_clips": 1,
        "precision": "float32", "memory_format": "contiguous",
    }  # fmt: skip
    notebook = run_notebook(root / "notebooks" / "08_predict.ipynb", values)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if "widget-view" in str(output.get("data", ""))]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 9

    run = tmp_path / "run"
    assert json.loads((run / "status.json").read_text())["state"] == "done"
    with open(run / "windows.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8 * 2 * 8 * 5 and {row["network"] for row in rows} == set(networks)
    first = rows[0]
    assert (first["start"], first["end"], first["end_s"], first["rank"]) == ("0", "8", "0.5", "1")
    for name in ("best", "over_time", "videos", "marked_1", "marked_2", "falls"):
        assert (run / f"{name}.png").stat().st_size > 5_000 and (run / f"{name}.csv").is_file()
    assert probe(run / "drawn_1.mp4").num_frames == 32 and probe(run / "marked_1.mp4").num_frames == 4
    features, labelled = (load_features(run / f"{name}_one.npz") for name in ("features", "table_features"))
    assert len(features) == 8 and len(features.clips) == 8 * 8 and len(labelled) == 8 * 5
    with open(run / "features_one.csv", encoding="utf-8") as file:
        (first, *_), vector = csv.DictReader(file), features.vectors[0]
    assert float(first["f0"]) == pytest.approx(vector[0]) and f"f{len(vector)}" not in first and first["clips"] == "8"
    alike = pd.read_csv(run / "alike_2.csv")
    assert alike["rank"].tolist() == [1, 2, 3, 4, 5] and features.videos["path"][0] not in alike["path"].tolist()
    points = pd.read_csv(run / "map.csv", keep_default_na=False)
    assert points.groupby("network").size().to_dict() == {"one": 48, "two": 48} and (points["label"] == "").sum() == 16
    result = json.loads((run / "result.json").read_text())
    values = {name: entry["value"] for name, entry in result["probes"]["two"].items()}
    right = pd.read_csv(run / "probe_2.csv")["correct"]
    assert values["probe_top1"] == pytest.approx(100 * right.mean()) and len(right) == 16 and len(values) == 6
    assert 0 < values["recall_at_1"] <= values["recall_at_5"] <= values["recall_at_10"] <= 100
    said = result["said"]
    assert len(said) == 16 and all(each["windows"] == 8 for each in said)
