"""Notebook 08 as people run it headless, at its smallest."""

import csv
import json

import numpy as np
import torch

from actlib.datasets.video.reader import probe
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
        "networks": [str(tmp_path / name) for name in networks], "features": True, "num_workers": 0, "explain": 1,
        "precision": "float32", "memory_format": "contiguous",
    }  # fmt: skip
    notebook = run_notebook(root / "notebooks" / "08_predict.ipynb", values)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if "widget-view" in str(output.get("data", ""))]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 6

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
    with np.load(run / "features_one.npz") as file:
        assert file["features"].shape[0] == 8 * 8
    said = json.loads((run / "result.json").read_text())["said"]
    assert len(said) == 16 and all(each["windows"] == 8 for each in said)
