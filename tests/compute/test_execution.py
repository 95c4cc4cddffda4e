"""How a network runs: the function stays whatever the precision and layout, and torch's switches are put back."""

import copy

import pytest
import torch
from torch import nn

from actlib.compute.execution import Execution, has_compiler, ieee_float32
from actlib.compute.folding import fold_batch_norm
from actlib.models import create_model

CPU = torch.device("cpu")
WAYS = [Execution(each, layout) for each in ("float32", "bf16", "fp16") for layout in ("contiguous", "channels_last")]


@pytest.mark.parametrize("name", ["resnet10", "tsn_resnet18"])
def test_execution_changes_layout_and_precision_not_the_function(name):
    torch.manual_seed(0)
    model = create_model(name, 5).eval()
    clips = torch.randn(2, 3, 4, 32, 32)
    want = model(clips)
    for way in WAYS:
        way.check(CPU)
        way.apply_to(model)
        with torch.inference_mode(), way.switched(), way.autocast(CPU):
            found = model(clips.contiguous(memory_format=way.layout_of_clips())).float()
        tolerance = 1e-3 if way.precision == "float32" else 0.1
        assert (found - want).abs().max() <= tolerance * want.abs().max(), (name, way)
        if way.precision != "float32":
            assert not torch.equal(found, want), way
        weight, last = model.conv1.weight, way.memory_format == "channels_last"
        layout = {4: torch.channels_last, 5: torch.channels_last_3d}[weight.dim()] if last else torch.contiguous_format
        assert weight.is_contiguous(memory_format=layout)


@pytest.mark.parametrize(
    ("execution", "message"),
    [
        (Execution("fp8"), "precision 'fp8': expected one of float32, tf32, bf16, fp16"),
        (Execution("float32", "nhwc"), "memory_format 'nhwc': expected one of contiguous, channels_last"),
        (Execution("tf32"), "precision tf32: only CUDA devices of capability 8.0 and newer have it, not cpu"),
    ],
)
def test_what_a_device_cannot_do_is_refused(execution, message):
    with pytest.raises(ValueError, match=message):
        execution.check(CPU)


def test_compiling_without_a_compiler_is_refused_in_words(warmed, tmp_path):
    """In a process that finds no program at all."""
    code = "import os, torch\nfrom actlib.compute.execution import Execution\n"
    code += "os.environ |= {'PATH': '/nowhere', 'CXX': ''}\nExecution(compile=True).check(torch.device('cpu'))"
    assert warmed.start(code, errors=tmp_path / "errors.txt").wait() == 1
    said = (tmp_path / "errors.txt").read_text()
    assert "compile: true: torch.compile needs a C++ compiler" in said and "apt install g++" in said


def state_of_switches() -> list:
    backends = torch.backends
    ieee = [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.matmul, backends.mkldnn.conv]
    return [torch.get_float32_matmul_precision(), backends.cudnn.benchmark, *(each.fp32_precision for each in ieee)]


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_switches_are_set_and_put_back(precision):
    """torch's own default lets cuDNN compute float32 convolutions in TF32: float32 is to mean float32."""
    before, execution = state_of_switches(), Execution(precision)
    with pytest.raises(KeyError), execution.switched():
        assert torch.backends.cudnn.conv.fp32_precision == ("tf32" if precision == "tf32" else "ieee")
        assert torch.backends.cuda.matmul.fp32_precision == ("tf32" if precision == "tf32" else "ieee")
        assert torch.backends.cudnn.benchmark
        # The older switches agree, or torch would refuse to answer.
        assert torch.backends.cudnn.allow_tf32 == torch.backends.cuda.matmul.allow_tf32 == (precision == "tf32")
        told = execution.describe(CPU)
        assert told["torch.backends.cudnn.conv.fp32_precision"] == torch.backends.cudnn.conv.fp32_precision
        raise KeyError
    assert state_of_switches() == before


def test_what_the_user_switched_is_put_back_too(warmed, tmp_path):
    """In a process of its own, since torch's switches are the process's."""
    code = """
import torch
from actlib.compute.execution import Execution, ieee_float32
torch.set_float32_matmul_precision("medium")
torch.backends.cudnn.conv.fp32_precision = "ieee"  # now cudnn.allow_tf32 cannot be read
with Execution("tf32").switched():
    assert torch.backends.cudnn.conv.fp32_precision == "tf32"
    with ieee_float32():
        assert torch.backends.mkldnn.matmul.fp32_precision == torch.backends.cuda.matmul.fp32_precision == "ieee"
assert torch.get_float32_matmul_precision() == "medium", torch.get_float32_matmul_precision()
assert torch.backends.mkldnn.matmul.fp32_precision == "bf16" and torch.backends.cuda.matmul.fp32_precision == "tf32"
assert torch.backends.cudnn.conv.fp32_precision == "ieee" and torch.backends.cudnn.rnn.fp32_precision == "tf32"
"""
    assert warmed.start(code, errors=tmp_path / "errors.txt").wait() == 0, (tmp_path / "errors.txt").read_text()


def test_folding_is_checked_in_float32_whatever_is_switched_on(monkeypatch):
    """Under autocast, or TF32, the two answers differ by more than the tolerance, and folding would turn itself off."""
    torch.manual_seed(0)
    model, clips = create_model("resnet10", 5, widen_factor=0.25).eval(), torch.randn(1, 3, 4, 32, 32)
    seen = []
    model.register_forward_pre_hook(
        lambda *_: seen.append((torch.is_autocast_enabled("cpu"), torch.backends.cudnn.conv.fp32_precision))
    )
    with Execution("tf32").switched(), torch.autocast("cpu", torch.bfloat16):
        folded = fold_batch_norm(model, clips)
    assert seen and set(seen) == {(False, "ieee")}
    assert not any(isinstance(module, nn.BatchNorm3d) for module in folded.modules())
    with ieee_float32():
        torch.testing.assert_close(folded(clips), model(clips), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(not has_compiler(CPU), reason="no C++ compiler on the PATH, which torch.compile needs")
def test_a_compiled_network_is_the_same_to_everybody_but_the_clock(tmp_path):
    """Answers and gradients are equal; state dict, copies and folded copies are those of any network."""
    torch.manual_seed(0)
    layers = [nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 5)]
    model = nn.Sequential(*layers)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    plain, clips = copy.deepcopy(model), torch.randn(2, 3, 4, 16, 16)
    Execution("float32", "contiguous", compile=True).apply_to(model)
    model(clips).sum().backward()
    plain(clips).sum().backward()
    for (name, ours), (same, theirs) in zip(model.named_parameters(), plain.named_parameters()):
        assert name == same
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1  # it was compiled, in one piece
    assert list(model.state_dict()) == list(plain.state_dict())
    torch.save(copy.deepcopy(model).state_dict(), tmp_path / "copy.pt")
    assert copy.deepcopy(model)._compiled_call_impl is None
