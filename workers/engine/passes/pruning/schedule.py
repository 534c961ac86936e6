"""Sparsity that rises while the weights learn."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from whetstone.contract.pruning import Polynomial
from whetstone.contract.reports import Curve
from workers.engine.data.fit import fixed_at_one
from workers.engine.data.samples import Samples
from workers.engine.graph.graph import Graph
from workers.engine.graph.trainable import Trainable
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.learning import telling
from workers.engine.training.loop import Course, learn
from workers.engine.training.objective import Objective


class Held(Protocol):
    """Weights that stay zero while the others learn."""

    def hold(self) -> None: ...

    def remember(self) -> dict[str, Tensor]:
        """Which they are."""
        ...

    def recall(self, steps: int, kept: dict[str, Tensor]) -> None:
        """Take up what was remembered after so many steps of an earlier attempt."""


def sparsity_at(step: int, schedule: Polynomial, final: float) -> float:
    """Zhu & Gupta 2017, equation 1: s_f + (s_i - s_f)(1 - (t - t_0) / (n Δt))³; constant before and after."""
    length = schedule.end_step - schedule.begin_step
    progress = min(max((step - schedule.begin_step) / length, 0.0), 1.0)
    return final + (schedule.initial_sparsity - final) * (1 - progress) ** 3


def is_due(step: int, schedule: Polynomial) -> bool:
    """Whether weights are pruned after this many optimizer steps."""
    since = step - schedule.begin_step
    return since >= 0 and step <= schedule.end_step and (since % schedule.every == 0 or step == schedule.end_step)


def learn_pruning(
    graph: Graph,
    learner: tuple[Trainable, Objective],
    schedule: Polynomial,
    final: float,
    *,
    samples: Samples,
    context: Context,
    prune: Callable[[float], None],
    hold: Held,
) -> tuple[Curve, ...]:
    """Train the module of `graph` in place; `prune` it to a sparsity whenever that is due, `hold` it in between."""
    module, objective = learner
    history: list[tuple[int, float]] = []

    def after_step(step: int) -> None:
        hold.hold()
        if is_due(step, schedule):
            history.append((step, sparsity_at(step, schedule, final)))
            prune(history[-1][1])

    def recall(steps: int, kept: dict[str, Tensor]) -> None:
        history[:] = ((n, sparsity_at(n, schedule, final)) for n in range(steps + 1) if is_due(n, schedule))
        hold.recall(steps, kept)

    after_step(0)
    course = Course(
        samples,
        schedule.learning,
        objective,
        context.threads,
        min_steps=schedule.end_step,
        feed_singly=fixed_at_one(graph.inputs),
        hooks=telling(context, after_step, hold.remember, recall),
        keeper=context.keeper_for(schedule.learning),
    )
    learned = learn(module, course)
    x, y = zip(*((float(step), sparsity) for step, sparsity in history), strict=True)
    return (Curve(name="sparsity", x_label="step", y_label="sparsity", x=x, y=y), *learned.curves())
