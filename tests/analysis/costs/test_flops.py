"""Counts of work and memory against counts made by hand (the references' MACs: test_vectors.py)."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile
from vectors import VECTORS, create_on_meta, read_vector, vector_spec

from actlib.analysis.costs.counting_rules import count_as
from actlib.analysis.costs.flops import count_macs, executed_steps, num_params
from actlib.analysis.costs.memory import LiveBytes, peak_activation_bytes
from actlib.models import ModelError, create_from_spec, create_model, list_models
from actlib.models.registry import library_of


class TinyNet(nn.Module):
    """Every kind of operation that a count tells apart, small enough to count by hand."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(4, 6, kernel_size=(1, 3, 3), padding=(0, 1, 1), groups=2)
        self.norm = nn.BatchNorm3d(6)
        self.pool = nn.MaxPool3d(2)
        self.fc = nn.Linear(6, 5)

    def forward(self, x):
        x = self.pool(F.relu_(self.norm(self.conv(x))))  # (B, 6, 1, 2, 2)
        tokens = x.flatten(2).transpose(1, 2)  # (B, 4, 6)
        tokens = torch.bmm(tokens, tokens.transpose(1, 2)).softmax(-1) @ tokens
        return self.fc(tokens.mean(1)).sigmoid()


def test_work_by_hand():
    model = TinyNet()
    count = count_macs(model, (4, 2, 4, 4))
    assert count.conv == (6 * 2 * 4 * 4) * (4 // 2) * (1 * 3 * 3)
    assert count.linear == 5 * 6
    assert count.attention == 4 * 4 * 6 + 4 * 6 * 4
    assert count.total == count.conv + count.linear + count.attention
    assert count.input_shape == (4, 2, 4, 4)
    assert count.operations == {
        "convolution_bias": 192,
        "native_batch_norm": 192,
        "relu": 192,
        "max_pool3d_with_indices": 24 * 8,
        "softmax": 16,
        "mean": 24,
        "linear_bias": 5,
        "sigmoid": 5,
    }
    assert count.pooling == 24 * 8 + 24
    assert count.norm == 192
    assert count.elementwise == 192 + 192 + 16 + 5 + 5
    assert count.uncounted == {} and count.unknown == []


class Moves(nn.Module):
    """Operations that compute nothing, one that no table knows, and two that share a name with a reduction."""

    def forward(self, x):  # (1, 2, 2, 4, 4): 64 elements
        x = torch.cat((x, x.flip(4)), 1)  # flip 64, cat 128
        x = F.pad(x[:, ::2], (1, 1))  # constant_pad_nd: (1, 2, 2, 4, 6)
        x = torch.max(x, x.transpose(3, 4).contiguous().view_as(x))  # clone 96, maximum 96
        x = x.amax(4).clone()  # 96 elements read, clone 16
        return torch.nn.functional.avg_pool3d(x, (1, 2, 2)).cumsum(1)


def test_what_moves_data_or_is_unknown_is_named():
    count = count_macs(Moves(), (2, 2, 4, 4))
    assert count.uncounted == {"flip": 64, "cat": 128, "constant_pad_nd": 96, "clone": 112, "cumsum": 4}
    assert count.unknown == ["cumsum"]
    assert count.operations == {"maximum": 96, "amax": 96, "avg_pool3d": 16}
    assert (count.pooling, count.elementwise, count.total) == (112, 96, 0)


def test_attention_is_counted_whichever_way_it_is_written():
    class Attention(nn.Module):
        def forward(self, x):
            tokens = x.flatten(2)  # (1, 8 tokens, 32 channels)
            return F.scaled_dot_product_attention(tokens, tokens, tokens)

    count = count_macs(Attention(), (8, 2, 4, 4))
    assert count.attention == 2 * 8 * 8 * 32
    assert sum(work for name, work in count.operations.items() if "softmax" in name) == 64
    assert count.unknown == []


OWN = [name for name in list_models() if not name.startswith("tv_") and not library_of(name)]


@pytest.mark.parametrize("name", OWN[::7])
def test_no_operation_of_a_network_is_unknown(name):
    count = count_macs(create_on_meta(name, 5), (3, 16, 112, 112))
    assert count.unknown == []
    assert count.total > 0 and count.elementwise > 0 and count.pooling > 0


def test_the_model_stays_as_it_is():
    model = create_model("resnet10", 5, widen_factor=0.25)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    model.fc.bias.requires_grad_(False)
    with torch.inference_mode():
        in_inference = count_macs(model, (3, 4, 32, 32))
    peak_activation_bytes(model, (3, 4, 32, 32), 2, training=True)
    assert model.training and model.spec == "resnet10 widen_factor=0.25"
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert in_inference == count_macs(model.eval(), (3, 4, 32, 32))
    assert count_macs(model.half(), (3, 4, 32, 32)) == in_inference
    assert num_params(model) == sum(p.numel() for p in model.parameters()) - 5


def test_a_batch_axis_is_refused():
    with pytest.raises(ModelError, match=r"\(1, 2, 3, 4, 32, 32\)"):
        count_macs(create_on_meta("resnet10", 5), (2, 3, 4, 32, 32))


# --- what publications count ----------------------------------------------------------------------------------

WITH_THOP = [path for path in VECTORS if "thop_flops" in read_vector(path)]


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in WITH_THOP])
def test_the_counter_of_the_efficient_networks(path):
    vector = read_vector(path)
    model = create_on_meta(vector_spec(vector), vector["build"]["num_classes"])
    counted = count_as("thop", model, executed_steps(model, tuple(vector["input"][1:])))
    assert counted == pytest.approx(vector["thop_flops"], rel=5e-7)
    assert counted > vector["conv_linear_macs"]


