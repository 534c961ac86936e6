"""The next values of a study, from what its trials have come to.

No state is kept between trials: each rebuilds the study and draws with a seed of its own, so that any worker can go on.
"""

from collections.abc import Sequence
from typing import assert_never

import cmaes
import numpy as np
import optuna
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import TrialState as State
from optuna.trial import create_trial

from whetstone.contract.tuning import Choice, Quantity, Sampler, TrialRead, TrialState, Tune, Values, planned
from workers.engine.tuning.space import coded, decoded, distributions, from_unit, grid_point, to_unit

STARTUP_SHARE = 3
"""At most one in so many trials is drawn at random before a model of the others is made; and at most `MOST_STARTUP`."""

MOST_STARTUP = 10
FIRST_SPREAD = 1 / 6
"""The standard deviation of the first generation, of the width of each range."""

STATES = {
    TrialState.RUNNING: State.RUNNING,
    TrialState.COMPLETE: State.COMPLETE,
    TrialState.PRUNED: State.PRUNED,
    TrialState.FAILED: State.FAIL,
    TrialState.STOPPED: State.FAIL,
}


def choose(tune: Tune, number: int, trials: Sequence[TrialRead]) -> Values:
    """Values for trial `number`. `trials` are the others: those ended in the order in which they did, then those that
    run, which TPE and the Gaussian process keep away from.
    """
    seed = int(np.random.SeedSequence([tune.seed, number]).generate_state(1)[0])
    startup = max(1, min(MOST_STARTUP, planned(tune) // STARTUP_SHARE))
    match tune.sampler:
        case Sampler.GRID:
            return grid_point(tune, number)
        case Sampler.CMAES:
            return _evolved(tune, trials, seed)
        case Sampler.RANDOM:
            return _asked(tune, trials, RandomSampler(seed))
        case Sampler.TPE:
            return _asked(tune, trials, TPESampler(n_startup_trials=startup, seed=seed))
        case Sampler.GP:
            return _asked(tune, trials, GPSampler(n_startup_trials=startup, seed=seed))
        case _:
            assert_never(tune.sampler)


def _asked(tune: Tune, trials: Sequence[TrialRead], sampler: BaseSampler) -> Values:
    return decoded(tune, study_of(tune, trials, sampler).ask(distributions(tune)).params)


def study_of(tune: Tune, trials: Sequence[TrialRead], sampler: BaseSampler | None = None) -> Study:
    """An Optuna study in memory that knows these trials."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=sampler, directions=[direction(each) for each in tune.objectives])
    space = distributions(tune)
    for trial in trials:
        if trial.parameters is not None and trial.state in STATES:
            values = None if trial.values is None else list(trial.values)
            params = coded(tune, trial.parameters)
            state = STATES[trial.state]
            study.add_trial(create_trial(state=state, params=params, distributions=space, values=values))
    return study


def direction(quantity: Quantity) -> StudyDirection:
    return StudyDirection.MAXIMIZE if quantity.is_maximized else StudyDirection.MINIMIZE


def _evolved(tune: Tune, trials: Sequence[TrialRead], seed: int) -> Values:
    """CMA-ES, told of the completed trials generation by generation. A generation is as many as have ended one after
    the other: those of trials that ran side by side may come from the distribution before.
    """
    ranges = {name: domain for name, domain in tune.parameters.items() if not isinstance(domain, Choice)}
    sign = -1.0 if tune.objectives[0].is_maximized else 1.0
    told = [
        (np.array([to_unit(domain, _number(trial, name)) for name, domain in ranges.items()]), sign * trial.values[0])
        for trial in trials
        if trial.state is TrialState.COMPLETE and trial.values
    ]
    bounds = np.array([(0.0, 1.0)] * len(ranges))
    optimizer = cmaes.CMA(mean=bounds.mean(1), sigma=FIRST_SPREAD, bounds=bounds, seed=seed)
    size = optimizer.population_size
    for first in range(0, len(told) - size + 1, size):
        optimizer.tell(told[first : first + size])
    point = optimizer.ask()
    return {name: from_unit(domain, float(share)) for (name, domain), share in zip(ranges.items(), point, strict=True)}


def _number(trial: TrialRead, name: str) -> float:
    value = (trial.parameters or {})[name]
    return float(value) if isinstance(value, int | float) else 0.0
