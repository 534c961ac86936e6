"""Tuning: a recipe of which some settings are varied, trial by trial, until the best are known."""

import json
import math
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, StringConstraints, TypeAdapter, ValidationError, model_validator

from whetstone.contract.failures import Failure
from whetstone.contract.learning import Finetune
from whetstone.contract.passes import Pass
from whetstone.contract.search import Ended
from whetstone.contract.types import Contract, Count

Passes = Annotated[tuple[Pass, ...], Field(min_length=1, max_length=20)]
_PASSES: TypeAdapter[tuple[Pass, ...]] = TypeAdapter(Passes)
Address = Annotated[str, StringConstraints(pattern=r"^\d+(\.[a-z0-9_]+)+$", max_length=200)]
"""A setting in the recipe: the number of its pass, from 0, and the way to the field, such as `1.learning_rate`."""

Values = dict[Address, JsonValue]
MOST_TRIALS = 500
REFERENCES = frozenset({"teacher", "student", "source"})
"""Settings that name other files of the tenant, which a step must be given beforehand."""


class FloatRange(Contract):
    """Any number from `low` to `high`; by `step`, or evenly over its logarithm."""

    kind: Literal["float"] = "float"
    low: float
    high: float
    step: Annotated[float, Field(gt=0)] | None = None
    log: bool = False

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        _check_range(self.low, self.high, self.step, log=self.log)
        return self


class IntRange(Contract):
    """A whole number from `low` to `high`; by `step`, or evenly over its logarithm."""

    kind: Literal["int"] = "int"
    low: int
    high: int
    step: Annotated[int, Field(ge=1)] = 1
    log: bool = False

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        _check_range(self.low, self.high, None if self.step == 1 else self.step, log=self.log)
        return self


class Choice(Contract):
    """One of some values, of any kind that the setting takes."""

    kind: Literal["choice"] = "choice"
    values: Annotated[tuple[JsonValue, ...], Field(min_length=2, max_length=100)]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len({json.dumps(value, sort_keys=True) for value in self.values}) < len(self.values):
            raise ValueError("each value may be given once")
        return self


def _check_range(low: float, high: float, step: float | None, *, log: bool) -> None:
    if high <= low:
        raise ValueError(f"high ({high:g}) must be above low ({low:g})")
    if log and step is not None:
        raise ValueError("give either step or log")
    if log and low <= 0:
        raise ValueError(f"log needs a low above 0, not {low:g}")
    if step is not None and (Decimal(str(high)) - Decimal(str(low))) % Decimal(str(step)):
        raise ValueError(f"high ({high:g}) must be a whole number of steps ({step:g}) above low ({low:g})")


Domain = Annotated[FloatRange | IntRange | Choice, Field(discriminator="kind")]


class Sampler(StrEnum):
    """How the next values are chosen: at random, each point of the grid once, by the tree-structured Parzen estimator
    (Bergstra et al. 2011), by a Gaussian process, or by CMA-ES (Hansen & Ostermeier 2001).
    """

    RANDOM = "random"
    GRID = "grid"
    TPE = "tpe"
    GP = "gp"
    CMAES = "cmaes"


class Pruner(StrEnum):
    """When a trial is given up between two epochs: never; when it is worse than the median of those before at the same
    epoch; or by Hyperband (Li et al. 2018).
    """

    NONE = "none"
    MEDIAN = "median"
    HYPERBAND = "hyperband"


class Quantity(StrEnum):
    """What a trial is judged by: what is lost against the original on the calibration split, in the unit of `max_drop`;
    the validation loss or accuracy (a share) of the recipe's last `finetune`, after the epoch whose weights were kept;
    or latency, file size or multiply-accumulates, as shares of the original's. Accuracy is maximized, all else
    minimized. What depends on the target is seen briefly on the job's first.
    """

    DROP = "drop"
    VALIDATION_LOSS = "validation_loss"
    VALIDATION_ACCURACY = "validation_accuracy"
    LATENCY = "latency"
    SIZE = "size"
    MACS = "macs"

    @property
    def is_maximized(self) -> bool:
        return self is Quantity.VALIDATION_ACCURACY


LEARNED = (Quantity.VALIDATION_LOSS, Quantity.VALIDATION_ACCURACY)


class Tune(Contract):
    """Vary settings of a recipe; the recipe of the best trial is then run once more and proven like any.

    `parameters` names each setting that is varied, and in which range. Several `objectives` give a Pareto front; taken
    is the trial that is best by the first of those within the job's budget. Up to `parallel` trials run at once, on as
    many workers; none is queued after `minutes`. The same seed gives the same trials where `parallel` is 1.
    """

    kind: Literal["tune"] = "tune"
    passes: Passes
    parameters: Annotated[dict[Address, Domain], Field(min_length=1, max_length=50)]
    objectives: Annotated[tuple[Quantity, ...], Field(min_length=1, max_length=4)] = (Quantity.DROP,)
    sampler: Sampler = Sampler.TPE
    pruner: Pruner = Pruner.NONE
    trials: Annotated[int, Field(ge=1, le=MOST_TRIALS)] = 20
    parallel: Annotated[int, Field(ge=1, le=100)] = 1
    minutes: Annotated[float, Field(gt=0, le=7 * 24 * 60)] = 60.0
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="after")
    def _settings_exist(self) -> Self:
        """Every end of a range and every choice must be a setting that the pass takes."""
        for address, domain in self.parameters.items():
            if address.rpartition(".")[2] in REFERENCES:
                raise ValueError(f"'{address}' names another model or dataset, which cannot be varied")
            over = next((other for other in self.parameters if other.startswith(f"{address}.")), None)
            if over is not None:
                raise ValueError(f"'{over}' is a part of '{address}'; vary one of them")
            for value in ends(domain):
                applied(self.passes, {address: value})
        return self

    @model_validator(mode="after")
    def _can_be_sampled(self) -> Self:
        if self.sampler is Sampler.GRID:
            points = grid_size(self.parameters)
            if points > self.trials:
                raise ValueError(f"the grid has {points:,} points, more than trials ({self.trials}); or use random")
        if self.sampler is Sampler.CMAES:
            if any(isinstance(domain, Choice) for domain in self.parameters.values()) or len(self.parameters) == 1:
                raise ValueError("sampler cmaes varies two or more numbers, and no choices; use tpe")
            if len(self.objectives) > 1:
                raise ValueError("sampler cmaes has a single objective; use tpe, gp or random")
        return self

    @model_validator(mode="after")
    def _can_be_judged(self) -> Self:
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError("each objective may be given once")
        learned = next((each for each in self.objectives if each in LEARNED), None)
        wanting = learned or (None if self.pruner is Pruner.NONE else f"pruner {self.pruner}")
        if wanting and not any(isinstance(config, Finetune) for config in self.passes):
            raise ValueError(f"{wanting} needs a finetune in the recipe")
        return self