def test_convolutions_without_the_last_layer():
    """Of a linear head nothing is left out, of a convolution it is: published for 8 frames of 224, 87 classes."""

    def convolution_macs(model, shape):
        return count_as("convolutions", model, executed_steps(model, shape))

    assert convolution_macs(create_on_meta("tsn_resnet18 temporal_stride=false", 87), (3, 8, 224, 224)) == 14508490752
    squeezenet = create_on_meta("squeezenet", 10)
    full = count_macs(squeezenet, (3, 16, 112, 112)).conv
    assert full - convolution_macs(squeezenet, (3, 16, 112, 112)) == 10 * 512 * (1 * 4 * 4)


# --- memory ---------------------------------------------------------------------------------------------------


def test_peak_memory_by_hand():
    """4 bytes an element: input 128, convolution 192, norm 192, pooled 24 with int64 indices; ReLU is in place.

    Inference: the convolution's output is dropped once the norm's is there, so the peak is input + both (the norm's
    statistics, 2 × 6 on this device at most, come on top).
    """
    peak = peak_activation_bytes(TinyNet(), (4, 2, 4, 4))
    assert 4 * (128 + 192 + 192) <= peak <= 4 * (128 + 192 + 192 + 12)
    assert peak_activation_bytes(TinyNet(), (4, 2, 4, 4), 3) == pytest.approx(3 * peak, abs=100)


def test_memory_of_training_waits_for_the_backward_pass():
    """A chain of sigmoids keeps each output in training, and two at a time at inference."""
    chain = nn.Sequential(nn.Linear(50, 50, bias=False), *[nn.Sigmoid() for _ in range(6)], nn.Flatten())
    size = 4 * 2 * 10 * 50
    assert peak_activation_bytes(chain, (10, 50), 2) == 3 * size  # the input, one output and the next
    peak = peak_activation_bytes(chain, (10, 50), 2, training=True)
    assert 8 * size <= peak <= 11 * size + 4 * 50 * 50  # input, seven outputs, gradients, a weight's gradient


def test_memory_counts_shared_storage_once_and_forgets_what_is_freed():
    with LiveBytes() as tracker:
        x = torch.zeros(100)
        view = x.view(10, 10)
        x.add_(1)
        assert (tracker.live, tracker.peak) == (400, 400)
        y = view + 1
        assert tracker.live == 800
        del x
        assert tracker.live == 800, "a view keeps the memory"
        del view, y
        assert (tracker.live, tracker.peak) == (0, 800)


@pytest.mark.parametrize(
    ("spec", "training"), [("resnet10 widen_factor=0.25", False), ("mobilenetv2 width_mult=0.45", True)]
)
def test_peak_memory_is_what_a_real_run_takes(spec, training):
    """Against torch's own record of allocations; these two need no working memory inside an operation worth naming."""
    model, shape = create_from_spec(spec, 10).train(training), (3, 8, 64, 64)
    for parameter in model.parameters() if training else ():
        parameter.register_post_accumulate_grad_hook(lambda p: setattr(p, "grad", None))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record, torch.set_grad_enabled(training):
        logits = model(torch.randn(2, *shape))
        if training:
            F.cross_entropy(logits, torch.zeros(2, dtype=torch.long)).backward()
    events = [event for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    counted = peak_activation_bytes(model, shape, 2, training)
    assert counted == pytest.approx(peak, rel=0.1)
