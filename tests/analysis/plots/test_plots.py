"""Plots: their table is drawn, everything is labelled, and no label covers another."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from actlib.analysis import plots
from actlib.analysis.costs import literature
from actlib.analysis.results import metrics

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    matplotlib.pyplot.close("all")


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


PREDICTIONS = pd.DataFrame({"label": list("aaabc"), "prediction": ["a", "b", "b", "b", ""], "rank": [1, 2, 4, 1, None]})
PREDICTIONS["correct"] = PREDICTIONS["rank"] == 1
HISTORY = pd.DataFrame(
    {"epoch": [1, 2], "loss": [2.0, 1.0], "val_loss": [2.1, 1.2], "top1": [10.0, 60.0], "val_top1": [12.0, 55.0]}
)


def test_plots_draw_their_table_on_the_axes_they_are_given():
    _, ax = matplotlib.pyplot.subplots()
    by_class = metrics.per_class(PREDICTIONS)
    assert plots.class_bars(by_class, ax=ax) is ax
    assert [bar.get_width() for bar in ax.patches] == by_class["recall"].tolist()
    many = pd.concat([by_class.assign(label=by_class["label"] + str(each)) for each in range(20)])
    bars = plots.class_bars(many, numbers={"macro-F1": 40.0})
    beside = bars.figure.axes[1].patches[0]
    assert len(bars.patches) == 40 and beside.get_data().values.tolist() == sorted(many["recall"])
    assert [text.get_text() for text in bars.get_legend().texts] == ["precision", "macro-F1: 40.0 %"]
    orders = pd.DataFrame({"order": ["forward", "reversed"], "top1": [90.0, 10.0], "top1_backwards": [8.0, 88.0]})
    bars = plots.order_bars(orders)
    assert [bar.get_width() for bar in bars.patches] == [90, 10, 8, 88]
    assert [text.get_text() for text in bars.texts] == [" 90.0", " 10.0", " 8.0", " 88.0"]
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


def test_the_learning_rate_holds_for_its_step():
    axes = plots.learning_rates([0.1, 0.2, 0.2, 0.05], 2)
    values, edges, _ = axes.patches[0].get_data()
    assert values.tolist() == [0.1, 0.2, 0.2, 0.05] and edges.tolist() == [0, 0.5, 1, 1.5, 2]
    assert axes.get_xlabel() == "epochs" and axes.get_ylabel() == "learning rate" and axes.get_xlim() == (0, 2)
    _, ax = matplotlib.pyplot.subplots()
    assert plots.learning_rates([0.1], 1, ax=ax) is ax


def test_training_curves_have_a_panel_each_and_mark_the_best_epoch():
    loss, accuracy = plots.training_curves(HISTORY, epochs=30, best_epoch=2).figure.axes
    assert [line.get_ydata().tolist() for line in accuracy.lines[:2]] == [[10.0, 60.0], [12.0, 55.0]]
    for ax, label in ((loss, "loss"), (accuracy, "top-1 accuracy, %")):
        assert ax.lines[2].get_xdata() == [2, 2] and [text.get_text() for text in ax.texts] == ["best: 2"]
        assert ax.get_ylabel() == label and ax.get_xlabel() == "epoch" and ax.get_xlim()[1] > 30
    assert [text.get_text() for text in loss.figure.legends[0].get_texts()] == ["training", "validation"]


def kinetics600():
    figures = literature.published_figures()
    return literature.compare_published(figures[figures["dataset"] == "Kinetics-600"])


def test_published_accuracy_names_every_network_once():
    rows = kinetics600()
    axes = plots.published_accuracy(rows, "Kinetics-600")
    assert {text.get_text() for text in axes.texts} == set(rows["network"]) and len(axes.texts) == 21
    assert not boxes_overlap(axes.texts, axes.figure)
    assert axes.get_xscale() == "log" and "Kinetics-600" in axes.get_ylabel()
    with pytest.raises(ValueError, match="dataset 'Jester': .* there are Kinetics-600"):
        plots.published_accuracy(rows, "Jester")


def test_bars_of_published_macs():
    rows = kinetics600()
    axes = plots.macs_against_published(rows)
    assert [tick.get_text() for tick in axes.get_yticklabels()][-1] == "resnext101, 16 × 112²"
    mobilenet = rows["network"].tolist().index("MobileNetV2 1.0x")
    assert axes.patches[mobilenet].get_width() == pytest.approx(100 * (0.561 / 0.519048 - 1), abs=0.01)
    assert len(plots.macs_against_published(rows, most=5).patches) == 5
    with pytest.raises(ValueError, match="no published MACs"):
        plots.macs_against_published(rows[rows["gmacs"].isna()])


def test_bars_of_costs_and_speeds_stay_legible_for_many_networks():
    table = pd.DataFrame({"model": [f"network{n}" for n in range(60)]})
    table = table.assign(gmacs=range(60), params_m=1.0, activations_mb=2.5)
    axes = plots.cost_panels(table)
    labels = axes.get_yticklabels()
    assert len(labels) == 60 and not boxes_overlap(labels, axes.figure)
    rows = [(m, b, "bf16", "channels_last", 10.0 * b) for m in table["model"] for b in (1, 8)]
    best = pd.DataFrame(rows, columns=["model", "batch_size", "precision", "memory_format", "clips_per_s"])
    axes = plots.speed_bars(best, title="clips/s")
    assert len(axes.patches) == 120 and axes.texts[0].get_text() == " 10  bf16, channels last"
    assert not boxes_overlap(axes.texts, axes.figure)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["batch 1", "batch 8"]
