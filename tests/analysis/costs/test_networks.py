"""The table of networks: what notebook 05 counts, of every network and of a network of one's own."""

import pytest

from actlib.analysis.costs import networks
from actlib.models import ModelError, list_models, parse_spec
from actlib.params import FlopsParams

TINY = "resnet10 widen_factor=0.0625"


def test_a_network_in_one_row():
    row = networks.describe_model(TINY, 5, (4, 16, 16))
    assert row["model"] == TINY and row["params_m"] > 0
    assert row["gmacs"] == pytest.approx(row["conv_gmacs"] + row["linear_gmacs"]) and row["attention_gmacs"] == 0
    assert min(row["pooling_m"], row["norm_m"], row["elementwise_m"]) > 0 and row["uncounted"] == ""
    assert row["train_activations_mb"] > row["activations_mb"] > 4 * 3 * 4 * 16 * 16 / 1e6  # more than the clip


def test_networks_that_do_not_fit_are_named_with_the_reason():
    table, refused = networks.describe_models([TINY, "resnet99"], 5, (4, 16, 16))
    assert list(table["model"]) == [TINY] and "unknown model 'resnet99'" in refused["resnet99"]
    with pytest.raises(ModelError, match="no network to describe: resnet99: unknown model"):
        networks.describe_models(["resnet99"], 5, (4, 16, 16))


def test_whatever_a_networks_code_raises_is_named(monkeypatch):
    def fail(*asked):
        raise KeyError("fc")

    monkeypatch.setattr(networks, "describe_model", fail)
    assert networks.try_to_describe("my_nets.py:small3d width=16", 5, (4, 16, 16)) == ({}, "KeyError: 'fc'")


def test_every_network_is_built_for_the_input():
    specs = networks.every_spec(32, 224)
    assert [parse_spec(spec)[0] for spec in specs] == list_models()
    assert "tam_resnet18 num_frames=32" in specs and "resnet18" in specs
    assert networks.spec_at("tam_resnet18", 8, 112) == "tam_resnet18"  # its default


def test_parameters_of_the_notebook():
    assert FlopsParams.build({"models": ["all"], "batch_sizes": [8, 1, 8]}, "x").batch_sizes == [1, 8]
    with pytest.raises(ValueError, match="all stands for every network"):
        FlopsParams.build({"models": ["all", "resnet18"]}, "x")
    with pytest.raises(ValueError, match="resnet99"):
        FlopsParams.build({"models": ["resnet99"]}, "x")
