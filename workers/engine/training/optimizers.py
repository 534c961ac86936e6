"""The optimizer, its rate over time, and what is done to a gradient before it steps."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, assert_never

import torch
from torch import nn

from whetstone.contract.learning import ConstantRate, CosineRate, Learning, OptimizerName, StepRate

MATRIX_RANK = 2


def make_optimizer(
    weights: list[nn.Parameter], learning: Learning, scales: Sequence[nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """Weights decay towards 0; the logarithms of scales, for which 0 means nothing, do not."""
    groups: list[dict[str, Any]] = [{"params": weights}]
    if scales:
        groups.append({"params": list(scales), "weight_decay": 0.0})
    rate, decay = learning.learning_rate, learning.weight_decay
    match learning.optimizer:
        case OptimizerName.ADAM:
            return torch.optim.Adam(groups, rate, weight_decay=decay)
        case OptimizerName.ADAMW:
            return torch.optim.AdamW(groups, rate, weight_decay=decay)
        case OptimizerName.SGD:
            return torch.optim.SGD(
                groups, rate, momentum=learning.momentum, nesterov=learning.nesterov, weight_decay=decay
            )
        case OptimizerName.GD:
            return torch.optim.SGD(groups, rate, weight_decay=decay)
        case _:
            assert_never(learning.optimizer)


def rate_at(step: int, learning: Learning, *, steps: int, steps_per_epoch: int) -> float:
    """The learning rate of a step (from 0) out of `steps`: warm-up, then the schedule.

    A function of the step alone, so that there is no state of a schedule to keep.
    """
    peak = learning.learning_rate
    if step < learning.warmup_steps:
        return peak * (step + 1) / learning.warmup_steps
    match schedule := learning.schedule:
        case ConstantRate():
            return peak
        case CosineRate():
            span = max(1, steps - learning.warmup_steps)
            progress = min((step - learning.warmup_steps) / span, 1.0)
            return peak * (schedule.final + (1 - schedule.final) * (1 + math.cos(math.pi * progress)) / 2)
        case StepRate():
            return peak * float(schedule.factor ** (step // steps_per_epoch // schedule.every))
        case _:
            assert_never(schedule)


@torch.no_grad()
def add_l1(weights: Iterable[nn.Parameter], penalty: float) -> None:
    """Add the gradient of penalty · Σ|w| over matrices and kernels; biases and normalizations are left alone."""
    for weight in weights:
        if weight.grad is not None and weight.dim() >= MATRIX_RANK:
            weight.grad.add_(weight.sign(), alpha=penalty)


def clip(weights: Iterable[nn.Parameter], norm: float) -> float:
    """Shorten the gradient of all weights together to at most `norm`. Returns the length it had."""
    return float(nn.utils.clip_grad_norm_(weights, norm))
