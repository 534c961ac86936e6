"""Which candidates are worth keeping: those that no other beats in everything, and the one that serves the budget."""

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar, assert_never

from whetstone.contract.jobs import Budget, Objective
from whetstone.contract.trials import Score
from workers.engine.measure.verdict import LEAST_MEMORY_GAIN, MEGABYTE

MARGIN = 1.02
"""A brief timing must show at least this gain before a candidate is taken for quicker than the original."""

STEP = 1.03
"""Gains are counted in steps of this: they are briefly measured, and of the same step what lost less is safer."""

KeyT = TypeVar("KeyT")


def beats(one: Score, other: Score) -> bool:
    """At least as good in everything, and better in something (Pareto dominance)."""
    gains, others = _goods(one), _goods(other)
    return gains != others and all(gain >= other for gain, other in zip(gains, others, strict=True))


def _goods(score: Score) -> tuple[float, ...]:
    """All of which more is better."""
    return -score.lost, score.speedup, score.size_ratio, score.memory_ratio or 1.0


def front(scores: Sequence[Score]) -> list[bool]:
    """Whether each is on the Pareto front of all."""
    return [not any(beats(other, score) for other in scores) for score in scores]


def value(score: Score, objective: Objective) -> float:
    """Times as good as the original by the objective, whatever was lost."""
    match objective:
        case Objective.LATENCY | Objective.THROUGHPUT:
            return score.speedup
        case Objective.SIZE:
            return score.size_ratio
        case Objective.MEMORY:
            return score.memory_ratio or 1.0
        case Objective.ACCURACY:
            return 1 - score.lost / 100
        case _:
            assert_never(objective)


def least(objective: Objective) -> float:
    """What the value must exceed before a candidate is taken for better than the original."""
    match objective:
        case Objective.LATENCY | Objective.THROUGHPUT:
            return MARGIN
        case Objective.SIZE | Objective.ACCURACY:
            return 1.0
        case Objective.MEMORY:
            return LEAST_MEMORY_GAIN
        case _:
            assert_never(objective)


def gain(score: Score, budget: Budget) -> float:
    """By the objective; zero or less where too much is lost, it is too slow, or nothing is gained."""
    harmful = score.lost > score.allowed or too_slow(score, budget)
    return 0.0 if harmful else value(score, budget.objective) - least(budget.objective)


def too_slow(score: Score, budget: Budget) -> bool:
    """Whether it takes longer than any result may, whatever it gains else."""
    return score.speedup < 1 / budget.max_slowdown


def overrun(score: Score, budget: Budget) -> float:
    """How far a candidate is over the limits of latency and size together: a sum of logarithms, 0 within both."""
    pairs = ((score.latency_ms, budget.max_latency_ms), (score.size / MEGABYTE, budget.max_size_mb))
    return sum(max(0.0, math.log(have / limit)) for have, limit in pairs if limit is not None and have > 0)


def miss(score: Score, budget: Budget) -> float:
    """How far a candidate is over all that the budget limits together, loss included; 0 within it."""
    too_lossy = max(0.0, score.lost - score.allowed) / max(score.allowed, 1.0)
    return overrun(score, budget) + too_lossy


def best(scores: Mapping[KeyT, Score], budget: Budget) -> KeyT | None:
    """The candidate that serves the budget best: within the limits or nearest to them, then by the objective, and of
    those in the same step of it the quickest, and of these the one that lost least. None where all are worse than the
    original.
    """

    def rank(key: KeyT) -> tuple[float, int, int, float]:
        score = scores[key]
        steps, speed = (round(math.log(ratio, STEP)) for ratio in (value(score, budget.objective), score.speedup))
        return -overrun(score, budget), steps, speed, -score.lost

    return max((key for key, score in scores.items() if gain(score, budget) > 0), key=rank, default=None)


def nearest_miss(scores: Mapping[KeyT, Score], budget: Budget) -> KeyT | None:
    """Where no candidate keeps every limit, the one that comes nearest; None where one does, or there are no limits."""
    if budget.max_latency_ms is None and budget.max_size_mb is None:
        return None
    nearest = min(scores, key=lambda key: miss(scores[key], budget), default=None)
    return None if nearest is None or miss(scores[nearest], budget) == 0 else nearest


def seen(score: Score) -> str:
    memory = "" if score.memory_ratio is None else f", {score.memory_ratio:.2f} times less memory"
    return f"{score.speedup:.2f} times as fast, {score.size_ratio:.2f} times smaller{memory}, {score.lost:.2f} lost"


def reason(score: Score, budget: Budget, *, chosen: bool, on_front: bool) -> str:
    """One sentence: why a candidate was chosen, kept or dropped."""
    told = seen(score)
    if chosen:
        over = overrun(score, budget) > 0
        return f"Chosen, though it misses a limit: {told}." if over else f"Chosen: {told}."
    brief = "" if score.full else " after a brief look"
    if score.lost > score.allowed:
        return f"Dropped{brief}: {score.lost:.2f} lost, {score.allowed:.3g} allowed ({told})."
    if too_slow(score, budget):
        return f"Dropped{brief}: too slow ({told})."
    if gain(score, budget) <= 0:
        return f"Dropped{brief}: no better than the original ({told})."
    if overrun(score, budget) > 0:
        return (
            f"Dropped{brief}: over a limit, at {score.latency_ms:.3g} ms and {score.size / MEGABYTE:.3g} MB ({told})."
        )
    return f"Kept on the front: {told}." if on_front else f"Dropped{brief}: another serves the budget better ({told})."