def grid_size(parameters: dict[str, FloatRange | IntRange | Choice]) -> int:
    """How many points the grid has. Raises ValueError where a range has no step."""
    return math.prod(_points(address, domain) for address, domain in parameters.items())


def _points(address: str, domain: FloatRange | IntRange | Choice) -> int:
    if isinstance(domain, Choice):
        return len(domain.values)
    if domain.step is None or domain.log:
        raise ValueError(f"sampler grid needs a step for '{address}', or choices")
    return 1 + round((domain.high - domain.low) / domain.step)


def planned(tune: Tune) -> int:
    """How many trials there are at most: a grid has no more than its points."""
    return min(tune.trials, grid_size(tune.parameters)) if tune.sampler is Sampler.GRID else tune.trials


def ends(domain: FloatRange | IntRange | Choice) -> tuple[JsonValue, ...]:
    """What must be allowed for all of the domain to be."""
    return domain.values if isinstance(domain, Choice) else (domain.low, domain.high)


def variants(tune: Tune) -> tuple[tuple[Pass, ...], ...]:
    """The recipe as it is, and with each end of each range and each choice by itself."""
    varied = (
        applied(tune.passes, {address: value}) for address, domain in tune.parameters.items() for value in ends(domain)
    )
    return (tune.passes, *varied)


def is_within(tune: Tune, values: Values) -> bool:
    """Whether these are values of all the parameters, each in its range."""
    return values.keys() == tune.parameters.keys() and all(
        _is_in(domain, values[address]) for address, domain in tune.parameters.items()
    )


def _is_in(domain: FloatRange | IntRange | Choice, value: JsonValue) -> bool:
    if isinstance(domain, Choice):
        return json.dumps(value, sort_keys=True) in {json.dumps(one, sort_keys=True) for one in domain.values}
    number = int if isinstance(domain, IntRange) else (int, float)
    return isinstance(value, number) and not isinstance(value, bool) and domain.low <= value <= domain.high


def applied(passes: tuple[Pass, ...], values: Values) -> tuple[Pass, ...]:
    """The recipe with other values. Raises ValueError for a setting that does not exist or does not take its value."""
    dumped: Any = [each.model_dump(mode="json") for each in passes]
    for address, value in values.items():
        _put(dumped, address, value)
    try:
        return _PASSES.validate_python(dumped, strict=False)
    except ValidationError as error:
        told = ", ".join(f"'{address}' = {json.dumps(value)}" for address, value in values.items())
        raise ValueError(f"{told}: {error.errors()[0]['msg']}") from error


def _put(dumped: JsonValue, address: str, value: JsonValue) -> None:
    *way, last = address.split(".")
    place = dumped
    for key in way:
        place = _within(place, key, address)
    _within(place, last, address)
    if isinstance(place, list):
        place[int(last)] = value
    elif isinstance(place, dict):
        place[last] = value


def _within(place: JsonValue, key: str, address: str) -> JsonValue:
    if isinstance(place, list) and key.isdigit() and int(key) < len(place):
        return place[int(key)]
    if isinstance(place, dict) and key != "kind" and key in place:
        return place[key]
    there = f"there are {len(place)} at that place" if isinstance(place, list) else f"there is no '{key}'"
    raise ValueError(f"'{address}' is no setting of the recipe: {there}")


class TrialState(StrEnum):
    """The life of a trial: `queued` until its values are chosen, `stopped` where the study was ended before it."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def is_final(self) -> bool:
        return self not in (TrialState.QUEUED, TrialState.RUNNING)


class TrialRead(Contract):
    """One trial of a study.

    `values` follow the objectives; `reported` is the validation metric after each epoch. `over` says how far the trial
    is over the job's budget: 0 within it, else a share.
    """

    number: Count
    state: TrialState
    parameters: Values | None = None
    values: tuple[float, ...] | None = None
    reported: tuple[float, ...] = ()
    over: Annotated[float, Field(ge=0)] | None = None
    failure: Failure | None = None


class Study(Contract):
    """All trials in the order in which they ended: which are on the Pareto front of those completed, which was taken,
    and what the study was ended by.
    """

    tune: Tune
    trials: tuple[TrialRead, ...]
    front: tuple[Count, ...]
    chosen: Count
    ended: Ended
