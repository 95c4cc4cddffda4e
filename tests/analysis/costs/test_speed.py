"""Clips/s: a row for each way to run a network, and the best of them."""

import pandas as pd
import torch

from actlib.analysis.costs import speed
from actlib.compute.execution import Execution
from actlib.models import create_model

CPU = torch.device("cpu")
TINY = "resnet10 widen_factor=0.0625"


def test_the_clock_has_a_row_for_each_batch_precision_and_layout():
    speeds = speed.measure_model(TINY, 5, (4, 32, 64), [1, 3], device=CPU, training=True, precision="float32")
    assert len(speeds) == 2 * 2 * 2 and (speeds["clips_per_s"] > 0).all()
    assert set(speeds["step"]) == {"inference", "training"} and set(speeds["batch_size"]) == {1, 3}
    assert set(speeds["memory_format"]) == {"contiguous", "channels_last"}
    assert (speeds["steps"] >= 0).all() and speeds["steps"].max() == 10 and set(speeds["left_out"]) == {""}
    best = speed.best_speeds(speeds)
    assert len(best) == 4 and (best["clips_per_s"] >= best["float32_clips_per_s"]).all()
    assert list(best["batch_size"]) == [1, 3, 1, 3]


def test_a_batch_that_cannot_be_trained_on_says_so():
    how = {"device": CPU, "precision": "float32", "memory_format": "contiguous"}
    speeds = speed.measure_model(TINY, 5, (4, 16, 16), [1, 2], training=True, **how)
    alone = speeds[(speeds["step"] == "training") & (speeds["batch_size"] == 1)]
    assert alone["left_out"].tolist() == ["a batch norm sees one value per channel"]
    assert alone["clips_per_s"].isna().all()
    assert len(speeds) == 4 and len(speed.best_speeds(speeds)) == 3


def test_the_best_of_some_speeds():
    rows = [
        ("a", "inference", 1, "float32", "contiguous", 5.0, 10, ""),
        ("a", "inference", 1, "bf16", "contiguous", 7.0, 10, ""),
        ("b", "inference", 1, "bf16", "channels_last", 2.0, 10, ""),
    ]
    columns = ["model", "step", "batch_size", "precision", "memory_format", "clips_per_s", "steps", "left_out"]
    best = speed.best_speeds(pd.DataFrame(rows, columns=columns)).set_index("model")
    assert best.loc["a", ["precision", "clips_per_s", "float32_clips_per_s"]].tolist() == ["bf16", 7.0, 5.0]
    assert best.loc["b", "clips_per_s"] == 2.0 and pd.isna(best.loc["b", "float32_clips_per_s"])


def test_one_way_to_run_a_network_has_one_speed():
    network = create_model("resnet10", 2, widen_factor=0.0625)
    found = speed.clips_per_s(network, (3, 4, 16, 16), 8, Execution("float32", "channels_last"), CPU)
    assert found > 0
