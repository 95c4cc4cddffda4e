"""Export: the file computes what the network computes, for any batch size; what does not leaves no file."""

import builtins

import pytest
import torch
from torch import nn

from actlib.__main__ import main
from actlib.compute.export import ExportError, export_onnx, export_program
from actlib.models import create_from_spec
from actlib.models.weights.checkpoint import network_content, save_checkpoint

SHAPE = (3, 4, 32, 32)
SPECS = ["resnet10 widen_factor=0.125 shortcut=A", "mobilenetv2 width_mult=0.2", "tam_resnet18 width_mult=0.125"]


# Blocks like one that stays, without which a network is exported in two thirds of the time.
REPEATED = {
    "mobilenetv2": [f"features.{number}" for number in (5, 6, 8, 9, 10, 12, 13, 15, 16)],
    "tam_resnet18": [f"layer{number}.1" for number in (2, 3, 4)],
}


def network(spec: str):
    torch.manual_seed(0)
    model = create_from_spec(spec, 5)
    for block in reversed(REPEATED.get(model.name, [])):
        stage, _, number = block.rpartition(".")
        del model.get_submodule(stage)[int(number)]
    return model


@pytest.mark.parametrize("spec", SPECS)
def test_onnx(tmp_path, spec):
    import onnxruntime

    model = network(spec)
    difference = export_onnx(model, tmp_path / "x.onnx", SHAPE)
    assert 0 <= difference < 1e-4 and model.training
    assert [each.name for each in tmp_path.iterdir()] == ["x.onnx"]
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    clips = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(9))
    (logits,) = session.run(["logits"], {"clips": clips.numpy()})
    with torch.inference_mode():
        want = model.eval()(clips)
    assert logits.shape == (4, 5) and (torch.from_numpy(logits) - want).abs().max() < 1e-4 * want.abs().mean()


@pytest.mark.parametrize("spec", SPECS)
def test_program(tmp_path, spec):
    model = network(spec)
    assert export_program(model, tmp_path / "x.pt2", SHAPE) < 1e-5
    program = torch.export.load(tmp_path / "x.pt2").module()
    clips = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(9))
    with torch.inference_mode():
        assert torch.allclose(program(clips), model.eval()(clips), atol=1e-5)


def test_a_checkpoint_by_the_command_line(tmp_path, capsys):
    how = {"num_frames": 4, "frame_stride": 1, "short_side": 40, "crop_size": 32, "channel_order": "bgr"}
    how |= {"mean": [0.5] * 3, "std": [0.25] * 3}
    model = network(SPECS[0])
    save_checkpoint(tmp_path / "a.pt", network_content(model, list("abcde"), how))
    assert main(["export", str(tmp_path / "a.pt"), str(tmp_path / "a.pt2"), "--num-frames", "2"]) == 0
    printed = capsys.readouterr().out
    assert "clips (B, 3, 2, 32, 32) to logits (B, 5)" in printed and "bgr, mean 0.5 0.5" in printed
    program = torch.export.load(tmp_path / "a.pt2").module()
    assert program(torch.zeros(1, 3, 2, 32, 32)).shape == (1, 5)


class Drifting(nn.Module):
    """Answers otherwise each time it is called from Python, so that no export can agree with it."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x.mean(dim=(2, 3, 4)) * self.weight * float(self.calls)


class Branching(nn.Module):
    """Its way depends on the values of the clip, which no export can follow."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x.mean(dim=(2, 3, 4)) * (self.weight if x.sum() > 0 else -self.weight)


@pytest.mark.parametrize("export", [export_onnx, export_program])
def test_what_differs_or_cannot_be_exported_leaves_the_old_file(tmp_path, export):
    path = tmp_path / "x.bin"
    path.write_text("old")
    with pytest.raises(ExportError, match=r"x\.bin: the export differs by .* above 0\.001"):
        export(Drifting(), path, (3, 2, 4, 4))
    with pytest.raises(ExportError, match="Branching cannot be exported as"):
        export(Branching(), path, (3, 2, 4, 4))
    assert path.read_text() == "old" and [each.name for each in tmp_path.iterdir()] == ["x.bin"]


def test_without_the_extra_the_error_names_it(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **more):
        if name.startswith("onnx"):
            raise ImportError(f"No module named {name!r}")
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ExportError, match=r"pip install -e '\.\[export\]'"):
        export_onnx(network(SPECS[0]), tmp_path / "x.onnx", SHAPE)


def test_a_network_elsewhere_is_refused(tmp_path):
    with pytest.raises(ExportError, match="is on cpu in torch.float64: move it to the CPU in float32"):
        export_program(network(SPECS[0]).double(), tmp_path / "x.pt2", SHAPE)
