"""Where trials are looked for: the parameters as Optuna's distributions, as points of a grid, and as a unit cube."""

import json
import math
from decimal import Decimal
from typing import assert_never

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import JsonValue

from whetstone.contract.tuning import Choice, Domain, FloatRange, IntRange, Tune, Values, grid_size

HALF = 0.5


def distributions(tune: Tune) -> dict[str, BaseDistribution]:
    """Of a choice it is the number of the value that is sampled: the value may be of any kind."""
    return {address: _distribution(domain) for address, domain in tune.parameters.items()}


def _distribution(domain: Domain) -> BaseDistribution:
    match domain:
        case FloatRange():
            return FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)
        case IntRange():
            return IntDistribution(domain.low, domain.high, log=domain.log, step=domain.step)
        case Choice():
            return CategoricalDistribution(tuple(range(len(domain.values))))
        case _:
            assert_never(domain)


def coded(tune: Tune, values: Values) -> dict[str, JsonValue]:
    """Values as `distributions` has them."""
    return {
        address: _place_of(domain, values[address]) if isinstance(domain, Choice) else values[address]
        for address, domain in tune.parameters.items()
    }


def _place_of(choice: Choice, value: JsonValue) -> int:
    """As text, in which true is not 1."""
    return [json.dumps(each, sort_keys=True) for each in choice.values].index(json.dumps(value, sort_keys=True))


def decoded(tune: Tune, found: dict[str, int | float]) -> Values:
    """The opposite of `coded`."""
    return {
        address: domain.values[int(found[address])] if isinstance(domain, Choice) else found[address]
        for address, domain in tune.parameters.items()
    }


def grid_point(tune: Tune, number: int) -> Values:
    """Each point once, in an order that the seed gives: a study may be ended before it has seen all."""
    points = np.random.default_rng(tune.seed).permutation(grid_size(tune.parameters))
    sizes = [grid_size({address: domain}) for address, domain in tune.parameters.items()]
    places = np.unravel_index(int(points[number]), sizes)
    return {
        address: _at(domain, int(place))
        for (address, domain), place in zip(tune.parameters.items(), places, strict=True)
    }


def _at(domain: Domain, place: int) -> JsonValue:
    """The value at a place on the grid; decimal, so that no 0.30000000000000004 comes out."""
    match domain:
        case Choice():
            return domain.values[place]
        case IntRange():
            return domain.low + place * domain.step
        case FloatRange():
            return float(Decimal(str(domain.low)) + place * Decimal(str(domain.step)))
        case _:
            assert_never(domain)


def _frame(domain: FloatRange | IntRange) -> tuple[float, float]:
    """The ends of the range on the axis that is searched; those of steps half a step out, so that all are as wide."""
    step = 0.0 if domain.step is None else domain.step
    low, high = domain.low - HALF * step, domain.high + HALF * step
    return (math.log(low), math.log(high)) if domain.log else (low, high)


def to_unit(domain: FloatRange | IntRange, value: float) -> float:
    """Where in [0, 1] a value is."""
    low, high = _frame(domain)
    return ((math.log(value) if domain.log else value) - low) / (high - low)


def position(domain: Domain, value: JsonValue) -> float:
    """Where in [0, 1] a value stands among all that there may be; choices one after the other."""
    if isinstance(domain, Choice):
        return _place_of(domain, value) / (len(domain.values) - 1)
    return to_unit(domain, float(value)) if isinstance(value, int | float) else 0.0


def from_unit(domain: FloatRange | IntRange, share: float) -> int | float:
    """The value at a place in [0, 1], on its steps."""
    low, high = _frame(domain)
    value = low + share * (high - low)
    value = math.exp(value) if domain.log else value
    if domain.step is not None:
        place = round((value - domain.low) / domain.step)
        last = round((domain.high - domain.low) / domain.step)
        value = float(Decimal(str(domain.low)) + min(max(place, 0), last) * Decimal(str(domain.step)))
    value = min(max(value, domain.low), domain.high)
    return round(value) if isinstance(domain, IntRange) else value
