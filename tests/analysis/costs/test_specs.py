"""The networks that notebook 05 is asked for, by name or as a checkpoint."""

from actlib.analysis.costs import networks
from actlib.models import create_from_spec, list_models
from actlib.models.weights.checkpoint import describe, save_checkpoint

TINY = "resnet10 widen_factor=0.25"


def test_a_checkpoint_stands_for_its_network_and_all_for_every_one(tmp_path):
    model = create_from_spec(TINY, 3)
    content = {"model": describe(model), "state_dict": model.state_dict(), "classes": ["a", "b", "c"]}
    path = str(save_checkpoint(tmp_path / "best.pt", content | {"preprocessing": {"num_frames": 8}}))
    assert networks.specs_of(["mobilenetv2", path, TINY], 8, 48) == ["mobilenetv2", TINY]
    assert len(networks.specs_of(["all"], 8, 48)) == len(list_models())
