"""The table of networks, its clock, the published figures beside it, their plots, and the widget of notebook 05."""

import typing

import matplotlib
import pandas as pd
import pytest
import torch

from actlib.analysis.costs import published, speed
from actlib.analysis.plots import costs as cost_plots
from actlib.analysis.widgets.widgets import NetworkExplorer
from actlib.models import ModelError, create_model, list_models, parse_spec
from actlib.params import FlopsParams

matplotlib.use("Agg")
CPU = torch.device("cpu")
TINY = "resnet10 widen_factor=0.0625"


@pytest.fixture(autouse=True)
def close_figures():
    yield
    matplotlib.pyplot.close("all")


# --- what is counted and timed --------------------------------------------------------------------------------


def test_a_network_in_one_row():
    row = speed.describe_model(TINY, 5, (4, 16, 16))
    assert row["model"] == TINY and row["params_m"] > 0
    assert row["gmacs"] == pytest.approx(row["conv_gmacs"] + row["linear_gmacs"]) and row["attention_gmacs"] == 0
    assert min(row["pooling_m"], row["norm_m"], row["elementwise_m"]) > 0 and row["uncounted"] == ""
    assert row["train_activations_mb"] > row["activations_mb"] > 4 * 3 * 4 * 16 * 16 / 1e6  # more than the clip


def test_networks_that_do_not_fit_are_named_with_the_reason():
    table, refused = speed.describe_models([TINY, "resnet99"], 5, (4, 16, 16))
    assert list(table["model"]) == [TINY] and "unknown model 'resnet99'" in refused["resnet99"]
    with pytest.raises(ModelError, match="no network to describe: resnet99: unknown model"):
        speed.describe_models(["resnet99"], 5, (4, 16, 16))


def test_every_network_is_built_for_the_input():
    specs = speed.every_spec(32, 224)
    assert [parse_spec(spec)[0] for spec in specs] == list_models()
    assert "tam_resnet18 num_frames=32" in specs and "resnet18" in specs
    assert speed.spec_at("tam_resnet18", 8, 112) == "tam_resnet18"  # its default


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


# --- published figures ----------------------------------------------------------------------------------------

FIGURES = published.published_figures()


def test_every_published_network_that_we_have_can_be_built():
    specs = sorted(set(FIGURES["spec"]) - {""})
    assert len(specs) >= 90
    for spec in specs:
        assert published.normal_spec(spec) == spec
        parse_spec(spec)


def test_the_figures_are_complete():
    assert list(FIGURES.columns) == list(published.COLUMNS)
    assert len(FIGURES[FIGURES["source"] == published.IBM_MINI]) == 3 * 96
    table8 = FIGURES[FIGURES["source"] == published.RESOURCE_EFFICIENT]
    assert table8.groupby("hardware").size().to_dict() == {"Jetson TX2": 21, "Titan XP": 63}
    mobilenet = table8[(table8["network"] == "MobileNetV2 1.0x") & (table8["dataset"] == "Kinetics-600")].iloc[0]
    assert mobilenet[["top1", "gmacs_published", "clips_per_s_published"]].tolist() == [50.65, 0.561, 93]
    assert FIGURES["top1"].dropna().between(10, 100).all() and (FIGURES["source"] != "").all()
    choices = typing.get_args(FlopsParams.model_fields["published_dataset"].annotation)
    assert set(choices) == set(FIGURES["dataset"]) - {""}


