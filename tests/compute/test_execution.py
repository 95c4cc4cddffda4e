"""Precision and memory layout: the function stays, and the fastest measured pair is taken."""

import pytest
import torch

from actlib.compute.execution import Execution, candidates, choose, measure_all
from actlib.models import create_model

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
