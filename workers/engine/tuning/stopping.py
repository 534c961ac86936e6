"""Whether a trial is worth going on with, from its validation metric after each epoch and that of the others."""

from collections.abc import Sequence
from typing import assert_never

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.trial import create_trial

from whetstone.contract.learning import Finetune
from whetstone.contract.tuning import LEARNED, Pruner, Quantity, TrialRead, TrialState, Tune, variants
from workers.engine.tuning.choosing import STATES, direction

NAME = "tune"
"""Hyperband deals trials to its brackets by the name of the study and the number of the trial."""


def metric_of(tune: Tune) -> Quantity:
    """What is looked at after each epoch: the validation metric that the trial is judged by, else the loss."""
    return next((each for each in tune.objectives if each in LEARNED), Quantity.VALIDATION_LOSS)


class Watch:
    """Knows the other trials as they were when this one began."""

    def __init__(self, tune: Tune, number: int, trials: Sequence[TrialRead]) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._tune = tune
        self._study = optuna.create_study(study_name=NAME, direction=direction(metric_of(tune)), pruner=_pruner(tune))
        self.reported: list[float] = []
        known = {trial.number: trial for trial in trials}
        for each in range(max(number, *known, 0) + 1):
            if each == number:
                self._own = self._study.ask()
            else:
                self._add(known.get(each))

    def is_hopeless(self, value: float) -> bool:
        """Notes the metric after one more epoch. Whether the trial should be given up."""
        self.reported.append(value)
        self._own.report(value, len(self.reported))
        return self._own.should_prune()

    def _add(self, trial: TrialRead | None) -> None:
        """Every number has its place. Hyperband notes at each epoch how far a trial has come, so it sees them again."""
        if trial is None or not trial.reported or not trial.state.is_final:
            self._study.add_trial(create_trial(state=STATES[TrialState.FAILED]))
        elif self._tune.pruner is Pruner.HYPERBAND:
            again = self._study.ask()
            for epoch, value in enumerate(trial.reported, 1):
                again.report(value, epoch)
                again.should_prune()
            last = trial.reported[-1] if trial.state is TrialState.COMPLETE else None
            self._study.tell(again, last, state=STATES[trial.state])
        else:
            last = trial.reported[-1] if trial.state is TrialState.COMPLETE else None
            seen = dict(enumerate(trial.reported, 1))
            self._study.add_trial(create_trial(state=STATES[trial.state], value=last, intermediate_values=seen))


def _pruner(tune: Tune) -> BasePruner:
    match tune.pruner:
        case Pruner.NONE:
            return NopPruner()
        case Pruner.MEDIAN:
            return MedianPruner()
        case Pruner.HYPERBAND:
            return HyperbandPruner(max_resource=_most_epochs(tune))
        case _:
            assert_never(tune.pruner)


def _most_epochs(tune: Tune) -> int:
    """Of the last `finetune`, whatever of it is varied."""
    learning = ([each for each in passes if isinstance(each, Finetune)][-1] for passes in variants(tune))
    return max(config.epochs for config in learning)