@pytest.mark.parametrize(
    ("name", "spec", "frames", "trained"),
    [
        (
            "mini_st2stv2-inception-v1-f8-cosine-bs72-e75",
            "tsn_inception_v1 temporal_stride=false",
            8,
            "75 epochs, cosine schedule, batch 72",
        ),
        (
            "mini_moments-TAM-b3-sum-resnet-50-tp-max-f16-multisteps-bs60-e35",
            "tam_resnet50 num_frames=16",
            16,
            "35 epochs, multisteps schedule, batch 60",
        ),
        (
            "mini_kinetics400-s3d-resnet-50-ts-f64-multisteps-syncbn-bs36-e45*",
            "s3d_resnet50",
            64,
            "45 epochs, multisteps schedule, batch 36, synchronised batch norm, stopped before that",
        ),
        (
            "mini_moments-TAM-b5-max-resnet-18-tp-avg-f8-cosine-bs60-e35",
            "tam_resnet18 pooling=avg blending_frames=5 blending_method=max",
            8,
            "35 epochs, cosine schedule, batch 60",
        ),
        (
            "mini_st2stv2-i3d-f32-multisteps-bs48-e35",
            "i3d temporal_stride=false",
            32,
            "35 epochs, multisteps schedule, batch 48",
        ),
    ],
)
def test_names_of_the_ibm_tables(name, spec, frames, trained):
    said = published.parse_ibm_name(name)
    assert (said["spec"], said["num_frames"], said["trained"]) == (spec, frames, trained)


def test_another_name_is_refused():
    with pytest.raises(published.PublishedError, match="'mini_st2stv2-vgg-f8-cosine-bs72-e75': expected mini_DATASET"):
        published.parse_ibm_name("mini_st2stv2-vgg-f8-cosine-bs72-e75")


def compared(**where):
    rows = FIGURES
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return published.compare_published(rows)


def test_table_8_is_our_count_by_its_rule():
    rows = compared(dataset="Kinetics-600")
    assert len(rows) == 21 and rows["ratio"].between(0.87, 1).all()
    assert (rows["ratio_same_rule"] - 1).abs().max() < 0.005  # printed in whole MFLOPs: 63.28 as 63
    assert (rows["params_m"] / rows["params_m_published"] - 1).abs().max() < 0.01
    assert rows["why"].str.endswith("counted so, ours is the same").all()


def test_ibm_rows_are_our_convolutions_to_the_last_one():
    rows = compared(dataset="Mini-Something-Something-V2", num_frames=8)
    rows = pd.concat([rows, compared(spec="i3d temporal_stride=false", num_frames=16, num_classes=87)])
    old = rows["spec"] == "i3d temporal_stride=false"
    assert (rows["ratio_same_rule"][~old] - 1).abs().max() < 1e-9
    assert (rows["params_m"] / rows["params_m_published"] - 1).abs().max() < 1e-9
    assert old.sum() == 2 and rows["why"][old].str.contains("predates the released code").all()


def test_figures_join_our_speeds_and_may_lack_a_network():
    rows = FIGURES[(FIGURES["network"].isin(["MobileNetV2 1.0x", "X3D-S"])) & (FIGURES["hardware"] != "Jetson TX2")]
    measured = pd.DataFrame({"model": ["mobilenetv2 width_mult=1.0", "resnet18"], "clips_per_s": [12.0, 3.0]})
    joined = published.compare_published(rows, measured).set_index("network")
    assert (joined.loc["MobileNetV2 1.0x", "clips_per_s"] == 12).all()
    assert pd.isna(joined.loc["X3D-S", "gmacs"]) and joined.loc["X3D-S", "why"] == ""
    assert published.figures_of(FIGURES, ["tam_resnet18 num_frames=4"])["num_frames"].nunique() == 4


def test_a_difference_that_nothing_explains_is_said():
    row = {"source": "", "spec": "resnet18", "counts": "macs", "ratio": 0.9, "ratio_same_rule": 0.9}
    assert published.explain_difference(row) == "the source counts MACs; counted so, a difference remains (-10.00 %)"
    assert published.explain_difference({**row, "counts": ""}) == "it is not known what the source counts"


# --- plots ----------------------------------------------------------------------------------------------------


def overlapping(texts, figure) -> bool:
    figure.canvas.draw()
    boxes = [matplotlib.text.Text.get_window_extent(text) for text in texts]  # without the line to the point
    return any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_published_accuracy_names_every_network_once():
    rows = compared(dataset="Kinetics-600")
    axes = cost_plots.published_accuracy(rows, "Kinetics-600")
    assert {text.get_text() for text in axes.texts} == set(rows["network"]) and len(axes.texts) == 21
    assert not overlapping(axes.texts, axes.figure)
    assert axes.get_xscale() == "log" and "Kinetics-600" in axes.get_ylabel()
    with pytest.raises(ValueError, match="dataset 'Jester': .* there are Kinetics-600"):
        cost_plots.published_accuracy(rows, "Jester")


