"""Each sampler on a problem that is cheap and real: how strongly, and from how many pixels, to learn digits by ridge
regression. The parameters stand under names that a recipe has; what they mean here is the test's own business.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from whetstone.contract.tuning import Quantity, Sampler, TrialRead, TrialState, Tune, Values, planned
from workers.engine.tuning.choosing import choose

PENALTY, PIXELS, LABELS = "0.weight_decay", "0.batch_size", "0.optimizer"
FREE = {PENALTY: {"kind": "float", "low": 1e-9, "high": 1, "log": True}, PIXELS: {"kind": "int", "low": 1, "high": 64}}
STEPPED = {
    PENALTY: {"kind": "float", "low": 0.1, "high": 0.9, "step": 0.2},
    PIXELS: {"kind": "int", "low": 4, "high": 64, "step": 20},
}


@cache
def error(penalty: float, pixels: int) -> float:
    """Share of wrong digits out of 300 that were not learned from; 300 others were."""
    digits = load_digits()
    inputs, labels = digits.data[:600, :pixels] / 16, np.eye(10)[digits.target[:600]]
    inputs = np.hstack([inputs, np.ones((600, 1))])
    gram = inputs[:300].T @ inputs[:300] + 1e4 * penalty * np.eye(pixels + 1)
    weights = np.linalg.solve(gram, inputs[:300].T @ labels[:300])
    return float((np.argmax(inputs[300:] @ weights, 1) != digits.target[300:600]).mean())


def tuned(parameters: dict[str, Any], **fields: Any) -> Tune:
    plan = {"passes": [{"kind": "finetune"}], "parameters": parameters, "trials": 30, **fields}
    return Tune.model_validate(plan)


def real(values: Values) -> tuple[float, ...]:
    penalty, pixels = values[PENALTY], values[PIXELS]
    assert isinstance(penalty, float)
    assert isinstance(pixels, int)
    return (error(penalty, pixels),)


def study(tune: Tune, judge: Callable[[Values], tuple[float, ...]] = real) -> list[TrialRead]:
    """All trials, one after the other."""
    trials: list[TrialRead] = []
    for number in range(planned(tune)):
        values = choose(tune, number, trials)
        done = {"number": number, "state": TrialState.COMPLETE, "parameters": values, "values": judge(values)}
        trials.append(TrialRead.model_validate(done))
    return trials


def best(trials: list[TrialRead]) -> float:
    return min(trial.values[0] for trial in trials if trial.values)


def median(trials: list[TrialRead]) -> float:
    return float(np.median([trial.values for trial in trials]))


def optimum() -> float:
    return min(error(10.0**power, pixels) for power in range(-9, 1) for pixels in range(4, 65, 4))


@pytest.mark.parametrize("sampler", [Sampler.RANDOM, Sampler.TPE, Sampler.GP, Sampler.CMAES])
def test_each_sampler_finds_the_optimum(sampler: Sampler) -> None:
    """To three digits in 300, where a penalty at random has 30 more wrong."""
    trials = study(tuned(FREE, sampler=sampler, seed=3))
    assert best(trials) <= optimum() + 3.5 / 300
    assert np.median([error(10.0**power, 32) for power in range(-9, 1)]) > optimum() + 0.1


@pytest.mark.parametrize("sampler", [Sampler.TPE, Sampler.GP, Sampler.CMAES])
def test_it_learns_from_trials(sampler: Sampler) -> None:
    """The last ten are better than the first ten, which were drawn at random or widely."""
    trials = study(tuned(FREE, sampler=sampler, trials=40, seed=1))
    assert median(trials[-10:]) < median(trials[:10]) - 0.04


def test_the_grid_has_each_point_once() -> None:
    tune = tuned(STEPPED, sampler=Sampler.GRID)
    trials = study(tune)
    points = [(trial.parameters[PENALTY], trial.parameters[PIXELS]) for trial in trials if trial.parameters]
    assert sorted(points) == [(penalty, pixels) for penalty in (0.1, 0.3, 0.5, 0.7, 0.9) for pixels in (4, 24, 44, 64)]
    assert points != sorted(points)  # ended early it has seen something of everything
    assert best(trials) == min(error(*point) for point in points)


@pytest.mark.parametrize("sampler", Sampler)
def test_the_seed_gives_the_trials(sampler: Sampler) -> None:
    fields = {"sampler": sampler, "trials": 20}
    one, again, other = (study(tuned(STEPPED, **fields, seed=seed)) for seed in (5, 5, 6))
    assert one == again
    assert [trial.parameters for trial in one] != [trial.parameters for trial in other]
    assert choose(tuned(STEPPED, **fields, seed=5), 12, one[:12]) == one[12].parameters  # by any worker


@pytest.mark.parametrize("sampler", [Sampler.TPE, Sampler.GP])
def test_trials_side_by_side_look_elsewhere(sampler: Sampler) -> None:
    tune = tuned(FREE, sampler=sampler, seed=2)
    trials = study(tune)[:20]
    for number in range(20, 24):
        values = choose(tune, number, trials)
        trials.append(TrialRead(number=number, state=TrialState.RUNNING, parameters=values))
    chosen = [trial.parameters for trial in trials[20:]]
    assert len({str(values) for values in chosen}) == 4


@pytest.mark.parametrize("sampler", [Sampler.RANDOM, Sampler.TPE, Sampler.GP, Sampler.CMAES])
def test_trials_without_values_are_no_obstacle(sampler: Sampler) -> None:
    tune = tuned(FREE, sampler=sampler)
    trials = study(tune)
    states = (TrialState.FAILED, TrialState.PRUNED, TrialState.STOPPED)
    for trial, state in zip(trials[::3], states * 4, strict=False):
        trials[trial.number] = trial.model_copy(update={"state": state, "values": None})
    trials[7] = TrialRead(number=7, state=TrialState.FAILED)  # lost before it had chosen
    values = choose(tune, 30, trials)
    assert error(*(values[name] for name in (PENALTY, PIXELS))) < 1  # type: ignore[arg-type]


@pytest.mark.parametrize("sampler", [Sampler.TPE, Sampler.GP])
def test_two_objectives(sampler: Sampler) -> None:
    """Few pixels against few errors: in the end there are trials that are good at either."""
    tune = tuned(FREE, sampler=sampler, objectives=["drop", "size"], trials=30)
    trials = study(tune, lambda values: (*real(values), float(str(values[PIXELS])) / 64))
    errors, sizes = zip(*(trial.values for trial in trials if trial.values), strict=True)
    assert min(errors) < 0.25
    assert min(sizes) < 0.1


def test_what_is_maximized() -> None:
    parameters = {PENALTY: {"kind": "float", "low": 1e-6, "high": 1}, PIXELS: {"kind": "int", "low": 1, "high": 64}}
    for sampler in (Sampler.TPE, Sampler.GP, Sampler.CMAES):
        tune = tuned(parameters, sampler=sampler, objectives=["validation_accuracy"])
        trials = study(tune, lambda values: (1 - real(values)[0],))
        assert median(trials[-10:]) > median(trials[:10]) + 0.02
        assert tune.objectives[0] is Quantity.VALIDATION_ACCURACY


def test_choices_of_any_kind() -> None:
    parameters = {
        "0.schedule": {"kind": "choice", "values": [{"kind": "constant"}, {"kind": "cosine", "final": 0.1}]},
        "0.clip_norm": {"kind": "choice", "values": [None, 1, 1.5]},
        "0.nesterov": {"kind": "choice", "values": [True, False]},
    }
    passes = [{"kind": "finetune", "optimizer": "sgd", "momentum": 0.9}]
    tune = Tune.model_validate({"passes": passes, "parameters": parameters, "trials": 30})

    def judge(values: Values) -> tuple[float, ...]:
        return (3.0 - (values["0.schedule"] != {"kind": "constant"}) - (values["0.clip_norm"] == 1.5),)

    trials = study(tune, judge)
    assert best(trials) == 1
    assert {str(trial.parameters["0.nesterov"]) for trial in trials if trial.parameters} == {"True", "False"}
    assert math.isclose(best(study(tune.model_copy(update={"sampler": Sampler.GP}), judge)), 1)
