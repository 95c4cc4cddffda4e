"""Several processes are one: the weights, rows and scores of N with a share of every batch each are those of one."""

import copy
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
import torch
from processes import on_ranks
from torch import nn
from torchvision.ops import StochasticDepth
from training import Double, content, params, weights

from actlib.compute.dropout import Noise
from actlib.compute.dropout import over_all_processes as share_dropout
from actlib.compute.processes import Ranks, how_many
from actlib.compute.sync_norm import apart, over_all_processes
from actlib.datasets.table import read_table, write_table
from actlib.loops import evaluate, prepare, train

# Two batches of 11 make a step, then a batch of 2 clips one alone: too few for three processes to share.
UNEVEN = {"batch_size": 11, "accumulate": 2, "last_batch": "keep", "sync_bn": True, "clip_grad": 1.0}
UNEVEN |= {"crop_size": 16, "short_side": 16}
MIXED = {"flip": True, "flip_labels": "swap", "mixup": 0.4, "cutmix": 1.0, "label_smoothing": 0.1}


def trained(ranks, p, epochs: int | None = None) -> tuple[list[dict], dict[str, torch.Tensor]]:
    """The rows, and the weights at the end; stopped after `epochs`."""
    job = prepare(p, model=Double(), ranks=ranks)
    rows = []
    for row in train(job):
        rows.append(row)
        if len(rows) == epochs:
            job.stop.ask()
    return rows, {name: value.numpy() for name, value in job.model.state_dict().items()}


def assert_same(found: dict, expected: dict, tolerance: float) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=tolerance, err_msg=name)


def without_times(rows: list[dict]) -> pd.DataFrame:
    return pd.DataFrame(rows).drop(columns=["clips_per_s", "data_wait", "seconds"])


@pytest.fixture(scope="module")
def by_one(motion_table, tmp_path_factory):
    """What one process comes to, as two and three are to."""
    folder = tmp_path_factory.mktemp("one")
    p = params(motion_table, folder / "run", **UNEVEN, **MIXED)
    return on_ranks(1, trained, folder, p)[0]


@pytest.mark.parametrize("size", [2, 3])
def test_processes_train_to_the_weights_of_one(motion_table, tmp_path, by_one, size):
    p = params(motion_table, tmp_path / "run", **UNEVEN, **MIXED)
    found = on_ranks(size, trained, tmp_path / "ranks", p)
    rows, expected = by_one
    for its_rows, its_weights in found:
        assert_same(its_weights, expected, 1e-10)
        pd.testing.assert_frame_equal(without_times(its_rows), without_times(rows), atol=2e-5, rtol=0)
    assert len(content(tmp_path / "run/checkpoints/last.pt")["rng_of_ranks"]) == size
    saved = {name: value.numpy() for name, value in weights(tmp_path / "run").items()}
    assert_same(saved, expected, 1e-10)


def test_a_run_goes_on_with_another_number_of_processes(motion_table, tmp_path, by_one):
    p = params(motion_table, tmp_path / "run", **UNEVEN, **MIXED)
    [first, _] = on_ranks(2, trained, tmp_path / "two", p, 1)
    assert len(first[0]) == 1
    for rows, found in on_ranks(3, trained, tmp_path / "three", p):
        assert len(rows) == 2
        assert_same(found, by_one[1], 1e-10)


def scores_of(ranks, p, table, num_workers: int = 0) -> dict:
    job = prepare(p.model_copy(update={"num_workers": num_workers}), model=Double(), ranks=ranks)
    return evaluate(job)


def test_each_video_is_evaluated_once_whatever_their_number(motion_table, tmp_path):
    table = read_table(motion_table)
    videos = table.index[table["subset"] == "validation"]
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    table.loc[videos[4], "path"] = str(broken)
    path = write_table(table, tmp_path / "table.csv")
    p = params(path, tmp_path / "run", batch_size=5)
    [alone] = on_ranks(1, scores_of, tmp_path / "one", p, table)
    first, *others = on_ranks(3, scores_of, tmp_path / "three", p, table, 2)
    assert others == [{}, {}] and list(first) == list(alone) == ["clip"]
    found, expected = first["clip"], alone["clip"]
    assert found.video_ids == expected.video_ids and found.errors == expected.errors
    assert [bool(error) for error in found.errors] == [place == 4 for place in range(len(videos))]
    assert (found.views == expected.views).all() and found.num_scored == len(videos) - 1
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-7)
    pd.testing.assert_frame_equal(found.table, expected.table, atol=1e-6)


def normalised(ranks, module, x: torch.Tensor, whole: int):
    """What a batch norm over all processes makes of this process's part of `x`; its gradient and statistics."""
    norm = over_all_processes(copy.deepcopy(module), torch.device("cpu"))
    mine = x[ranks.share(whole)].clone().requires_grad_()
    with apart(norm) if ranks.is_whole(whole) else nullcontext():
        y = norm(mine)
    (y * y.detach().roll(1, 1) * torch.arange(y.shape[1]).view(1, -1, *[1] * (y.dim() - 2))).sum().backward()
    return y.detach(), mine.grad, dict(norm.named_buffers()), [each.grad for each in norm.parameters()]