def test_bars_of_published_macs():
    rows = compared(dataset="Kinetics-600")
    axes = cost_plots.macs_against_published(rows)
    assert [tick.get_text() for tick in axes.get_yticklabels()][-1] == "resnext101, 16 × 112²"
    mobilenet = rows["network"].tolist().index("MobileNetV2 1.0x")
    assert axes.patches[mobilenet].get_width() == pytest.approx(100 * (0.561 / 0.519048 - 1), abs=0.01)
    assert len(cost_plots.macs_against_published(rows, most=5).patches) == 5
    with pytest.raises(ValueError, match="no published MACs"):
        cost_plots.macs_against_published(rows[rows["gmacs"].isna()])


def test_bars_of_costs_and_speeds_stay_legible_for_many_networks():
    table = pd.DataFrame({"model": [f"network{n}" for n in range(60)]})
    table = table.assign(gmacs=range(60), params_m=1.0, activations_mb=2.5)
    axes = cost_plots.cost_panels(table)
    labels = axes.get_yticklabels()
    assert len(labels) == 60 and not overlapping(labels, axes.figure)
    rows = [(m, b, "bf16", "channels_last", 10.0 * b) for m in table["model"] for b in (1, 8)]
    best = pd.DataFrame(rows, columns=["model", "batch_size", "precision", "memory_format", "clips_per_s"])
    axes = cost_plots.speed_bars(best, title="clips/s")
    assert len(axes.patches) == 120 and axes.texts[0].get_text() == " 10  bf16, channels last"
    assert not overlapping(axes.texts, axes.figure)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["batch 1", "batch 8"]


# --- the widget -----------------------------------------------------------------------------------------------


def test_the_explorer_follows_its_controls(monkeypatch):
    monkeypatch.setattr("IPython.display.display", lambda *shown: None)
    calls = []
    count = speed.describe_model
    monkeypatch.setattr(speed, "describe_model", lambda *asked: calls.append(asked) or count(*asked))
    explorer = NetworkExplorer(["resnet10", TINY], 4, 32, 5, interactive=True)
    assert explorer.picked.value == ("resnet10",) and explorer.typed.value == TINY
    assert TINY in explorer.table.value and explorer.message.value == ""
    first = bytes(explorer.image.value)
    assert first.startswith(b"\x89PNG") and len(calls) == 2

    explorer.picked.value = ("resnet10", "tam_resnet18")  # built for the frames chosen
    assert "tam_resnet18 num_frames=4" in explorer.table.value and bytes(explorer.image.value) != first
    assert len(calls) == 3, "what is counted already is not counted again"
    explorer.frames.value = 8
    assert calls[-1][2] == (8, 32, 32) and "tam_resnet18" in explorer.table.value

    explorer.typed.value = "resnet18 shortcut=C\nresnet99"
    assert "resnet18 shortcut=C: " in explorer.message.value and "use one of A, B" in explorer.message.value
    assert "unknown model" in explorer.message.value and "Traceback" not in explorer.message.value
    explorer.picked.value, explorer.typed.value = (), ""
    assert explorer.message.value == "choose a network" and explorer.image.layout.display == "none"
    assert "actlib-picked" in explorer.picked._dom_classes


def test_the_explorer_without_a_screen_shows_its_first_choice(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    NetworkExplorer([TINY], 4, 32, 5, interactive=False)
    assert [type(each).__name__ for each in shown] == ["HTML", "Image"] and TINY in shown[0].data


def test_parameters_of_the_notebook():
    assert FlopsParams.build({"models": ["all"], "batch_sizes": [8, 1, 8]}, "x").batch_sizes == [1, 8]
    with pytest.raises(ValueError, match="all stands for every network"):
        FlopsParams.build({"models": ["all", "resnet18"]}, "x")
    with pytest.raises(ValueError, match="resnet99"):
        FlopsParams.build({"models": ["resnet99"]}, "x")
