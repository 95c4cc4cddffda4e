"""Metrics, comparison, plots and widgets: right numbers, and pictures in which everything is labelled."""

import json

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch

from actlib.analysis.plots import plots
from actlib.analysis.results import compare, metrics
from actlib.analysis.widgets.widgets import LiveCurves
from actlib.compute.execution import Execution, candidates, choose, measure_all
from actlib.models import create_model

matplotlib.use("Agg")

PREDICTIONS = pd.DataFrame(
    [
        ("a1", "a", "a", 0.9, 1, True, ""),
        ("a2", "a", "b", 0.8, 2, False, ""),
        ("a3", "a", "b", 0.6, 4, False, ""),
        ("b1", "b", "b", 0.7, 1, True, ""),
        ("c1", "c", "", np.nan, pd.NA, False, "broken"),
    ],
    columns=["video_id", "label", "prediction", "score", "rank", "correct", "error"],
)


def test_accuracies_count_undecodable_videos_as_wrong():
    assert metrics.top_k(PREDICTIONS, 1) == pytest.approx(40)
    assert metrics.top_k(PREDICTIONS, 2) == pytest.approx(60)
    assert metrics.top_k(PREDICTIONS, 5) == pytest.approx(80)


def test_confusions_and_classes():
    counts = metrics.confusion(PREDICTIONS, ["a", "b", "c"])
    assert counts.to_numpy().tolist() == [[1, 2, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]
    assert counts.columns[-1] == metrics.UNDECODABLE
    by_class = metrics.per_class(PREDICTIONS).set_index("label")
    assert by_class["top1"].round(1).to_dict() == {"c": 0, "a": 33.3, "b": 100}
    assert by_class["mostly_taken_for"].to_dict() == {"c": metrics.UNDECODABLE, "a": "b", "b": ""}
    assert metrics.worst(PREDICTIONS, 2)["video_id"].tolist() == ["c1", "a2"]


def test_the_pareto_front():
    cost = pd.Series([1.0, 2.0, 3.0, 2.0, np.nan, 3.0])
    gain = pd.Series([10.0, 30.0, 30.0, 20.0, 99.0, 40.0])
    one = pd.Series("d", index=cost.index)
    assert metrics.pareto_front(cost, gain, one).tolist() == [True, True, False, False, False, True]
    assert metrics.pareto_front(pd.Series([1.0, 1.0]), pd.Series([5.0, 5.0]), one[:2]).tolist() == [True, True]
    two = pd.Series(["d", "d", "e", "e", "e", "e"])  # data sets do not compete with each other
    assert metrics.pareto_front(cost, gain, two).tolist() == [True, True, False, True, False, True]


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
    found = compare.read_runs([str(tmp_path)]).set_index("run")
    assert found.loc["a", ["video_top1", "gmacs", "videos", "expected"]].tolist() == [71.2, 2.0, 9, 10]
    assert found.loc["a", "protocol"] == "10 clips × 3 crops @ 256" and found.loc["c", "state"] == "failed"
    assert len(compare.read_runs([str(tmp_path / "*"), str(tmp_path / "a")])) == 3
    runs = compare.read_runs([f"{tmp_path}/[ab]"])
    assert compare.labels_of(runs) == ["x\nw=1\n(a)", "x\nw=1\n(b)"]
    assert compare.describe_accuracy(runs, "video_top1") == ("video top-1 accuracy, %", "10 clips × 3 crops @ 256")
    mixed = runs.assign(protocol=["one", "other"])
    assert compare.describe_accuracy(mixed, "video_top5") == (
        "video top-5 accuracy, %",
        "several protocols: see runs.csv",
    )
    with pytest.raises(ValueError, match="names no run folder"):
        compare.read_runs([str(tmp_path / "nothing*")])
    (tmp_path / "a" / "result.json").write_text("{")
    with pytest.raises(ValueError, match="a/result.json: not valid JSON"):
        compare.read_runs([str(tmp_path)])


def test_tables_for_people():
    table = pd.DataFrame({"a": [1.0, np.nan], "b": [0.04771, 93.75], "c": ["x", None], "d": [18434.0, 2.0]})
    assert compare.for_display(table).to_numpy().tolist() == [["1", "0.0477", "x", "18,434"], ["", "93.8", "", "2"]]


def boxes_overlap(texts, figure):
    figure.canvas.draw()
    boxes = [matplotlib.text.Text.get_window_extent(text) for text in texts]  # without the arrow
    return any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_tradeoff_labels_every_point_without_overlap():
    rows = [("one\nwide", 1.0, 50.0, "d"), ("two", 1.05, 50.2, "d"), ("3", 1.1, 50.1, "e"), ("four", 5.0, 80.0, "e")]
    points = pd.DataFrame(rows, columns=["label", "gmacs", "acc", "dataset"])
    front = metrics.pareto_front(points["gmacs"], points["acc"], points["dataset"])
    axes = plots.tradeoff(points, "gmacs", "acc", front, ylabel="accuracy, %", note="how", groups="dataset")
    assert [text.get_text() for text in axes.texts] and {t.get_text() for t in axes.texts} == set(points["label"])
    assert not boxes_overlap(axes.texts, axes.figure)
    assert axes.get_xlabel().endswith("\nhow") and axes.get_ylabel() == "accuracy, %"
    fronts = [line.get_xydata().tolist() for line in axes.lines[:2]]
    assert fronts == [[[1.0, 50.0], [1.05, 50.2]], [[1.1, 50.1], [5.0, 80.0]]]
    with pytest.raises(ValueError, match="no run has both gmacs and acc"):
        plots.tradeoff(points.assign(acc=np.nan), "gmacs", "acc", front, ylabel="", groups="dataset")


HISTORY = pd.DataFrame(
    {"epoch": [1, 2], "loss": [2.0, 1.0], "val_loss": [2.1, 1.2], "top1": [10.0, 60.0], "val_top1": [12.0, 55.0]}
)


def test_plots_draw_their_table_on_the_axes_they_are_given():
    _, ax = matplotlib.pyplot.subplots()
    by_class = metrics.per_class(PREDICTIONS)
    assert plots.class_bars(by_class, ax=ax) is ax
    assert [bar.get_width() for bar in ax.patches] == by_class["top1"].tolist()
    curves = plots.training_curves(HISTORY)
    assert [line.get_ydata().tolist() for line in curves.lines] == [[2.0, 1.0], [2.1, 1.2]]
    confusion = plots.confusion_matrix(metrics.confusion(PREDICTIONS, ["a", "b", "c"]))
    assert sorted(text.get_text() for text in confusion.texts) == ["1", "1", "1", "2"]
    counts = pd.DataFrame({"training": [3, 1], "validation": [1, 1]}, index=["a", "b"])
    assert sorted(bar.get_width() for bar in plots.class_counts(counts).patches) == [1, 1, 1, 3]
    clips = [np.zeros((4, 20, 30, 3), np.uint8), np.zeros((9, 25, 10, 3), np.uint8)]  # of two lengths and sizes
    strip = plots.film_strip(clips, ["a", "b"], frames=4)
    assert [tick.get_text() for tick in strip.get_yticklabels()] == ["a", "b"]
    bars = plots.model_bars(pd.DataFrame({"model": ["m"], "gmacs": [3.0]}), "gmacs", "GMACs")
    assert bars.get_xlabel() == "GMACs" and bars.patches[0].get_width() == 3.0
    matplotlib.pyplot.close("all")


ROW = {"epoch": 1, "loss": 2.0, "top1": 10.0, "val_loss": 2.1, "val_top1": 12.0, "lr": 0.1, "clips_per_s": 9.0}
ROW |= {"data_wait": 0.25, "replaced": 2}


def test_live_curves_show_each_epoch(capsys):
    live = LiveCurves(3, interactive=False)
    assert list(live.progress([1, 2], total=2)) == [1, 2]
    live.update(ROW)
    printed = capsys.readouterr().out
    assert "epoch   1 of 3" in printed and "25 % waiting for data, 2 clips replaced" in printed

    live = LiveCurves(3, interactive=True)
    assert list(live.progress(["x", "y"], total=2)) == ["x", "y"] and live.batches.value == 2
    live.update(ROW)
    first = bytes(live.image.value)
    live.update({**ROW, "epoch": 2, "val_top1": 50.0})
    assert live.bar.value == 2 and "val top-1  50.0 %" in live.text.value
    assert first.startswith(b"\x89PNG") and bytes(live.image.value) != first
    assert live.image.layout.visibility == "visible"


SHAPE = (2, 3, 4, 16, 16)
CPU = torch.device("cpu")


def test_execution_changes_layout_and_precision_not_the_function():
    torch.manual_seed(0)
    for name in ("resnet10", "tsn_resnet18"):
        model = create_model(name, 5).eval()
        clips = torch.randn(2, 3, 4, 32, 32)
        want = model(clips)
        for pair in candidates():
            pair.apply_to(model)
            with torch.inference_mode(), pair.autocast(CPU):
                found = model(pair.apply_to_clips(clips)).float()
            tolerance = 1e-3 if pair.precision == "float32" else 0.1
            assert (found - want).abs().max() <= tolerance * want.abs().max(), (name, pair)
        weight = model.conv1.weight
        assert weight.is_contiguous(memory_format=torch.channels_last_3d if weight.dim() == 5 else torch.channels_last)


def test_the_choice_is_the_fastest_measured_and_leaves_model_and_random_state_alone():
    model = create_model("resnet10", 5, widen_factor=0.0625)
    state, before = torch.get_rng_state(), {k: v.clone() for k, v in model.state_dict().items()}
    chosen, speeds = choose(model, SHAPE, device=CPU, training=True)
    assert len(speeds) == 4 and speeds[str(chosen)] == max(speeds.values())
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert choose(model, SHAPE, device=CPU, training=True, precision="bf16", memory_format="contiguous") == (
        Execution("bf16", "contiguous"),
        {},
    )
    seconds = measure_all(model, SHAPE, [Execution()], device=CPU, training=False)
    assert seconds[Execution()] > 0
    with pytest.raises(ValueError, match="precision 'fp16': expected one of auto, float32, bf16"):
        candidates("fp16")
