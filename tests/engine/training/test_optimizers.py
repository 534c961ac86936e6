"""The learning rate over time, and what is done to a gradient."""

import numpy as np
import pytest
import torch

from whetstone.contract.learning import CosineRate, Learning, OptimizerName, StepRate
from workers.engine.training.optimizers import add_l1, clip, make_optimizer, rate_at
from workers.engine.training.schedule import Plan


def rates(learning: Learning, steps: int = 10) -> list[float]:
    return [rate_at(step, learning, steps=steps, steps_per_epoch=2) for step in range(steps)]


def test_constant_rate_after_warm_up() -> None:
    assert rates(Learning(learning_rate=0.4, warmup_steps=4)) == pytest.approx([0.1, 0.2, 0.3, *[0.4] * 7])


def test_cosine_falls_to_its_end() -> None:
    found = rates(Learning(learning_rate=1.0, schedule=CosineRate(final=0.1)), 101)
    assert found[0] == 1.0
    assert found[50] == pytest.approx(0.55, abs=0.01)
    assert found[-1] == pytest.approx(0.1, abs=0.001)
    assert found == sorted(found, reverse=True)


def test_steps_multiply_after_epochs() -> None:
    found = rates(Learning(learning_rate=1.0, schedule=StepRate(every=2, factor=0.5)))
    assert found == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_an_epoch_of_few_steps_sees_other_samples_each_time() -> None:
    rows = np.arange(100)
    plan = Plan(rows, Learning(batch_size=5, accumulate=2, max_steps_per_epoch=3), drop_single=False)
    seen = [plan.steps_of(epoch) for epoch in range(2)]
    assert [len(rows) for epoch in seen for rows in epoch] == [10] * 6
    assert set(np.concatenate(seen[0])) != set(np.concatenate(seen[1]))
    whole = Plan(rows, Learning(batch_size=5, max_steps_per_epoch=99), drop_single=False)
    assert sorted(np.concatenate(whole.steps_of(0))) == list(rows)


def test_nesterov_momentum_reaches_the_optimizer() -> None:
    learning = Learning(optimizer=OptimizerName.SGD, momentum=0.9, nesterov=True, weight_decay=0.01)
    (group,) = make_optimizer([torch.nn.Parameter(torch.zeros(1))], learning).param_groups
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, True, 0.01)


@pytest.mark.parametrize("optimizer", [OptimizerName.ADAMW, OptimizerName.SGD])
def test_scales_do_not_decay(optimizer: OptimizerName) -> None:
    weight, scale = (torch.nn.Parameter(torch.full((2,), -3.0)) for _ in range(2))
    weight.grad = scale.grad = torch.zeros(2)
    learning = Learning(optimizer=optimizer, weight_decay=0.5, learning_rate=0.1)
    make_optimizer([weight], learning, [scale]).step()
    assert (weight > -3).all()
    assert (scale == -3).all()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"momentum": 0.9}, "momentum is for the optimizer sgd"),
        ({"optimizer": "sgd", "nesterov": True}, "nesterov needs a momentum"),
        ({"optimizer": "gd", "accumulate": 2}, "leave accumulate at 1"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Learning.model_validate(settings)


def test_l1_pulls_kernels_towards_zero_but_not_biases() -> None:
    weight, bias = torch.nn.Parameter(torch.tensor([[2.0, -3.0, 0.0]])), torch.nn.Parameter(torch.ones(3))
    weight.grad, bias.grad = torch.zeros(1, 3), torch.zeros(3)
    add_l1([weight, bias], 0.1)
    assert torch.allclose(weight.grad, torch.tensor([[0.1, -0.1, 0.0]]))
    assert (bias.grad == 0).all()


def test_clipping_limits_the_length_of_all_gradients_together() -> None:
    weights = [torch.nn.Parameter(torch.zeros(2)) for _ in range(2)]
    for weight in weights:
        weight.grad = torch.full((2,), 5.0)
    assert clip(weights, 1.0) == pytest.approx(10.0)
    assert sum(float(w.grad.square().sum()) for w in weights if w.grad is not None) == pytest.approx(1, rel=1e-4)
