"""The optimiser and the course of its learning rate, from the parameters of notebook 02 or 03."""

import inspect
import math

import numpy as np
import torch
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from actlib.loops.finetune import parameter_groups
from actlib.models import VideoModel
from actlib.params import TrainingParams


def _without_dynamo(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """A kind of optimiser whose methods are torch's own without what hides them from torch.compile, which nobody runs
    on them here: at its first call that imports torch._dynamo, two thirds of torch's whole import once more.

    The wrapper of `step` also turns gradients off. Another release of torch, which wraps otherwise, is used as it is.
    """
    hidden = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in hidden}
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), methods)


AdamW, SGD = _without_dynamo(torch.optim.AdamW), _without_dynamo(torch.optim.SGD)


def make_optimizer(p: TrainingParams, model: VideoModel, *, scaled: bool = False) -> torch.optim.Optimizer:
    """SGD with momentum, dampening and Nesterov's variant, or AdamW, over the trainable parameters of `model` (see
    `finetune.parameter_groups`). Raises ModelError for rates of modules that are not there.

    The fused implementations do a step in one pass over the weights: twice as fast on a CPU for 11 million of them.
    `scaled`: for losses that a GradScaler scales, whose first steps are usually left out since gradients overflow.
    torch's fused SGD (2.15) then goes on with a momentum that was never written, so the plain one takes its place.
    """
    groups, common = parameter_groups(model, p), {"lr": p.base_lr, "weight_decay": p.weight_decay}
    common["fused"] = p.optimizer == "adamw" or not scaled
    if p.optimizer == "adamw":
        return AdamW(groups, **common)
    return SGD(groups, momentum=p.momentum, dampening=p.dampening, nesterov=p.nesterov, **common)


def rate_factor(p: TrainingParams, steps_per_epoch: int, step: int) -> float:
    """The learning rate of optimiser step `step`, counted from 0, by `base_lr`; of `plateau` without what it takes off.

    Warm-up rises linearly over `warmup_epochs`. After it: `constant` and `plateau` 1; `multistep` gamma for each
    milestone passed; `cosine` from 1 to 0 over the steps that are left (Loshchilov & Hutter, 2017, no restarts).
    """
    warmup = p.warmup_epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if p.schedule == "cosine":
        share = (step - warmup) / max(1.0, p.epochs * steps_per_epoch - warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
    if p.schedule == "multistep":
        return p.gamma ** sum(step // steps_per_epoch >= milestone for milestone in p.milestones)
    return 1.0


def steps_per_epoch(p: TrainingParams, batches: list[int]) -> int:
    """The optimiser steps of an epoch of these batches; the last one may have fewer than `accumulate` of them."""
    return -(-len(batches) // p.accumulate)


def learning_rates(p: TrainingParams, steps_per_epoch: int) -> np.ndarray:
    """The rate of every step of the run: float64 (epochs · steps_per_epoch,)."""
    return p.base_lr * np.array([rate_factor(p, steps_per_epoch, step) for step in range(p.epochs * steps_per_epoch)])


def make_schedule(
    p: TrainingParams, optimizer: torch.optim.Optimizer, steps_per_epoch: int
) -> tuple[LambdaLR, ReduceLROnPlateau | None]:
    """The schedule, to be stepped after each optimiser step, which scales the rate of every group of `optimizer`; and
    for `plateau` what is to be stepped with each validation loss (then call `set_rates`): gamma once it has not been
    beaten for more than `patience` epochs."""
    plateau = None
    if p.schedule == "plateau":  # over a rate of 1, so that it holds the factor by which the schedule goes down
        one = SGD([torch.zeros(1)], lr=1.0)
        plateau = ReduceLROnPlateau(one, factor=p.gamma, patience=p.patience, threshold=0, eps=0)

    def factor(step: int) -> float:
        return rate_factor(p, steps_per_epoch, step) * (plateau.optimizer.param_groups[0]["lr"] if plateau else 1.0)

    return LambdaLR(optimizer, factor), plateau


def set_rates(schedule: LambdaLR) -> None:
    """Give each group the rate of the present step: after a plateau, or a resume with another number of epochs."""
    for group, base, factor in zip(schedule.optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas):
        group["lr"] = base * factor(schedule.last_epoch)


def rate(optimizer: torch.optim.Optimizer) -> float:
    """The learning rate of the parameters that have none of their own."""
    groups = optimizer.param_groups
    return next((group for group in groups if group.get("name") == "rest"), groups[0])["lr"]