@pytest.mark.parametrize(
    "module",
    [
        nn.BatchNorm3d(4), nn.BatchNorm2d(4, momentum=None), nn.BatchNorm1d(4, affine=False),
        nn.BatchNorm3d(4, track_running_stats=False),
    ],
)
def test_batch_norm_sees_the_clips_of_all_processes(tmp_path, module):
    shape = {nn.BatchNorm1d: (7, 4), nn.BatchNorm2d: (7, 4, 3, 3), nn.BatchNorm3d: (7, 4, 2, 3, 3)}[type(module)]
    x, module = torch.randn(shape, dtype=torch.float64) * 3 + 1, module.double()
    [(expected, gradient, buffers, of_parameters)] = on_ranks(1, normalised, tmp_path / "one", module, x, 7)
    plain = copy.deepcopy(module)(x.clone())
    assert torch.allclose(expected, plain, atol=1e-12)
    parts = on_ranks(3, normalised, tmp_path / "three", module, x, 7)
    assert [len(part[0]) for part in parts] == [2, 2, 3]
    assert torch.allclose(torch.cat([part[0] for part in parts]), expected, atol=1e-12)
    assert torch.allclose(torch.cat([part[1] for part in parts]), gradient, atol=1e-11)
    for part in parts:
        assert part[2].keys() == buffers.keys()
        assert all(torch.allclose(part[2][name], buffers[name], atol=1e-12) for name in buffers)
    for each, *found in zip(of_parameters, *(part[3] for part in parts)):
        assert torch.allclose(sum(found), each, atol=1e-11)
    few = on_ranks(3, normalised, tmp_path / "few", module, x[:2], 2)  # each has both
    assert all(torch.allclose(part[0], few[0][0]) and len(part[0]) == 2 for part in few)


def dropped(ranks, x: torch.Tensor, whole: int) -> torch.Tensor:
    """What dropout and stochastic depth leave of this process's part of `x`, whose rows are those of `whole` clips."""
    network = nn.Sequential(nn.Dropout(0.3), StochasticDepth(0.4, "row"), nn.Dropout(0.5))
    torch.manual_seed(3)
    noise = Noise(ranks, torch.device("cpu"), seed=0)
    if ranks.size > 1:
        torch.manual_seed(100 + ranks.rank)
        share_dropout(network, noise)
    noise.count, share, each = whole, ranks.share(whole), len(x) // whole
    return copy.deepcopy(network)(x[share.start * each : share.stop * each])


def test_dropout_is_that_of_the_whole_batch(tmp_path):
    maps = torch.randn(7, 4, 2, 3, 3).contiguous(memory_format=torch.channels_last_3d)
    for number, x in enumerate([maps, torch.randn(14, 5), torch.randn(7, 40)]):  # the second: two rows a clip
        [expected] = on_ranks(1, dropped, tmp_path / f"one{number}", x, 7)
        assert (expected == 0).any() and not (expected == 0).all()
        assert torch.equal(torch.cat(on_ranks(3, dropped, tmp_path / f"three{number}", x, 7)), expected)
    few = on_ranks(3, dropped, tmp_path / "few", x[:2], 2)  # each has both
    assert all(torch.equal(each, few[0]) and len(each) == 2 for each in few)


def test_shares():
    for size in (1, 2, 3, 8):
        ranks = [Ranks(rank, size, rank, size) for rank in range(size)]
        for count in range(1, 20):
            shares = [list(range(20))[each.share(count)] for each in ranks]
            if count < size:
                assert shares == [list(range(count))] * size
            else:
                assert sum(shares, []) == list(range(count))
                assert {len(each) for each in shares} <= {count // size, -(-count // size)}
        for workers in (0, 1, 5, 8, 64):
            found = [each.share_of_workers(workers) for each in ranks]
            assert sum(found) == (max(workers, size) if workers else 0)


def test_how_many_processes():
    cpu = torch.device("cpu")
    assert how_many("auto", cpu) == 1 and how_many(3, cpu) == 3
    gpus = torch.cuda.device_count()
    with pytest.raises(ValueError, match=f"devices: {gpus + 1}: CUDA shows {gpus}"):
        how_many(gpus + 1, torch.device("cuda"))
    with pytest.raises(ValueError, match="device is cuda:0"):
        how_many(2, torch.device("cuda:0"))


def test_a_batch_must_have_a_clip_for_each_device(motion_table, tmp_path):
    with pytest.raises(ValueError, match="batch_size: 8: 9 devices share it"):
        prepare(params(motion_table, tmp_path / "run", devices=9))
