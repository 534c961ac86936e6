"""What steps take: rules of thumb for each kind of work, in seconds and bytes, from what inspection found.

A rule gives the shape (what grows with what); how quick this fleet really is, its finished steps say (see estimate.py).
The constants were read off finished steps on two cores of a server CPU of 2023.
"""

from dataclasses import dataclass
from typing import assert_never

from whetstone.contract.adaptation import Adapt, BatchNormStatistics, Coral, Method, Mmd, SelfDistillation
from whetstone.contract.datasets import DatasetFacts, Split
from whetstone.contract.factorization import Factorize
from whetstone.contract.jobs import JobSpec, Measurement, Recipe, StepKind
from whetstone.contract.learning import Finetune, Learning
from whetstone.contract.models import ModelFacts
from whetstone.contract.passes import Pass, Simplify
from whetstone.contract.pruning import Polynomial, Prune
from whetstone.contract.quantization import Quantize
from whetstone.contract.scenarios import MultiStream, Offline, Scenario, Server, SingleStream
from whetstone.contract.search import Search
from whetstone.contract.substitution import Substitute
from whetstone.contract.targets import Target
from whetstone.contract.tuning import Tune, planned

MACS_A_SECOND = 4e10
"""Of inference on one core, float32."""

LEARNED_MACS_A_SECOND = 1e10
"""Of learning, where each multiply-accumulate of inference comes three times."""

NODE_SECONDS = 1e-5
PARAMS_A_SECOND = 2e7
"""Parameters that are read, checked and written again."""

START_SECONDS = 1.0
SESSIONS_SECONDS = 9.0
"""What starting the measured processes takes beside the time to measure (decision 3)."""

STARTED_SECONDS = SESSIONS_SECONDS / 12
"""Of one of them: the usual comparison starts twelve."""

SHARE_MEASURED = 0.8
"""Of `max_seconds`: a measurement ends early once its interval is narrow."""

TRIAL_SECONDS = 2.0
TRIAL_SAMPLES = 1000
SYNTHETIC = 256
CALIBRATION_RUNS = 3
RECONSTRUCTED_SECONDS = 5.0
BASE_MEMORY = 900 * 2**20
RUNTIME_MEMORY = 250 * 2**20
COPIES = 6
"""Of the weights while a graph is worked on: the file, the graph before and after, and what runs them."""

LEARNING_COPIES = 6
BYTES = 4


@dataclass(frozen=True)
class Work:
    """What the order works on."""

    model: ModelFacts
    dataset: DatasetFacts | None
    measurement: Measurement

    @property
    def call(self) -> float:
        """Seconds of one sample through the original. Where multiply-accumulates are not known, one a parameter."""
        macs = self.model.macs or self.model.params
        return macs / MACS_A_SECOND + self.model.nodes * NODE_SECONDS

    @property
    def weights(self) -> int:
        """Bytes."""
        return BYTES * self.model.params

    @property
    def handling(self) -> float:
        """Seconds of reading the model, checking and writing it."""
        return self.model.params / PARAMS_A_SECOND

    def samples(self, split: Split) -> int:
        if self.dataset is None:
            return SYNTHETIC
        return self.dataset.splits.get(split) or self.dataset.splits.get(Split.TRAIN, 0)


def steps_of_plan(spec: JobSpec, work: Work) -> dict[StepKind, tuple[int, float]]:
    """What carries out the plan: how many steps of each kind there are, and the seconds that one takes."""
    match spec.plan:
        case Recipe():
            return {StepKind.OPTIMIZE: (1, _recipe(spec.plan.passes, work))}
        case Search():
            longest = 60 * spec.plan.limit.minutes
            return {StepKind.SEARCH: (1, START_SECONDS + min(longest, _search(spec.plan, spec, work)))}
        case Tune():
            recipe = _recipe(spec.plan.passes, work)
            tried = TRIAL_SECONDS + min(TRIAL_SAMPLES, work.samples(Split.CALIBRATION)) * work.call
            return {StepKind.TRIAL: (planned(spec.plan), recipe + tried), StepKind.OPTIMIZE: (1, recipe)}
        case _:
            assert_never(spec.plan)


