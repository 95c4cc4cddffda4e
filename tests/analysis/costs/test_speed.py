"""Clips/s: a row for each way to run a network, and the best of them."""

import pandas as pd
import torch

from actlib.analysis.costs import speed
from actlib.models import create_model

CPU = torch.device("cpu")
TINY = "resnet10 widen_factor=0.0625"


def test_the_clock_has_a_row_for_each_batch_precision_and_layout():
    speeds = speed.measure_model(TINY, 5, (4, 32, 64), [1, 3], device=CPU, training=True, precision="float32")
    assert len(speeds) == 2 * 2 * 2 and (speeds["clips_per_s"] > 0).all()
    assert set(speeds["step"]) == {"inference", "training"} and set(speeds["batch_size"]) == {1, 3}
    assert set(speeds["memory_format"]) == {"contiguous", "channels_last"}
    assert set(speeds["measured_on"]) <= {"batch", "trial"}
    best = speed.best_speeds(speeds)
    assert len(best) == 4 and (best["clips_per_s"] >= best["float32_clips_per_s"]).all()
    assert list(best["batch_size"]) == [1, 3, 1, 3]


def test_a_batch_that_cannot_be_trained_on_says_so():
    how = {"device": CPU, "precision": "float32", "memory_format": "contiguous"}
    speeds = speed.measure_model(TINY, 5, (4, 16, 16), [1, 2], training=True, **how)
    alone = speeds[(speeds["step"] == "training") & (speeds["batch_size"] == 1)]
    assert alone["clips_per_s"].isna().all() and alone["measured_on"].tolist() == ["nothing: one value per channel"]
    assert len(speeds) == 4 and len(speed.best_speeds(speeds)) == 3


def test_the_best_of_some_speeds():
    rows = [
        ("a", "inference", 1, "float32", "contiguous", 5.0, "batch"),
        ("a", "inference", 1, "bf16", "contiguous", 7.0, "batch"),
        ("b", "inference", 1, "bf16", "channels_last", 2.0, "batch"),
    ]
    columns = ["model", "step", "batch_size", "precision", "memory_format", "clips_per_s", "measured_on"]
    best = speed.best_speeds(pd.DataFrame(rows, columns=columns)).set_index("model")
    assert best.loc["a", ["precision", "clips_per_s", "float32_clips_per_s"]].tolist() == ["bf16", 7.0, 5.0]
    assert best.loc["b", "clips_per_s"] == 2.0 and pd.isna(best.loc["b", "float32_clips_per_s"])


def test_a_hopeless_pair_says_that_it_was_left_at_the_trial(monkeypatch):
    def seconds(model, shape, pairs, **how):
        return {pair: 8.0 if pair.precision == "bf16" else 1.0 for pair in pairs}

    monkeypatch.setattr(speed, "measure_all", seconds)
    network = create_model("resnet10", 2, widen_factor=0.125)
    table = speed.clips_per_s(network, (4, 16, 16), 8, device=CPU, training=False)
    assert table.groupby("precision")["measured_on"].unique().map(list).to_dict() == {
        "bf16": ["trial"],
        "float32": ["batch"],
    }
    assert table["clips_per_s"].tolist() == [8.0, 8.0, 1.0, 1.0]
