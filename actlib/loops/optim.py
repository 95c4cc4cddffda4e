"""The optimiser and the course of its learning rate, from parameters as in `params.TrainParams`."""

import math

import torch
from torch import nn


def make_optimizer(p, parameters: list[nn.Parameter] | list[dict]) -> torch.optim.Optimizer:
    """SGD with momentum, dampening and Nesterov's variant, or AdamW, over the trainable parameters: a list of them,
    or groups with a learning rate each (see `finetune.parameter_groups`).

    The fused implementations do a step in one pass over the weights: twice as fast on a CPU for 11 million of them.
    """
    if p.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=p.lr,
            momentum=p.momentum,
            dampening=p.dampening,
            nesterov=p.nesterov,
            weight_decay=p.weight_decay,
            fused=True,
        )
    return torch.optim.AdamW(parameters, lr=p.lr, weight_decay=p.weight_decay, fused=True)


class Schedule:
    """lr = base · warm-up · decay, set before each optimiser step; call `end_epoch` after each validation.

    The base is `p.lr`, and for a group with a rate of its own that rate.

    Warm-up rises linearly over `warmup_epochs`. Decay: `constant` 1; `multistep` gamma for each milestone passed;
    `cosine` from 1 to 0 over the steps after warm-up (Loshchilov & Hutter, 2017, without restarts); `plateau`
    gamma each time the validation loss has not been beaten for more than `patience` epochs.
    """

    def __init__(self, p, optimizer: torch.optim.Optimizer, steps_per_epoch: int):
        self.p, self.optimizer, self.steps_per_epoch = p, optimizer, steps_per_epoch
        self.step_count, self.plateau = 0, 1.0
        self.best_loss, self.bad_epochs = math.inf, 0
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])  # torch's own name for the rate that a schedule scales

    def factor(self, step: int) -> float:
        """lr / base at optimiser step `step`, counted from 0."""
        warmup = self.p.warmup_epochs * self.steps_per_epoch
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if self.p.schedule == "cosine":
            total = self.p.epochs * self.steps_per_epoch
            return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, total - warmup)))
        if self.p.schedule == "multistep":
            epoch = step // self.steps_per_epoch
            return self.p.gamma ** sum(epoch >= milestone for milestone in self.p.milestones)
        return self.plateau

    def before_step(self) -> float:
        """Set the learning rates of the next optimiser step; returns that of parameters without a rate of their own."""
        factor = self.factor(self.step_count)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        self.step_count += 1
        return self.p.lr * factor

    def end_epoch(self, val_loss: float) -> None:
        if self.p.schedule != "plateau":
            return
        if val_loss < self.best_loss:
            self.best_loss, self.bad_epochs = val_loss, 0
            return
        self.bad_epochs += 1
        if self.bad_epochs > self.p.patience:
            self.plateau, self.bad_epochs = self.plateau * self.p.gamma, 0

    def state_dict(self) -> dict:
        names = ("step_count", "plateau", "best_loss", "bad_epochs")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict) -> None:
        for name, value in state.items():
            setattr(self, name, value)