def _recipe(passes: tuple[Pass, ...], work: Work) -> float:
    return START_SECONDS + sum(_pass(config, work) for config in passes)


def _search(plan: Search, spec: JobSpec, work: Work) -> float:
    looked_at = min(TRIAL_SAMPLES, work.samples(Split.CALIBRATION)) * work.call
    made = work.handling + CALIBRATION_RUNS * SYNTHETIC * work.call
    return plan.limit.trials * (made + len(spec.targets) * (TRIAL_SECONDS + looked_at + work.handling))


def _pass(config: Pass, work: Work) -> float:
    match config:
        case Simplify() | Substitute():
            return work.handling
        case Quantize():
            runs = CALIBRATION_RUNS if config.needs_data else 1
            tries = config.partial.max_trials if config.partial else 1
            return work.handling + tries * runs * min(config.calibration_samples, TRIAL_SAMPLES) * work.call
        case Prune():
            learning = config.schedule.learning if isinstance(config.schedule, Polynomial) else None
            learned = _learning(learning, work) if learning else 0.0
            return RECONSTRUCTED_SECONDS + work.handling + 10 * config.calibration_samples * work.call + learned
        case Factorize():
            return 10 * work.handling
        case Finetune():
            return work.handling + _learning(config, work)
        case Adapt():
            return work.handling + _adapting(config.method, work)
        case _:
            assert_never(config)


def _adapting(method: Method, work: Work) -> float:
    match method:
        case BatchNormStatistics():
            return CALIBRATION_RUNS * method.samples * work.call
        case Coral() | Mmd() | SelfDistillation():
            return 2 * _learning(method.learning, work)  # of two samples each time, or with a teacher
        case _:
            assert_never(method)


def _learning(config: Learning, work: Work) -> float:
    macs = work.model.macs or work.model.params
    return 3 * config.epochs * _samples_an_epoch(config, work) * macs / LEARNED_MACS_A_SECOND


def _samples_an_epoch(config: Learning, work: Work) -> int:
    samples = work.samples(Split.TRAIN)
    if config.max_steps_per_epoch is None:
        return samples
    return min(samples, config.max_steps_per_epoch * config.batch_size * config.accumulate)


def deliver(work: Work, target: Target) -> float:
    """Seconds of converting, comparing and measuring for one target; what is only built is not measured."""
    compared = 2 * work.samples(Split.TEST) * work.call
    if target.only_built:
        return START_SECONDS + 4 * work.handling + compared
    measured = SESSIONS_SECONDS + SHARE_MEASURED * work.measurement.max_seconds
    measured += STARTED_SECONDS * sum(map(_started, work.measurement.scenarios))
    return START_SECONDS + 4 * work.handling + compared + measured


def memory_of_plan(spec: JobSpec, work: Work) -> int:
    """Bytes at most; a model that learns needs its gradients and the optimizer's averages too."""
    learns = isinstance(spec.plan, Search) or any(isinstance(config, Finetune) for config in spec.plan.passes)
    return BASE_MEMORY + (COPIES + LEARNING_COPIES * learns) * work.weights


def memory_of_delivery(work: Work) -> int:
    """Of the step and of the processes that it measures at once: two, and more of them for several streams."""
    pairs = max((_pairs(scenario) for scenario in work.measurement.scenarios), default=1)
    return BASE_MEMORY + 2 * pairs * RUNTIME_MEMORY + (COPIES + 2 * (pairs - 1)) * work.weights


def _pairs(scenario: Scenario) -> int:
    return scenario.processes if isinstance(scenario, MultiStream) else 1


def _started(scenario: Scenario) -> int:
    """How many processes a scenario starts at most."""
    match scenario:
        case SingleStream():
            return 2 * len(scenario.threads)
        case MultiStream():
            return 2 * scenario.processes
        case Server():
            return 2
        case Offline():
            return 2 * scenario.max_batch.bit_length()
        case _:
            assert_never(scenario)
