"""Which precision and layout a network gets: by rule the same every time, measured the fastest."""

import sys
import time

import pytest
import torch
from torch import nn

from actlib.compute import measure
from actlib.compute.choose import RULES, candidates, choose, device_kind, has_bf16, network_kind, rule_for
from actlib.compute.execution import Execution
from actlib.models import create_model

SHAPE = (2, 3, 4, 16, 16)
CPU = torch.device("cpu")
MEASURE = {"precision": "measure", "memory_format": "measure"}
HOW = {"device": CPU, "training": True, "steps": 10_000}


@pytest.fixture(scope="module")
def tiny():
    return create_model("resnet10", 5, widen_factor=0.0625)


def test_the_rule_needs_no_step_of_the_network(tiny):
    tiny = create_model("resnet10", 5, widen_factor=0.0625)
    tiny.register_forward_pre_hook(lambda *_: pytest.fail("auto must not run the network"))
    execution, timings = choose(tiny, SHAPE, **HOW)
    rule = rule_for(tiny, CPU)
    assert execution == Execution(rule.precision, rule.memory_format) and timings == {}
    assert execution.precision == ("bf16" if has_bf16(CPU) else "float32")
    assert choose(tiny, SHAPE, **HOW, precision="fp16")[0] == Execution("fp16", rule.memory_format)


def test_the_table_has_one_rule_for_every_device_and_network():
    kinds = [(rule.device, rule.network) for rule in RULES]
    assert len(set(kinds)) == len(kinds) and all(rule.known_from for rule in RULES)
    assert {device for device, _ in kinds} == {"cpu", "cpu with bf16 units", "cuda from 8.0", "cuda from 7.0", "other"}
    assert all((device, kind) in kinds for device, _ in kinds for kind in ("dense", "depthwise"))
    assert device_kind(CPU).startswith("cpu") and device_kind(torch.device("meta")) == "other"


def test_networks_are_dense_or_depthwise(tiny):
    kinds = {"mobilenet": "depthwise", "shufflenetv2": "depthwise", "resnext50": "dense", "tsn_resnet18": "dense"}
    assert {name: network_kind(create_model(name, 5)) for name in kinds} == kinds
    assert network_kind(nn.Linear(3, 5)) == "dense"  # a network of the user's without any convolution


def test_measured_is_the_fastest_and_leaves_model_and_random_state_alone(tiny):
    state, before = torch.get_rng_state(), {key: value.clone() for key, value in tiny.state_dict().items()}
    chosen, timings = choose(tiny, SHAPE, **HOW, **MEASURE)
    assert set(timings) == set(candidates(tiny, CPU)) and len(timings) == 2 * (1 + has_bf16(CPU))
    assert timings[chosen].seconds == min(each.seconds for each in timings.values())
    assert timings[chosen].steps == 10
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[key], value) for key, value in tiny.state_dict().items())
    assert all(parameter.grad is None for parameter in tiny.parameters())


def test_a_run_that_is_too_short_to_measure_for_gets_the_rule(tiny, capsys):
    execution, timings = choose(tiny, SHAPE, device=CPU, training=True, steps=40, **MEASURE)
    assert timings == {} and execution == choose(tiny, SHAPE, **HOW)[0]
    assert "40 steps are too few to measure" in capsys.readouterr().out
    least = 20 * len(candidates(tiny, CPU)) * 7  # seven steps of each are a twentieth of so many
    _, timings = choose(tiny, SHAPE, device=CPU, training=True, steps=least, **MEASURE)
    assert max(each.steps for each in timings.values()) == 4


class Costly(nn.Module):
    """A network whose first step in each layout costs 0.3 s once, as choosing kernels does, and whose steps take 40 ms
    in contiguous layout and 10 ms in channels last: slept, not computed, so that the right answer is known."""

    seen: set = set()

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 3, 1, 1, 1))

    def forward(self, clips):
        last = clips.is_contiguous(memory_format=torch.channels_last_3d)
        if (last, id(self)) not in self.seen:
            self.seen.add((last, id(self)))
            time.sleep(0.3)
        time.sleep(0.01 if last else 0.04)
        return (clips * self.weight).mean(dim=(2, 3, 4))


def test_a_first_step_that_costs_more_is_not_held_against_a_pair():
    pairs = [Execution("float32", "contiguous"), Execution("float32", "channels_last")]
    timings = measure.time_pairs(Costly(), SHAPE, pairs, device=CPU, training=True)
    contiguous, last = (timings[pair] for pair in pairs)
    assert last.steps == 10 and 0.01 <= last.seconds < contiguous.seconds
    assert contiguous.steps == 0  # more than twice as slow after its warm-up: left at that


def test_a_limit_of_time_ends_the_rounds_once_one_was_counted():
    pair = Execution("float32", "channels_last")
    timing = measure.time_pairs(Costly(), SHAPE, [pair], device=CPU, training=True, limit_s=0.0)[pair]
    assert timing.steps == 1


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_a_pair_that_runs_out_of_memory_is_left_out_by_name(warmed, tmp_path):
    """A real lack of it: in a process that may have little more than it has already."""
    code = f"""
import resource, psutil, torch
from actlib.compute.choose import choose
from actlib.compute.execution import Execution
from actlib.compute.measure import time_pairs
from torch import nn
class Hungry(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 3, 1, 1, 1))
    def forward(self, clips):
        if clips.is_contiguous(memory_format=torch.channels_last_3d):
            torch.empty(4 << 30, dtype=torch.uint8).fill_(1)
        return (clips * self.weight).mean(dim=(2, 3, 4))
CPU = torch.device("cpu")
now = psutil.Process().memory_info().vms
resource.setrlimit(resource.RLIMIT_AS, (now + (1 << 30), now + (1 << 30)))
how = {{"device": CPU, "training": False}}
chosen, timings = choose(Hungry(), {SHAPE}, **how, steps=9999, precision="float32", memory_format="measure")
assert chosen == Execution("float32", "contiguous"), chosen
try:
    time_pairs(Hungry(), {SHAPE}, [Execution("float32", "channels_last")], **how)
except torch.OutOfMemoryError as error:
    print(error)
"""
    process = warmed.start(code, errors=tmp_path / "errors.txt")
    said = process.stdout.read()
    assert process.wait() == 0, (tmp_path / "errors.txt").read_text()
    assert "left out: float32, channels_last: out of memory" in said
    assert "a batch of 2 clips does not fit into the memory of cpu" in said and "lower batch_size" in said


def test_a_word_that_is_not_known_is_refused(tiny):
    with pytest.raises(ValueError, match="precision 'fp8': expected one of"):
        choose(tiny, SHAPE, **HOW, precision="fp8")
