"""The networks against the numbers of the reference implementations: layout, logits, parameters, MACs."""

import numpy as np
import pytest
import torch
from vectors import VECTORS, create_on_meta, fill, read_vector, vector_spec

from actlib.analysis.costs.flops import count_macs, num_params

COSTLY = 15e9  # MACs of a clip
each_vector = pytest.mark.parametrize("path", [pytest.param(p, id=p.stem) for p in VECTORS])


def test_vectors_are_there():
    assert len(VECTORS) == 80


@each_vector
def test_layout_and_counts(path):
    vector = read_vector(path)
    model = create_on_meta(vector_spec(vector), vector["build"]["num_classes"])
    assert [[key, list(tensor.shape)] for key, tensor in model.state_dict().items()] == vector["state"]
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == vector["num_params"] == num_params(model)
    count = count_macs(model, tuple(vector["input"][1:]))
    # where pytorchvideo classifies each window of the maps and averages, here their mean is classified
    assert (count.conv, count.linear * vector.get("windows", 1)) == (vector["conv_macs"], vector["linear_macs"])
    assert vector["conv_macs"] + vector["linear_macs"] == vector["conv_linear_macs"]
    assert count.attention == vector.get("attention_macs", 0)


@each_vector
def test_logits(path):
    vector = read_vector(path)
    num_classes = vector["build"]["num_classes"]
    model = create_on_meta(vector_spec(vector), num_classes).eval()
    model.load_state_dict({key: fill(key, shape, vector["gain"]) for key, shape in vector["state"]}, assign=True)
    # samples do not see each other: of these networks, the costliest, the first tells all
    few = path.stem.startswith("pytorchvideo") and vector["conv_linear_macs"] > COSTLY
    samples = 1 if few else vector["input"][0]
    shape = [samples, *vector["input"][1:]]
    x = np.random.RandomState(20260101).standard_normal(shape).astype(np.float32)
    with torch.inference_mode():
        logits = model(torch.from_numpy(x)).double().numpy()

    scale = np.array(vector["logits_abs_mean"])[:samples, None]
    want = np.array(vector["logits"])[:samples]
    assert logits.shape == (samples, num_classes)
    assert (np.abs(logits[:, : want.shape[1]] - want) <= 1e-4 * np.maximum(np.abs(want), scale)).all()
    sums = np.array(vector["logits_sum"])[:samples, None]
    assert (np.abs(logits.sum(1, keepdims=True) - sums) <= 1e-4 * scale * num_classes).all()
    assert np.allclose(np.abs(logits).mean(1, keepdims=True), scale, rtol=1e-4, atol=0)
