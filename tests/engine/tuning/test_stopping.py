"""Trials whose curves say early that they will come to nothing are given up, by the median and by Hyperband."""

import math

import pytest

from whetstone.contract.tuning import Pruner, TrialRead, TrialState, Tune
from workers.engine.tuning.stopping import Watch

EPOCHS = 27


def tuned(pruner: Pruner, **fields: object) -> Tune:
    rate = {"kind": "float", "low": 1e-5, "high": 1, "log": True}
    plan = {"passes": [{"kind": "finetune", "epochs": EPOCHS}], "parameters": {"0.learning_rate": rate}, **fields}
    return Tune.model_validate({"trials": 60, "pruner": pruner, **plan})


def curve(quality: float) -> tuple[float, ...]:
    """A loss that falls to 1 - quality."""
    return tuple(1 - quality * (1 - math.exp(-epoch / 5)) for epoch in range(1, EPOCHS + 1))


def run(tune: Tune, number: int, trials: list[TrialRead], losses: tuple[float, ...]) -> TrialRead:
    """A trial as the engine runs it."""
    watch = Watch(tune, number, trials)
    for loss in losses:
        if watch.is_hopeless(loss):
            return TrialRead(number=number, state=TrialState.PRUNED, reported=tuple(watch.reported))
    return TrialRead(number=number, state=TrialState.COMPLETE, reported=tuple(watch.reported), values=(losses[-1],))


def study(tune: Tune, qualities: list[float]) -> list[TrialRead]:
    trials: list[TrialRead] = []
    for number, quality in enumerate(qualities):
        trials.append(run(tune, number, trials, curve(quality)))
    return trials


MIXED = [((7 * number) % 30) / 30 for number in range(30)]
"""Thirty qualities, none twice, good and bad by turns."""


def test_without_a_pruner_all_go_on() -> None:
    assert all(trial.state is TrialState.COMPLETE for trial in study(tuned(Pruner.NONE), MIXED))


@pytest.mark.parametrize("pruner", [Pruner.MEDIAN, Pruner.HYPERBAND])
def test_the_worse_are_given_up_and_the_best_is_not(pruner: Pruner) -> None:
    trials = study(tuned(pruner), MIXED)
    pruned = [trial.number for trial in trials if trial.state is TrialState.PRUNED]
    kept = [trial.number for trial in trials if trial.state is TrialState.COMPLETE]
    assert len(pruned) >= 8
    assert max(range(30), key=MIXED.__getitem__) in kept
    assert sum(MIXED[n] for n in pruned) / len(pruned) < sum(MIXED[n] for n in kept) / len(kept)
    assert sum(len(trial.reported) for trial in trials) < 0.75 * 30 * EPOCHS


@pytest.mark.parametrize("pruner", [Pruner.MEDIAN, Pruner.HYPERBAND])
def test_any_worker_says_the_same(pruner: Pruner) -> None:
    tune = tuned(pruner)
    trials = study(tune, MIXED)
    assert study(tune, MIXED) == trials
    assert run(tune, 20, trials[:20], curve(MIXED[20])) == trials[20]


def test_an_accuracy_should_be_high() -> None:
    tune = tuned(Pruner.MEDIAN, objectives=["validation_accuracy", "size"])
    good = [TrialRead(number=n, state=TrialState.COMPLETE, reported=(0.8, 0.9), values=(0.9, 1)) for n in range(6)]
    assert not Watch(tune, 6, good).is_hopeless(0.85)
    assert Watch(tune, 6, good).is_hopeless(0.7)


@pytest.mark.parametrize("pruner", [Pruner.MEDIAN, Pruner.HYPERBAND])
def test_others_that_run_or_failed_have_no_say(pruner: Pruner) -> None:
    others = [
        TrialRead(number=0, state=TrialState.FAILED),
        TrialRead(number=2, state=TrialState.RUNNING, parameters={"0.learning_rate": 0.1}),
        TrialRead(number=3, state=TrialState.STOPPED, reported=(0.1,)),
    ]
    watch = Watch(tuned(pruner), 1, others)
    assert not any(watch.is_hopeless(1.0) for _ in range(EPOCHS))
