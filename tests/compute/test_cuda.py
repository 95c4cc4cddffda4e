"""What only a CUDA device can show: training, going on, folding, choosing and mixed precision on one, without waits."""

import numpy as np
import pytest
import torch
from training import content, params, run

from actlib.compute.choose import candidates, choose
from actlib.compute.device import on_device
from actlib.compute.execution import Execution
from actlib.compute.folding import fold_batch_norm
from actlib.compute.measure import time_pairs
from actlib.loops import evaluate, prepare
from actlib.loops.train import _augmented, _flips, _forward, _step
from actlib.models import create_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CUDA = torch.device("cuda")
AMPERE = torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)
PRECISIONS = ["float32", "fp16", *(["bf16", "tf32"] if AMPERE else [])]
LEARNS = {"epochs": 25, "optimizer": "adamw", "lr": 0.005, "crop": "center", "model": "resnet10 widen_factor=0.125"}


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_it_learns_in_every_precision(motion_table, tmp_path, precision, memory_format):
    how = {"precision": precision, "memory_format": memory_format, "device": "cuda"}
    rows = run(params(motion_table, tmp_path, **LEARNS, **how))
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert content(tmp_path / "checkpoints" / "best.pt")["execution"] == how | {"compile": False}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_run_that_goes_on_is_close_to_one_that_was_not_stopped(motion_table, tmp_path, precision):
    more = {"device": "cuda", "precision": precision, "num_workers": 1, "flip": True, "flip_labels": "swap"}
    whole = run(params(motion_table, tmp_path / "whole", epochs=3, mixup=0.4, **more))
    run(params(motion_table, tmp_path / "parts", epochs=1, mixup=0.4, **more))
    parts = run(params(motion_table, tmp_path / "parts", epochs=3, mixup=0.4, **more))
    np.testing.assert_allclose([row["loss"] for row in parts], [row["loss"] for row in whole], rtol=0.02)


def test_a_step_does_not_wait_for_the_device(motion_table, tmp_path):
    """torch raises at whatever would: a copy from memory that is not pinned, a number asked for."""
    more = {"device": "cuda", "flip": True, "flip_labels": "swap", "mixup": 0.4, "cutmix": 1.0, "clip_grad": 1.0}
    job = prepare(params(motion_table, tmp_path, **more))
    job.set_training_mode()
    order, batches = list(job.batches), list(job.loader)
    flips = _flips(job, 0, order)
    for attempt in ("warm", "watched"):
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error" if attempt == "watched" else "default")
        try:
            for batch, videos, flip in zip(on_device(batches, CUDA), order, flips):
                clips, targets = _augmented(job, 0, videos[0], batch, flip)
                logits = _forward(job, clips, 0)
                job.scaler.scale(job.loss(logits, targets.of(logits.shape[1]))).backward()
                _step(job)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert batches[0].clips.is_pinned()


def test_batches_arrive_whole_on_their_own_stream(motion_table, tmp_path):
    job = prepare(params(motion_table, tmp_path, device="cuda"))
    batches = list(job.loader)
    for there, here in zip(on_device(batches, CUDA), batches):
        assert there.clips.device.type == "cuda" and torch.equal(there.clips.cpu(), here.clips)


@pytest.mark.parametrize("name", ["resnet10", "mobilenetv2", "shufflenet"])
def test_norms_are_folded_although_tf32_is_on(name):
    model = create_model(name, 5).to(CUDA).eval()
    clips = torch.randn(1, 3, 8, 64, 64, device=CUDA)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    try:
        folded = fold_batch_norm(model, clips)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False
    assert not any(isinstance(module, torch.nn.BatchNorm3d) for module in folded.modules())


def test_float32_is_ieee_float32():
    """Against the CPU: TF32 has 10 bits of mantissa, and errors a thousand times as large."""
    torch.manual_seed(0)
    conv, clips = torch.nn.Conv3d(64, 64, 3), torch.randn(2, 64, 8, 28, 28)
    want = conv(clips)
    conv.to(CUDA)
    with torch.inference_mode(), Execution("float32").switched():
        found = conv(clips.to(CUDA)).cpu()
    assert (found - want).abs().max() < 1e-5 * want.abs().max()


def test_the_rule_and_the_measurement_both_give_what_the_device_has():
    model = create_model("resnet10", 5, widen_factor=0.25)
    shape = (4, 3, 8, 64, 64)
    how = {"device": CUDA, "training": True, "steps": 10_000}
    ruled, none = choose(model, shape, **how)
    assert none == {} and ruled.precision == ("bf16" if AMPERE else "fp16")
    measured, timings = choose(model, shape, **how, precision="measure", memory_format="measure")
    assert set(timings) == set(candidates(model, CUDA)) and timings[measured].steps == 10


def test_a_batch_that_does_not_fit_is_named():
    class Hungry(torch.nn.Linear):
        def forward(self, clips):
            torch.empty(1 << 50, dtype=torch.uint8, device=clips.device)

    with pytest.raises(torch.OutOfMemoryError, match="a batch of 2 clips does not fit into the memory of cuda"):
        time_pairs(Hungry(3, 5), (2, 3, 4, 16, 16), [Execution()], device=CUDA, training=True)


def test_evaluation_gives_the_cpus_answers(motion_table, tmp_path):
    here, there = (
        evaluate(prepare(params(motion_table, tmp_path / device, device=device)))["clip"].scores
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(there, here, atol=1e-4)
